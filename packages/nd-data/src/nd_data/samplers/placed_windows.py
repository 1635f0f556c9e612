"""Windows of one length laid into intervals at a fixed distance, worked out when they are asked for.

Shape legend: I intervals, W windows.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nd_data.samplers.interval_table import TIME_TOLERANCE, IntervalTable
from nd_data.samplers.window_plan import WindowColumns


@dataclass(frozen=True, slots=True)
class Placement:
    """How windows lie in each interval: a row of them at a fixed distance, of which one may lie elsewhere.

    Attributes:
        counts: Number of windows, at least 1, int64. Shape: (I,).
        first_start: Where the first of the row begins, absolute seconds. Shape: (I,).
        step: Seconds from one of the row to the next.
        odd: Which window of the interval lies elsewhere; none where it is no window of the interval. Shape: (I,).
        odd_start: Where that one begins, absolute seconds. Shape: (I,).
    """

    counts: NDArray[np.int64]
    first_start: NDArray[np.float64]
    step: float
    odd: NDArray[np.int64]
    odd_start: NDArray[np.float64]


class PlacedWindows:
    """Windows laid into intervals, in the order of the intervals; a `WindowSource`.

    They are kept inside their intervals to the last bit. A window whose end comes within the time tolerance of its
    interval's end, on either side, ends exactly there. So rounding neither lets a window out of its interval nor leaves
    a sliver of it uncovered.

    Args:
        table: The intervals.
        placement: How windows lie in each of them.
        window_length: Seconds.
        begin: Number of the first window; those before it are left out.
        end: One past the last window; None for all.
        repetition: For each interval, how often the same one comes before it in the table; None where none comes twice.
            Shape: (I,).
    """

    def __init__(
        self,
        table: IntervalTable,
        placement: Placement,
        window_length: float,
        *,
        begin: int = 0,
        end: int | None = None,
        repetition: NDArray[np.int64] | None = None,
    ) -> None:
        self.recording_ids = table.recording_ids
        self._table = table
        self._placement = placement
        self._window_length = window_length
        self._repetition = repetition
        self._end_of_interval = np.cumsum(placement.counts)  # one past the last window of each
        self._begin = begin
        self._end = int(self._end_of_interval[-1]) if end is None else end

    def __len__(self) -> int:
        return self._end - self._begin

    @property
    def code_bits(self) -> int:
        """How many bits a code has at most."""
        return len(self._table).bit_length() + self._bits_within

    def codes(self, windows: slice) -> NDArray[np.int64]:
        """What windows in their own order go by: the interval, and in the lower bits the place within it."""
        begin, end = self._begin + windows.start, self._begin + windows.stop
        if begin >= end:
            return np.empty(0, dtype=np.int64)
        intervals, begins, here = self._intervals_between(begin, end)
        interval = np.arange(intervals.start, intervals.start + len(here))
        return ((interval << self._bits_within) - begins).repeat(here) + np.arange(begin, end)

    def columns(self, windows: NDArray[np.int64] | slice) -> WindowColumns:
        """The windows with these codes, or at these places in their own order, in this order."""
        if isinstance(windows, slice):
            return self._in_order(self._begin + windows.start, self._begin + windows.stop)
        # Random access: `take` takes half the time of indexing, and columns side by side are one visit to memory.
        interval = windows >> self._bits_within
        first_start, last, odd = self._side_by_side.take(interval, axis=0).T
        within = (windows & ((1 << self._bits_within) - 1)).astype(np.float64)
        start = within * self._placement.step
        start += first_start
        (odd_ones,) = (within == odd).nonzero()
        return self._columns(interval, start, last, odd_ones)

    @property
    def interval_index(self) -> NDArray[np.int64]:
        """Which interval each window lies in, counted from the first that has one here. Shape: (W,)."""
        interval = self.codes(slice(0, len(self))) >> self._bits_within
        return interval - interval[0] if len(interval) else interval

    def _in_order(self, begin: int, end: int) -> WindowColumns:
        if begin >= end:
            return self._columns(np.empty(0, np.intp), np.empty(0), np.empty(0), np.empty(0, np.intp))
        intervals, begins, here = self._intervals_between(begin, end)
        placement = self._placement
        start = np.arange(begin, end, dtype=np.float64)
        start -= begins.repeat(here)
        start *= placement.step
        start += placement.first_start[intervals].repeat(here)
        odd_ones = begins + placement.odd[intervals] - begin
        is_here = (placement.odd[intervals] < placement.counts[intervals]) & (odd_ones >= 0) & (odd_ones < end - begin)
        interval = np.arange(intervals.start, intervals.start + len(here)).repeat(here)
        return self._columns(interval, start, self._table.end[intervals].repeat(here), odd_ones[is_here])

    def _columns(
        self,
        interval: NDArray[np.intp],
        start: NDArray[np.float64],
        last: NDArray[np.float64],
        odd_ones: NDArray[np.intp],
    ) -> WindowColumns:
        odd_intervals = interval.take(odd_ones)
        # Rounding may put the start of an odd one before its interval, where it is as long as the window.
        first = self._table.start.take(odd_intervals)
        start[odd_ones] = np.maximum(self._placement.odd_start.take(odd_intervals), first)
        np.minimum(start, last, out=start)
        end = start + self._window_length
        np.copyto(end, last, where=end > last - TIME_TOLERANCE)
        repetition = None if self._repetition is None else self._repetition.take(interval)
        return WindowColumns(self._table.recording_index.take(interval), start, end, repetition)

    def _intervals_between(self, begin: int, end: int) -> tuple[slice, NDArray[np.int64], NDArray[np.int64]]:
        """The intervals that hold windows between two: the number of the first of each, and how many are between."""
        first = int(np.searchsorted(self._end_of_interval, begin, side="right"))
        last = int(np.searchsorted(self._end_of_interval, end, side="left"))
        intervals = slice(first, last + 1)
        ends = self._end_of_interval[intervals]
        begins = ends - self._placement.counts[intervals]
        return intervals, begins, np.minimum(ends, end) - np.maximum(begins, begin)

    @cached_property
    def _bits_within(self) -> int:
        return int(self._placement.counts.max(initial=0)).bit_length()

    @cached_property
    def _side_by_side(self) -> NDArray[np.float64]:
        placement = self._placement
        return np.stack([placement.first_start, self._table.end, placement.odd], axis=1)
