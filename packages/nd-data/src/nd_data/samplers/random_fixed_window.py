"""Windows at random places, in random order: for training."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

from nd_data.dataset_index import DatasetIndex
from nd_data.random_seed import draw_seed
from nd_data.samplers.interval_table import TIME_TOLERANCE, IntervalTable, SamplingIntervals, check_duration
from nd_data.samplers.window_plan import WindowPlan, windows_at


class RandomFixedWindowSampler(Sampler[DatasetIndex]):
    """Cut each interval into windows behind a random offset, and shuffle all of them.

    An interval of length L gives floor(L / window_length) windows in every epoch. They lie end to end behind an offset
    drawn uniformly from one window's length; where that offset costs a window, one more is placed at the interval's
    start or end, on the side with more room. Windows never leave their interval.

    An epoch's windows are a pure function of the seed and the epoch. The seed is drawn once, when the sampler is made.
    Each pass over the sampler moves on to the next epoch; `set_epoch` goes to any of them.

    Args:
        sampling_intervals: Recording id to `Interval`, as `Dataset.get_sampling_intervals` returns them.
        window_length: Length of each window in seconds.
        generator: Where the seed is drawn from, once; torch's default generator if absent.
        drop_short: Leave out intervals shorter than a window instead of refusing them.

    Raises:
        ValueError: no interval holds a window, or one does not and ``drop_short`` is off.

    Example:
        >>> sampler = RandomFixedWindowSampler({"a/1": [(0.0, 10.0)]}, 2.0, generator=torch.Generator())
        >>> len(sampler), all(0.0 <= index.start and index.end <= 10.0 for index in sampler)
        (5, True)
    """

    def __init__(
        self,
        sampling_intervals: SamplingIntervals,
        window_length: float,
        *,
        generator: torch.Generator | None = None,
        drop_short: bool = True,
    ) -> None:
        self.sampling_intervals = sampling_intervals
        self.window_length = check_duration("window_length", window_length)
        self.drop_short = drop_short
        self.seed = draw_seed(generator)
        self.epoch = 0
        table = IntervalTable.from_sampling_intervals(sampling_intervals)
        self._table = table.long_enough(self.window_length, drop_short=drop_short)
        whole_windows = np.floor((self._table.length + TIME_TOLERANCE) / self.window_length)
        self._counts = whole_windows.astype(np.int64)

    def __len__(self) -> int:
        return int(self._counts.sum())

    def __iter__(self) -> Iterator[DatasetIndex]:
        plan = self.plan(self.epoch)
        self.epoch += 1
        return iter(plan)

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass that of this epoch."""
        self.epoch = int(epoch)

    def plan(self, epoch: int | None = None) -> WindowPlan:
        """The windows of an epoch in the order they are drawn; by default those of the next pass."""
        rng = np.random.default_rng((self.seed, self.epoch if epoch is None else epoch))
        table, counts, window_length = self._table, self._counts, self.window_length
        length = table.length
        offset = rng.random(len(table)) * window_length
        fitting = np.floor((length - offset) / window_length).astype(np.int64).clip(counts - 1, counts)
        room_behind = length - offset - fitting * window_length

        interval_index = np.repeat(np.arange(len(table), dtype=np.int64), counts)
        within = np.arange(len(interval_index), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
        start = (table.start + offset)[interval_index] + within * window_length
        is_extra = within == fitting[interval_index]
        extra_start = np.where(room_behind > offset, table.end - window_length, table.start)
        start[is_extra] = extra_start[interval_index[is_extra]]
        windows = windows_at(table, interval_index, start, window_length)
        return windows.take(rng.permutation(len(windows)))
