"""Checks of the values in a recording: times, intervals, indices, text."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nd_data.data import Data
from nd_data.interval import Interval
from nd_data.regular_time_series import check_grid, run_rows
from nd_data.samplers.interval_table import TIME_TOLERANCE
from nd_data.storage.layout import StoredArray, StoredGroup
from nd_data.stored_parts import LAZY_CLASSES

Found = tuple[str, Literal["error", "warning", "note"], str, str]
"""Key, severity, kind and message of a problem."""

Runs = tuple[NDArray[np.intp], NDArray[np.intp]]
"""First row, and one past the last row, of each run of samples."""

#: The arrays that place a container in time.
TIMES = {"Interval": ("start", "end"), "IrregularTimeSeries": ("timestamps",)}

#: Arrays are looked through in pieces of about this many bytes.
PIECE = 16 << 20


def value_problems(root: StoredGroup) -> Iterator[Found]:
    """Problems of all objects in a recording.

    Args:
        root: Its layout.

    Yields:
        Key, severity, kind and message of each.
    """
    units = root.groups.get("units")
    yield from _object_problems(root, None if units is None else units.length() or 0)


def intervals_of(group: StoredGroup) -> Interval | None:
    """The intervals of a group in order; None where they are damaged, which is reported with its values."""
    if group.kind != "Interval":
        return None
    try:
        start, end = (np.asarray(group.arrays[name].read(), dtype=np.float64) for name in ("start", "end"))
        if np.isnan(start).any() or np.isnan(end).any() or (end < start).any():
            return None
        order = np.argsort(start, kind="stable")
        return Interval(start[order], end[order])
    except (ValueError, KeyError):
        return None


def _object_problems(group: StoredGroup, units: int | None) -> Iterator[Found]:
    yield from _name_problems(group)
    times, runs = TIMES.get(group.kind, ()), _runs(group)
    for name, array in group.arrays.items():
        yield from _array_problems(array, runs, are_times=name in times)
    if group.kind == "Interval":
        yield from _interval_problems(group)
    elif group.kind == "IrregularTimeSeries":
        yield from _irregular_problems(group)
    elif group.kind == "RegularTimeSeries":
        yield from _regular_problems(group)
    elif group.kind == "Data" and "domain" not in group.groups and group.key:
        timed = [name for name, part in group.groups.items() if part.kind not in ("ArrayDict", "Data")]
        if timed:
            message = f"'{group.key}' has no Interval 'domain', but parts with times: {timed}"
            yield group.key, "error", "missing-domain", message
    if "unit_index" in group.arrays:
        yield from _unit_index_problems(group.arrays["unit_index"], units)
    for part in group.groups.values():
        yield from _object_problems(part, units)


def _name_problems(group: StoredGroup) -> Iterator[Found]:
    try:
        if group.kind == "Data":
            Data.from_stored(group)
        else:
            LAZY_CLASSES[group.kind].from_stored(group)
    except (ValueError, KeyError, TypeError) as error:
        message = str(error).removeprefix(f"{group.file.path}: ")
        named = message if message.startswith("'") else f"'{group.key or '/'}' cannot be read: {message}"
        yield group.key, "error", "not-readable", named


def _array_problems(array: StoredArray, runs: Runs | None, *, are_times: bool) -> Iterator[Found]:
    """What can be wrong with any array: that it cannot be read, and, worth a note, that values are missing."""
    not_finite = total = 0
    try:
        for first, values in _pieces(array):
            if values.dtype.kind in "fc" and not are_times:  # missing times are errors, reported as such
                if runs is not None:
                    rows = np.arange(first, first + len(values))
                    run = np.searchsorted(runs[0], rows, side="right") - 1
                    values = values[(run >= 0) & (rows < runs[1][run])]
                not_finite += int(np.count_nonzero(~np.isfinite(values)))
                total += values.size
    except (ValueError, OSError, TypeError) as error:
        message = str(error).removeprefix(f"{array.file.path}: ")
        yield array.key, "error", "not-readable", message
        return
    if not_finite:
        share = f"{100 * not_finite / total:.2g} %"
        message = f"'{array.key}' holds {not_finite} of {total} values that are not finite ({share})"
        yield array.key, "note", "not-finite", message


def _runs(group: StoredGroup) -> Runs | None:
    """Which rows of a regular series with gaps are samples; None where all are."""
    if group.kind != "RegularTimeSeries":
        return None
    domain, rate = intervals_of(group.groups["domain"]), _sampling_rate(group)
    return None if domain is None or len(domain) < 2 or rate is None else run_rows(domain, rate)


def _sampling_rate(group: StoredGroup) -> float | None:
    try:
        rate = float(group.attributes["sampling_rate"])
    except (TypeError, ValueError):
        return None
    return rate if 0 < rate < float("inf") else None


def _interval_problems(group: StoredGroup) -> Iterator[Found]:
    bounds, damaged = {}, False
    for name in ("start", "end"):
        values = _times(group.arrays[name])
        if values is None:
            yield from _no_times(group.arrays[name])
            return
        missing = np.flatnonzero(np.isnan(values))
        if len(missing):
            yield _nan_times(group.arrays[name], len(missing), int(missing[0]))
            damaged = True
        bounds[name] = values
    if damaged:
        return
    start, end = bounds["start"], bounds["end"]
    backward = np.flatnonzero(end < start)
    if len(backward):
        row = backward[0]
        message = (
            f"'{group.key}' holds {len(backward)} intervals that end before they start, first "
            f"[{start[row]:.9g}, {end[row]:.9g}) in row {row}"
        )
        yield group.key, "error", "backward-interval", message
    order = np.argsort(start, kind="stable")
    if (order[1:] < order[:-1]).any():
        message = f"'{group.key}' is not sorted: windows are cut from a sorted copy, which takes time"
        yield group.key, "note", "unsorted-intervals", message
    is_domain = group.key.rpartition("/")[2] == "domain"
    overlap = np.flatnonzero(end[order][:-1] > start[order][1:] + TIME_TOLERANCE)
    if is_domain and len(overlap):
        row = order[overlap[0]]
        message = (
            f"'{group.key}' has intervals that overlap, first [{start[row]:.9g}, {end[row]:.9g}) in row {row}: a "
            "domain must be disjoint"
        )
        yield group.key, "error", "overlapping-domain", message


def _irregular_problems(group: StoredGroup) -> Iterator[Found]:
    array = group.arrays["timestamps"]
    domain = intervals_of(group.groups["domain"])
    missing, unsorted, outside = _Rows(), _Rows(), _Rows()
    last = -np.inf
    try:
        for first, piece in _pieces(array):
            if piece.dtype.kind not in "iuf" or piece.ndim != 1:
                yield from _no_times(array)
                return
            times = piece.astype(np.float64, copy=False)
            missing.add(np.isnan(times), first)
            with np.errstate(invalid="ignore"):
                before = np.concatenate([[last], times[:-1]])
                unsorted.add(times < before, first)
                if domain is not None:
                    outside.add(~_covered(times, domain) & ~np.isnan(times), first)
            finite = times[~np.isnan(times)]
            last = finite[-1] if len(finite) else last
    except (ValueError, OSError):
        return  # reported with the arrays
    if missing.count:
        yield _nan_times(array, missing.count, missing.first)
    if unsorted.count:
        message = f"'{array.key}' is not sorted: row {unsorted.first} is earlier than the row before"
        yield array.key, "error", "unsorted-times", message
    if outside.count:
        message = (
            f"'{array.key}' holds {outside.count} of {array.shape[0]} times outside '{group.key}/domain', the first "
            f"in row {outside.first}"
        )
        yield array.key, "error", "outside-domain", message
    if domain is not None and not (missing.count or unsorted.count or outside.count):
        yield from _second_index_problems(group, domain)


def _second_index_problems(group: StoredGroup, domain: Interval) -> Iterator[Found]:
    """An index by seconds that is wrong: we read rightly all the same, temporaldata does not."""
    index = group.second_index
    if index is None or len(domain) == 0 or group.arrays["timestamps"].shape[0] == 0:
        return
    try:
        times, found = group.arrays["timestamps"].read(), np.asarray(index.read())
    except (ValueError, OSError):
        return
    expected = np.searchsorted(times, domain.start[0] + np.arange(len(found), dtype=np.float64))
    if found.shape != expected.shape or (found != expected).any():
        message = f"'{index.key}' does not lead to the first time of each second: other readers would cut wrong windows"
        yield index.key, "warning", "wrong-second-index", message


def _regular_problems(group: StoredGroup) -> Iterator[Found]:
    rate = _sampling_rate(group)
    if rate is None:
        found = group.attributes["sampling_rate"]
        message = f"'{group.key}' has the sampling rate {found!r}, expected a positive number of samples a second"
        yield group.key, "error", "sampling-rate", message
        return
    domain = intervals_of(group.groups["domain"])
    if domain is None:
        return
    try:
        check_grid(domain, rate, group.length() or 0)
    except ValueError as error:
        yield group.key, "error", "grid", f"'{group.key}': {error}"


def _unit_index_problems(array: StoredArray, units: int | None) -> Iterator[Found]:
    if units is None:
        message = f"'{array.key}' points to units, but the recording has no 'units'"
        yield array.key, "error", "no-units", message
        return
    if array.dtype.kind not in "iu":
        message = f"'{array.key}' holds {array.dtype}, expected whole numbers that point to units"
        yield array.key, "error", "unit-index", message
        return
    outside, worst = _Rows(), 0
    try:
        for first, piece in _pieces(array):
            wrong = (piece < 0) | (piece >= units)
            if wrong.any() and not outside.count:
                worst = int(piece[wrong][0])
            outside.add(wrong, first)
    except (ValueError, OSError):
        return  # reported with the arrays
    if outside.count:
        message = (
            f"'{array.key}' holds {worst} in row {outside.first}, but there are only {units} units; {outside.count} "
            "rows point outside 'units'"
        )
        yield array.key, "error", "unit-index", message


class _Rows:
    """How many rows are wrong, and which is the first."""

    __slots__ = ("count", "first")

    def __init__(self) -> None:
        self.count = 0
        self.first = -1

    def add(self, wrong: NDArray[np.bool_], offset: int) -> None:
        count = int(np.count_nonzero(wrong))
        if count and not self.count:
            self.first = offset + int(np.argmax(wrong))
        self.count += count


def _pieces(array: StoredArray) -> Iterator[tuple[int, NDArray[Any]]]:
    """An array in pieces, each with its first row; an array of no dimension as a whole."""
    if not array.shape:
        yield 0, array.read()
        return
    row_bytes = max(int(np.prod(array.shape[1:], dtype=np.int64)) * max(array.dtype.itemsize, 1), 1)
    step = max(PIECE // row_bytes, 1)
    for first in range(0, array.shape[0], step):
        yield first, array.read(first, min(first + step, array.shape[0]))


def _covered(times: NDArray[np.float64], domain: Interval) -> NDArray[np.bool_]:
    # The end counts as inside: that is where a domain made of the times themselves ends.
    if len(domain) == 0:
        return np.zeros(len(times), dtype=np.bool_)
    row = np.searchsorted(domain.start, times + TIME_TOLERANCE, side="right") - 1
    covered: NDArray[np.bool_] = (row >= 0) & (times <= domain.end[row] + TIME_TOLERANCE)
    return covered


def _times(array: StoredArray) -> NDArray[np.float64] | None:
    if array.dtype.kind not in "iufb" or len(array.shape) != 1:
        return None
    try:
        return array.read().astype(np.float64)
    except (ValueError, OSError):
        return None


def _no_times(array: StoredArray) -> Iterator[Found]:
    if array.dtype.kind not in "iufb" or len(array.shape) != 1:
        message = f"'{array.key}' must be times in seconds in one dimension, found {array.dtype} of shape {array.shape}"
        yield array.key, "error", "no-times", message


def _nan_times(array: StoredArray, count: int, row: int) -> Found:
    return array.key, "error", "nan-times", f"'{array.key}' holds {count} NaN, the first in row {row}"


__all__ = ["Found", "intervals_of", "value_problems"]
