"""The LightningModule of longitudinal forecasting: eight steps, each a function of this package, put in order.

1 unpack (`batch`), 2 shift (`shift`), 3 forward (`forward`), 4 reshift (`shift`), together `forecast`; 5 loss (`loss`);
6 metrics (`epoch_statistics`, `subsets`); 7 logs and storage (`prediction_store`); 8 optimizer step (`optimization`,
taken by Lightning).
"""

import math
import warnings
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from nd_models.longitudinal import model_from_config
from nd_train.checkpoints.plain_checkpoint import PlainCheckpointModule
from nd_train.longitudinal.epoch_statistics import EpochStatistics, row_columns, sequence_rows, subset_scores
from nd_train.longitudinal.forecast import Forecast, forecast, in_own_units
from nd_train.longitudinal.loss import longitudinal_loss
from nd_train.longitudinal.optimization import (
    build_optimizer,
    learning_parameters,
    mute_parameters,
    muted_modules,
    rate_factor,
)
from nd_train.longitudinal.prediction_store import PredictionStore, storable
from nd_train.longitudinal.sequence_length import SequenceLengthScheduler
from nd_train.longitudinal.settings import LongitudinalSettings
from nd_train.longitudinal.subsets import SUBSETS

_EVERY_SEQUENCE = ((False, "in_time"), (True, "in_time"))


