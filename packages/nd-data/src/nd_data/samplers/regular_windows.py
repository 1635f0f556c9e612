"""Windows a fixed step apart that cover each interval to its end."""

import numpy as np

from nd_data.samplers.interval_table import TIME_TOLERANCE, IntervalTable
from nd_data.samplers.placed_windows import Placement


def regular_placement(table: IntervalTable, window_length: float, step: float) -> Placement:
    """Place windows at ``start, start + step, …`` in each interval, and a last one flush with its end if need be.

    The last one is added only where more than the time tolerance is left uncovered, so that rounding never makes a
    second copy of a window.

    Args:
        table: Intervals, each at least ``window_length`` long.
        window_length: Seconds.
        step: Seconds between starts.
    """
    slack = table.length - window_length
    regular = np.floor((slack + TIME_TOLERANCE) / step).clip(min=0).astype(np.int64) + 1
    needs_last = slack - (regular - 1) * step > TIME_TOLERANCE
    return Placement(
        counts=regular + needs_last,
        first_start=table.start,
        step=step,
        odd=regular,
        odd_start=table.end - window_length,
    )
