"""Set operations on sorted, disjoint, half-open intervals, as NumPy array operations without loops.

Everywhere: starts and ends are float64 arrays of shape (N,) in seconds, ``start <= t < end``. An interval without
length (``start == end``) marks a point; a point is in an intersection when it touches the other side.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Bounds = tuple[FloatArray, FloatArray]


def intersection(a: Bounds, b: Bounds) -> Bounds:
    """The times that are in both."""
    (a_start, a_end), (b_start, b_end) = _each_once(a), _each_once(b)
    first = np.searchsorted(a_end, b_start, side="left")
    last = np.searchsorted(a_start, b_end, side="right")
    left, right = _pairs(first, last)
    start = np.maximum(a_start[left], b_start[right])
    end = np.minimum(a_end[left], b_end[right])
    is_point = (a_start == a_end)[left] | (b_start == b_end)[right]
    keep = (start < end) | ((start == end) & is_point)
    start, end = start[keep], end[keep]
    again = np.zeros(len(start), dtype=np.bool_)  # a point between two intervals that touch meets both
    again[1:] = (start[1:] == start[:-1]) & (end[1:] == end[:-1])
    return start[~again], end[~again]


def union(a: Bounds, b: Bounds) -> Bounds:
    """The times that are in either; intervals that touch become one."""
    start = np.concatenate([a[0], b[0]])
    end = np.concatenate([a[1], b[1]])
    if len(start) == 0:
        return start, end
    order = np.argsort(start, kind="stable")
    start, end = start[order], np.maximum.accumulate(end[order])
    first = np.flatnonzero(np.concatenate([[True], start[1:] > end[:-1]]))
    last = np.concatenate([first[1:] - 1, [len(start) - 1]])
    return start[first], end[last]


def difference(a: Bounds, b: Bounds) -> Bounds:
    """The times that are in the first and not in the second."""
    (a_start, a_end), (b_start, b_end) = a, _each_once(b)
    if len(a_start) == 0 or len(b_start) == 0:
        return a_start.copy(), a_end.copy()
    is_point = a_start == a_end
    first = np.where(
        is_point, np.searchsorted(b_end, a_start, side="left"), np.searchsorted(b_end, a_start, side="right")
    )
    last = np.where(
        is_point, np.searchsorted(b_start, a_end, side="right"), np.searchsorted(b_start, a_end, side="left")
    )
    holes = np.maximum(last - first, 0)
    # An interval with k holes leaves k + 1 pieces: from its start or a hole's end, to the next hole's start or its end.
    owner = np.repeat(np.arange(len(a_start)), holes + 1)
    piece = np.arange(len(owner)) - np.repeat(np.cumsum(holes + 1) - (holes + 1), holes + 1)
    hole = first[owner] + piece
    start = np.where(piece == 0, a_start[owner], b_end[np.clip(hole - 1, 0, len(b_end) - 1)])
    end = np.where(piece == holes[owner], a_end[owner], b_start[np.clip(hole, 0, len(b_start) - 1)])
    keep = (start < end) | (holes[owner] == 0)
    return start[keep], end[keep]


def dilated(a: Bounds, size: float, longest: float | None = None) -> Bounds:
    """Grow every interval by ``size`` on both sides, neighbours at most until they meet half-way.

    Args:
        a: The intervals.
        size: Seconds on each side.
        longest: No interval grows beyond this length; one that is longer stays as it is.
    """
    start, end = a
    if len(start) == 0:
        return start.copy(), end.copy()
    half_way = (end[:-1] + start[1:]) / 2
    growth = np.full_like(start, size)
    if longest is not None:
        growth = np.clip(np.minimum(growth, (longest - (end - start)) / 2), 0, None)
    new_start = start - growth
    new_start[1:] = np.maximum(new_start[1:], half_way)
    growth = np.full_like(start, size)
    if longest is not None:
        growth = np.clip(np.minimum(growth, longest - (end - new_start)), 0, None)
    new_end = end + growth
    new_end[:-1] = np.minimum(new_end[:-1], half_way)
    return new_start, new_end


def coalesced(a: Bounds, distance: float) -> Bounds:
    """Join neighbours that are less than ``distance`` seconds apart; the intervals need only be sorted."""
    start, end = a
    if len(start) == 0:
        return start.copy(), end.copy()
    apart = start[1:] >= end[:-1] + distance
    return np.concatenate([start[:1], start[1:][apart]]), np.concatenate([end[:-1][apart], end[-1:]])


def subdivided(a: Bounds, step: float, *, keep_remainder: bool) -> tuple[FloatArray, FloatArray, NDArray[np.intp]]:
    """Cut every interval into pieces of ``step`` seconds.

    A remainder below a billionth of a step is rounding: the last whole piece then ends where the interval ends.

    Returns:
        Starts and ends of the pieces, and the interval that each came from. Shapes: (M,).
    """
    start, end = a
    steps = (end - start) / step
    whole = np.floor(steps + 1e-9).astype(np.intp)
    has_remainder = (steps - whole > 1e-9) & keep_remainder
    count = whole + has_remainder
    owner = np.repeat(np.arange(len(start)), count)
    piece = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    piece_start = start[owner] + piece * step
    is_last = piece == count[owner] - 1
    reaches_end = is_last & (has_remainder[owner] | (np.abs(steps - whole) <= 1e-9)[owner])
    piece_end = np.where(reaches_end, end[owner], start[owner] + (piece + 1) * step)
    return piece_start, piece_end, owner


def covers(a: Bounds, times: FloatArray) -> NDArray[np.bool_]:
    """For each time, whether ``start <= t < end`` for any of the intervals, which may overlap and come in any order."""
    start, end = np.sort(a[0]), np.sort(a[1])
    begun = np.searchsorted(start, times, side="right")
    over = np.searchsorted(end, times, side="right")
    return begun > over


def overlaps(a: Bounds, b: Bounds) -> NDArray[np.bool_]:
    """For each interval of the first, whether it overlaps any of the second; both may come in any order."""
    begun_before_end = np.searchsorted(np.sort(b[0]), a[1], side="left")
    over_before_start = np.searchsorted(np.sort(b[1]), a[0], side="right")
    return begun_before_end > over_before_start


def _each_once(a: Bounds) -> Bounds:
    # Only points can come again among disjoint intervals; many at one time would meet each of as many others.
    start, end = a
    again = (start[1:] == start[:-1]) & (end[1:] == end[:-1])
    if not again.any():
        return a
    keep = np.concatenate([[True], ~again])
    return start[keep], end[keep]


def _pairs(first: NDArray[np.intp], last: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    # For each j, the pairs (i, j) with first[j] <= i < last[j], in the order of j then i.
    count = np.maximum(last - first, 0)
    right = np.repeat(np.arange(len(count)), count)
    left = np.arange(len(right)) - np.repeat(np.cumsum(count) - count, count) + first[right]
    return left, right
