"""Which times lie in which intervals, and the weights that follow from it.

A time within the time tolerance (1 µs) of a border is the border's own: the sample that begins an interval lies in it,
the one that ends it does not, however the window's origin rounded both.

Shape legend: N times.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
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
) -> NDArray[np.float32]:
    """Weigh times by the intervals they lie in, given as starts and ends.

    Args:
        timestamps: Seconds. Shape: (N,).
        weighted: Sets of intervals, each with the weight of the times in any of its intervals.

    Returns:
        The products of the weights, 1 where there is none; float32, a fresh array. Shape: (N,).
    """
    weights: NDArray[np.float32] | None = None
    times: NDArray[np.float64] | None = None
    for (starts, ends), weight in weighted:
        number = len(starts)
        if number == 0:
            continue
        if times is None:
            times = _at_borders(timestamps)
        borders = _borders(starts, ends) if number <= FEW_INTERVALS else None
        # Where intervals are many or share times, each time counts once.
        places = _inside(times, starts, ends).view(np.int8) if borders is None else borders.searchsorted(times, "right")
        factors = _factors(number, weight)[places]
        weights = factors if weights is None else weights * factors
    if weights is None:
        weights = np.empty(len(timestamps), dtype=np.float32)
        weights.fill(1.0)
    return weights


def _borders(starts: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.float64] | None:
    # Start, end, next start, …; None where they are not in order. Behind an odd number of them is inside.
    borders = np.empty(2 * len(starts))
    borders[::2] = starts
    borders[1::2] = ends
    numbers = borders.tolist()
    return borders if numbers == sorted(numbers) else None


@lru_cache
def _factors(number: int, weight: float) -> NDArray[np.float32]:
    # Weights outside, inside the first interval, behind it, inside the second, …
    return np.array([1.0, *(weight, 1.0) * number], dtype=np.float32)


def covered(
    times: NDArray[np.floating[Any]], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Say which times lie in any of the intervals; see :func:`isin_interval`."""
    return _inside(_at_borders(times), start, end)


def _at_borders(times: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    # Moved so that those just before a border come to lie on it or behind it.
    moved: NDArray[np.float64] = np.asarray(times, dtype=np.float64) + TIME_TOLERANCE
    return moved


def _inside(times: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.bool_]:
    if len(start) > FEW_INTERVALS:
        return covers((start, end), times)
    inside = np.zeros(times.shape, dtype=np.bool_)
    for first, last in zip(start.tolist(), end.tolist(), strict=True):
        inside |= (times >= first) & (times < last)
    return inside
