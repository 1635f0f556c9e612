"""Which checkpoints of a run are whole, and which of them is the newest."""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_RESUMABLE = ("state_dict", "loops", "optimizer_states", "lr_schedulers")


@dataclass(frozen=True, slots=True)
class FoundCheckpoint:
    """A checkpoint in the folder of a run.

    Attributes:
        path: The file, or the folder of one that is spread over files.
        step: Optimizer steps before it was written; -1 where that cannot be read.
        problem: Why a run cannot be resumed from it; empty where it can.
    """

    path: Path
    step: int
    problem: str = ""


def damage(path: Path) -> str:
    """What is wrong with a checkpoint's file: empty where every byte is as it was written.

    A file that was cut short, or of which bits have changed: `torch.load` notices only the former.

    Args:
        path: What ``torch.save`` wrote.
    """
    size = path.stat().st_size
    if size == 0:
        return "it is empty"
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        return f"it is no whole file ({size} bytes; {error})"
    return f"its part {bad!r} is not what was written" if bad else ""


def inspect(path: Path) -> FoundCheckpoint:
    """Say whether a run can be resumed from a checkpoint."""
    file = path / "meta.pt" if path.is_dir() else path
    try:
        if path.is_dir() and not (path / ".metadata").is_file():
            return FoundCheckpoint(path, -1, "it is a folder without the checkpoint's .metadata")
        problem = damage(file)
        if problem:
            return FoundCheckpoint(path, -1, problem)
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=not path.is_dir())
    except Exception as error:
        # A file of something else fails in any way.
        return FoundCheckpoint(
            path, -1, f"it cannot be read ({str(error).partition(chr(10))[0] or type(error).__name__})"
        )
    wanted = ("loops",) if path.is_dir() else _RESUMABLE
    missing = [key for key in wanted if key not in content] if isinstance(content, dict) else list(wanted)
    if missing:
        return FoundCheckpoint(path, -1, f"it holds no {', '.join(missing)}, so that no run can go on from it")
    return FoundCheckpoint(path, _step(content), "")


def checkpoints_in(folders: Iterable[Path]) -> Iterator[Path]:
    """Everything in these folders that is called ``….ckpt``, each file once whatever its links."""
    seen = set()
    for folder in folders:
        for path in sorted(folder.glob("*.ckpt")) if folder.is_dir() else []:
            target = path.resolve()
            if target.exists() and target not in seen:
                seen.add(target)
                yield path


def newest_whole_checkpoint(*folders: str | Path) -> tuple[FoundCheckpoint | None, list[FoundCheckpoint]]:
    """The checkpoint with the most steps from which a run can be resumed.

    Args:
        *folders: Folders of one run's checkpoints; what is beneath them is not looked at.

    Returns:
        The newest whole one, or None; and those that cannot be used, with their problems.

    Example:
        >>> newest_whole_checkpoint("a folder that does not exist")
        (None, [])
    """
    found = [inspect(path) for path in checkpoints_in(map(Path, folders))]
    whole = [one for one in found if not one.problem]
    newest = max(whole, key=lambda one: (one.step, one.path.stat().st_mtime_ns), default=None)
    return newest, [one for one in found if one.problem]


def _step(content: dict[str, Any]) -> int:
    step = content.get("global_step", 0)
    return step if isinstance(step, int) else 0
