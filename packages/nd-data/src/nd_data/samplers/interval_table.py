"""The intervals of all recordings flattened into columns, so that a sampler can work on all of them at once.

Shape legend: I intervals over all recordings.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

TIME_TOLERANCE = 1e-6
"""Two times closer than this many seconds are the same time."""

logger = logging.getLogger(__name__)


class HasStartAndEnd(Protocol):
    """Anything with an array of starts and an array of ends in seconds; `nd_data.Interval` is one."""

    @property
    def start(self) -> Any:
        """Starts, shape (I,)."""

    @property
    def end(self) -> Any:
        """Ends, shape (I,)."""


SamplingIntervals = Mapping[str, HasStartAndEnd | Sequence[tuple[float, float]]]
"""Recording id to the intervals windows may be drawn from, as `Dataset.get_sampling_intervals` returns them."""


@dataclass(frozen=True, slots=True)
class IntervalTable:
    """Intervals in columns, in the order of the recordings and then of their intervals.

    Attributes:
        recording_ids: The recordings' names.
        recording_index: Which recording each interval belongs to, int32. Shape: (I,).
        start: Seconds, float64. Shape: (I,).
        end: Seconds, float64. Shape: (I,).
    """

    recording_ids: tuple[str, ...]
    recording_index: NDArray[np.int32]
    start: NDArray[np.float64]
    end: NDArray[np.float64]

    @classmethod
    def from_sampling_intervals(cls, sampling_intervals: SamplingIntervals) -> "IntervalTable":
        """Flatten and check.

        Args:
            sampling_intervals: Recording id to an `Interval` or to a list of ``(start, end)``.

        Raises:
            TypeError: not a mapping.
            ValueError: starts and ends differ in length, are not finite, or an interval ends before it starts.
        """
        if not isinstance(sampling_intervals, Mapping):
            raise TypeError(
                "sampling_intervals must map recording ids to intervals, as dataset.get_sampling_intervals() returns "
                f"them; got {type(sampling_intervals).__name__}"
            )
        pairs = [_columns(recording_id, intervals) for recording_id, intervals in sampling_intervals.items()]
        counts = np.array([len(start) for start, _ in pairs], dtype=np.int64)
        return cls(
            recording_ids=tuple(sampling_intervals),
            recording_index=np.repeat(np.arange(len(pairs), dtype=np.int32), counts),
            start=np.concatenate([start for start, _ in pairs]) if pairs else np.empty(0),
            end=np.concatenate([end for _, end in pairs]) if pairs else np.empty(0),
        )

    def __len__(self) -> int:
        return len(self.start)

    @property
    def length(self) -> NDArray[np.float64]:
        """Length of each interval in seconds. Shape: (I,)."""
        return self.end - self.start

    def long_enough(self, window_length: float, *, drop_short: bool) -> "IntervalTable":
        """Keep the intervals that hold at least one window.

        Args:
            window_length: Seconds.
            drop_short: Leave shorter intervals out (their total is logged) instead of refusing them.

        Raises:
            ValueError: there are no intervals, all of them are too short, or one is and ``drop_short`` is off.
        """
        if len(self) == 0:
            raise ValueError(
                "There are no sampling intervals to draw windows from"
                + (f": all {len(self.recording_ids)} recordings have none." if self.recording_ids else ".")
            )
        length = self.length
        fits = length >= window_length - TIME_TOLERANCE
        if fits.all():
            return self
        if not fits.any():
            longest = int(np.argmax(length))
            raise ValueError(
                f"window_length is {window_length:g} s, longer than every sampling interval: the longest is "
                f"{length[longest]:g} s ({self._describe(longest)}). Use a shorter window or longer intervals."
            )
        dropped = int((~fits).sum())
        if not drop_short:
            first = int(np.flatnonzero(~fits)[0])
            raise ValueError(
                f"{dropped} of {len(self)} sampling intervals are shorter than window_length {window_length:g} s, "
                f"first {self._describe(first)} with {length[first]:g} s. Pass drop_short=True to leave them out."
            )
        logger.warning(
            "Leaving out %d of %d sampling intervals (%.6g of %.6g s): they are shorter than the window of %g s.",
            dropped,
            len(self),
            length[~fits].sum(),
            length.sum(),
            window_length,
        )
        return self.share(fits)

    def share(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> "IntervalTable":
        """Some of the intervals, in this order, of the same recordings."""
        return IntervalTable(self.recording_ids, self.recording_index[rows], self.start[rows], self.end[rows])

    def identity(self) -> list[Any]:
        """What two tables must have in common to be the same."""
        return [*self.recording_ids, self.recording_index, self.start, self.end]

    def _describe(self, interval: int) -> str:
        recording_id = self.recording_ids[self.recording_index[interval]]
        return f"recording {recording_id!r}, [{self.start[interval]:g}, {self.end[interval]:g})"


def check_duration(name: str, seconds: float) -> float:
    """Return a duration as a float.

    Raises:
        ValueError: it is not a finite number above zero.
    """
    value = float(seconds)
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number of seconds above 0, got {seconds!r}")
    return value


def _columns(
    recording_id: str, intervals: HasStartAndEnd | Sequence[tuple[float, float]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if hasattr(intervals, "start") and hasattr(intervals, "end"):
        start = np.atleast_1d(np.asarray(intervals.start, dtype=np.float64))
        end = np.atleast_1d(np.asarray(intervals.end, dtype=np.float64))
    else:
        pairs = np.asarray(intervals, dtype=np.float64).reshape(-1, 2)
        start, end = pairs[:, 0], pairs[:, 1]
    if start.shape != end.shape or start.ndim != 1:
        raise ValueError(
            f"recording {recording_id!r}: sampling intervals need as many starts as ends, got shapes {start.shape} "
            f"and {end.shape}"
        )
    bad = ~(np.isfinite(start) & np.isfinite(end) & (end >= start))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"recording {recording_id!r}: sampling interval {first} is [{start[first]}, {end[first]}); expected finite "
            "times and an end that is not before the start"
        )
    return start, end
