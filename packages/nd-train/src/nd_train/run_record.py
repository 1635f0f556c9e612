"""What a run was: command, versions, code, data and settings in one file, ``run.json``, beside its logs."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from lightning.pytorch.cli import SaveConfigCallback

from nd_data import Data, Dataset
from nd_data.recording_folder import RecordingFolder
from nd_data.recording_metadata import RecordingMetadata
from nd_train.commands.ready_configurations import ready_configurations
from nd_train.data_module import NeuralDataModule
from nd_train.run_folder import run_folder

FILE_NAME = "run.json"
FORMAT = "nd-train run"
VERSION = 1

_PACKAGES = (
    *("nd-train", "nd-data", "nd-models", "nd-eval", "nd-optim", "torch", "lightning", "torchmetrics", "numpy"),
    *("h5py", "jsonargparse", "PyYAML", "rich", "scipy", "pandas", "pyarrow", "tensorboard", "wandb", "mlflow"),
)
_SUFFIX = "_domain"

# What a recording's activity is counted in, and the series that holds it.
_ACTIVITY = {"spikes": "spikes", "frames": "calcium_traces"}


def package_versions() -> dict[str, str]:
    """Versions of this toolkit and of what its results depend on, as far as they are installed."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            if name.startswith("nd-"):
                # Run out of its source folder.
                module = __import__(name.replace("-", "_"))
                versions[name] = str(module.__version__)
    return versions


def git_state(folder: str | os.PathLike[str] = ".") -> dict[str, Any] | None:
    """Commit of the repository that a folder lies in, and whether anything in it was changed since.

    Args:
        folder: Usually where the command was given.

    Returns:
        ``{"commit": …, "changed": …}``; None outside a repository, before its first commit, or without git.
    """
    git = shutil.which("git")
    if git is None:
        return None
    try:
        commit = _output(git, folder, "rev-parse", "--verify", "HEAD")
        changed = _output(git, folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(changed)}


def words_of_the_program(arguments: Sequence[str] | None = None) -> list[str]:
    """The words of a command as one would give them again: ready configurations by name, not by their place.

    Args:
        arguments: What follows the program's name; None for this program's own.
    """
    known = {str(path): name for name, path in ready_configurations().items()}
    words = ["nd-train"]
    for word in sys.argv[1:] if arguments is None else arguments:
        option, equals, value = str(word).partition("=")
        words.append(f"{option}={known.get(value, value)}" if equals else known.get(option, option))
    return words


def describe_recordings(root: str | os.PathLike[str], config: Any) -> dict[str, Any]:
    """The recordings of a decoding run: their units, spikes or calcium frames, length, splits, and a hash of all that.

    The hash changes with the recordings that are selected, their sizes in bytes, their units, their number of spikes
    or frames and their splits; where the files lie does not matter. It is made of what listing the recordings needs,
    not of every value in them.

    Args:
        root: Folder of recordings.
        config: Which are selected, as `Dataset` takes it.

    Returns:
        ``root``, ``hash``, ``leakage_checked`` (no two of the train, valid and test splits of a recording overlap) and
        ``recordings``: for each ``units`` (of calcium imaging, its cells), ``spikes`` or ``frames``, ``duration`` in
        seconds, and the seconds of its ``splits``.
    """
    dataset = Dataset(root, config=config)
    folder = RecordingFolder(root)
    digest = hashlib.sha256()
    recordings: dict[str, Any] = {}
    exclusive = True
    for recording_id, known in folder.metadata(sorted(dataset.recording_ids)):
        path = folder.path(recording_id)
        activity = _activity(path)
        recordings[recording_id] = _described(known, activity)
        exclusive = exclusive and known is not None and known.exclusive_splits
        entry: list[Any] = [recording_id, path.stat().st_size, *activity.values()]
        entry.append(list(known.unit_ids or ()) if known else None)
        entry.append({name: _bounds(known, name) for name in sorted(known.intervals)} if known else None)
        digest.update(json.dumps(entry, separators=(",", ":")).encode())
    return {
        "root": str(Path(root).absolute()),
        "hash": digest.hexdigest(),
        "leakage_checked": exclusive,
        "recordings": recordings,
    }


def describe_data(datamodule: Any) -> dict[str, Any]:
    """What a run learnt from, of a data module of either kind.

    Args:
        datamodule: A `NeuralDataModule`, a `LongitudinalDataModule`, or any other, of which nothing is known.
    """
    if isinstance(datamodule, NeuralDataModule):
        return describe_recordings(datamodule.root, datamodule.config)
    table = getattr(datamodule, "table", None)
    described: dict[str, Any] = {"root": None, "hash": None, "leakage_checked": False, "recordings": {}}
    if isinstance(table, str | Path):
        with Path(table).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        described |= {"root": str(Path(table).absolute()), "hash": digest}
    splits = getattr(datamodule, "splits", None)
    if splits is not None:
        # What is held out for the test is in no other part: the splits are made so.
        described["leakage_checked"] = True
        described["sequences"] = {name: len(getattr(splits, name)) for name in ("train", "val", "test")}
    return described


