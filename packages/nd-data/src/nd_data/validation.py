"""Everything that is wrong with a recording file, found in one pass instead of one error at a time."""

import json
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from nd_data.storage.layout import LayoutError, read_layout
from nd_data.storage.open_files import OPEN_FILES
from nd_data.validation_identity import identity_problems, known_id
from nd_data.validation_values import Found, value_problems

Severity = Literal["error", "warning", "note"]
"""An error makes results wrong or reading fail; a warning may surprise; a note is worth knowing."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a recording file, or worth knowing about it.

    Attributes:
        file: The file.
        key: Full name of what is meant within the file, empty for the file as a whole.
        severity: How bad it is.
        kind: A word for this kind of problem, for programs.
        message: What was expected and what was found; it names the key.
    """

    file: str
    key: str
    severity: Severity
    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.severity}: {self.message}"


def validate_recording(path: str | os.PathLike[str]) -> list[Problem]:
    """Find all problems of one recording file.

    It reads every array, a few megabytes at a time. Checked are: whether the file can be read and follows the layout;
    times that are NaN, unsorted or outside their domain; intervals that end before they start, and domains that
    overlap; the grid of regular series; ``unit_index`` outside ``units``; splits that overlap or leave the recording;
    missing or repeated ids, and whether they agree with the file's name; text that is not UTF-8; the share of values
    that are not finite.

    Args:
        path: The file.

    Returns:
        The problems, worst first; none where all is well.

    Example:
        >>> [problem.kind for problem in validate_recording("nowhere.h5")]
        ['unreadable']
    """
    file = str(path)
    problems: list[Problem] = []

    def add(key: str, severity: Severity, kind: str, message: str) -> None:
        problems.append(Problem(file, key, severity, kind, message))

    def add_layout_error(error: LayoutError) -> None:
        add(error.key, "error", "layout", error.what)

    try:
        stored = read_layout(path, report=add_layout_error)
    except LayoutError as error:
        add_layout_error(error)
    except (OSError, ValueError) as error:
        add("", "error", "unreadable", str(error).removeprefix(f"{Path(path).absolute()}").strip(": "))
    else:
        was_open = OPEN_FILES.holds(stored.file)
        try:
            left_out = {problem.key.partition("/")[0] for problem in problems}
            for found in (*value_problems(stored), *identity_problems(stored, Path(path))):
                if not _follows_from(found, left_out):
                    add(*found)
        finally:
            if not was_open:
                OPEN_FILES.close(stored.file)
    rank = {"error": 0, "warning": 1, "note": 2}
    return sorted(problems, key=lambda problem: rank[problem.severity])


def validate_recordings(paths: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[Path, list[Problem]]]:
    """Find all problems of files, and of all recordings in folders.

    Args:
        paths: Files, or folders, where files called ``*.h5`` are meant at any depth, but hidden ones.

    Yields:
        Each file with its problems. A session id that several files share is a problem of the later ones.
    """
    first_with: dict[tuple[str, str], Path] = {}
    for path in map(Path, paths):
        if path.is_dir():
            files = sorted(one for one in path.rglob("*.h5") if not one.name.startswith("."))
            if not files:
                yield path, [Problem(str(path), "", "error", "empty", "there are no recordings *.h5 in this folder")]
        else:
            files = [path]
        for file in files:
            problems = validate_recording(file)
            if not any(problem.key == "" and problem.severity == "error" for problem in problems):
                problems = [*problems, *_shared_id(file, first_with)]
            yield file, problems


def _follows_from(found: Found, left_out: Collection[str]) -> bool:
    """Whether something is only missing because it is damaged, which is reported already."""
    key, _, kind, _ = found
    if kind == "no-units":
        return "units" in left_out
    return kind in ("missing-id", "missing-domain") and key.partition("/")[0] in left_out


def _shared_id(file: Path, first_with: dict[tuple[str, str], Path]) -> list[Problem]:
    stored = read_layout(file, parts=lambda name: name in ("brainset", "session"), report=lambda _: None)
    brainset, session = known_id(stored, "brainset"), known_id(stored, "session")
    if brainset is None or session is None:
        return []
    first = first_with.setdefault((brainset, session), file)
    if first == file:
        return []
    message = f"'session' has the id {session!r}, and so has {first}: their units count as the same"
    return [Problem(str(file), "session", "warning", "shared-session-id", message)]


def as_json(files: int, problems: Iterable[Problem]) -> str:
    """Problems as a JSON document, for programs.

    Args:
        files: How many files were looked at.
        problems: What was found in them.
    """
    return json.dumps({"files": files, "problems": [asdict(problem) for problem in problems]}, indent=2)


__all__ = ["Problem", "Severity", "as_json", "validate_recording", "validate_recordings"]
