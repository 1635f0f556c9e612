"""Checkpoints that are whole or absent: written under another name, brought to the disk, then renamed.

Lightning writes to the system's temporary folder and moves the file, which between two file systems is a copy that a
kill can cut short, and it does not wait for the disk.
"""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.plugins.io import TorchCheckpointIO

from nd_train.checkpoints.whole_checkpoints import damage

UNFINISHED = "*.unfinished"
"""What files are called while they are written, as a pattern."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way to read and write checkpoints, so that neither a kill nor a full disk leaves half a file.

    Give it to a trainer, and every checkpoint that anyone saves through that trainer is written so: those of
    `ModelCheckpoint`, of `nd_train.callbacks.LastCheckpoint` (which puts it in place by itself), of a SLURM requeue.
    Files elsewhere than on a local disk (``s3://…``) are Lightning's own matter.

    Files are read with ``weights_only=True`` unless the caller says otherwise.

    Example:
        >>> trainer = L.Trainer(plugins=[AtomicCheckpointIO()], accelerator="cpu", logger=False)
        >>> type(trainer.strategy.checkpoint_io).__name__
        'AtomicCheckpointIO'
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        """Write a checkpoint; until all of it is on the disk, what was at this path stays.

        Args:
            checkpoint: What a trainer dumps.
            path: Where to.
            storage_options: None: there are none.

        Raises:
            OSError: it could not be written, as when the disk is full. Nothing of it is left then.
        """
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = unfinished_name(target)
        try:
            with unfinished.open("wb") as stream:
                torch.save(checkpoint, stream)
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.replace(target)
        except BaseException as error:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            # torch's writer makes a RuntimeError of what the file system says.
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(error, OSError | RuntimeError) or not isinstance(cause, OSError):
                raise
            raise OSError(
                cause.errno,
                f"checkpoint {target} could not be written ({cause.strerror}). What was there before is as it was: "
                "make room, and resume the run with --ckpt_path last",
            ) from error
        sync_folder(target.parent)

    def load_checkpoint(
        self, path: _PATH, map_location: Any = lambda storage, _: storage, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is damaged.
        """
        if "://" not in str(path) and Path(path).is_file():
            problem = damage(Path(path))
            if problem:
                raise ValueError(
                    f"checkpoint {path} is damaged: {problem}. Resume from an earlier one: `nd-train fit --ckpt_path "
                    "last` finds the newest that is whole"
                )
        return super().load_checkpoint(path, map_location, weights_only=weights_only is not False)


def use_atomic_checkpoints(trainer: L.Trainer) -> None:
    """Let a trainer write checkpoints atomically, if it writes them in Lightning's usual way."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()


def unfinished_name(target: Path) -> Path:
    """Where a file is written before it gets its name: beside it.

    The name holds nothing of the other's: Lightning takes every file with ``hpc_ckpt_`` in its name for a checkpoint.
    """
    digest = hashlib.blake2b(target.name.encode(), digest_size=6).hexdigest()
    return target.with_name(f".{digest}{UNFINISHED[1:]}")


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed run left half-written in its folder of checkpoints."""
    for file in folder.glob(f".{UNFINISHED}"):
        file.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