def run_record(
    *, command: Sequence[str], seed: int | None, data: Mapping[str, Any], hyperparameters: Mapping[str, Any]
) -> dict[str, Any]:
    """The record of a run that begins now.

    Args:
        command: The words that started it.
        seed: Of all its randomness.
        data: What `describe_data` says.
        hyperparameters: All its settings as plain values.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "command": list(command),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "packages": package_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git": git_state(),
        "data": dict(data),
        "hyperparameters": dict(hyperparameters),
    }


def write_run_record(folder: str | os.PathLike[str], record: Mapping[str, Any]) -> Path:
    """Write the record of a run into its folder; the file is there as a whole or not at all."""
    path = Path(folder) / FILE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{FILE_NAME}.{os.getpid()}.partial")
    try:
        temporary.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_run_record(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The record of a run.

    Raises:
        FileNotFoundError: the folder has none.
        ValueError: the file is not such a record.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise FileNotFoundError(f"no {FILE_NAME} in {folder}: expected the folder of a run of nd-train")
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"{path}: not the record of a run: expected a mapping with format {FORMAT!r}")
    return record


class SaveRun(SaveConfigCallback):
    """Write ``config.yaml`` and ``run.json`` before the run begins, and give the settings to every logger.

    Args:
        *arguments: As `lightning.pytorch.cli.SaveConfigCallback`.
        command: The words that started the run.
        **keywords: As there.
    """

    def __init__(self, *arguments: Any, command: Sequence[str] = (), **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.command = list(command)
        self.datamodule: L.LightningDataModule | None = None
        """Where the trainer has none, as in prediction, what its batches come from."""

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:  # noqa: ARG002
        """Called by rank 0 once, when loggers and folder are there and nothing has been computed."""
        folder = run_folder(trainer)
        settings = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        record = run_record(
            command=self.command,
            seed=self.config.get("seed_everything"),
            data=describe_data(getattr(trainer, "datamodule", None) or self.datamodule),
            hyperparameters=settings,
        )
        # A run that is scored again into the folder it was trained in is still the run that was trained.
        if stage == "fit" or not (folder / FILE_NAME).exists():
            write_run_record(folder, record)
        for logger in trainer.loggers:
            logger.log_hyperparams(_for_loggers(record))


def _for_loggers(record: Mapping[str, Any]) -> dict[str, Any]:
    git = record["git"] or {}
    of_the_run: dict[str, Any] = {
        "run/command": " ".join(record["command"]),
        "run/seed": record["seed"],
        "run/python": record["python"],
        "run/git_commit": git.get("commit"),
        "run/git_changed": git.get("changed"),
        "run/data_root": record["data"]["root"],
        "run/data_hash": record["data"]["hash"],
        **{f"packages/{name}": version for name, version in record["packages"].items()},
    }
    # The module's own settings are logged by Lightning.
    for part in ("data", "trainer"):
        settings = record["hyperparameters"].get(part) or {}
        of_the_run |= {f"{part}/{name}": _plain(value) for name, value in settings.items()}
    return of_the_run


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value, default=str)


def _described(known: RecordingMetadata | None, activity: Mapping[str, int]) -> dict[str, Any]:
    if known is None:
        return {"units": None, **activity, "duration": None, "splits": {}}
    seconds = {name: _seconds(known, name) for name in known.intervals}
    return {
        "units": len(known.unit_ids or ()),
        **activity,
        "duration": seconds.get("domain"),
        "splits": {name.removesuffix(_SUFFIX): length for name, length in seconds.items() if name.endswith(_SUFFIX)},
    }


def _seconds(known: RecordingMetadata, name: str) -> float | None:
    intervals = known.intervals[name]
    return None if intervals is None else round(float((intervals.end - intervals.start).sum()), 6)


def _bounds(known: RecordingMetadata | None, name: str) -> Any:
    intervals = None if known is None else known.intervals[name]
    return None if intervals is None else [intervals.start.tolist(), intervals.end.tolist()]


def _activity(path: Path) -> dict[str, int]:
    """How much activity a recording holds, by the name of its kind; a recording may hold both, or neither."""
    recording = Data.load(path)
    return {name: len(getattr(recording, series)) for name, series in _ACTIVITY.items() if series in recording}


def _output(git: str, folder: str | os.PathLike[str], *words: str) -> str:
    done = subprocess.run(  # noqa: S603  # git itself, with fixed words
        [git, "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()
