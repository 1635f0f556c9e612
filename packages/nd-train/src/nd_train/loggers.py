"""Where a run's numbers go: loggers by short name, and the CSV file that is always among them."""

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from nd_train.metrics_file import MetricsFile

LoggerName = Literal["csv", "tensorboard", "wandb", "mlflow"]

NAME = "lightning_logs"
"""The folder of a run's versions, beside which Lightning's own default writes too."""

_PROJECT = "nd-train"

# Name in an installation command, what is imported, and the extra of this package.
_PACKAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "tensorboard": ("tensorboard", ("tensorboard", "tensorboardX")),
    "wandb": ("wandb", ("wandb",)),
    "mlflow": ("mlflow", ("mlflow",)),
}
_NAMES_OF_CLASSES = {"TensorBoardLogger": "tensorboard", "WandbLogger": "wandb", "MLFlowLogger": "mlflow"}


def run_loggers(
    wanted: Logger | Iterable[Logger | str] | str | bool | None, folder: str | Path, version: int | str | None = None
) -> Any:
    """The loggers of a run, the CSV file first.

    Args:
        wanted: Short names (``csv``, ``tensorboard``, ``wandb``, ``mlflow``), loggers, or several of both. None or True
            for CSV, and TensorBoard where it is installed; False for none at all.
        folder: The run's root folder; named loggers write beneath it.
        version: The version folder to go on in; None begins a new one, or goes on in that of a requeued SLURM job.

    Returns:
        What a trainer takes: a list, or False.

    Raises:
        ValueError: a logger's package is not installed; the message names the extra that brings it.

    Example:
        >>> [type(logger).__name__ for logger in run_loggers("csv", "runs")]
        ['MetricsFile']
    """
    if wanted is False:
        return False
    if wanted is None or wanted is True:
        wanted = ["csv", "tensorboard"] if is_installed("tensorboard") else ["csv"]
    listed = [wanted] if isinstance(wanted, str | Logger) else list(wanted)
    given = [one for one in listed if isinstance(one, Logger)]
    metrics_file = next((one for one in given if isinstance(one, CSVLogger)), None)
    metrics_file = metrics_file or _metrics_file(given, folder, version)
    others = [
        _named(one, folder, metrics_file) if isinstance(one, str) else one
        for one in listed
        if one != "csv" and one is not metrics_file
    ]
    # The first logger says where the run's folder is.
    return [metrics_file, *others]


def check_logger_packages(setting: Any) -> None:
    """Refuse loggers whose package is missing, before anything is built.

    Args:
        setting: ``trainer.logger`` as it was configured: names, mappings with a ``class_path``, or a list of them.

    Raises:
        ValueError: a package is missing; the message names the extra that brings it.
    """
    for one in setting if isinstance(setting, list) else [setting]:
        class_path = one if isinstance(one, str) else getattr(one, "class_path", None)
        if isinstance(class_path, str):
            name = class_path.rpartition(".")[2]
            _require(_NAMES_OF_CLASSES.get(name, name))


def is_installed(name: str) -> bool:
    """Whether the package of a logger is installed."""
    return name not in _PACKAGES or any(importlib.util.find_spec(module) for module in _PACKAGES[name][1])


def _require(name: str) -> None:
    if not is_installed(name):
        package = _PACKAGES[name][0]
        raise ValueError(
            f"--trainer.logger {name}: the package {package} is not installed; pip install 'nd-train[{name}]', or "
            "leave this logger out (metrics.csv is written in any case)"
        )


def _metrics_file(given: list[Logger], folder: str | Path, version: int | str | None) -> CSVLogger:
    beside = next((one for one in given if isinstance(one, TensorBoardLogger)), None)
    if beside is not None:
        return MetricsFile(beside.save_dir, name=beside.name or "", version=beside.version)
    # A requeued job goes on in its folder.
    return MetricsFile(folder, name=NAME, version=SLURMEnvironment.job_id() if version is None else version)


def _named(name: str, folder: str | Path, metrics_file: CSVLogger) -> Logger:
    _require(name)
    if name == "tensorboard":
        return TensorBoardLogger(metrics_file.save_dir, name=metrics_file.name, version=metrics_file.version)
    if name == "wandb":
        from lightning.pytorch.loggers import WandbLogger

        # W&B writes to a temporary folder where this one does not exist yet.
        Path(folder).mkdir(parents=True, exist_ok=True)
        return WandbLogger(save_dir=folder, project=os.environ.get("WANDB_PROJECT", _PROJECT))
    if name == "mlflow":
        from lightning.pytorch.loggers import MLFlowLogger

        root = Path(folder).absolute()
        root.mkdir(parents=True, exist_ok=True)
        # MLflow 3 refuses plain folders.
        return MLFlowLogger(
            experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT),
            tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}",
            artifact_location=None if os.environ.get("MLFLOW_TRACKING_URI") else str(root / "mlruns"),
        )
    raise ValueError(f"--trainer.logger {name}: there is no such logger; known are csv, {', '.join(_PACKAGES)}")
