"""Unions of intervals that may overlap and come in any order."""

import numpy as np
from numpy.typing import NDArray

from nd_data.interval import Interval


def merged(interval: Interval) -> Interval:
    """Sorted, disjoint intervals that cover the same times.

    Intervals that only touch stay apart: a border between two trials is still a border.

    Args:
        interval: Any intervals. Attributes other than start and end are not kept.

    Example:
        >>> both = merged(Interval(np.array([4.0, 0.0, 1.0]), np.array([5.0, 2.0, 4.0])))
        >>> both.start.tolist(), both.end.tolist()
        ([0.0, 4.0], [4.0, 5.0])
    """
    start, end = merge_intervals(interval.start, interval.end)
    return Interval(start, end)


def merge_intervals(
    start: NDArray[np.float64], end: NDArray[np.float64], *, gap: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sort intervals and join those that overlap.

    Args:
        start: Seconds. Shape: (I,).
        end: Seconds. Shape: (I,).
        gap: Join also those less than this many seconds apart.

    Returns:
        Starts and ends of the joined intervals, sorted. Empty intervals are left out.
    """
    keep = end > start
    start, end = start[keep], end[keep]
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    if len(start) == 0:
        return start, end
    reach = np.maximum.accumulate(end)
    begins = np.ones(len(start), dtype=np.bool_)
    begins[1:] = start[1:] >= reach[:-1] + gap
    ends = np.append(begins[1:], True)
    return start[begins], reach[ends]
