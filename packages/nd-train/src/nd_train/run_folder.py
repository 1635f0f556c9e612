"""Where a run leaves what it is told to leave."""

from pathlib import Path

import lightning as L
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger


def run_folder(trainer: L.Trainer) -> Path:
    """The folder of a run, which its first logger chose; for rank 0.

    It is what ``trainer.log_dir`` is. That one asks rank 0 on every rank: called on rank 0 alone, as where a file is
    written once, it would wait for the others for ever.
    """
    if not trainer.loggers:
        return Path(trainer.default_root_dir)
    first = trainer.loggers[0]
    folder = first.log_dir if isinstance(first, (TensorBoardLogger, CSVLogger)) else first.save_dir
    return Path(folder or trainer.default_root_dir)
