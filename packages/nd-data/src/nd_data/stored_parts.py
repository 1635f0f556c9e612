"""Which container each kind of object in a file becomes, and what the cuts of the whole do to it."""

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np

from nd_data.array_dict import ArrayDict, LazyArrayDict
from nd_data.interval import Interval
from nd_data.interval_algebra import union
from nd_data.irregular_time_series import IrregularTimeSeries, LazyIrregularTimeSeries
from nd_data.lazy_interval import LazyInterval
from nd_data.regular_time_series import LazyRegularTimeSeries, RegularTimeSeries
from nd_data.storage.layout import StoredGroup
from nd_data.stored_rows import Window

#: What is done to a whole recording, and so to each part when it is first read: windows cut, or intervals selected.
Cuts = tuple[Window | Interval, ...]

EAGER_CLASSES: dict[str, Any] = {
    "ArrayDict": ArrayDict,
    "Interval": Interval,
    "IrregularTimeSeries": IrregularTimeSeries,
    "RegularTimeSeries": RegularTimeSeries,
}
LAZY_CLASSES: dict[str, Any] = {
    "ArrayDict": LazyArrayDict,
    "Interval": LazyInterval,
    "IrregularTimeSeries": LazyIrregularTimeSeries,
    "RegularTimeSeries": LazyRegularTimeSeries,
}


def read_part(stored: StoredGroup, name: str, *, cuts: Cuts, lazy: bool, data_class: Any) -> Any:
    """A part of a recording, cut like the whole.

    Args:
        stored: The group of the whole.
        name: The part's name.
        cuts: What was done to the whole, in this order.
        lazy: Whether the part's own arrays stay on disk.
        data_class: What nested Data become.
    """
    group = stored.groups.get(name)
    if group is None:
        array = stored.arrays.get(name)
        return copy.copy(stored.attributes[name]) if array is None else array.read()
    value: Any
    if lazy:
        value = pristine(data_class if group.kind == "Data" else LAZY_CLASSES[group.kind], group)
    elif group.kind == "Data":
        value = data_class.from_stored(group, lazy=False)
    else:
        value = EAGER_CLASSES[group.kind].from_stored(group)
    return cut_part(value, cuts)


def pristine(lazy_class: Any, stored: StoredGroup) -> Any:
    """A part as it is in the file, built once a process: to cut or to copy from, never to hand out or to read."""
    out = stored.cache.get("pristine")
    if type(out) is not lazy_class:
        out = stored.cache["pristine"] = lazy_class.from_stored(stored)
    return out


def cut_part(value: Any, cuts: Cuts) -> Any:
    """A part as the cuts of the whole leave it: a new object, also where they leave it as it is.

    Args:
        value: A container, an array, or a plain value.
        cuts: What was done to the whole, in this order.
    """
    if type(value) is str:  # most of what is not a container
        return value
    if not cuts or not has_time(value):
        return copy.copy(value)
    for cut in cuts:
        if not isinstance(cut, Window):
            value = copy.copy(value).select_by_interval(cut)  # reads what it selects from, which a copy keeps to itself
        elif hasattr(type(value), "_sliced"):
            value = value._sliced(cut)  # noqa: SLF001 slice(), without checking the window again
        else:
            value = value.slice(*cut)
    return value


def has_time(value: object) -> bool:
    """Whether a part has times, and so is cut when the whole is."""
    return getattr(value, "_is_timed", False) is True


def covered_by(parts: Iterable[object]) -> Interval:
    """All that the domains of some parts cover."""
    bounds = (np.zeros(0), np.zeros(0))
    for part in parts:
        if has_time(part):
            covered: Any = part if isinstance(part, Interval) else getattr(part, "domain", None)
            bounds = union(bounds, (covered.start, covered.end))
    return Interval(*bounds)


__all__ = ["Cuts", "covered_by", "has_time", "read_part"]
