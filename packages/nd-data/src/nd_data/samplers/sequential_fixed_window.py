"""Windows one after another, always the same: for validation and test."""

from typing import Any

from nd_data.samplers.interval_table import IntervalTable, SamplingIntervals, check_duration
from nd_data.samplers.placed_windows import PlacedWindows
from nd_data.samplers.regular_windows import regular_placement
from nd_data.samplers.resumable import ResumableWindowSampler
from nd_data.samplers.window_plan import WindowPlan


class SequentialFixedWindowSampler(ResumableWindowSampler):
    """Cut each interval into windows a fixed step apart, in order of recording and time.

    Where the last step leaves a rest uncovered, one more window ends flush with the interval. Every epoch is the same.

    Args:
        sampling_intervals: Recording id to `Interval`, as `Dataset.get_sampling_intervals` returns them.
        window_length: Length of each window in seconds.
        step: Seconds between starts of windows; by default the window's length.
        drop_short: Leave out intervals shorter than a window instead of refusing them.

    Raises:
        ValueError: no interval holds a window, or one does not and ``drop_short`` is off.

    Example:
        >>> sampler = SequentialFixedWindowSampler({"a/1": [(0.0, 2.5)]}, 1.0)
        >>> [(index.start, index.end) for index in sampler]
        [(0.0, 1.0), (1.0, 2.0), (1.5, 2.5)]
    """

    def __init__(
        self,
        sampling_intervals: SamplingIntervals,
        window_length: float,
        *,
        step: float | None = None,
        drop_short: bool = False,
    ) -> None:
        self.sampling_intervals = sampling_intervals
        self.window_length = check_duration("window_length", window_length)
        self.step = self.window_length if step is None else check_duration("step", step)
        self.drop_short = drop_short
        table = IntervalTable.from_sampling_intervals(sampling_intervals)
        self._table = table.long_enough(self.window_length, drop_short=drop_short)
        placement = regular_placement(self._table, self.window_length, self.step)
        self._plan = WindowPlan(PlacedWindows(self._table, placement, self.window_length))

    def plan(self, epoch: int | None = None) -> WindowPlan:
        """The windows of an epoch: the same in each."""
        del epoch
        return self._plan

    def identity(self) -> list[Any]:
        """What two of these must have in common, besides the seed, to draw the same."""
        return [self.window_length, self.step, *self._table.identity()]
