"""Which container each kind of object in a file becomes, and what the cuts of the whole do to it."""

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np

from nd_data.array_dict import ArrayDict, LazyArrayDict
from nd_data.interval import Interval, LazyInterval
from nd_data.interval_algebra import union
from nd_data.irregular_time_series import IrregularTimeSeries, LazyIrregularTimeSeries
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
    if group.kind == "Data":
        value = data_class.from_stored(group, lazy=lazy)
    elif lazy:
        value = LAZY_CLASSES[group.kind].pristine(group)
        if not cuts or group.kind == "ArrayDict":
            return copy.copy(value)
    else:
        value = EAGER_CLASSES[group.kind].from_stored(group)
    if has_time(value):
        for cut in cuts:
            value = value.slice(*cut) if isinstance(cut, Window) else value.select_by_interval(cut)
    return value


def has_time(value: object) -> bool:
    """Whether a part has times, and so is cut when the whole is."""
    if isinstance(value, ArrayDict):
        return isinstance(value, IrregularTimeSeries | RegularTimeSeries | Interval)
    return getattr(type(value), "holds_parts", False) and getattr(value, "absolute_start", None) is not None


def covered_by(parts: Iterable[object]) -> Interval:
    """All that the domains of some parts cover."""
    bounds = (np.zeros(0), np.zeros(0))
    for part in parts:
        if has_time(part):
            covered: Any = part if isinstance(part, Interval) else getattr(part, "domain", None)
            bounds = union(bounds, (covered.start, covered.end))
    return Interval(*bounds)


__all__ = ["Cuts", "covered_by", "has_time", "read_part"]
