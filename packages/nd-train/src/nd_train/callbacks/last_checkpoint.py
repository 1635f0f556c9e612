"""The latest states of a run, beside its best.

`ModelCheckpoint(monitor=…, save_last=True)` writes ``last.ckpt`` only when a score is among the best: after a run whose
score stopped rising, it is far from the end.
"""

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from nd_train.checkpoints.atomic_checkpoint import AtomicCheckpointIO, remove_unfinished, use_atomic_checkpoints
from nd_train.checkpoints.unfinished_business import (
    KEY,
    begin_validation_anew,
    is_before_validation,
    take_up,
    unfinished_business,
)
from nd_train.checkpoints.whole_checkpoints import inspect

NAME = "last.ckpt"


class LastCheckpoint(Checkpoint):
    """Write ``last.ckpt`` after every validation and at the run's end, and keep those before it for a while.

    It lies in the folder of the trainer's `ModelCheckpoint` (its own ``dirpath`` where there is none). The state before
    is kept as ``last-<steps>.ckpt``, so that a run whose last file was damaged resumes from the one before. A run that
    is resumed from any of these goes on as if it had never stopped: to the bit on a CPU, together with `StepSeeds` and
    a loader whose position is saved (`nd_data.ResumableDataLoader`, which `NeuralDataModule` uses).

    Files appear whole or not at all (see `nd_train.checkpoints.atomic_checkpoint`), also those of other callbacks.
    Numbers that were logged before a checkpoint are brought to the loggers' files before it.

    Args:
        keep: How many states to keep, 1 or more.
        every_n_steps: Save after every so many optimizer steps too; None does not.
        every_minutes: Save when so many minutes have passed since the last time, too; None does not.
        dirpath: Where to write; None takes the folder of the trainer's first `ModelCheckpoint`.

    Raises:
        ValueError: a number is too small.

    Example:
        >>> callbacks = [LastCheckpoint(keep=3, every_n_steps=500)]
    """

    def __init__(
        self,
        keep: int = 2,
        every_n_steps: int | None = None,
        every_minutes: float | None = None,
        dirpath: str | Path | None = None,
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep: at least the last checkpoint is kept, expected 1 or more, found {keep}")
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps: expected 1 or more steps, or None, found {every_n_steps}")
        if every_minutes is not None and not every_minutes > 0:
            raise ValueError(f"every_minutes: expected more than 0 minutes, or None, found {every_minutes}")
        self.keep = keep
        self.every_n_steps = every_n_steps
        self.every_minutes = every_minutes
        self.dirpath = dirpath
        self._step: int | None = None
        self._time = time.monotonic()
        self._resumed: dict[str, Any] = {}
        self._validates = False
        self._waits = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:  # noqa: ARG002
        """Let the trainer write checkpoints that are whole or absent."""
        use_atomic_checkpoints(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Go on in the middle of an epoch, and remove what a killed run was just writing."""
        # Where an optimizer's schedule asked for the length of the run, Lightning (2.6) makes the loaders before it
        # knows where they stood, and never tells them.
        trainer.fit_loop._load_combined_loader_states()  # noqa: SLF001
        self._time = time.monotonic()
        folder = self._folder(trainer)
        if folder is not None and trainer.is_global_zero:
            remove_unfinished(folder)
        take_up(trainer, self._resumed)
        self._resumed = {}

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Save where steps or minutes say so; where a validation or the epoch's end comes first, after that."""
        loop: Any = trainer.fit_loop
        if loop._should_accumulate() or self._step == trainer.global_step:  # noqa: SLF001
            return
        due = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        if self.every_minutes is not None:
            late = time.monotonic() - self._time >= 60 * self.every_minutes
            due = due or trainer.strategy.reduce_boolean_decision(late, all=False)
        validates = loop.epoch_loop._should_check_val_fx(loop._data_fetcher)  # noqa: SLF001
        self._waits = due and bool(validates or loop.epoch_loop._num_ready_batches_reached())  # noqa: SLF001
        if due and not self._waits:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Save what the last step of the epoch put off."""
        if self._waits:
            self._save(trainer)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Note it: a checkpoint of this moment is one in the middle of a validation."""
        self._validates = not trainer.sanity_checking

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Note it."""
        self._validates = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Save, unless this validation is none of a training run."""
        self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Save what came after the last validation."""
        self._save(trainer)

    def on_save_checkpoint(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Add to anyone's checkpoint what Lightning leaves out, and bring what was logged before it to the disk."""
        if trainer.state.fn == TrainerFn.FITTING:
            checkpoint[KEY] = unfinished_business(trainer)
            if self._validates or is_before_validation(trainer):
                begin_validation_anew(checkpoint, before=not self._validates)
            for logger in trainer.loggers:
                logger.save()

    def on_load_checkpoint(
        self,
        trainer: L.Trainer,  # noqa: ARG002
        pl_module: L.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Take that up again when training starts."""
        self._resumed = dict(checkpoint.get(KEY, {}))

    def _save(self, trainer: L.Trainer) -> None:
        is_training = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        folder = self._folder(trainer)
        if not is_training or folder is None or self._step == trainer.global_step or trainer.fast_dev_run:  # type: ignore[attr-defined]  # as for callbacks
            return
        before, self._step, self._time = self._step, trainer.global_step, time.monotonic()
        if trainer.is_global_zero and self.keep > 1:
            renames = isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO)
            _set_aside(folder / NAME, before, link=renames)
        kept = trainer.checkpoint_callback
        weights_only = isinstance(kept, ModelCheckpoint) and kept.save_weights_only
        trainer.save_checkpoint(folder / NAME, weights_only=weights_only)
        if trainer.is_global_zero:
            for old in earlier(folder)[max(self.keep - 1, 0) :]:
                _remove(old)

    def _folder(self, trainer: L.Trainer) -> Path | None:
        if self.dirpath is not None:
            return Path(self.dirpath)
        kept = next((one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)), None)
        return None if kept is None or kept.dirpath is None else Path(kept.dirpath)


def earlier(folder: Path) -> list[Path]:
    """The states before the last one, newest first."""
    return sorted(folder.glob("last-*[0-9].ckpt"), key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _set_aside(last: Path, step: int | None, *, link: bool) -> None:
    """Give the last checkpoint its second name, by which it stays when the next one takes the first.

    Args:
        last: The file, if it exists.
        step: Its steps where this process wrote it; None looks into it, and leaves a damaged one to be overwritten.
        link: Whether it may keep its first name too, since the next one comes in another file: what writes into the
            file of that name would change both.
    """
    if not last.exists():
        return
    if step is None:
        found = inspect(last)
        if found.problem:
            return
        step = found.step
    aside = last.with_name(f"{last.stem}-{step:08d}{last.suffix}")
    _remove(aside)
    if link and last.is_file():
        with contextlib.suppress(OSError):
            os.link(last, aside)
            return
    last.rename(aside)  # a folder, or a disk without a second name for a file


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
