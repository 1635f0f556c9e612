"""Callbacks that stitch the predictions of overlapping windows and log metrics of the stitched traces.

They only carry windows from Lightning to `nd_eval` and scores back: any sampler, any batch order, plain loaders or a
data module.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import lightning as L
import torch
from torchmetrics import Metric

from nd_eval import (
    DataForDecodingStitchEvaluator,
    DataForMultiTaskDecodingStitchEvaluator,
    DecodingStitchEvaluation,
    EvaluationResult,
    MultiTaskDecodingStitchEvaluation,
)
from nd_models import MODALITY_REGISTRY, ModalitySpec
from nd_train.configured_metrics import SessionMetrics, metrics_of_readout
from nd_train.data_module import NeuralDataModule

Evaluation = DecodingStitchEvaluation | MultiTaskDecodingStitchEvaluation


class _StitchEvaluator(L.Callback):
    """What the two evaluators share: feed windows in, gather ranks, compute and log once an epoch."""

    _expected: type

    def __init__(self) -> None:
        self.results: dict[str, EvaluationResult] = {}
        self._evaluation: Evaluation | None = None

    def _new_evaluation(self, trainer: L.Trainer, pl_module: L.LightningModule) -> Evaluation:  # noqa: ARG002
        raise AssertionError("each evaluator makes its own")

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Forget the windows of an epoch that was cut short."""
        self._evaluation = None

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Take in a batch's predictions.

        Raises:
            TypeError: the module's step returned something else.
        """
        if not isinstance(outputs, self._expected):
            step = "test_step" if trainer.testing else "validation_step"
            raise TypeError(
                f"{type(self).__name__}: {type(pl_module).__name__}.{step} must return a {self._expected.__name__}, "
                f"found {type(outputs).__name__}"
            )
        if self._evaluation is None:
            self._evaluation = self._new_evaluation(trainer, pl_module)
        self._evaluation.update(outputs)  # type: ignore[arg-type]  # checked against _expected above

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather the ranks' windows, stitch, score, log."""
        evaluation, self._evaluation = self._evaluation, None
        if trainer.sanity_checking:
            return
        if evaluation is None:
            # A rank without windows still takes part in the gathering.
            evaluation = self._new_evaluation(trainer, pl_module)
        if trainer.world_size > 1:
            states: list[dict[str, Any]] = [{}] * trainer.world_size
            torch.distributed.all_gather_object(states, evaluation.state_dict())
            evaluation.merge_states(states)
        result = evaluation.compute()
        prefix = "test" if trainer.testing else "val"
        self.results[prefix] = result
        # Every rank computes the same scores, from the windows of all. The largest of equal numbers is exactly that
        # number, while their mean may be rounded.
        over_ranks: dict[str, Any] = {"sync_dist": True, "reduce_fx": "max"} if trainer.world_size > 1 else {}
        pl_module.log_dict(result.to_log(prefix), **over_ranks)

    on_test_epoch_start = on_validation_epoch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end


class DecodingStitchEvaluator(_StitchEvaluator):
    """Stitched evaluation of a model with one readout, such as POYO.

    ``validation_step`` and ``test_step`` return a `DataForDecodingStitchEvaluator` for each batch. At the epoch's end
    each recording's score is logged as ``<session>/<task>/<metric>/<val|test>`` and the average as
    ``average_<val|test>_metric``; `results` keeps the last scores and stitched traces by stage, ``"val"`` and
    ``"test"``.

    Args:
        session_ids: The recordings to expect; None takes those that come.
        modality_spec: The model's readout, which chooses the metric where `metrics` is None.
        metrics: Metrics by name; None for those that a `NeuralDataModule`'s configuration names, else R² (continuous)
            or balanced accuracy (classes).
        task: What the readout is called in logs and results; None for its name in that configuration, else "readout".
    """

    _expected = DataForDecodingStitchEvaluator

    def __init__(
        self,
        session_ids: Iterable[str] | None = None,
        modality_spec: ModalitySpec | None = None,
        metrics: Mapping[str, Metric] | None = None,
        *,
        task: str | None = None,
    ) -> None:
        super().__init__()
        self.task = task
        self.session_ids = None if session_ids is None else list(session_ids)
        self.modality_spec = modality_spec
        self.metrics = metrics

    def _new_evaluation(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,  # noqa: ARG002
    ) -> DecodingStitchEvaluation:
        task, metrics = self.task, self.metrics
        if metrics is None and self.modality_spec is not None:
            metrics = metrics_of_readout(None, self.modality_spec)
        elif metrics is None and (configured := _configured_metrics(trainer)):
            # A model with one readout has one set of metrics: the first recording's.
            name, metrics = next(iter(next(iter(configured.values())).items()))
            task = task or name
        return DecodingStitchEvaluation(self.session_ids, metrics, task=task or "readout")


class MultiTaskDecodingStitchEvaluator(_StitchEvaluator):
    """Stitched evaluation of a model with several readouts, such as POYO+.

    ``validation_step`` and ``test_step`` return a `DataForMultiTaskDecodingStitchEvaluator` for each batch. At the
    epoch's end each score is logged as ``<session>/<task>/<metric>/<val|test>`` and the average, every metric turned so
    that larger is better, as ``average_<val|test>_metric``; `results` keeps the last scores and stitched traces by
    stage, ``"val"`` and ``"test"``.

    Args:
        metrics: ``{session: {task: {name: metric}}}``; None for those that a `NeuralDataModule`'s configuration names,
            else R² (continuous) and balanced accuracy (classes).
    """

    _expected = DataForMultiTaskDecodingStitchEvaluator

    def __init__(self, metrics: Mapping[str, Mapping[str, Mapping[str, Metric]]] | None = None) -> None:
        super().__init__()
        self.metrics = metrics

    def _new_evaluation(self, trainer: L.Trainer, pl_module: L.LightningModule) -> MultiTaskDecodingStitchEvaluation:
        readout = getattr(getattr(pl_module, "model", None), "readout", None)
        specs: Mapping[str, ModalitySpec] = getattr(readout, "readout_specs", MODALITY_REGISTRY)
        metrics = _configured_metrics(trainer) if self.metrics is None else self.metrics
        return MultiTaskDecodingStitchEvaluation(
            metrics=metrics, task_ids={task: spec.id for task, spec in specs.items()}
        )


def _configured_metrics(trainer: L.Trainer) -> SessionMetrics | None:
    data = getattr(trainer, "datamodule", None)
    return data.get_metrics("test" if trainer.testing else "valid") if isinstance(data, NeuralDataModule) else None
