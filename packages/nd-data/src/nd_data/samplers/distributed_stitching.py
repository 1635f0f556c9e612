"""Overlapping windows over ranks, each with an unbroken run of them, for predictions that are stitched together."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from nd_data.dataset_index import DatasetIndex
from nd_data.samplers.interval_table import IntervalTable, SamplingIntervals, check_duration
from nd_data.samplers.placed_windows import PlacedWindows
from nd_data.samplers.ranks import contiguous_share, known_rank, share_of_whole_batches
from nd_data.samplers.regular_windows import regular_placement
from nd_data.samplers.resumable import ResumableWindowSampler
from nd_data.samplers.window_plan import WindowPlan


class DistributedStitchingFixedWindowSampler(ResumableWindowSampler, DistributedSampler[DatasetIndex]):
    """Slide a window over each interval, and give each rank an unbroken run of the windows.

    The windows of all intervals form one row, in the order of recordings and time. It is cut into as many runs as there
    are ranks, alike within one window. So no rank waits for another, windows of one interval stay together and in order
    (each rank sees whole intervals but for the one at each end of its run), and every rank works its share out alone.

    The interval that a cut goes through is stitched from the windows of two ranks. `nd_eval.StitchingAccumulator` pools
    the windows of all ranks, whatever rank they come from. A stitcher that never looks beyond its own rank has to be
    run with ``num_replicas=1``.

    With ``whole_batches`` the row is cut between batches, never within one: each batch of a rank is one that a single
    process would have had, so a model predicts the same to the last bit on any number of ranks. Every rank then has as
    many batches, at least one, as ranks that gather their weights for each batch need; where the batches do not share
    out evenly, a rank begins with the last batch of the rank before it. The accumulator counts such a repeat once.

    Otherwise a rank has no windows where there are fewer of them than ranks. Intervals shorter than a window are left
    out. Every epoch is the same.

    Args:
        sampling_intervals: Recording id to `Interval`, as `Dataset.get_sampling_intervals` returns them.
        window_length: Length of each window in seconds.
        step: Seconds between starts of windows, at most ``window_length``, which is the default.
        batch_size: Windows in a batch of the loader.
        num_replicas: Number of ranks. If absent, torch.distributed's if it is initialised, else 1.
        rank: This rank. If absent, torch.distributed's if it is initialised, else 0.
        whole_batches: Share out whole batches, as many to every rank.

    Raises:
        ValueError: the step is longer than the window, the rank is not one of the replicas, no interval on any rank
            holds a window, or the batch size is below 1.

    Example:
        >>> sampler = DistributedStitchingFixedWindowSampler(
        ...     {"a/1": [(0.0, 2.0), (5.0, 6.0)]}, 1.0, step=0.5, batch_size=8, num_replicas=2, rank=1
        ... )
        >>> [index.start for index in sampler], sampler.sequence_index.tolist()
        ([1.0, 5.0], [0, 1])
    """

    def __init__(
        self,
        sampling_intervals: SamplingIntervals,
        window_length: float,
        *,
        step: float | None = None,
        batch_size: int,
        num_replicas: int | None = None,
        rank: int | None = None,
        whole_batches: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        self.sampling_intervals = sampling_intervals
        self.window_length = check_duration("window_length", window_length)
        self.step = self.window_length if step is None else check_duration("step", step)
        if self.step > self.window_length:
            raise ValueError(
                f"step must be at most window_length, or some times would never be predicted; got step {self.step:g} s "
                f"and window_length {self.window_length:g} s"
            )
        self.batch_size = batch_size
        self.whole_batches = whole_batches
        self.num_replicas, self.rank = known_rank(num_replicas, rank)
        self.shuffle = False
        self.drop_last = False

        table = IntervalTable.from_sampling_intervals(sampling_intervals)
        self._table = table.long_enough(self.window_length, drop_short=True)
        placement = regular_placement(self._table, self.window_length, self.step)
        total = int(placement.counts.sum())
        if whole_batches:
            begin, end = share_of_whole_batches(total, batch_size, self.num_replicas, self.rank)
        else:
            begin, end = contiguous_share(total, self.num_replicas, self.rank)
        self._windows = PlacedWindows(self._table, placement, self.window_length, begin=begin, end=end)
        self.num_samples = len(self._windows)

    @cached_property
    def indices(self) -> list[DatasetIndex]:
        """The windows of this rank."""
        return list(self.plan())

    @cached_property
    def sequence_index(self) -> Tensor:
        """For each window of this rank, which sequence it belongs to, counted from 0: those of one interval are one.

        int64. Shape: (W,).
        """
        return torch.from_numpy(self._windows.interval_index).long()

    def plan(self, epoch: int | None = None) -> WindowPlan:
        """The windows of this rank in an epoch: the same in each."""
        del epoch
        return WindowPlan(self._windows)

    def identity(self) -> list[Any]:
        """What two of these must have in common, besides the seed, to draw the same."""
        cut = [self.batch_size] if self.whole_batches else []
        return [self.window_length, self.step, self.num_replicas, *cut, *self._table.identity()]
