"""Name intervals of a recording in one line of text: a path, and where wanted the value that a column must have."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nd_data.ingest.nwb_columns import TEXT_SEPARATOR
from nd_data.interval import Interval
from nd_data.interval_union import merged
from nd_data.nearest_names import name_hint

#: Finds what a path leads to; raises AttributeError where it leads nowhere.
LookUp = Callable[[str], Any]


def select_intervals(look_up: LookUp, selection: str) -> Interval:
    """The intervals that a text names.

    Args:
        look_up: Finds what a path leads to, for instance ``data.get_nested_attribute``.
        selection: ``PATH`` of intervals, or of anything with a domain; or ``PATH:COLUMN=VALUE`` for the intervals whose
            column has this value. A column of joined texts (``a; b``) matches any of them.

    Returns:
        The intervals, with their columns.

    Raises:
        ValueError: the path, the column or the value does not exist; the message names those that do.
    """
    path, condition, wanted = selection.partition(":")
    try:
        found = look_up(path)
    except AttributeError as error:
        raise ValueError(f"{selection!r} names no intervals: {error}") from None
    intervals = found if isinstance(found, Interval) else getattr(found, "domain", None)
    if not isinstance(intervals, Interval):
        raise ValueError(f"{selection!r} names no intervals: {path!r} is a {type(found).__name__} without a domain")
    if not condition:
        return intervals
    column, equals, value = wanted.partition("=")
    if not equals:
        raise ValueError(f"{selection!r}: expected PATH or PATH:COLUMN=VALUE")
    columns = [name for name in intervals.array_shapes() if name not in ("start", "end")]
    if column not in columns:
        raise ValueError(f"{selection!r}: no column {column!r}; {name_hint(column, columns, noun='existing columns')}")
    values = getattr(intervals, column)
    mask = np.array([_matches(item, value) for item in values], dtype=np.bool_)
    if not mask.any():
        existing = sorted({str(item) for item in values.ravel()})
        raise ValueError(f"{selection!r} selects nothing; {name_hint(value, existing, noun='existing values')}")
    return intervals.select_by_mask(mask)


def select_union(look_up: LookUp, selections: Sequence[str]) -> Interval:
    """All times that any of several texts names, sorted and disjoint; only start and end are kept."""
    parts = [select_intervals(look_up, selection) for selection in selections]
    start = np.concatenate([part.start for part in parts]) if parts else np.zeros(0)
    end = np.concatenate([part.end for part in parts]) if parts else np.zeros(0)
    return merged(Interval(start, end))


def _matches(item: Any, value: str) -> bool:
    values = np.atleast_1d(item)
    if values.dtype.kind in "US":
        texts = [str(text) for text in values]
        return value in texts or any(value in text.split(TEXT_SEPARATOR) for text in texts)
    if values.dtype.kind == "b":
        wanted = {"true": True, "1": True, "false": False, "0": False}.get(value.lower())
        return wanted is not None and bool((values == wanted).any())
    try:
        return bool((values == float(value)).any())
    except ValueError:
        return False


__all__ = ["LookUp", "select_intervals", "select_union"]
