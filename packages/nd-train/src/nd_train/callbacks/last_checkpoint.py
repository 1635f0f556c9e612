"""The latest state of a run, beside its best.

`ModelCheckpoint(monitor=…, save_last=True)` writes ``last.ckpt`` only when a score is among the best: after a run whose
score stopped rising, it is far from the end.
"""

from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn


class LastCheckpoint(Checkpoint):
    """Write ``last.ckpt`` after every validation and at the run's end, in the folder of the trainer's checkpoints."""

    def __init__(self) -> None:
        self._step: int | None = None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Save, unless this validation is none of a training run."""
        self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Save what came after the last validation."""
        self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        kept = trainer.checkpoint_callback
        is_training = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if not is_training or self._step == trainer.global_step:
            return
        if isinstance(kept, ModelCheckpoint) and kept.dirpath is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]  # as for callbacks
            self._step = trainer.global_step
            trainer.save_checkpoint(Path(kept.dirpath) / "last.ckpt", weights_only=kept.save_weights_only)
