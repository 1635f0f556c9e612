"""Windows a fixed step apart that cover each interval to its end."""

import numpy as np
from numpy.typing import NDArray

from nd_data.samplers.interval_table import TIME_TOLERANCE, IntervalTable
from nd_data.samplers.window_plan import WindowPlan, windows_at


def regular_windows(
    table: IntervalTable, window_length: float, step: float
) -> tuple[WindowPlan, NDArray[np.int64], NDArray[np.int64]]:
    """Place windows at ``start, start + step, …`` in each interval, and a last one flush with its end if need be.

    The last one is added only where more than the time tolerance is left uncovered, so that rounding never makes a
    second copy of a window.

    Args:
        table: Intervals, each at least ``window_length`` long. I intervals.
        window_length: Seconds.
        step: Seconds between starts.

    Returns:
        The W windows in order, the interval of each, shape (W,), and the number in each interval, shape (I,).
    """
    slack = table.length - window_length
    regular = np.floor((slack + TIME_TOLERANCE) / step).clip(min=0).astype(np.int64) + 1
    needs_last = slack - (regular - 1) * step > TIME_TOLERANCE
    counts = regular + needs_last

    interval_index = np.repeat(np.arange(len(table), dtype=np.int64), counts)
    within = np.arange(len(interval_index), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    start = table.start[interval_index] + within * step
    is_last = within == regular[interval_index]
    start[is_last] = (table.end - window_length)[needs_last]
    return windows_at(table, interval_index, start, window_length), interval_index, counts
