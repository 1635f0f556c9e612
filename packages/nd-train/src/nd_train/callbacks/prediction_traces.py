"""Predictions of overlapping windows, stitched into one trace for each recording and task."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor

from nd_eval import (
    DataForDecodingStitchEvaluator,
    DataForMultiTaskDecodingStitchEvaluator,
    DecodingStitchEvaluation,
    MultiTaskDecodingStitchEvaluation,
    StitchedTrace,
    StitchingAccumulator,
)
from nd_models import MultitaskDecoderModel
from nd_train.configured_readouts import configured_readouts
from nd_train.data_module import NeuralDataModule

_SINGLE = "readout"


class PredictionTraces(L.Callback):
    """Stitch what a model predicts, all of it, also outside of evaluation intervals and where no target is known.

    ``predict_step`` returns what the stitching evaluators take. After ``trainer.predict`` the stitched traces are in
    `traces`, on every rank those of all.

    Args:
        task_ids: The modality id of each task of a model with several readouts.
        unknown: By session, tasks whose targets are no targets; they become NaN. Of a model with one readout the task
            is ``"readout"`` here.
        task: What the task of a model with one readout is called in `traces`; None for its name in the configuration of
            a `NeuralDataModule`, as stitched evaluation calls it, else "readout".

    Attributes:
        traces: The last stitched traces by recording and task.
    """

    def __init__(
        self,
        task_ids: Mapping[str, int],
        unknown: Mapping[str, Sequence[str]] | None = None,
        *,
        task: str | None = None,
    ) -> None:
        self.task_ids = dict(task_ids)
        self.unknown = {session: frozenset(tasks) for session, tasks in (unknown or {}).items()}
        self.traces: dict[str, dict[str, StitchedTrace]] = {}
        self.task = task
        self._single = DecodingStitchEvaluation(task=task or _SINGLE)
        self._multiple = MultiTaskDecodingStitchEvaluation(task_ids=self.task_ids)

    def on_predict_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget what was predicted before."""
        name = self.task
        data = getattr(trainer, "datamodule", None)
        single = not isinstance(getattr(pl_module, "model", None), MultitaskDecoderModel)
        if name is None and single and isinstance(data, NeuralDataModule):
            name = configured_readouts(data.config, single=True)[0]
        self._single = DecodingStitchEvaluation(task=name or _SINGLE)
        self._multiple.reset()

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,  # noqa: ARG002
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Take in a batch's predictions.

        Raises:
            TypeError: the module's step returned something else.
        """
        if isinstance(outputs, DataForDecodingStitchEvaluator):
            mask = batch["model_inputs"]["output_mask"]
            self._single.update(dataclasses.replace(outputs, eval_masks=mask))
        elif isinstance(outputs, DataForMultiTaskDecodingStitchEvaluator):
            masks = {task: torch.ones(len(values), dtype=torch.bool) for task, values in outputs.targets.items()}
            self._multiple.update(dataclasses.replace(outputs, eval_masks=masks))
        else:
            raise TypeError(
                f"{type(self).__name__}: {type(pl_module).__name__}.predict_step must return what a stitching "
                f"evaluator takes, found {type(outputs).__name__}"
            )

    def on_predict_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Gather the ranks' windows and stitch."""
        self.traces = {}
        for evaluation in (self._single, self._multiple):
            accumulator = self._gathered(evaluation.accumulator, trainer.world_size)
            for (recording, task), trace in sorted(accumulator.compute().items()):
                name = _SINGLE if evaluation is self._single else task
                known = name not in self.unknown.get(recording, ())
                whole = trace if known else StitchedTrace(trace.timestamps, trace.preds, _nothing(trace.preds))
                self.traces.setdefault(recording, {})[task] = whole
            evaluation.reset()

    def _gathered(self, accumulator: StitchingAccumulator, ranks: int) -> StitchingAccumulator:
        if ranks == 1:
            return accumulator
        states: list[dict[str, Any]] = [{}] * ranks
        torch.distributed.all_gather_object(states, accumulator.state_dict())
        return StitchingAccumulator.merged(states)


def _nothing(preds: Tensor) -> Tensor:
    return torch.full(preds.shape, torch.nan)
