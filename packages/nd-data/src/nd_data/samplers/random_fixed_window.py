"""Windows at random places, in random order: for training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nd_data.random_seed import SEED_LIMIT, RandomGenerator, draw_seed
from nd_data.samplers.interval_table import TIME_TOLERANCE, IntervalTable, SamplingIntervals, check_duration
from nd_data.samplers.placed_windows import PlacedWindows
from nd_data.samplers.random_placement import random_order, random_placement
from nd_data.samplers.resumable import ResumableWindowSampler, epoch_generator
from nd_data.samplers.weighted_epoch import WeightedEpoch
from nd_data.samplers.window_plan import WindowPlan


class RandomFixedWindowSampler(ResumableWindowSampler):
    """Cut each interval into windows behind a random offset, and shuffle all of them.

    An interval of length L gives floor(L / window_length) windows in every epoch. They lie end to end behind an offset
    drawn uniformly from one window's length; where that offset costs a window, one more is placed at the interval's
    start or end, on the side with more room. Windows never leave their interval.

    An epoch's windows are a pure function of the seed and the epoch. The seed is drawn once, when the sampler is made.
    Each pass over the sampler moves on to the next epoch; `set_epoch` goes to any of them; `state_dict` and
    `load_state_dict` save and take up a position within one (see `nd_data.samplers.resumable`).

    With weights, an epoch holds ``windows_per_epoch`` windows, and a window of a recording of weight 2 comes twice as
    often as one of weight 1: a recording of weight w that holds N windows gives ``windows_per_epoch · w N / Σ w N`` of
    them on average, and in no epoch one more or less than that. A recording that gives fewer windows than it holds
    gives a random choice of them; one that gives more is cut again behind another offset.

    Args:
        sampling_intervals: Recording id to `Interval`, as `Dataset.get_sampling_intervals` returns them.
        window_length: Length of each window in seconds.
        generator: Where the seed is drawn from, once; torch's default generator if absent.
        drop_short: Leave out intervals shorter than a window instead of refusing them.
        weights: Weights of recordings (``"perich/c_20131003"``) or of all recordings of a brainset (``"perich"``),
            where a recording's own goes first. Only ratios count; what is not named has weight 1; weight 0 is left out.
            To draw equally often from every recording, give each the inverse of its length.
        windows_per_epoch: Length of an epoch; by default the number of windows that all recordings hold.

    Raises:
        KeyError: a weight names neither a recording nor a brainset.
        ValueError: no interval holds a window, or one does not and ``drop_short`` is off; or a weight is negative.

    Example:
        >>> sampler = RandomFixedWindowSampler({"a/1": [(0.0, 10.0)]}, 2.0, generator=np.random.default_rng(0))
        >>> len(sampler), all(0.0 <= index.start and index.end <= 10.0 for index in sampler)
        (5, True)
        >>> two = {"a/1": [(0.0, 10.0)], "b/1": [(0.0, 10.0)]}
        >>> sampler = RandomFixedWindowSampler(two, 1.0, weights={"a": 3.0})
        >>> sum(index.recording_id == "a/1" for index in sampler)
        15
    """

    def __init__(
        self,
        sampling_intervals: SamplingIntervals,
        window_length: float,
        *,
        generator: RandomGenerator | None = None,
        drop_short: bool = True,
        weights: Mapping[str, float] | None = None,
        windows_per_epoch: int | None = None,
    ) -> None:
        self.sampling_intervals = sampling_intervals
        self.window_length = check_duration("window_length", window_length)
        self.drop_short = drop_short
        self.weights = weights
        table = IntervalTable.from_sampling_intervals(sampling_intervals)
        self._table = table.long_enough(self.window_length, drop_short=drop_short)
        whole_windows = np.floor((self._table.length + TIME_TOLERANCE) / self.window_length)
        self._counts = whole_windows.astype(np.int64)
        self._weighted = WeightedEpoch.of(self._table, self._counts, weights, windows_per_epoch)
        self._length = int(self._counts.sum()) if self._weighted is None else self._weighted.length
        self.seed = draw_seed(generator)

    def epoch_length(self, epoch: int) -> int:
        """The number of windows in an epoch: the same in each."""
        del epoch
        return self._length

    def plan(self, epoch: int | None = None) -> WindowPlan:
        """The windows of an epoch in the order they are drawn; by default those of the next pass."""
        rng = epoch_generator(self.seed, self.epoch if epoch is None else epoch)
        if self._weighted is None:
            windows = self._place(self._table, self._counts, rng)
            order = random_order(len(windows), windows.codes, windows.code_bits, rng)
        else:
            repetitions = self._weighted.draw(rng)
            table = self._table.share(repetitions.interval)
            windows = self._place(table, self._counts[repetitions.interval], rng, repetitions.repetition)
            row = windows.interval_index
            chosen = repetitions.choose(table.recording_index[row], repetitions.repetition[row], rng)
            codes = windows.codes(slice(0, len(windows)))[chosen]
            order = random_order(len(codes), codes.__getitem__, windows.code_bits, rng)
        return WindowPlan(windows, order, seed=int(rng.integers(SEED_LIMIT)))

    def _place(
        self,
        table: IntervalTable,
        counts: NDArray[np.int64],
        rng: np.random.Generator,
        repetition: NDArray[np.int64] | None = None,
    ) -> PlacedWindows:
        placement = random_placement(table, counts, self.window_length, rng)
        return PlacedWindows(table, placement, self.window_length, repetition=repetition)

    def identity(self) -> list[Any]:
        """What two of these must have in common, besides the seed, to draw the same."""
        weighted = [] if self._weighted is None else self._weighted.identity()
        return [self.window_length, *self._table.identity(), *weighted]
