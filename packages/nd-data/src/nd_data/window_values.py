"""Read what is known to be needed of a window in one go, without making the containers that it lies in.

Only a matter of speed. A window is lazy: each of its parts, and each array of a part, is found, cut and read when it is
first used, and belongs to the window from then on, which costs a few microseconds each time. A tokenizer knows in
advance what it needs, and throws the window away afterwards. Where the arrays lie is worked out once a recording.
"""

# ruff: noqa: SLF001 -- this takes a short way through the containers, past what they show to others

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nd_data.data import Data
from nd_data.nested_attributes import look_up
from nd_data.storage.open_files import OPEN_FILES, OpenFile
from nd_data.storage.stored_objects import StoredArray, StoredGroup
from nd_data.stored_parts import LAZY_CLASSES, Cuts, pristine
from nd_data.stored_rows import Window, check_order

#: Different sets of paths that are kept ready for a recording.
_KEPT_PLANS = 16

#: Timestamps are checked for their order 2^12 at a time.
_BLOCK = 12

_NOTHING: tuple[NDArray[Any], NDArray[Any]] = (np.zeros(0), np.zeros(0))


def read_values(data: Data, paths: tuple[str, ...]) -> dict[str, Any]:
    """Read arrays of a window; the window stays as it is.

    Whatever is not so simple is left out: what does not exist, was read or set before, is not mapped, or is part of
    neither an irregular time series nor intervals; so is everything of data that are no single window of a lazily
    loaded recording. Ask the window itself for what is missing.

    Args:
        data: A window, as a dataset cuts it.
        paths: Arrays, such as ``spikes.timestamps``; the path of intervals stands for their start and end.

    Returns:
        Path to a fresh array, equal to what the window has there; for intervals, their starts and ends. Intervals may
        share empty arrays.

    Raises:
        ValueError: times are not in order.

    Example:
        >>> read_values(Data(session="a"), ("spikes.timestamps",))  # nothing on disk
        {}
    """
    values: dict[str, Any] = {}
    # Whatever has the same attributes may be tokenized, also if it is of another class.
    stored: StoredGroup | None = getattr(data, "_stored", None)
    cuts: Cuts = getattr(data, "_cuts", ())
    if stored is None or len(cuts) != 1 or not data._lazy or not isinstance(cuts[0], Window):
        return values
    plans: dict[tuple[str, ...], tuple[_Source, ...]] | None = stored.cache.get("sources")
    if plans is None:
        plans = stored.cache["sources"] = {}
    plan = plans.get(paths)
    if plan is None:
        if len(plans) >= _KEPT_PLANS:
            plans.clear()
        plan = plans[paths] = _planned(stored, paths, type(data))
    if plan:
        file = OPEN_FILES.open(stored.file)
        state, names, held = data.__dict__, data._names, data._held or {}
        for source in plan:
            part = source.part
            if part not in state and part not in held and part in names:
                source.read(file, cuts[0], values)
    return values


def peek(data: Data, path: str) -> Any:
    """A part of a window, not to be changed: the window gets no copy of its own where none is needed.

    Args:
        data: A window, as a dataset cuts it.
        path: Such as ``session.id``.

    Raises:
        AttributeError: a part of the path does not exist; the message lists what does.
    """
    state = data.__dict__
    if "_constants" in state and path in (constants := state["_constants"]):
        part, value = constants[path]
        if part not in state and part in state["_names"]:
            return value
    return look_up(data, path)


