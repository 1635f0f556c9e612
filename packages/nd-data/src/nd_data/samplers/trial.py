"""Each interval as one window: for trials of different lengths."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nd_data.random_seed import SEED_LIMIT, RandomGenerator, draw_seed
from nd_data.samplers.interval_table import IntervalTable, SamplingIntervals
from nd_data.samplers.random_placement import random_order
from nd_data.samplers.resumable import ResumableWindowSampler, epoch_generator
from nd_data.samplers.weighted_epoch import WeightedEpoch
from nd_data.samplers.window_plan import StoredWindows, WindowColumns, WindowPlan


class TrialSampler(ResumableWindowSampler):
    """Yield every interval once, whole, in order or shuffled.

    An epoch's order is a pure function of the seed and the epoch, as in `RandomFixedWindowSampler`; weights mean what
    they mean there, with trials for windows.

    Args:
        sampling_intervals: Recording id to `Interval`, as `Dataset.get_sampling_intervals` returns them.
        generator: Where the seed is drawn from, once; torch's default generator if absent.
        shuffle: Draw the trials in a random order.
        weights: Weights of recordings or of all recordings of a brainset; only with ``shuffle``.
        windows_per_epoch: Trials in an epoch; by default as many as there are. Only with ``shuffle``.

    Raises:
        KeyError: a weight names neither a recording nor a brainset.
        ValueError: there are no intervals, a weight is negative, or weights without ``shuffle``.

    Example:
        >>> [index.end for index in TrialSampler({"a/1": [(0.0, 2.5), (3.0, 4.0)]})]
        [2.5, 4.0]
    """

    def __init__(
        self,
        sampling_intervals: SamplingIntervals,
        *,
        generator: RandomGenerator | None = None,
        shuffle: bool = False,
        weights: Mapping[str, float] | None = None,
        windows_per_epoch: int | None = None,
    ) -> None:
        self.sampling_intervals = sampling_intervals
        self.shuffle = shuffle
        self.weights = weights
        table = IntervalTable.from_sampling_intervals(sampling_intervals).long_enough(0.0, drop_short=False)
        self._table = table
        self._weighted = WeightedEpoch.of(table, np.ones(len(table), dtype=np.int64), weights, windows_per_epoch)
        if self._weighted is not None and not shuffle:
            raise ValueError("weights and windows_per_epoch draw trials by chance: pass shuffle=True with them")
        self._windows = StoredWindows(table.recording_ids, WindowColumns(table.recording_index, table.start, table.end))
        self.seed = draw_seed(generator) if shuffle else 0

    def epoch_length(self, epoch: int) -> int:
        """The number of trials in an epoch: the same in each."""
        del epoch
        return len(self._windows) if self._weighted is None else self._weighted.length

    def plan(self, epoch: int | None = None) -> WindowPlan:
        """The trials of an epoch in the order they are drawn; by default those of the next pass."""
        if not self.shuffle:
            return WindowPlan(self._windows)
        rng = epoch_generator(self.seed, self.epoch if epoch is None else epoch)
        if self._weighted is None:
            windows = self._windows
            order = random_order(len(windows), windows.codes, windows.code_bits, rng)
            return WindowPlan(windows, order, seed=int(rng.integers(SEED_LIMIT)))
        repetitions = self._weighted.draw(rng)
        table = self._table.share(repetitions.interval)
        columns = WindowColumns(table.recording_index, table.start, table.end, repetitions.repetition)
        chosen = repetitions.choose(table.recording_index, repetitions.repetition, rng)
        windows = StoredWindows(table.recording_ids, columns)
        order = random_order(len(chosen), chosen.__getitem__, windows.code_bits, rng)
        return WindowPlan(windows, order, seed=int(rng.integers(SEED_LIMIT)))

    def identity(self) -> list[Any]:
        """What two of these must have in common, besides the seed, to draw the same."""
        weighted = [] if self._weighted is None else self._weighted.identity()
        return [self.shuffle, *self._table.identity(), *weighted]
