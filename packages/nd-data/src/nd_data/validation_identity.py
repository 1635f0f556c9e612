"""Checks of what a recording is, and which units it has: ids, splits, domain."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np

from nd_data.interval import Interval
from nd_data.interval_union import merged
from nd_data.samplers.interval_table import TIME_TOLERANCE
from nd_data.storage.layout import StoredGroup
from nd_data.validation_values import Found, intervals_of

_SUFFIX = "_domain"
_EXCLUSIVE_SPLITS = ("train_domain", "valid_domain", "test_domain")


def identity_problems(root: StoredGroup, path: Path) -> Iterator[Found]:
    """Problems of a recording as a whole.

    Args:
        root: Its layout.
        path: The file, whose name tells the recording's id.

    Yields:
        Key, severity, kind and message of each.
    """
    if root.kind != "Data":
        yield "", "error", "not-a-recording", f"'/' is of kind {root.kind}, expected Data: it is a part of a recording"
        return
    yield from _id_problems(root, path)
    yield from _unit_problems(root)
    yield from _split_problems(root)


def known_id(root: StoredGroup, holder: str) -> str | None:
    """The id that a part of a recording such as ``session`` carries, or None."""
    group = root.groups.get(holder)
    return None if group is None or "id" not in group.attributes else f"{group.attributes['id']}"


def _id_problems(root: StoredGroup, path: Path) -> Iterator[Found]:
    folder, name = path.absolute().parent.name, path.stem
    for holder, expected, place in (("brainset", folder, "folder"), ("session", name, "file")):
        found = known_id(root, holder)
        if found is None:
            message = f"'{holder}' has no id: unit and session ids cannot be made unique without; store {holder}.id"
            yield holder, "error", "missing-id", message
        elif found != expected:
            message = (
                f"'{holder}' has the id {found!r}, but the {place} is called {expected!r}: the recording goes by "
                f"{folder}/{name}, and its units by ids"
            )
            yield holder, "warning", "name-differs", message
    if known_id(root, "subject") is None:
        message = "'subject' has no id: the recording cannot be selected by subject"
        yield "subject", "warning", "missing-id", message


def _unit_problems(root: StoredGroup) -> Iterator[Found]:
    units = root.groups.get("units")
    if units is None:
        return
    array = units.arrays.get("id")
    if array is None:
        yield "units", "error", "missing-id", "'units' has no array 'id': a dataset cannot tell units apart without"
        return
    try:
        counts = Counter(np.asarray(array.read()).astype(np.str_).ravel().tolist())
    except ValueError:
        return  # what cannot be read is reported with the values
    repeated = [unit_id for unit_id, count in counts.items() if count > 1]
    if repeated:
        named = ", ".join(map(repr, repeated[:3])) + (", …" if len(repeated) > 3 else "")
        message = f"'units/id' holds {len(repeated)} ids more than once ({named}): these units share one embedding"
        yield "units/id", "error", "repeated-unit-id", message


def _split_problems(root: StoredGroup) -> Iterator[Found]:
    group = root.groups.get("domain")
    domain = None if group is None else intervals_of(group)
    if group is None:
        yield "domain", "error", "missing-domain", "'/' has no Interval 'domain': there is no time to cut windows from"
    elif domain is not None and len(domain) == 0:
        yield "domain", "warning", "empty-domain", "'domain' is empty: there is no time to cut windows from"
    splits = {}
    for name, part in root.groups.items():
        if name.endswith(_SUFFIX) and part.kind == "Interval":
            intervals = intervals_of(part)
            if intervals is not None:
                splits[name] = merged(intervals)
    for one, other in combinations([name for name in _EXCLUSIVE_SPLITS if name in splits], 2):
        shared = _longer_than_rounding(splits[one] & splits[other])
        if len(shared):
            message = (
                f"'{other}' overlaps '{one}' in {len(shared)} intervals, first in [{shared.start[0]:.9g}, "
                f"{shared.end[0]:.9g}): results on one would leak into the other"
            )
            yield other, "error", "overlapping-splits", message
    if domain is None:
        return
    for name, intervals in splits.items():
        outside = _longer_than_rounding(intervals.difference(merged(domain)))
        if len(outside):
            message = (
                f"'{name}' leaves the recording's domain in {len(outside)} intervals, first in "
                f"[{outside.start[0]:.9g}, {outside.end[0]:.9g})"
            )
            yield name, "error", "split-outside-domain", message


def _longer_than_rounding(intervals: Interval) -> Interval:
    return intervals.select_by_mask(intervals.end - intervals.start > TIME_TOLERANCE)


__all__ = ["identity_problems", "known_id"]