class _Source(NamedTuple):
    """A series or intervals, and what to read of them.

    Attributes:
        part: The part of the recording that they are, or are in.
        starts: What is searched for the window's end; of a series, its timestamps, which are searched for both.
        ends: What is searched for the window's start; None for a series.
        arrays: Path, array, and whether it is times.
        verified: Which blocks of a series' timestamps were found in order.
    """

    part: str
    starts: StoredArray
    ends: StoredArray | None
    arrays: tuple[tuple[str, StoredArray, bool], ...]
    verified: bytearray

    def read(self, file: OpenFile, window: Window, values: dict[str, Any]) -> None:
        start, end, reset_origin = window
        views = file.views
        starts = views.get(self.starts.key)
        if starts is None:
            starts = view_of(self.starts, file)
        if self.ends is None:
            first, last = starts.searchsorted((start, end)).tolist()
            if 0 in self.verified[first >> _BLOCK : (last >> _BLOCK) + 1]:
                self._verify(starts, first, last)
            for path, array, is_time in self.arrays:
                view = views.get(array.key)
                rows = (view_of(array, file) if view is None else view)[first:last]
                values[path] = rows - start if is_time and reset_origin else rows.copy()
            return
        ends = views.get(self.ends.key)
        if ends is None:
            ends = view_of(self.ends, file)
        first, last = int(ends.searchsorted(start, side="right")), int(starts.searchsorted(end))
        path = self.arrays[0][0]
        if first >= last:
            values[path] = _NOTHING
        else:
            shift = start if reset_origin else 0.0
            values[path] = starts[first:last] - shift, ends[first:last] - shift

    def _verify(self, times: NDArray[Any], first: int, last: int) -> None:
        # Blocks of times that windows come from, each once, together with the first time of the block after it.
        begin, end = first >> _BLOCK, (last >> _BLOCK) + 1
        check_order(times[begin << _BLOCK : (end << _BLOCK) + 1], self.starts)
        self.verified[begin:end] = b"\1" * (end - begin)


def view_of(array: StoredArray, file: OpenFile) -> NDArray[Any]:
    """All of an array that is mapped."""
    assert array.offset is not None, "only what is mapped is planned for"
    return file.view(array.key, array.shape, array.dtype, array.offset)


def _planned(stored: StoredGroup, paths: tuple[str, ...], data_class: Any) -> tuple[_Source, ...]:
    series: dict[str, list[tuple[str, StoredArray, bool]]] = {}
    sources: list[_Source] = []
    for path in dict.fromkeys(paths):
        holder, _, name = path.rpartition(".")
        group = _group_at(stored, path, data_class)
        if group is not None and group.kind == "Interval":
            sources += _planned_intervals(group, path)
            continue
        group = _group_at(stored, holder, data_class)
        array = None if group is None else group.arrays.get(name)
        if group is None or array is None or group.kind != "IrregularTimeSeries":
            continue
        whole = pristine(LAZY_CLASSES[group.kind], group)
        is_plain = array.offset is not None and not array.is_text and 0 not in array.shape
        if is_plain and not whole._is_touched() and _can_be_searched(group.arrays["timestamps"]):
            series.setdefault(holder, []).append((path, array, name in whole._timekeys))
    for holder, arrays in series.items():
        group = _group_at(stored, holder, data_class)
        assert group is not None, "it was found before"
        times = group.arrays["timestamps"]
        verified = bytearray((times.shape[0] >> _BLOCK) + 1)
        sources.append(_Source(holder.partition(".")[0], times, None, tuple(arrays), verified))
    return tuple(sources)


def _planned_intervals(group: StoredGroup, path: str) -> list[_Source]:
    whole = pristine(LAZY_CLASSES[group.kind], group)
    start, end = group.arrays["start"], group.arrays["end"]
    if whole._is_touched() or not (_can_be_searched(start) and _can_be_searched(end)) or not whole._stored_in_order():
        return []
    return [_Source(path.partition(".")[0], start, end, ((path, start, True),), bytearray())]


def _group_at(stored: StoredGroup, path: str, data_class: Any) -> StoredGroup | None:
    # Where every Data on the way is cut by windows.
    *parents, last = path.split(".")
    for name in parents:
        inner = stored.groups.get(name)
        if inner is None or inner.kind != "Data" or not pristine(data_class, inner)._is_timed:
            return None
        stored = inner
    return None if last == "domain" else stored.groups.get(last)


def _can_be_searched(array: StoredArray) -> bool:
    # NumPy would copy all of a misaligned array, or of one of another dtype, before it searches.
    return (
        array.offset is not None
        and array.offset % 8 == 0
        and array.dtype == np.float64
        and array.dtype.isnative
        and 0 not in array.shape
    )


__all__ = ["peek", "read_values"]
