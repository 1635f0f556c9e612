"""What listing many recordings needs to know of each: its ids, its units and where its splits lie."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nd_data.data import Data
from nd_data.interval import Interval
from nd_data.interval_paths import interval_at
from nd_data.split_domain import check_exclusive_splits
from nd_data.storage.layout import read_layout
from nd_data.storage.open_files import OPEN_FILES

#: Intervals with more rows than this are read from the recording: metadata stay small.
MOST_ROWS = 4096

_SUFFIX = "_domain"


@dataclass(frozen=True, slots=True)
class KnownIntervals:
    """The bounds of the intervals at one path of a recording.

    Attributes:
        start: Seconds. Shape: (N,).
        end: Seconds. Shape: (N,).
        complete: Whether the file has nothing more about them than these bounds.
    """

    start: np.ndarray[Any, np.dtype[np.float64]]
    end: np.ndarray[Any, np.dtype[np.float64]]
    complete: bool

    def interval(self) -> Interval:
        """The intervals as an object of their own."""
        return Interval(self.start.copy(), self.end.copy())


@dataclass(frozen=True, slots=True)
class RecordingMetadata:
    """What is known of a recording without opening it. None stands for what has to be looked up in the recording.

    Attributes:
        brainset_id: ``brainset.id`` as text.
        session_id: ``session.id`` as text.
        subject_id: ``subject.id`` as text.
        unit_ids: ``units.id`` as text.
        exclusive_splits: Whether no two of its train, valid and test domains overlap.
        intervals: The domain, each split's domain, and what else was asked for, by path.
    """

    brainset_id: str | None
    session_id: str | None
    subject_id: str | None
    unit_ids: tuple[str, ...] | None
    exclusive_splits: bool
    intervals: Mapping[str, KnownIntervals | None]

    def covers(self, paths: Iterable[str]) -> bool:
        """Whether each path was looked up, even if it led to nothing that could be kept."""
        # All splits there are were looked up, whether they were asked for or not.
        return all(path in self.intervals or (path.endswith(_SUFFIX) and "." not in path) for path in paths)

    def with_prefix(
        self, ids: Sequence[str | None] | None, prefix_fn: Callable[[Data], str] | None
    ) -> list[str] | None:
        """Ids of this recording with a prefix before each; None where an id, or what the prefix is made of, is missing.

        Args:
            ids: For instance the unit ids.
            prefix_fn: Makes the prefix of ``brainset.id``, ``session.id`` and ``subject.id``, or None without one.
        """
        if ids is None or None in ids:
            return None
        try:
            prefix = "" if prefix_fn is None else prefix_fn(self._ids())
        except AttributeError:
            return None
        return [f"{prefix}{one}" for one in ids]

    def _ids(self) -> Data:
        out = Data()
        holders = (("brainset", self.brainset_id), ("session", self.session_id), ("subject", self.subject_id))
        for holder, value in holders:
            if value is not None:
                setattr(out, holder, Data(id=value))
        return out

    def part(self, paths: Iterable[str]) -> Data | None:
        """The recording with nothing but the intervals at some paths; None unless all of them are known."""
        out = Data(domain=_nowhere())
        for path in paths:
            known = self.intervals.get(path)
            if known is None:
                return None
            *groups, last = path.split(".")
            holder = out
            for group in groups:
                if group not in holder:
                    setattr(holder, group, Data(domain=_nowhere()))
                holder = getattr(holder, group)
            setattr(holder, last, known.interval())
        return out


def read_metadata(path: str, paths: Collection[str] = ()) -> tuple[tuple[int, int], RecordingMetadata]:
    """Read the metadata of a recording from its file.

    Args:
        path: The file.
        paths: Intervals to look up besides the domain and those of the splits.

    Returns:
        The file's size in bytes and time of change in nanoseconds when it was opened, and the metadata. What the file
        does not hold, or holds damaged, is None: only opening the recording can say what is wrong.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no recording, or what was looked at is damaged; the message names file and key.
    """
    wanted = {"brainset", "domain", "session", "subject", "units", *(one.partition(".")[0] for one in paths)}
    stored = read_layout(path, parts=lambda name: name in wanted or name.endswith(_SUFFIX))
    file = stored.file
    was_open = OPEN_FILES.holds(file)
    data = Data.from_stored(stored)
    try:
        splits = [name for name, group in stored.groups.items() if name.endswith(_SUFFIX) and group.kind == "Interval"]
        metadata = RecordingMetadata(
            brainset_id=_id(data, "brainset"),
            session_id=_id(data, "session"),
            subject_id=_id(data, "subject"),
            unit_ids=_unit_ids(data),
            exclusive_splits=_has_exclusive_splits(data),
            intervals={path: _known_intervals(data, path) for path in dict.fromkeys(["domain", *splits, *paths])},
        )
    finally:
        if not was_open:  # a listing leaves no trace among the files that windows are read from
            OPEN_FILES.close(file)
    return (file.identity[1], file.identity[2]), metadata


def _nowhere() -> Interval:
    return Interval(np.zeros(0), np.zeros(0))


def _id(data: Data, holder: str) -> str | None:
    return f"{data.get_nested_attribute(f'{holder}.id')}" if data.has_nested_attribute(f"{holder}.id") else None


def _unit_ids(data: Data) -> tuple[str, ...] | None:
    if not data.has_nested_attribute("units.id"):
        return None
    try:
        return tuple(np.asarray(data.units.id).astype(np.str_).tolist())
    except ValueError:
        return None


def _has_exclusive_splits(data: Data) -> bool:
    try:
        check_exclusive_splits(data)
    except ValueError:
        return False
    return True


def _known_intervals(data: Data, path: str) -> KnownIntervals | None:
    try:
        found = interval_at(data, path)
        if len(found) > MOST_ROWS:
            return None
        return KnownIntervals(found.start, found.end, complete=sorted(found.keys()) == ["end", "start"])
    except ValueError:
        return None


__all__ = ["KnownIntervals", "RecordingMetadata", "read_metadata"]
