"""How many windows of each recording an epoch draws, where some recordings or brainsets count more than others.

Shape legend: R recordings, I intervals, W windows.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nd_data.nearest_names import name_hint


def weights_of_recordings(recording_ids: tuple[str, ...], weights: Mapping[str, float]) -> NDArray[np.float64]:
    """The weight of each recording: its own, else its brainset's, else 1.

    Args:
        recording_ids: ``<brainset>/<session>``.
        weights: Recording ids and brainset ids to weights.

    Returns:
        float64. Shape: (R,).

    Raises:
        KeyError: a name is neither a recording nor a brainset.
        ValueError: a weight is negative or not finite.
    """
    brainset_of = [recording_id.partition("/")[0] for recording_id in recording_ids]
    known = {*recording_ids, *brainset_of}
    for name, weight in weights.items():
        if name not in known:
            hint = name_hint(name, known, noun="recordings and brainsets to sample from")
            raise KeyError(f"weights name {name!r}, which is neither a recording nor a brainset here; {hint}")
        if not (np.isfinite(weight) and weight >= 0):
            raise ValueError(f"the weight of {name!r} must be a finite number, 0 or more, got {weight!r}")
    pairs = zip(recording_ids, brainset_of, strict=True)
    return np.array([weights.get(recording, weights.get(brainset, 1.0)) for recording, brainset in pairs], np.float64)


def expected_windows(
    available: NDArray[np.int64], weights: NDArray[np.float64], total: int, recording_ids: tuple[str, ...]
) -> NDArray[np.float64]:
    """How many windows of each recording an epoch draws on average: ``total · w N / Σ w N``.

    Args:
        available: Windows that each recording holds, N. Shape: (R,).
        weights: Weight of a window of each recording, w. Shape: (R,).
        total: Windows in an epoch.
        recording_ids: Names for the error.

    Raises:
        ValueError: nothing is left to draw from.
    """
    rates = available * weights
    if not rates.sum() > 0:
        named = ", ".join(map(repr, recording_ids[:5])) + (", …" if len(recording_ids) > 5 else "")
        raise ValueError(f"every recording that holds a window has weight 0 ({named}): there is nothing to draw")
    # Divided before it is multiplied, so that a recording of weight 0 at the end adds exactly nothing.
    edges = np.concatenate([[0.0], np.cumsum(rates)])
    expected: NDArray[np.float64] = np.diff(edges / edges[-1] * total)
    return expected


def drawn_windows(expected: NDArray[np.float64], total: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Round expected numbers to whole ones by chance: each within one of what is expected, and right on average.

    One uniform number u rounds all of them: recording r draws the whole numbers between the sums of the expected
    numbers before and after it, both moved by u (systematic sampling).

    Args:
        expected: Not negative, with a whole sum. Shape: (R,).
        total: That sum.
        rng: Where u comes from.

    Returns:
        int64, with the same sum. Shape: (R,).
    """
    edges = np.concatenate([[0.0], np.cumsum(expected)])
    edges = np.minimum(edges / edges[-1], 1.0) * total
    drawn: NDArray[np.int64] = np.diff(np.floor(edges + rng.random()).astype(np.int64))
    return drawn


class Repetitions(NamedTuple):
    """Intervals as often as they are needed to draw from, and what is drawn from each of them.

    Attributes:
        interval: Which interval, int64. Shape: (I',).
        repetition: How often it comes before, int64. Shape: (I',).
        wanted: For each recording, how many windows are drawn from its last repetition. Shape: (R,).
        last: For each recording, its last repetition; -1 where nothing is drawn. Shape: (R,).
    """

    interval: NDArray[np.int64]
    repetition: NDArray[np.int64]
    wanted: NDArray[np.int64]
    last: NDArray[np.int64]

    @classmethod
    def needed(
        cls, recording_index: NDArray[np.int32], available: NDArray[np.int64], drawn: NDArray[np.int64]
    ) -> "Repetitions":
        """So that no window comes twice before all of its recording came once.

        Args:
            recording_index: The recording of each interval. Shape: (I,).
            available: Windows that each recording holds. Shape: (R,).
            drawn: Windows that are drawn from each recording. Shape: (R,).
        """
        times = -(-drawn // np.maximum(available, 1))
        times_of_interval = times[recording_index]
        interval = np.repeat(np.arange(len(recording_index), dtype=np.int64), times_of_interval)
        begin = np.cumsum(times_of_interval) - times_of_interval
        repetition = np.arange(len(interval), dtype=np.int64) - np.repeat(begin, times_of_interval)
        wanted = drawn - np.maximum(times - 1, 0) * available
        return cls(interval, repetition, wanted.astype(np.int64, copy=False), times - 1)

    def choose(
        self, recording: NDArray[np.int32], repetition: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """The numbers of the windows that are drawn: all of the earlier repetitions, a random few of the last one.

        Args:
            recording: The recording of each window. Shape: (W,).
            repetition: The repetition of each window. Shape: (W,).
            rng: Where chance comes from.
        """
        is_last = repetition == self.last[recording]
        candidates = np.flatnonzero(is_last)
        candidates = candidates[np.lexsort((rng.random(len(candidates)), recording[candidates]))]
        of = recording[candidates]
        place = np.arange(len(of)) - np.searchsorted(of, of, side="left")
        return np.concatenate([np.flatnonzero(~is_last), candidates[place < self.wanted[of]]])
