"""Epochs of a fixed length in which recordings come as often as their weights say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nd_data.samplers.interval_table import IntervalTable
from nd_data.samplers.recording_weights import Repetitions, drawn_windows, expected_windows, weights_of_recordings


@dataclass(frozen=True, slots=True)
class WeightedEpoch:
    """What is drawn from which recording.

    Attributes:
        length: Windows in an epoch.
        expected: Windows of each recording in an epoch, on average. Shape: (R,).
        available: Windows that each recording holds. Shape: (R,).
        recording_index: The recording of each interval. Shape: (I,).
    """

    length: int
    expected: NDArray[np.float64]
    available: NDArray[np.int64]
    recording_index: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        table: IntervalTable,
        counts: NDArray[np.int64],
        weights: Mapping[str, float] | None,
        windows_per_epoch: int | None,
    ) -> Self | None:
        """Read the arguments of a sampler; None where they ask for nothing but every window once.

        Args:
            table: The intervals.
            counts: Windows that each interval holds. Shape: (I,).
            weights: Recording ids and brainset ids to weights.
            windows_per_epoch: Windows in an epoch; by default all that there are.

        Raises:
            KeyError: a weight names neither a recording nor a brainset.
            ValueError: a weight is negative, nothing has a weight above 0, or the epoch is empty.
        """
        if weights is None and windows_per_epoch is None:
            return None
        length = int(counts.sum()) if windows_per_epoch is None else int(windows_per_epoch)
        if length < 1:
            raise ValueError(f"windows_per_epoch must be at least 1, got {windows_per_epoch}")
        recording_ids = table.recording_ids
        available = np.zeros(len(recording_ids), dtype=np.int64)
        np.add.at(available, table.recording_index, counts)
        expected = expected_windows(
            available, weights_of_recordings(recording_ids, weights or {}), length, recording_ids
        )
        return cls(length, expected, available, table.recording_index)

    def draw(self, rng: np.random.Generator) -> Repetitions:
        """How often each recording is drawn in one epoch."""
        drawn = drawn_windows(self.expected, self.length, rng)
        return Repetitions.needed(self.recording_index, self.available, drawn)

    def identity(self) -> list[Any]:
        """What two of these must have in common to be the same."""
        return [self.length, self.expected]
