"""The LightningModule that trains and evaluates a decoder of spikes: POYO, POYO+ or a baseline of nd_models.

B windows, N_out queries (padded), D output width.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from nd_eval import DataForDecodingStitchEvaluator, DataForMultiTaskDecodingStitchEvaluator
from nd_models import DecoderModel, ModalitySpec, MultitaskDecoderModel, model_from_config
from nd_optim import SparseLamb
from nd_train.multitask_loss import multitask_loss
from nd_train.plain_checkpoint import PlainCheckpointModule

StitchData = DataForDecodingStitchEvaluator | DataForMultiTaskDecodingStitchEvaluator


class NeuralDecoder(PlainCheckpointModule):
    """Train a decoder on windows of recordings, and hand its outputs to a stitching evaluator.

    Built from a model, or from a mapping of its constructor's arguments (``architecture`` names the class; without it,
    a mapping with ``readout_spec`` is a POYO and any other a POYO+). The checkpoint keeps that mapping as plain values,
    so that :meth:`load_from_checkpoint` needs nothing else and never runs code from the file.

    Args:
        model: A model, or the mapping of its constructor's arguments.
        lr: Peak learning rate.
        optimizer: ``"sparse_lamb"`` (unit and session embeddings in row-sparse groups) or ``"adamw"``.
        weight_decay: Decoupled weight decay, of matrices only: biases, norms, and embeddings of units and sessions have
            none.
        schedule: ``"constant"``, or ``"one_cycle"``: a rise and a cosine descent over all steps of the run.
        warmup: Share of the steps that the learning rate rises, in ``"one_cycle"``.

    Raises:
        TypeError: `model` is neither a `nd_models.DecoderModel` nor a mapping.
        ValueError: an unknown `optimizer` or `schedule`.
    """

    model: DecoderModel

    def __init__(
        self,
        model: nn.Module | Mapping[str, Any],
        lr: float = 1e-3,
        *,
        optimizer: Literal["sparse_lamb", "adamw"] = "sparse_lamb",
        weight_decay: float = 1e-4,
        schedule: Literal["constant", "one_cycle"] = "constant",
        warmup: float = 0.1,
    ) -> None:
        super().__init__()
        if optimizer not in ("sparse_lamb", "adamw"):
            raise ValueError(f"optimizer: expected 'sparse_lamb' or 'adamw', found {optimizer!r}")
        if schedule not in ("constant", "one_cycle"):
            raise ValueError(f"schedule: expected 'constant' or 'one_cycle', found {schedule!r}")
        self.model = _as_model(model)
        self.save_hyperparameters(
            {
                "model": self.model.to_config(),
                "lr": lr,
                "optimizer": optimizer,
                "weight_decay": weight_decay,
                "schedule": schedule,
                "warmup": warmup,
            }
        )

    def setup(self, stage: str) -> None:
        """Initialise the vocabularies from the data module, where there is one and they are not yet initialised."""
        data_module = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and data_module is not None:
            if self.model.unit_emb.is_lazy():
                self.model.unit_emb.initialize_vocab(data_module.get_unit_ids())
            if self.model.session_emb.is_lazy():
                self.model.session_emb.initialize_vocab(data_module.get_session_ids())

    def compute_loss(self, outputs: Any, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one batch.

        Args:
            outputs: What the model returns for it with ``unpack_output=False``.
            batch: What `collate` returns.

        Returns:
            The loss and, for several tasks, each task's own.
        """
        if isinstance(self.model, MultitaskDecoderModel):
            return multitask_loss(
                outputs,
                batch["target_values"],
                batch["target_weights"],
                output_decoder_index=batch["model_inputs"]["output_decoder_index"],
                readout_specs=self.model.readout_specs,
            )
        mask = batch["model_inputs"]["output_mask"]
        targets, weights = batch["target_values"][mask], batch["target_weights"][mask]
        if targets.is_floating_point():
            targets = targets.to(outputs.dtype)
        readout = cast("ModalitySpec", self.model.readout_spec)
        return readout.loss_fn(outputs[mask], targets, weights.to(outputs.dtype)), {}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:  # noqa: ARG002  # Lightning's signature
        """One step: forward, loss, logs (``train_loss`` and, for several tasks, ``train_loss/<task>``)."""
        outputs = self.model(**batch["model_inputs"], unpack_output=False)
        loss, task_losses = self.compute_loss(outputs, batch)
        windows = len(batch["session_id"])
        self.log("train_loss", loss, prog_bar=True, batch_size=windows)
        self.log_dict({f"train_loss/{task}": value for task, value in task_losses.items()}, batch_size=windows)
        return loss

    def validation_step(  # type: ignore[override]  # Lightning hands any output on to callbacks
        self,
        batch: dict[str, Any],
        batch_idx: int,  # noqa: ARG002
    ) -> StitchData:
        """The windows' predictions beside their targets, for a stitching evaluator."""
        return self._evaluation_step(batch)

    def test_step(  # type: ignore[override]  # as for validation
        self,
        batch: dict[str, Any],
        batch_idx: int,  # noqa: ARG002
    ) -> StitchData:
        """As :meth:`validation_step`."""
        return self._evaluation_step(batch)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> StitchData:  # noqa: ARG002
        """As :meth:`validation_step`."""
        return self._evaluation_step(batch)

    def _evaluation_step(self, batch: Mapping[str, Any]) -> StitchData:
        inputs = batch["model_inputs"]
        if isinstance(self.model, MultitaskDecoderModel):
            return DataForMultiTaskDecodingStitchEvaluator(
                timestamps=inputs["output_timestamps"],
                preds=self.model(**inputs, unpack_output=True),
                targets=batch["target_values"],
                decoder_indices=inputs["output_decoder_index"],
                eval_masks=batch["eval_mask"],
                session_ids=batch["session_id"],
                absolute_starts=batch["absolute_start"],
            )
        return DataForDecodingStitchEvaluator(
            timestamps=inputs["output_timestamps"],
            preds=self.model(**inputs, unpack_output=False),
            targets=batch["target_values"],
            eval_masks=batch["eval_mask"] & inputs["output_mask"],
            session_ids=batch["session_id"],
            absolute_starts=batch["absolute_start"],
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and the schedule over all steps of the run where one was asked for.

        Raises:
            ValueError: a vocabulary is not initialised, or ``one_cycle`` in a run without end.
        """
        for name in ("unit_emb", "session_emb"):
            if getattr(self.model, name).is_lazy():
                ids = "get_unit_ids" if name == "unit_emb" else "get_session_ids"
                raise ValueError(
                    f"the vocabulary of model.{name} is not initialised: call "
                    f"model.{name}.initialize_vocab(dataset.{ids}()) before training, or train with a NeuralDataModule"
                )
        groups = self._parameter_groups()
        lr: float = self.hparams["lr"]
        optimizer: torch.optim.Optimizer
        if self.hparams["optimizer"] == "sparse_lamb":
            optimizer = SparseLamb(groups, lr=lr)
        else:
            optimizer = torch.optim.AdamW([{k: v for k, v in g.items() if k != "sparse"} for g in groups], lr=lr)
        if self.hparams["schedule"] == "constant":
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise ValueError("schedule='one_cycle' needs the run's length: set the trainer's max_steps or max_epochs")
        warmup: float = self.hparams["warmup"]
        # A rise of one step or less is none; OneCycleLR divides by its length.
        rise = warmup if warmup * steps > 1 else 0.0
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=lr, total_steps=int(steps), pct_start=rise, cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        embeddings = [self.model.unit_emb.weight, self.model.session_emb.weight]
        matrices: list[nn.Parameter] = []
        vectors: list[nn.Parameter] = []
        known = {id(parameter) for parameter in embeddings}
        for parameter in self.model.parameters():
            if id(parameter) not in known:
                (matrices if parameter.ndim > 1 else vectors).append(parameter)
        decay: float = self.hparams["weight_decay"]
        return [
            {"params": embeddings, "sparse": True, "weight_decay": 0.0},
            {"params": matrices, "weight_decay": decay},
            {"params": vectors, "weight_decay": 0.0},
        ]


def _as_model(model: nn.Module | Mapping[str, Any]) -> DecoderModel:
    if isinstance(model, Mapping):
        configuration = dict(model)
        if "architecture" not in configuration:
            configuration["architecture"] = "POYO" if "readout_spec" in configuration else "POYOPlus"
        model = model_from_config(configuration)
    if not isinstance(model, DecoderModel):
        raise TypeError(
            f"model: expected a model of nd_models or a mapping of its arguments, found {type(model).__name__}"
        )
    return model
