"""What the doctor knows of each recording: from the index for all of them, and out of the file for those it opens.

T target times, D target dimensions, S spikes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nd_data import Data, Dataset, Interval
from nd_data.configuration import ConfigurationLike
from nd_data.recording_folder import RecordingFolder
from nd_data.recording_metadata import RecordingMetadata

SPLITS = ("train", "valid", "test")
_SUFFIX = "_domain"

FloatArray = NDArray[np.float64]


@dataclass
class Recording:
    """One recording.

    Attributes:
        name: ``<brainset>/<session>``.
        path: Its file.
        config: What the configuration says of it.
        known: What the index knows; None where only opening the file can tell.
        sampling: By split, the intervals that windows may be drawn from; a split that the recording lacks is missing.
        unreadable: Why the sampling intervals of a split cannot be had.
    """

    name: str
    path: Path
    config: dict[str, Any]
    known: RecordingMetadata | None
    sampling: dict[str, Interval] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def splits(self) -> list[str]:
        """Names of the splits that it has."""
        if self.known is None:
            return sorted(key.removesuffix(_SUFFIX) for key in self.data.keys() if key.endswith(_SUFFIX))  # noqa: SIM118  # not a mapping
        return sorted(name.removesuffix(_SUFFIX) for name in self.known.intervals if name.endswith(_SUFFIX))

    @cached_property
    def data(self) -> Data:
        """The recording, lazy."""
        return Data.load(self.path)

    def readouts(self, *, single: bool) -> list[dict[str, Any]]:
        """The readouts that the configuration asks of it."""
        if single:
            return [self.config["readout"]] if "readout" in self.config else []
        return list(self.config.get("multitask_readout") or [])

    @cached_property
    def unit_ids(self) -> list[str]:
        """Ids of the units, as stored."""
        if self.known is not None and self.known.unit_ids is not None:
            return list(self.known.unit_ids)
        return [str(unit) for unit in self.data.units.id] if "units" in self.data else []

    def seconds(self, split: str) -> float:
        """Length of a split."""
        intervals = self.sampling.get(split)
        return 0.0 if intervals is None else float(np.sum(intervals.end - intervals.start))

    def forget(self) -> None:
        """Let go of what was read."""
        self.__dict__.pop("data", None)


def read_recordings(root: str | Path, config: ConfigurationLike) -> list[Recording]:
    """All recordings that a configuration selects, without opening those that the index knows.

    Raises:
        FileNotFoundError, ValueError: as `Dataset`.
    """
    everything = Dataset(root, config=config)
    folder = RecordingFolder(root)
    configs = everything.get_recording_config_dict()
    recordings = [
        Recording(name, folder.path(name), configs[name], known)
        for name, known in folder.metadata(everything.recording_ids)
    ]
    for split in SPLITS:
        having = [recording for recording in recordings if split in recording.splits]
        _add_sampling(split, having, root, config)
    return recordings


def _add_sampling(split: str, recordings: list[Recording], root: str | Path, config: ConfigurationLike) -> None:
    if not recordings:
        return
    try:
        found = Dataset(root, config=config, split=split).get_sampling_intervals()
    except ValueError:
        # One recording stands in the way: take them one by one.
        for recording in recordings:
            entry = {"selection": [_selection(recording.name)], "config": recording.config}
            try:
                one = Dataset(root, config=entry, split=split).get_sampling_intervals()
            except ValueError as error:
                recording.unreadable[split] = str(error)
            else:
                recording.sampling[split] = one[recording.name]
        return
    for recording in recordings:
        recording.sampling[split] = found[recording.name]


def _selection(name: str) -> dict[str, str]:
    brainset, _, session = name.partition("/")
    return {"brainset": brainset, "session": session}


def within(times: FloatArray, intervals: Interval) -> NDArray[np.bool_]:
    """Which times lie in sorted, disjoint intervals. Shape: (T,)."""
    start, end = (np.asarray(bound, dtype=np.float64) for bound in (intervals.start, intervals.end))
    if not len(start):
        return np.zeros(len(times), dtype=np.bool_)
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    row = np.searchsorted(start, times + 1e-9, side="right") - 1
    inside: NDArray[np.bool_] = (row >= 0) & (times < end[np.maximum(row, 0)] - 1e-9)
    return inside


def spread(names: list[Recording], most: int) -> list[Recording]:
    """At most so many recordings, evenly spread over all."""
    if len(names) <= most:
        return names
    rows = np.unique(np.linspace(0, len(names) - 1, most).round().astype(int))
    return [names[row] for row in rows]


def counts_in_windows(recording: Recording, times: FloatArray, window_length: float) -> NDArray[np.int64] | None:
    """How many of sorted times lie in each of the windows that tile the training split; None where no window fits."""
    intervals = recording.sampling.get("train")
    if intervals is None:
        return None
    starts = [
        np.arange(start, end - window_length + 1e-9, window_length)
        for start, end in zip(intervals.start, intervals.end, strict=True)
    ]
    start = np.concatenate(starts) if starts else np.zeros(0)
    if not len(start):
        return None
    return np.searchsorted(times, start + window_length) - np.searchsorted(times, start)


def targets_of(recording: Recording, entry: Mapping[str, Any], spec: Any) -> tuple[FloatArray, NDArray[Any]] | None:
    """Times (T,) and values (T, ...) of a readout as they are stored; None where the recording lacks them."""
    time_key = entry.get("timestamp_key", spec.timestamp_key)
    value_key = entry.get("value_key", spec.value_key)
    try:
        times = np.asarray(recording.data.get_nested_attribute(time_key), dtype=np.float64)
        values = np.asarray(recording.data.get_nested_attribute(value_key))
    except (AttributeError, KeyError, ValueError, TypeError):
        return None
    return (times, values) if len(times) == len(values) else None


def each_split(recording: Recording) -> Iterator[tuple[str, Interval]]:
    """The splits that a recording has, with their sampling intervals."""
    for split in SPLITS:
        if split in recording.sampling:
            yield split, recording.sampling[split]