class MILightningModule(PlainCheckpointModule):
    """Train, validate, test and predict with a model of sequences whose observations are partly missing.

    Logged: ``train_loss`` and ``train_<metric>`` of every step, ``train_epoch_<loss|metric>``; in validation and test
    ``<val|test>_<subset>_<loss|metric>`` and the same as ``<val|test>_epoch_<subset>_…`` for the subsets of
    :data:`~nd_train.longitudinal.SUBSETS`; ``val_loss``, and ``test_loss``, ``test_<metric>``, ``test_epoch_<…>``, of
    what is held out in either way, or where nothing is, of everything. Each is of all points of the epoch, however it
    was batched and over all ranks; one that is undefined is absent.

    Args:
        args: A namespace, a mapping or `LongitudinalSettings`; only read.
        model: A model that is called with the batch's inputs by keyword, or the mapping that `model.to_config()` gives.

    Attributes:
        settings: The arguments, typed and checked.
        predictions: By split, the predictions of the last (or best) epoch; see `StoredPredictions`.
        epoch_scores: By split, one mapping an epoch: `epoch`, `sanity_check`, and every score and count.

    Raises:
        TypeError: an argument of the wrong type, or a model that is none.
        ValueError: an unknown argument, or one out of range.

    Example:
        >>> from nd_models.longitudinal import Recurrent
        >>> module = MILightningModule({"lr": 0.01, "num_outcomes": 2}, Recurrent(4, 2, hidden_size=8))
        >>> module.settings.lr
        0.01
    """

    def __init__(self, args: Any, model: nn.Module | Mapping[str, Any] | None) -> None:
        super().__init__()
        self.settings = LongitudinalSettings.from_args(args)
        self.model = _as_model(model)
        self._check_model()
        describe = getattr(self.model, "to_config", None)
        self.save_hyperparameters(
            {"args": self.settings.to_dict(), "model": describe() if callable(describe) else None}
        )
        self.predictions = PredictionStore(
            self.settings.max_stored_predictions,
            num_outcomes=self.settings.num_outcomes,
            num_classes=self.settings.num_classes,
        )
        self.epoch_scores: dict[str, deque[dict[str, float]]] = {
            split: deque(maxlen=self.settings.max_stored_epochs) for split in ("train", "val", "test")
        }
        self._statistics = {split: EpochStatistics() for split in self.epoch_scores}
        self._lowest_loss = math.inf
        self._last_is_best = False
        weights = self.settings.cross_entropy_class_weight
        self.register_buffer(
            "class_weight", None if weights is None else torch.tensor(weights, dtype=torch.float64), persistent=False
        )
        self.class_weight: Tensor | None
        # What the outcomes were standardised with: part of what the weights mean, so it is saved with them.
        self.register_buffer("outcome_mean", torch.zeros(self.settings.num_outcomes))
        self.register_buffer("outcome_std", torch.ones(self.settings.num_outcomes))
        self.outcome_mean: Tensor
        self.outcome_std: Tensor

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> Tensor:  # noqa: ARG002  # Lightning's signature
        """One step: forecast, loss, metrics, logs.

        Returns:
            The loss, a scalar; 0 with a gradient of 0 where the batch has nothing to learn from.

        Raises:
            ValueError: the batch has no labels, or the loss is not reduced.
        """
        settings = self.settings
        if settings.loss_reduction == "none":
            raise ValueError(
                "loss_reduction='none' is for inspection (longitudinal_loss); training needs 'flatten', 'within-seq' "
                "or 'between-seq'"
            )
        result = self._forecast(batch, training=True, seq_len=self._scheduled_length())
        if result.targets is None:
            raise ValueError("batch: training needs 'outcomes' and 'outcomes_mask'")
        loss = longitudinal_loss(
            result.output,
            result.targets,
            result.loss_mask,
            num_classes=settings.num_classes,
            reduction=settings.loss_reduction,
            class_weight=self.class_weight,
        )
        rows = self._store("train", result)
        scores, _ = subset_scores(rows, _EVERY_SEQUENCE, settings)
        scores.pop("loss", None)
        size = len(result.real)
        self.log("train_loss", loss.detach(), prog_bar=True, batch_size=size)
        self.log_dict({f"train_{name}": value for name, value in scores.items()}, batch_size=size)
        return loss

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:  # noqa: ARG002
        """Forecast, and take in what the epoch's scores are made of."""
        self._store("val", self._forecast(batch))

    def test_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:  # noqa: ARG002
        """As :meth:`validation_step`; a batch without `ooss_mask` is of held-out sequences."""
        self._store("test", self._forecast(batch, required=False))

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Tensor]:  # noqa: ARG002
        """Predict, with or without outcomes in the batch.

        Returns:
            `predictions` (levels, (B, T, K), or logits), `time_ids` and `valid` (steps that are predicted, (B, T)), and
            `seq_id` (B, 1) where the batch has it. T is 1 where only the last valid step is predicted.
        """
        result = self._forecast(batch, required=False)
        self._keep("predict", result)
        found = {"predictions": result.levels, "time_ids": result.time_ids, "valid": result.real}
        return found if result.sequence_ids is None else {**found, "seq_id": result.sequence_ids.unsqueeze(1)}

    def setup(self, stage: str) -> None:
        """Mute what is marked with `mute_grad`, and learn how the data module standardised the outcomes."""
        if stage == "fit":
            mute_parameters(self.model)
            # A model without parameters, a fixed baseline, is only evaluated: no optimizer, no backward pass. Not said
            # in the constructor, because a trainer would then refuse to clip gradients, of which there are none.
            self.automatic_optimization = any(True for _ in self.model.parameters())
            scale = getattr(getattr(self.trainer, "datamodule", None), "outcome_scale", None) or (0.0, 1.0)
            for buffer, values in zip((self.outcome_mean, self.outcome_std), scale, strict=True):
                buffer.copy_(torch.as_tensor(values).to(buffer))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over what learns, with a schedule by optimizer step; none for a model without parameters.

        Raises:
            ValueError: every parameter is muted or frozen, or the schedule needs a length that the run has not.
        """
        settings = self.settings
        parameters = learning_parameters(self.model)
        if not parameters:
            return []
        optimizer = build_optimizer(
            parameters, optimizer=settings.optimizer, lr=settings.lr, weight_decay=settings.weight_decay
        )
        if settings.lr_scheduler == "none":
            return optimizer
        factor = rate_factor(
            settings.lr_scheduler,
            warmup_steps=self._warmup_steps(),
            total_steps=self.trainer.estimated_stepping_batches,
            start_factor=settings.start_factor,
            end_factor=settings.end_factor,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Find out before the first step whether the run's length suits its schedule."""
        self._lowest_loss = math.inf
        self.length_scheduler()
        if not self.automatic_optimization and self.trainer.max_epochs == -1:
            # Steps are those of an optimizer; without one they would never be reached.
            self.trainer.fit_loop.max_epochs = 1

    def on_train_epoch_start(self) -> None:
        """Begin an epoch with nothing of the one before."""
        self._start("train")
        if self.settings.mute_eval_mode:
            for module in muted_modules(self.model):
                module.eval()

    def on_validation_epoch_start(self) -> None:
        """Begin an epoch with nothing of the one before."""
        self._start("val")

    def on_test_epoch_start(self) -> None:
        """Begin an epoch with nothing of the one before."""
        self._start("test")

    def on_predict_epoch_start(self) -> None:
        """Begin with nothing of an earlier prediction."""
        self.predictions.start("predict")

    def on_train_epoch_end(self) -> None:
        """Log and keep the scores of all that the epoch learned from."""
        rows = self._rows("train")
        scores, count = subset_scores(rows, _EVERY_SEQUENCE, self.settings)
        logged = {f"train_epoch_{name}": value for name, value in scores.items()}
        self._finish("train", logged, {"train": count})

    def on_validation_epoch_end(self) -> None:
        """Log and keep the scores of every subset."""
        self._finish_evaluation("val")

    def on_test_epoch_end(self) -> None:
        """Log and keep the scores of every subset."""
        self._finish_evaluation("test")

    def on_predict_epoch_end(self) -> None:
        """Keep the predictions."""
        self.predictions.finish("predict", epoch=self.current_epoch, keep=self._is_kept("predict"), device=self.device)

    def length_scheduler(self) -> SequenceLengthScheduler:
        """The schedule of sequence lengths, its epochs from the settings or the trainer.

        Raises:
            ValueError: a growing length in a run whose epochs nothing says.
        """
        settings = self.settings
        epochs = settings.max_scheduled_epochs
        if settings.seq_len_scheduler_type != "none" and epochs == -1:
            epochs = settings.epochs or -1
            if epochs == -1:
                epochs = getattr(self.trainer, "max_epochs", None) or -1
            if epochs == -1:
                raise ValueError(
                    f"seq_len_scheduler_type={settings.seq_len_scheduler_type!r} needs a number of epochs: set "
                    "max_scheduled_epochs, epochs or the trainer's max_epochs"
                )
        return SequenceLengthScheduler(
            settings.seq_len_scheduler_type,
            min_seq_len=settings.min_seq_len,
            max_seq_len=settings.full_length,
            num_epochs=epochs,
            progress=settings.seq_len_progress,
        )

    def _forecast(self, batch: Mapping[str, Any], **keywords: Any) -> Forecast:
        result = forecast(self.model, batch, self.settings, **keywords)
        return in_own_units(result, self.outcome_mean, self.outcome_std) if self.settings.num_classes == 1 else result

    def _scheduled_length(self) -> int | None:
        if self.settings.seq_len_scheduler_type == "none":
            return None
        return self.length_scheduler().length(self.current_epoch)

    def _warmup_steps(self) -> int:
        epochs = self.settings.warmup_epochs
        if not epochs:
            return 0
        # Loaders are set up by it, which their number of batches needs.
        total = self.trainer.estimated_stepping_batches
        batches: float = self.trainer.num_training_batches
        if self.trainer.max_epochs == -1 and not math.isinf(total) and math.isinf(batches):
            self.trainer.fit_loop.setup_data()
            batches = self.trainer.num_training_batches
        if math.isinf(batches):
            raise ValueError(
                "warmup_epochs needs an epoch's number of batches: set warmup_epochs=0 or limit_train_batches"
            )
        return round(epochs * math.ceil(batches / self.trainer.accumulate_grad_batches))

    def _start(self, split: str) -> None:
        self._statistics[split].clear()
        self.predictions.start(split)

    def _store(self, split: str, result: Forecast) -> Tensor:
        if result.labels is None:
            raise ValueError(f"batch: {split} needs 'outcomes' and 'outcomes_mask'; without them use trainer.predict")
        rows = sequence_rows(result, self.settings, class_weight=self.class_weight)
        self._statistics[split].add(rows)
        self._keep(split, result)
        return rows

    def _is_kept(self, split: str) -> bool:
        return self.settings.keep_predictions != "none" and split in self.settings.keep_predictions_of

    def _keep(self, split: str, result: Forecast) -> None:
        if self._is_kept(split):
            self.predictions.add(split, storable(result, num_classes=self.settings.num_classes))

    def _rows(self, split: str) -> Tensor:
        rows = self._statistics[split].collected(columns=row_columns(self.settings), device=self.device)
        self._statistics[split].clear()
        return rows

    def _finish_evaluation(self, split: Literal["val", "test"]) -> None:
        rows = self._rows(split)
        logged: dict[str, float] = {}
        counts: dict[str, int] = {}
        found: dict[str, dict[str, float]] = {}
        for subset, parts in SUBSETS.items():
            found[subset], counts[subset] = subset_scores(rows, parts, self.settings)
            for name, value in found[subset].items():
                logged[f"{split}_{subset}_{name}"] = value
                logged[f"{split}_epoch_{subset}_{name}"] = value
        headline = found["valset" if counts["valset"] else "ws_wt"]
        if split == "test":
            logged |= {f"test_{name}": value for name, value in headline.items()}
            logged |= {f"test_epoch_{name}": value for name, value in headline.items()}
        elif "loss" in headline:
            logged["val_loss"] = headline["loss"]
        if not counts["valset"] and not counts["ws_wt"]:
            warnings.warn(f"no outcome of the {split} data was observed: there is nothing to score", stacklevel=2)
        self._finish(split, logged, counts)

    def _finish(self, split: str, logged: dict[str, float], counts: Mapping[str, int]) -> None:
        # Every rank computed them from the rows of all ranks.
        self.log_dict(logged, on_step=False, on_epoch=True, rank_zero_only=False, batch_size=1)
        sanity = bool(self.trainer.sanity_checking)
        entry = {"epoch": self.current_epoch, "sanity_check": sanity, **logged}
        self.epoch_scores[split].append({**entry, **{f"{split}_{name}_count": value for name, value in counts.items()}})
        if split == "val" and not sanity:
            loss = logged.get("val_loss", math.inf)
            self._last_is_best = loss < self._lowest_loss
            self._lowest_loss = min(loss, self._lowest_loss)
        best_only = self.settings.keep_predictions == "best" and split in ("train", "val") and self._is_fitting()
        keep = self._is_kept(split) and not sanity and (self._last_is_best or not best_only)
        self.predictions.finish(split, epoch=self.current_epoch, keep=keep, device=self.device)

    def _is_fitting(self) -> bool:
        return bool(self.trainer.training or self.trainer.state.fn == "fit")

    def _check_model(self) -> None:
        for name in ("num_outcomes", "num_classes"):
            own = getattr(self.model, name, None)
            if isinstance(own, int) and own != getattr(self.settings, name):
                raise ValueError(
                    f"{name}: the arguments say {getattr(self.settings, name)}, the model "
                    f"({type(self.model).__name__}) has {own}"
                )


def _as_model(model: Any) -> nn.Module:
    if model is None:
        raise ValueError(
            "model: None. A checkpoint of a model without to_config() holds its weights only: pass model=… to "
            "load_from_checkpoint"
        )
    if isinstance(model, Mapping):
        return cast("nn.Module", model_from_config(model))
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model: expected a torch.nn.Module or a mapping of its arguments, found {type(model).__name__}"
        )
    return model
