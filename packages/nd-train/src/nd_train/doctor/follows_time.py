"""Does a series follow from time alone? A clock, a counter or a trial's progress leaks time and decodes nothing.

T times.
"""

import numpy as np
from numpy.typing import NDArray

from nd_data import Interval

EXPLAINED = 0.98
"""Share of the variance that a straight line in time may explain."""
FEWEST = 20


def follows_time(times: NDArray[np.float64], values: NDArray[np.float64], intervals: Interval) -> str | None:
    """Say how a series follows from time, or None where it does not.

    Looked for are a series that only ever rises or falls, a straight line over all, and the same straight line (a ramp)
    in every interval.

    Args:
        times: Ascending seconds. Shape: (T,).
        values: Finite. Shape: (T,).
        intervals: The stretches of time that they come from, such as trials.

    Returns:
        What to call it, to go after the name of the series.

    Example:
        >>> times = np.arange(100) * 0.1
        >>> follows_time(times, 2 * times + 1, Interval(0.0, 10.0))
        'only ever rises'
        >>> follows_time(times, np.sin(times), Interval(0.0, 10.0)) is None
        True
    """
    if len(times) < FEWEST or np.ptp(values) == 0:
        return None
    steps = np.diff(values)
    # A step function such as a trial's number rises seldom; a behaviour that was seen once rising is no clock.
    if np.count_nonzero(steps) >= FEWEST // 2:
        if (steps >= 0).all():
            return "only ever rises"
        if (steps <= 0).all():
            return "only ever falls"
    if _explained(times, values) > EXPLAINED:
        return "is a straight line in time"
    start = np.sort(np.asarray(intervals.start, dtype=np.float64))
    if len(start) > 1:
        since = times - start[np.maximum(np.searchsorted(start, times + 1e-9, side="right") - 1, 0)]
        if _explained(since, values) > EXPLAINED:
            return "is the same ramp in every interval of the split"
    return None


def _explained(times: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    if np.ptp(times) == 0:
        return 0.0
    return float(np.corrcoef(times, values)[0, 1] ** 2)
