"""``--ckpt_path last``: which run to go on with, from which of its checkpoints, and in which folder."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nd_train.checkpoints.whole_checkpoints import FoundCheckpoint, inspect, newest_whole_checkpoint

LAST = "last"

_CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True)
class LastRun:
    """The run that was last written to, and where it can be resumed.

    Attributes:
        folder: Where its checkpoints are.
        checkpoint: The newest that is whole.
        unusable: Those that are not, or that cannot be resumed from.
    """

    folder: Path
    checkpoint: FoundCheckpoint
    unusable: tuple[FoundCheckpoint, ...]

    @property
    def version(self) -> int | str | None:
        """The version folder of its loggers; None where the checkpoints lie in none."""
        if self.folder.name != _CHECKPOINTS:
            return None
        name = self.folder.parent.name
        numbered = re.fullmatch(r"version_(\d+)", name)
        return int(numbered[1]) if numbered else name

    def statement(self) -> str:
        """What was found, in words."""
        lines = [f"{one.path} is passed over: {one.problem}" for one in self.unusable]
        return "\n".join([*lines, f"resuming from {self.checkpoint.path}, after {self.checkpoint.step:,} steps"])


def last_run(root: str | Path, *, checkpoints: str | Path | None = None) -> LastRun | None:
    """Find the run that was last written to, and its newest whole checkpoint.

    Args:
        root: The folder that runs write beneath: ``--trainer.default_root_dir``, or a logger's ``save_dir``. Runs are
            looked for in ``<root>/<name>/<version>/checkpoints`` and ``<root>/checkpoints``, and a requeued SLURM job's
            checkpoint in ``<root>/hpc_ckpt_*.ckpt``.
        checkpoints: The one folder to look in instead, ``--checkpoint.dirpath``.

    Returns:
        None where there is not a single checkpoint.

    Raises:
        ValueError: there are checkpoints, and none of the last run's is whole.
    """
    root = Path(root)
    folders = list(_folders(root)) if checkpoints is None else [Path(checkpoints)]
    written = {folder: times for folder in folders if (times := [_time(path) for path in folder.glob("*.ckpt")])}
    requeued = [inspect(path) for path in sorted(root.glob("hpc_ckpt_*.ckpt"))] if checkpoints is None else []
    if not written:
        newest = max((one for one in requeued if not one.problem), key=lambda one: one.step, default=None)
        return None if newest is None else LastRun(root, newest, ())
    folder = max(written, key=lambda one: max(written[one]))
    newest, unusable = newest_whole_checkpoint(folder)
    # What other runs left in the root is older than this run's own.
    fresh = [one for one in requeued if not one.problem and _time(one.path) >= max(written[folder])]
    best = max([*fresh, *([] if newest is None else [newest])], key=lambda one: one.step, default=None)
    if best is None:
        listed = "; ".join(f"{one.path.name}: {one.problem}" for one in unusable)
        raise ValueError(f"--ckpt_path last: no checkpoint in {folder} can be resumed from ({listed})")
    return LastRun(folder, best, tuple(one for one in unusable if not _is_for_inference(one)))


def go_on_with_last_run(settings: Any) -> str:
    """Put the last run's checkpoint and folder in place of ``last`` in a command's settings.

    Args:
        settings: Of the command: ``trainer``, ``checkpoint`` where it trains, ``ckpt_path``. Changed in place:
            ``ckpt_path`` becomes a file, or None where there is no checkpoint yet; loggers go on in the run's folder.

    Returns:
        What was found, in words.

    Raises:
        ValueError: there are checkpoints, and none of the last run's is whole.
    """
    loggers = [one for one in _listed(settings.trainer.logger) if _save_dir(one)]
    root = next((_save_dir(one) for one in loggers), None) or settings.trainer.default_root_dir or "."
    given = settings.get("checkpoint")
    found = last_run(root, checkpoints=given.get("dirpath") if given is not None else None)
    settings.ckpt_path = None if found is None else str(found.checkpoint.path)
    if found is None:
        return f"no checkpoint under {root} yet: starting anew"
    if found.version is not None:
        settings.trainer.version = found.version
        for logger in loggers:
            if not logger["init_args"].get("version"):
                logger["init_args"]["version"] = found.version
    return found.statement()


def _folders(root: Path) -> Iterator[Path]:
    for pattern in (_CHECKPOINTS, f"*/{_CHECKPOINTS}", f"*/*/{_CHECKPOINTS}"):
        yield from (folder for folder in sorted(root.glob(pattern)) if folder.is_dir())


def _listed(setting: Any) -> list[Any]:
    return list(setting) if isinstance(setting, list) else [setting]


def _save_dir(logger: Any) -> str | None:
    arguments = logger.get("init_args") if isinstance(logger, Mapping) or hasattr(logger, "init_args") else None
    return None if arguments is None else arguments.get("save_dir")


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _is_for_inference(found: FoundCheckpoint) -> bool:
    return found.problem.startswith("it holds no ")
