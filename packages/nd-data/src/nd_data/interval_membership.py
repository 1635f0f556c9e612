"""Which times lie in which intervals, and the weights that follow from it.

A time within the time tolerance (1 µs) of a border is the border's own: the sample that begins an interval lies in it,
the one that ends it does not, however the window's origin rounded both.

Shape legend: N times.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nd_data.data import Data
from nd_data.interval_algebra import covers
from nd_data.interval_paths import interval_at
from nd_data.samplers.interval_table import TIME_TOLERANCE, HasStartAndEnd

#: Up to this many intervals are compared one after the other, which is quicker than sorting times among them.
FEW_INTERVALS = 4


def isin_interval(timestamps: ArrayLike, interval: HasStartAndEnd) -> NDArray[np.bool_]:
    """Say which times lie in any of the intervals, ``start <= t < end``.

    Intervals may overlap and come in any order. A time closer than 1 µs to a border counts as the border's.

    Args:
        timestamps: Seconds. Shape: (N,), or any other.
        interval: Seconds.

    Returns:
        True where the time is in an interval. Shape: that of ``timestamps``.

    Example:
        >>> from nd_data import Interval
        >>> isin_interval(np.array([0.0, 1.0, 2.5]), Interval(0.0, 1.0)).tolist()
        [True, False, False]
    """
    times = np.asarray(timestamps, dtype=np.float64)
    start = np.asarray(interval.start, dtype=np.float64)
    end = np.asarray(interval.end, dtype=np.float64)
    return covered(times, start, end)


def resolve_weights_based_on_interval_membership(
    timestamps: NDArray[np.floating[Any]], data: Data, config: Mapping[str, float] | None = None
) -> NDArray[np.float32]:
    """Weigh times by the intervals they lie in.

    A time in several of the intervals gets the product of their weights, a time in none of them gets 1. Times and
    intervals are both those of ``data``: for a window, relative to its start. Borders are taken as by `isin_interval`.

    Args:
        timestamps: Seconds. Shape: (N,).
        data: A recording or a window of one.
        config: Path of intervals in ``data`` to weight, as in ``{"movement_periods.reach_period": 5.0}``.

    Returns:
        float32. Shape: (N,).

    Raises:
        ValueError: a path leads nowhere or not to an `Interval`; the message lists those that exist.

    Example:
        >>> from nd_data import Data, Interval
        >>> window = Data(reach=Interval(0.2, 0.6), domain=Interval(0.0, 1.0))
        >>> resolve_weights_based_on_interval_membership(np.array([0.1, 0.2, 0.6]), window, {"reach": 5.0}).tolist()
        [1.0, 5.0, 1.0]
    """
    bounds = []
    for path, weight in (config or {}).items():
        interval = interval_at(data, path)
        bounds.append(((interval.start, interval.end), weight))
    return weigh(np.asarray(timestamps), bounds)


def weigh(
    timestamps: NDArray[np.floating[Any]],
    weighted: Iterable[tuple[tuple[NDArray[np.float64], NDArray[np.float64]], float]],
    *,
    in_order: bool | None = None,
) -> NDArray[np.float32]:
    """Weigh times by the intervals they lie in, given as starts and ends.

    Args:
        timestamps: Seconds. Shape: (N,).
        weighted: Sets of intervals, each with the weight of the times in any of its intervals.
        in_order: Whether the times never decrease, where that is known.

    Returns:
        The products of the weights, 1 where there is none; float32. Shape: (N,).
    """
    weights = np.empty(len(timestamps), dtype=np.float32)
    weights.fill(1.0)
    times: NDArray[np.float64] | None = None
    for (starts, ends), weight in weighted:
        number = len(starts)
        if number == 0:
            continue
        if times is None:
            times = _at_borders(timestamps)
            if in_order is None:
                in_order = np.count_nonzero(times[1:] >= times[:-1]) == max(len(times) - 1, 0)
        if in_order and number <= FEW_INTERVALS:
            first = times.searchsorted(starts).tolist()
            last = times.searchsorted(ends).tolist()
            if number == 1 or all(stop <= start for stop, start in zip(last, first[1:], strict=False)):
                for start, stop in zip(first, last, strict=True):
                    weights[start:stop] *= weight
                continue
        # Intervals that share times, or times out of order: each time counts once.
        np.multiply(weights, weight, out=weights, where=_inside(times, starts, ends))
    return weights


def covered(
    times: NDArray[np.floating[Any]], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Say which times lie in any of the intervals; see :func:`isin_interval`."""
    return _inside(_at_borders(times), start, end)


def _at_borders(times: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    # Moved so that those just before a border come to lie on it or behind it.
    moved: NDArray[np.float64] = np.add(times, TIME_TOLERANCE, dtype=np.float64)
    return moved


def _inside(times: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.bool_]:
    if len(start) > FEW_INTERVALS:
        return covers((start, end), times)
    inside = np.zeros(times.shape, dtype=np.bool_)
    for first, last in zip(start.tolist(), end.tolist(), strict=True):
        inside |= (times >= first) & (times < last)
    return inside
