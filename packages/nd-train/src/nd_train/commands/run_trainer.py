"""The trainer of a run on the command line: Lightning's, with loggers by name."""

from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import Strategy

from nd_train.loggers import LoggerName, run_loggers
from nd_train.sharding import FullyShardedStrategy


class RunTrainer(L.Trainer):
    """Lightning's trainer, which always writes ``metrics.csv`` unless it is to log nothing at all.

    Args:
        logger: Where numbers go: ``csv``, ``tensorboard``, ``wandb`` or ``mlflow``, a class such as ``CSVLogger``, or a
            list of them. ``metrics.csv`` is written besides. By default csv, and tensorboard where it is installed;
            false logs nothing.
        version: The version folder of an earlier run to go on in; None begins a new one. ``--ckpt_path last`` sets it.
        strategy: As Lightning's, and ``fsdp2``: weights, gradients and moments split over the devices (see
            `nd_train.sharding`).
        **keywords: All else that Lightning's trainer takes.
    """

    def __init__(
        self,
        *,
        logger: Logger | list[Logger | LoggerName] | LoggerName | bool | None = None,
        version: int | str | None = None,
        strategy: str | Strategy = "auto",
        **keywords: Any,
    ) -> None:
        folder = keywords.get("default_root_dir") or "."
        loggers = run_loggers(logger, folder, version)
        chosen = FullyShardedStrategy() if strategy == "fsdp2" else strategy
        super().__init__(logger=loggers, strategy=chosen, **keywords)
