"""All windows of one epoch: cheap to make, to shuffle and to split; a window is worked out only as it is drawn.

Shape legend: W windows.
"""

from collections.abc import Iterator
from functools import cached_property
from itertools import chain, repeat
from operator import length_hint
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nd_data.dataset_index import DatasetIndex, dataset_index_of
from nd_data.random_seed import SEED_LIMIT

_CHUNK = 4096


class WindowColumns(NamedTuple):
    """Some windows in columns.

    Attributes:
        recording_index: Which recording each window is cut from, an integer type. Shape: (W,).
        start: Absolute seconds, float64. Shape: (W,).
        end: Absolute seconds, float64. Shape: (W,).
        repetition: How often a window of the same place may have come before in the epoch, or None where none comes
            twice. Shape: (W,).
    """

    recording_index: NDArray[np.integer]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    repetition: NDArray[np.int64] | None = None


class WindowSource(Protocol):
    """Windows in the order of the recordings and their times, each of which goes by a code of the source's choice."""

    @property
    def recording_ids(self) -> tuple[str, ...]:
        """The recordings' names."""

    @property
    def code_bits(self) -> int:
        """Codes are numbers from 0 to below 2 to the power of this."""

    def __len__(self) -> int: ...

    def codes(self, windows: slice) -> NDArray[np.int64]:
        """The codes of the windows in a range of their own order."""

    def columns(self, windows: NDArray[np.int64] | slice) -> WindowColumns:
        """The windows with these codes, or in a range of their own order."""


class StoredWindows:
    """Windows that are kept in columns, such as trials.

    Args:
        recording_ids: The recordings' names.
        columns: All windows. Shape of each column: (W,).
    """

    __slots__ = ("_columns", "recording_ids")

    def __init__(self, recording_ids: tuple[str, ...], columns: WindowColumns) -> None:
        self.recording_ids = recording_ids
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns.start)

    @property
    def code_bits(self) -> int:
        """How many bits a code has at most."""
        return len(self).bit_length()

    def codes(self, windows: slice) -> NDArray[np.int64]:
        """What windows go by: their place."""
        return np.arange(windows.start, windows.stop, dtype=np.int64)

    def columns(self, windows: NDArray[np.int64] | slice) -> WindowColumns:
        """The windows at these places, in this order."""
        recording_index, start, end, repetition = self._columns
        return WindowColumns(
            recording_index[windows],
            start[windows],
            end[windows],
            None if repetition is None else repetition[windows],
        )


class DrawCount:
    """How many windows were drawn from an iterator so far, those included that it left out at the beginning.

    It reads that off the iterator's innards whenever it is asked, so that counting costs the iteration nothing.
    """

    __slots__ = ("_chunk_end", "_rest")

    def __init__(self, drawn: int = 0) -> None:
        self._chunk_end = drawn
        self._rest: Iterator[Any] = iter(())

    @property
    def drawn(self) -> int:
        """Windows drawn so far."""
        return self._chunk_end - length_hint(self._rest)

    def begin_chunk(self, chunk_end: int, chunk: Iterator[Any]) -> None:
        """From now on they come with this iterator over a list, whose last one is the last before ``chunk_end``."""
        self._chunk_end, self._rest = chunk_end, chunk

    def __reduce__(self) -> tuple[type["DrawCount"], tuple[int]]:
        return DrawCount, (self.drawn,)


class WindowPlan:
    """The windows of one epoch, in the order they are drawn.

    Args:
        source: The windows they are taken from.
        order: Codes of windows of the source, in the order they are drawn; all of them in their own order if absent.
            Shape: (W,).
        seed: Seed of the epoch, which goes to the random transforms of its windows.
    """

    __slots__ = ("__dict__", "_order", "_source", "seed")

    def __init__(self, source: WindowSource, order: NDArray[np.int64] | None = None, *, seed: int = 0) -> None:
        self._source = source
        self._order = order
        self.seed = seed

    @property
    def recording_ids(self) -> tuple[str, ...]:
        """The recordings' names."""
        return self._source.recording_ids

    @property
    def recording_index(self) -> NDArray[np.integer]:
        """Which recording each window is cut from, an integer type. Shape: (W,)."""
        return self._columns.recording_index

    @property
    def start(self) -> NDArray[np.float64]:
        """Absolute seconds, float64. Shape: (W,)."""
        return self._columns.start

    @property
    def end(self) -> NDArray[np.float64]:
        """Absolute seconds, float64. Shape: (W,)."""
        return self._columns.end

    def __len__(self) -> int:
        return len(self._source) if self._order is None else len(self._order)

    def __iter__(self) -> Iterator[DatasetIndex]:
        return chain.from_iterable(self.draw()[0])

    def __getitem__(self, position: int) -> DatasetIndex:
        row = range(len(self))[position]
        return self.indices(np.array([row]))[0]

    def draw(self, first: int = 0) -> tuple[Iterator[Iterator[DatasetIndex]], DrawCount]:
        """Begin to draw windows.

        Args:
            first: How many to leave out at the beginning.

        Returns:
            The windows, in chunks to be drawn one after the other, and how many were drawn.
        """
        count = DrawCount(min(first, len(self)))
        names = np.array(self.recording_ids, dtype=object)

        def chunk(begin: int) -> Iterator[DatasetIndex]:
            rows = slice(begin, min(begin + _CHUNK, len(self)))
            columns = self._rows(rows)
            starts = iter(columns.start.tolist())
            count.begin_chunk(rows.stop, starts)
            seeds = self._seeds(columns)
            fields = zip(
                self._names(names, columns.recording_index),
                starts,
                columns.end.tolist(),
                repeat(self.seed) if seeds is None else seeds.tolist(),
                strict=False,
            )
            return map(dataset_index_of, fields)

        return map(chunk, range(first, len(self), _CHUNK)), count

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> "WindowPlan":
        """The windows at these positions, in this order."""
        return WindowPlan(self._source, self._codes()[rows], seed=self.seed)

    def indices(self, rows: NDArray[np.integer]) -> list[DatasetIndex]:
        """The windows at a few positions, in this order."""
        columns = self._source.columns(self._codes()[rows])
        seeds = self._seeds(columns)
        ids = self.recording_ids
        return [
            DatasetIndex(ids[recording], start, end, seed)
            for recording, start, end, seed in zip(
                columns.recording_index.tolist(),
                columns.start.tolist(),
                columns.end.tolist(),
                repeat(self.seed, len(rows)) if seeds is None else seeds.tolist(),
                strict=True,
            )
        ]

    def _codes(self) -> NDArray[np.int64]:
        return self._all_codes if self._order is None else self._order

    @cached_property
    def _all_codes(self) -> NDArray[np.int64]:
        return self._source.codes(slice(0, len(self)))

    @cached_property
    def _columns(self) -> WindowColumns:
        return self._rows(slice(0, len(self)))

    def _rows(self, rows: slice) -> WindowColumns:
        return self._source.columns(rows if self._order is None else self._order[rows])

    def _names(self, names: NDArray[np.object_], recording_index: NDArray[np.integer]) -> Iterator[str] | list[str]:
        if self._order is None and recording_index[0] == recording_index[-1]:
            return repeat(self.recording_ids[recording_index[0]])  # in order, so the same all the way
        out: list[str] = names[recording_index].tolist()
        return out

    def _seeds(self, columns: WindowColumns) -> NDArray[np.uint64] | None:
        if columns.repetition is None:
            return None
        return (columns.repetition.astype(np.uint64) + np.uint64(self.seed)) % np.uint64(SEED_LIMIT)
