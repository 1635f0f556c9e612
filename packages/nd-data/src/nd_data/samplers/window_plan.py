"""All windows of one epoch in columns: cheap to make, to shuffle and to split; the indices are made as they are drawn.

Shape legend: W windows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from nd_data.dataset_index import DatasetIndex
from nd_data.samplers.interval_table import TIME_TOLERANCE, IntervalTable

_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """The windows of one epoch, in the order they are drawn.

    Attributes:
        recording_ids: The recordings' names.
        recording_index: Which recording each window is cut from, int64. Shape: (W,).
        start: Absolute seconds, float64. Shape: (W,).
        end: Absolute seconds, float64. Shape: (W,).
    """

    recording_ids: tuple[str, ...]
    recording_index: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, position: int) -> DatasetIndex:
        recording_id = self.recording_ids[self.recording_index[position]]
        return DatasetIndex(recording_id, float(self.start[position]), float(self.end[position]))

    def __iter__(self) -> Iterator[DatasetIndex]:
        names = np.array(self.recording_ids, dtype=object)

        def chunk(first: int) -> Iterator[DatasetIndex]:
            rows = slice(first, first + _CHUNK)
            return map(
                DatasetIndex,
                names[self.recording_index[rows]].tolist(),
                self.start[rows].tolist(),
                self.end[rows].tolist(),
            )

        return chain.from_iterable(map(chunk, range(0, len(self), _CHUNK)))

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "WindowPlan":
        """The windows at these positions, in this order."""
        return WindowPlan(self.recording_ids, self.recording_index[rows], self.start[rows], self.end[rows])


def windows_at(
    table: IntervalTable, interval_index: NDArray[np.int64], start: NDArray[np.float64], window_length: float
) -> WindowPlan:
    """Windows that begin at given times of given intervals, kept inside those intervals to the last bit.

    A window whose end comes within the time tolerance of its interval's end, on either side, ends exactly there.
    So rounding neither lets a window out of its interval nor leaves a sliver of it uncovered.

    Args:
        table: The intervals.
        interval_index: The interval of each window. Shape: (W,).
        start: Where each window begins, absolute seconds. Shape: (W,).
        window_length: Seconds.
    """
    first, last = table.start[interval_index], table.end[interval_index]
    start = np.clip(start, first, last)
    end = start + window_length
    end = np.where(end > last - TIME_TOLERANCE, last, end)
    return WindowPlan(table.recording_ids, table.recording_index[interval_index], start, end)
