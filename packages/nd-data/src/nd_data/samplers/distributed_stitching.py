"""Overlapping windows over ranks, with all windows of one interval on one rank so that it can stitch them alone."""

import heapq
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DistributedSampler

from nd_data.dataset_index import DatasetIndex
from nd_data.samplers.distributed_evaluation import check_rank
from nd_data.samplers.interval_table import IntervalTable, SamplingIntervals, check_duration
from nd_data.samplers.regular_windows import regular_windows
from nd_data.samplers.window_plan import WindowPlan


class DistributedStitchingFixedWindowSampler(DistributedSampler[DatasetIndex]):
    """Slide a window over each interval and share out whole intervals among the ranks.

    Intervals go to the rank with the fewest windows so far, the longest intervals first. Every rank computes the same
    assignment by itself. A rank may end up with no windows. Intervals shorter than a window are left out.

    Args:
        sampling_intervals: Recording id to `Interval`, as `Dataset.get_sampling_intervals` returns them.
        window_length: Length of each window in seconds.
        step: Seconds between starts of windows, at most ``window_length``, which is the default.
        batch_size: Windows in a batch; kept for those who build the loader from the sampler.
        num_replicas: Number of ranks. If absent, torch.distributed's if it is initialised, else 1.
        rank: This rank. If absent, torch.distributed's if it is initialised, else 0.

    Attributes:
        sequence_index: For each window of this rank, which sequence it belongs to, counted from 0. Windows of one
            interval are one sequence. int64. Shape: (W,).

    Raises:
        ValueError: the step is longer than the window, the rank is not one of the replicas, or no interval on any
            rank holds a window.

    Example:
        >>> sampler = DistributedStitchingFixedWindowSampler(
        ...     {"a/1": [(0.0, 2.0), (5.0, 6.0)]}, 1.0, step=0.5, batch_size=8, num_replicas=2, rank=0
        ... )
        >>> [index.start for index in sampler], sampler.sequence_index.tolist()
        ([0.0, 0.5, 1.0], [0, 0, 0])
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
    ) -> None:
        self.sampling_intervals = sampling_intervals
        self.window_length = check_duration("window_length", window_length)
        self.step = self.window_length if step is None else check_duration("step", step)
        if self.step > self.window_length:
            raise ValueError(
                f"step must be at most window_length, or some times would never be predicted; got step {self.step:g} s "
                f"and window_length {self.window_length:g} s"
            )
        self.batch_size = batch_size
        self.num_replicas = _world_size() if num_replicas is None else num_replicas
        self.rank = _rank() if rank is None else rank
        check_rank(self.num_replicas, self.rank)
        self.shuffle = False
        self.drop_last = False
        self.epoch = 0

        table = IntervalTable.from_sampling_intervals(sampling_intervals)
        table = table.long_enough(self.window_length, drop_short=True)
        windows, interval_index, counts = regular_windows(table, self.window_length, self.step)
        mine = _share_out(counts, self.num_replicas) == self.rank
        is_mine = mine[interval_index]
        self._plan = windows.take(is_mine)
        sequence_of_interval = np.cumsum(mine) - 1
        self.sequence_index: Tensor = torch.from_numpy(sequence_of_interval[interval_index[is_mine]].astype(np.int64))
        self.num_samples = len(self._plan)

    @cached_property
    def indices(self) -> list[DatasetIndex]:
        """The windows of this rank."""
        return list(self._plan)

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[DatasetIndex]:
        return iter(self._plan)

    def plan(self, epoch: int = 0) -> WindowPlan:
        """The windows of this rank in an epoch: the same in each."""
        del epoch
        return self._plan

    def set_epoch(self, epoch: int) -> None:
        """Accepted for symmetry with the random samplers; every epoch is the same."""
        self.epoch = epoch


def _share_out(counts: NDArray[np.int64], num_replicas: int) -> NDArray[np.int64]:
    """The rank of each interval: longest first, each to the rank with the fewest windows so far (ties: lower rank)."""
    rank_of_interval = np.zeros(len(counts), dtype=np.int64)
    if num_replicas == 1:
        return rank_of_interval
    loads = [(0, rank) for rank in range(num_replicas)]
    longest_first = np.argsort(-counts, kind="stable")
    ranks = []
    for count in counts[longest_first].tolist():
        load, rank = loads[0]
        heapq.heapreplace(loads, (load + count, rank))
        ranks.append(rank)
    rank_of_interval[longest_first] = ranks
    return rank_of_interval


def _is_initialised() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _world_size() -> int:
    return torch.distributed.get_world_size() if _is_initialised() else 1


def _rank() -> int:
    return torch.distributed.get_rank() if _is_initialised() else 0
