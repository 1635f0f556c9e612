"""Training that begins with what is new and releases the rest of a pretrained model part by part."""

from collections.abc import Sequence
from typing import Any, Literal, cast

import lightning as L
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from nd_models import DecoderModel, UnfreezingSchedule, gradual_unfreezing


class GradualUnfreezing(L.Callback):
    """Let only embeddings of units and sessions and the readout learn at first, and then the backbone.

    Parts of the backbone begin to learn from the readout back to the spikes. The schedule travels with the checkpoint:
    a run that is resumed goes on as it was begun, whatever is asked for then. One optimizer over all parameters serves
    the whole run, since parameters without gradient are passed over. Logs ``trainable_parameters`` at every change.

    Args:
        every: Epochs (or steps) between one part of the backbone and the next; 0 releases all of it at once.
        first: Epoch (or step) at which the backbone begins to learn; `every` where None.
        unit: What is counted: ``"epoch"``, or ``"step"`` of the optimizer.
        groups: Parts of the backbone in the order of their release; the model's `backbone_parts` where None.
        schedule: What learns from which epoch (or step) on, in place of all of these.

    Raises:
        ValueError: a number is below 0, or an unknown `unit`; at the start of training, a distributed strategy that
            does not look for unused parameters.

    >>> GradualUnfreezing(every=0, first=200, unit="step")  # a frozen backbone for 200 steps, then all of it
    GradualUnfreezing(every=0, first=200, unit='step')
    """

    def __init__(
        self,
        every: int = 1,
        first: int | None = None,
        *,
        unit: Literal["epoch", "step"] = "epoch",
        groups: Sequence[Sequence[str]] | None = None,
        schedule: UnfreezingSchedule | None = None,
    ) -> None:
        if every < 0 or (first is not None and first < 0):
            raise ValueError(f"expected every >= 0 and first >= 0, found every={every}, first={first}")
        if unit not in ("epoch", "step"):
            raise ValueError(f"unit: expected 'epoch' or 'step', found {unit!r}")
        self.every = every
        self.first = first
        self.unit: Literal["epoch", "step"] = unit
        self.groups = groups
        self.schedule = schedule
        """What learns when; known from the start of training on."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(every={self.every}, first={self.first}, unit={self.unit!r})"

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Freeze what does not learn yet."""
        strategy = trainer.strategy
        settings = strategy._ddp_kwargs if isinstance(strategy, DDPStrategy) else None  # noqa: SLF001  # kept nowhere else
        if settings is not None and not settings.get("find_unused_parameters"):
            raise ValueError(
                "a backbone that is released later needs a strategy that looks for unused parameters: set "
                "trainer.strategy to ddp_find_unused_parameters_true"
            )
        if self.schedule is None:
            self.schedule = self._schedule(cast("DecoderModel", pl_module.model))
        self._apply(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Release what is due."""
        if self.unit == "epoch":
            self._apply(trainer, pl_module)

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Release what is due."""
        if self.unit == "step":
            self._apply(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The schedule, as plain values."""
        stages = None if self.schedule is None else [[at, list(parts)] for at, parts in self.schedule.stages]
        return {"unit": self.unit, "stages": stages}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the schedule that a run was begun with."""
        self.unit = state_dict["unit"]
        if state_dict["stages"] is not None:
            self.schedule = UnfreezingSchedule(tuple((at, tuple(parts)) for at, parts in state_dict["stages"]))

    def _schedule(self, model: DecoderModel) -> UnfreezingSchedule:
        if self.every:
            return gradual_unfreezing(model, every=self.every, first=self.first, groups=self.groups)
        begun = model.embedding_parts + model.readout_parts
        backbone = tuple(part for group in self.groups for part in group) if self.groups else model.backbone_parts
        if not self.first:
            return UnfreezingSchedule(((0, begun + backbone),))
        return UnfreezingSchedule(((0, begun), (self.first, backbone)))

    def _apply(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.schedule is None:
            return
        model = cast("nn.Module", pl_module.model)
        now = trainer.current_epoch if self.unit == "epoch" else trainer.global_step
        if self.schedule.apply(model, now):
            learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
            for logger in trainer.loggers:
                logger.log_metrics({"trainable_parameters": float(learning)}, step=trainer.global_step)
