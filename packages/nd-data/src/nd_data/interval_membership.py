"""Which times lie in which intervals, and the weights that follow from it.

Shape legend: N times.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nd_data.data import Data
from nd_data.interval_algebra import covers
from nd_data.interval_paths import interval_at
from nd_data.samplers.interval_table import HasStartAndEnd


def isin_interval(timestamps: ArrayLike, interval: HasStartAndEnd) -> NDArray[np.bool_]:
    """Say which times lie in any of the intervals, ``start <= t < end``.

    Intervals may overlap and come in any order.

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
    if len(start) == 1:
        return np.asarray((times >= start[0]) & (times < end[0]))
    return covers((start, end), times)


def resolve_weights_based_on_interval_membership(
    timestamps: NDArray[np.floating[Any]], data: Data, config: Mapping[str, float] | None = None
) -> NDArray[np.float32]:
    """Weigh times by the intervals they lie in.

    A time in several of the intervals gets the product of their weights, a time in none of them gets 1. Times and
    intervals are both those of ``data``: for a window, relative to its start.

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
    weights = np.ones(len(timestamps), dtype=np.float32)
    for path, weight in (config or {}).items():
        weights[isin_interval(timestamps, interval_at(data, path))] *= weight
    return weights
