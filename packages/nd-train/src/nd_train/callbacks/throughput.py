"""How fast a run trains, and whether it waits for its data."""

import time
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch


class Throughput(L.Callback):
    """Log the speed of training every few steps, validation left out.

    ``throughput/windows_per_second`` and, for models that read tokens, ``throughput/tokens_per_second`` (padding does
    not count) are sums over ranks; ``throughput/data_wait_share`` is the share of the time, 0 to 1, in which this
    process waited for a batch. Near 0 the loader keeps up; otherwise give it more workers.

    On an accelerator steps are counted when they are handed over: over some ten steps the two agree.

    Args:
        every_n_steps: Optimizer steps between two logs, a multiple of the trainer's `log_every_n_steps`; that itself
            where None.

    Raises:
        ValueError: `every_n_steps` is below 1.
    """

    def __init__(self, every_n_steps: int | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps: expected at least 1, found {every_n_steps}")
        self.every_n_steps = every_n_steps
        self._mark: float | None = None
        self._tokens: torch.Tensor | int = 0
        self._forget()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """From here on it waits for the first batch."""
        self._mark = time.perf_counter()

    def on_train_batch_start(
        self,
        trainer: L.Trainer,  # noqa: ARG002
        pl_module: L.LightningModule,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """The wait is over."""
        self._waited += self._since_mark()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Count the batch, and log where the step is one to log."""
        self._worked += self._since_mark()
        self._windows += len(batch["session_id"])
        mask = batch["model_inputs"].get("input_mask") if isinstance(batch["model_inputs"], Mapping) else None
        if mask is not None:
            self._has_tokens = True
            # Stays on the device: no step waits for this number.
            self._tokens = self._tokens + mask.sum()
        seconds = self._waited + self._worked
        every = self.every_n_steps or trainer.log_every_n_steps  # type: ignore[attr-defined]  # its annotation lacks it
        if not every or trainer.global_step % every or trainer.global_step == self._logged or not seconds:
            return
        several = trainer.world_size > 1
        rates = {"windows_per_second": self._windows / seconds}
        if self._has_tokens:
            rates["tokens_per_second"] = float(self._tokens) / seconds
        for name, value in rates.items():
            pl_module.log(f"throughput/{name}", value, sync_dist=several, reduce_fx="sum", on_step=True, on_epoch=False)
        pl_module.log("throughput/data_wait_share", self._waited / seconds, sync_dist=several)
        self._forget(trainer.global_step)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """What validation takes is no wait for training data."""
        self._mark = None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Training goes on."""
        self._mark = time.perf_counter()

    def _since_mark(self) -> float:
        now = time.perf_counter()
        since = 0.0 if self._mark is None else now - self._mark
        self._mark = now
        return since

    def _forget(self, logged: int = 0) -> None:
        self._mark = time.perf_counter() if logged else None
        self._waited = 0.0
        self._worked = 0.0
        self._windows = 0
        self._tokens = 0
        self._has_tokens = False
        self._logged = logged
