"""Windows one after another, always the same: for validation and test."""

from collections.abc import Iterator

from torch.utils.data import Sampler

from nd_data.dataset_index import DatasetIndex
from nd_data.samplers.interval_table import IntervalTable, SamplingIntervals, check_duration
from nd_data.samplers.regular_windows import regular_windows
from nd_data.samplers.window_plan import WindowPlan


class SequentialFixedWindowSampler(Sampler[DatasetIndex]):
    """Cut each interval into windows a fixed step apart, in order of recording and time.

    Where the last step leaves a rest uncovered, one more window ends flush with the interval.

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
        table = table.long_enough(self.window_length, drop_short=drop_short)
        self._plan, _, _ = regular_windows(table, self.window_length, self.step)

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[DatasetIndex]:
        return iter(self._plan)

    def plan(self, epoch: int = 0) -> WindowPlan:
        """The windows of an epoch: the same in each."""
        del epoch
        return self._plan

    def set_epoch(self, epoch: int) -> None:
        """Accepted for symmetry with the random samplers; every epoch is the same."""
