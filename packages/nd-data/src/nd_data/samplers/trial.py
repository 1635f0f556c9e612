"""Each interval as one window: for trials of different lengths."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

from nd_data.dataset_index import DatasetIndex
from nd_data.random_seed import draw_seed
from nd_data.samplers.interval_table import IntervalTable, SamplingIntervals
from nd_data.samplers.window_plan import WindowPlan


class TrialSampler(Sampler[DatasetIndex]):
    """Yield every interval once, whole, in order or shuffled.

    An epoch's order is a pure function of the seed and the epoch, as in `RandomFixedWindowSampler`.

    Args:
        sampling_intervals: Recording id to `Interval`, as `Dataset.get_sampling_intervals` returns them.
        generator: Where the seed is drawn from, once; torch's default generator if absent.
        shuffle: Draw the trials in a random order.

    Raises:
        ValueError: there are no intervals.

    Example:
        >>> [index.end for index in TrialSampler({"a/1": [(0.0, 2.5), (3.0, 4.0)]})]
        [2.5, 4.0]
    """

    def __init__(
        self,
        sampling_intervals: SamplingIntervals,
        *,
        generator: torch.Generator | None = None,
        shuffle: bool = False,
    ) -> None:
        self.sampling_intervals = sampling_intervals
        self.shuffle = shuffle
        self.seed = draw_seed(generator) if shuffle else 0
        self.epoch = 0
        table = IntervalTable.from_sampling_intervals(sampling_intervals).long_enough(0.0, drop_short=False)
        self._plan = WindowPlan(table.recording_ids, table.recording_index, table.start, table.end)

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[DatasetIndex]:
        plan = self.plan(self.epoch)
        self.epoch += 1
        return iter(plan)

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass that of this epoch."""
        self.epoch = int(epoch)

    def plan(self, epoch: int | None = None) -> WindowPlan:
        """The trials of an epoch in the order they are drawn; by default those of the next pass."""
        if not self.shuffle:
            return self._plan
        rng = np.random.default_rng((self.seed, self.epoch if epoch is None else epoch))
        return self._plan.take(rng.permutation(len(self._plan)))
