"""Intervals in a file, of which only what is used is read."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nd_data.interval import Interval
from nd_data.storage.layout import StoredGroup
from nd_data.stored_rows import StoredArrays, Window
from nd_data.time_keys import check_window


class LazyInterval(StoredArrays, Interval):
    """An :class:`Interval` in a file: each array is read when it is first used.

    It comes from ``LazyInterval.from_hdf5`` or ``Data.load``, and becomes an :class:`Interval` once all was read.
    """

    _eager_class = Interval
    _kind = "Interval"
    _float_times = ("start", "end")

    @classmethod
    def _stored_state(cls, stored: StoredGroup) -> dict[str, Any]:
        timekeys = [name for name in ("start", "end") if name not in stored.timekeys]
        return {**super()._stored_state(stored), "_timekeys": (*stored.timekeys, *timekeys), "_sorted": None}

    def register_timekey(self, timekey: str) -> None:
        """Declare that an array is times, so that it moves with the origin from now on."""
        getattr(self, timekey)
        super().register_timekey(timekey)

    def slice(self, start: float, end: float, reset_origin: bool = True) -> Self:
        """The intervals that overlap ``[start, end)``; what was not read stays on disk. See :meth:`Interval.slice`."""
        check_window(start, end)
        return self._sliced(Window(start, end, reset_origin))

    def _sliced(self, window: Window) -> Self:
        if not self._is_touched() and self._stored_in_order():
            return self._untouched(window)
        start, end, reset_origin = window
        rows = self._resolved()
        starts, ends = self._current("start"), self._current("end")
        chosen: slice | NDArray[np.intp]
        if (starts[1:] >= starts[:-1]).all() and (ends[1:] >= ends[:-1]).all():
            first, last = self._rows_of(start, end, starts, ends)
            chosen = slice(first, last)
            rows = rows.narrowed(first, last, start if reset_origin else None)
        else:
            order = np.lexsort((ends, starts))
            chosen = order[(ends[order] > start) & (starts[order] < end)]
            rows = rows.picked(chosen, start if reset_origin else None)
        read = {name: self.__dict__[name][chosen].copy() for name in self._names if name in self.__dict__}
        if reset_origin:
            read = {name: array - start if name in self._timekeys else array for name, array in read.items()}
        return self._with_rows(rows, read)

    def _stored_in_order(self) -> bool:
        # Whether the file holds the intervals in order, found out once a file and process.
        in_order = self._stored.cache.get("in_order")
        if in_order is None:
            start, end = self._stored.arrays["start"].read(), self._stored.arrays["end"].read()
            in_order = bool((start[1:] >= start[:-1]).all() and (end[1:] >= end[:-1]).all())
            self._stored.cache["in_order"] = in_order
        return bool(in_order)

    def _read(self, name: str) -> NDArray[Any]:
        window = self._window
        if window is not None and name in ("start", "end"):
            starts, ends = self._searchable("start"), self._searchable("end")
            if starts is not None and ends is not None:  # looked up and read in one go
                first, last = self._rows_of(window.start, window.end, starts, ends)
                self._narrow(first, last, window)
                shift = window.start if window.reset_origin else 0.0
                both = {"start": starts[first:last] - shift, "end": ends[first:last] - shift}
                self.__dict__.update(both)
                return both[name]
        return super()._read(name)

    def _locate(self, start: float, end: float) -> tuple[int, int]:
        starts, ends = self._searchable("start"), self._searchable("end")
        if starts is not None and ends is not None:
            return self._rows_of(start, end, starts, ends)
        rows, arrays = self._rows, self._stored.arrays
        if rows.index is None and not rows.shifts:
            first = arrays["end"].count_before(start, rows.start, rows.stop, or_equal=True)
            last = arrays["start"].count_before(end, rows.start, rows.stop)
            return first - rows.start, last - rows.start
        ends = rows.shifted(rows.read(arrays["end"]).astype(np.float64, copy=False))
        starts = rows.shifted(rows.read(arrays["start"]).astype(np.float64, copy=False))
        return self._rows_of(start, end, starts, ends)

    @staticmethod
    def _rows_of(start: float, end: float, starts: NDArray[np.float64], ends: NDArray[np.float64]) -> tuple[int, int]:
        return int(ends.searchsorted(start, side="right")), int(starts.searchsorted(end))


__all__ = ["LazyInterval"]
