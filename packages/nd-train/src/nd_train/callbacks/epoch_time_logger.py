"""How long each training epoch took."""

import time

import lightning as L


class EpochTimeLogger(L.Callback):
    """Log the wall-clock seconds of every training epoch as ``epoch_time``."""

    def __init__(self) -> None:
        self._started: float | None = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Note the time."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Log the time since the epoch's start."""
        if self._started is not None:
            pl_module.log("epoch_time", time.perf_counter() - self._started)
