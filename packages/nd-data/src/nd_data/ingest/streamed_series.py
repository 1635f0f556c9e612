"""A time series on its way from one file to another, a few megabytes at a time.

Shape legend: T samples in the source, N samples that are written.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from nd_data.interval import Interval
from nd_data.storage.writing import write_arrays, write_names, write_second_index

#: How much of a series is in memory at a time, in bytes.
PIECE_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class StreamedArray:
    """One array of a series, read from its source as it is written.

    Attributes:
        shape: Its shape in the source. Shape: (T, ...).
        dtype: The dtype it is written with.
        read: Takes a first and a last row and returns the rows between them, with this dtype.
        piece_rows: The number of rows that the source reads well at a time, for instance those of a chunk.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[int, int], NDArray[Any]]
    piece_rows: int = 1

    @classmethod
    def of(cls, values: NDArray[Any]) -> "StreamedArray":
        """An array that is in memory already."""
        return cls(values.shape, values.dtype, lambda first, last: values[first:last])

    def pieces(self, rows: NDArray[np.intp] | None) -> Iterator[NDArray[Any]]:
        """The rows in order, one piece after the other.

        Args:
            rows: Which rows, in which order; None for all. Shape: (N,).
        """
        row_bytes = max(1, self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64)))
        count = max(1, PIECE_BYTES // row_bytes)
        count = max(count - count % self.piece_rows, self.piece_rows)
        for first in range(0, self.shape[0] if rows is None else len(rows), count):
            if rows is None:
                yield self.read(first, min(first + count, self.shape[0]))
            else:
                wanted = rows[first : first + count]
                lowest = int(wanted.min())
                yield self.read(lowest, int(wanted.max()) + 1)[wanted - lowest]


@dataclass(frozen=True, slots=True)
class StreamedSeries:
    """A regular or irregular time series whose arrays are still in their source.

    Attributes:
        arrays: Name to array.
        domain: Where the series is defined.
        sampling_rate: Samples a second of a regular series, or None.
        timestamps: Sorted times in seconds of an irregular one, or None. Shape: (N,).
        rows: Which rows of the source to take, in which order; None for all. Shape: (N,).
    """

    arrays: Mapping[str, StreamedArray]
    domain: Interval
    sampling_rate: float | None = None
    timestamps: NDArray[np.float64] | None = None
    rows: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        if self.timestamps is not None:
            return len(self.timestamps)
        return next(iter(self.arrays.values())).shape[0]

    def write(self, group: h5py.Group) -> dict[str, int]:
        """Write the series, as its container would write it.

        Args:
            group: Open for writing, and empty.

        Returns:
            How many rows of each array hold a NaN, where any does.
        """
        if self.timestamps is not None:
            write_arrays(group, {"timestamps": self.timestamps})
        missing, text_keys = {}, []
        for name, array in self.arrays.items():
            if array.dtype.kind == "U":
                values = array.read(0, array.shape[0])
                text_keys += write_arrays(group, {name: values if self.rows is None else values[self.rows]})
                continue
            dataset = group.create_dataset(name, shape=(len(self), *array.shape[1:]), dtype=array.dtype)
            row = rows_with_nan = 0
            for piece in array.pieces(self.rows):
                dataset[row : row + len(piece)] = piece
                row += len(piece)
                if piece.dtype.kind in "fc":
                    rows_with_nan += int(np.isnan(piece).reshape(len(piece), -1).any(axis=1).sum())
            if rows_with_nan:
                missing[name] = rows_with_nan
        write_names(group, "_unicode_keys", text_keys)
        if self.timestamps is not None:
            write_second_index(group, self.timestamps, float(self.domain.start[0]), float(self.domain.end[-1]))
            write_names(group, "timekeys", ["timestamps"])
            group.attrs["object"] = "IrregularTimeSeries"
        else:
            group.attrs["object"] = "RegularTimeSeries"
            group.attrs["sampling_rate"] = self.sampling_rate
        self.domain.to_hdf5(group.create_group("domain"))
        return missing


__all__ = ["PIECE_BYTES", "StreamedArray", "StreamedSeries"]
