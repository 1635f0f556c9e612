"""Events and irregularly sampled values: arrays with one row for each time (spikes, cursor, gaze)."""

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from nd_data import interval_algebra
from nd_data.array_dict import ArrayDict, check_kind
from nd_data.interval import Interval
from nd_data.sliced_domain import SlicedDomain, checked_domain, cut_domain
from nd_data.storage.layout import StoredGroup
from nd_data.storage.writing import write_names, write_second_index
from nd_data.stored_rows import StoredArrays, Window, check_order
from nd_data.time_keys import check_times, check_window, named_times

if TYPE_CHECKING:
    import pandas as pd


class IrregularTimeSeries(ArrayDict):
    """Times in seconds, and arrays with one row a time.

    Args:
        timestamps: Times in seconds. Shape: (N,), float64.
        timekeys: Names of further arrays that are times, and so move with the origin.
        domain: Where the series is defined: intervals, or "auto" for the first to the last time.
        **kwargs: Arrays of shape (N, ...).

    Raises:
        ValueError: lengths differ, a time is NaN, a time key does not exist, the domain's intervals overlap, or the
            domain is "auto" and there is no time to take it from.

    Example:
        >>> spikes = IrregularTimeSeries([0.1, 0.2, 1.3], unit_index=[0, 1, 0], domain=Interval(0.0, 2.0))
        >>> window = spikes.slice(0.2, 1.3)
        >>> window.timestamps, window.unit_index
        (array([0.]), array([1]))
        >>> window.domain.end
        array([1.1])
    """

    timestamps: NDArray[np.float64]
    _is_timed: ClassVar[bool] = True
    _timekeys: tuple[str, ...]
    _domain: Interval | SlicedDomain
    _sorted: bool | None = None

    def __init__(
        self,
        timestamps: ArrayLike,
        *,
        timekeys: Iterable[str] | None = None,
        domain: Interval | Literal["auto"],
        **kwargs: ArrayLike,
    ) -> None:
        super().__init__(timestamps=timestamps, **kwargs)
        self._timekeys = named_times(self, timekeys, ("timestamps",))
        if isinstance(domain, str):
            if domain != "auto":
                raise ValueError(f"the domain must be an Interval or 'auto', got '{domain}'")
            if len(self.timestamps) == 0:
                raise ValueError("the domain cannot be 'auto' without any timestamp: pass an Interval")
            domain = Interval(float(self.timestamps.min()), float(self.timestamps.max()))
        self._domain = checked_domain(domain)

    @property
    def domain(self) -> Interval:
        """Where the series is defined; it may be set to another Interval."""
        if isinstance(self._domain, SlicedDomain):
            self._domain = self._domain.interval()
        return self._domain

    @domain.setter
    def domain(self, domain: Interval) -> None:
        self._domain = checked_domain(domain)

    def timekeys(self) -> list[str]:
        """The names of the arrays that are times."""
        return list(self._timekeys)

    def register_timekey(self, timekey: str) -> None:
        """Declare that an array is times, so that it moves with the origin from now on.

        Raises:
            ValueError: there is no such array.
        """
        self._timekeys = named_times(self, [*self._timekeys, timekey], ())

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "domain":
            object.__setattr__(self, name, value)
            return
        if name == "timestamps":
            value = check_times(name, value)
        super().__setattr__(name, value)
        if name == "timestamps":
            self._sorted = None

    def is_sorted(self) -> bool:
        """Whether the timestamps never decrease."""
        if self._sorted is None:
            timestamps = self.timestamps
            self._sorted = bool((timestamps[1:] >= timestamps[:-1]).all())
        return self._sorted

    def sort(self) -> None:
        """Put all arrays in order of time, in place; rows of the same time keep their order."""
        if not self.is_sorted():
            order = np.argsort(self.timestamps, kind="stable")
            for name in self.keys():
                self.__dict__[name] = getattr(self, name)[order]
        self._sorted = True

    def slice(self, start: float, end: float, reset_origin: bool = True) -> Self:
        """The rows with ``start <= timestamps < end``, in order of time.

        Args:
            start: Start of the window in seconds.
            end: End of the window in seconds.
            reset_origin: Whether times, and the domain, then count from the start of the window.

        Returns:
            A new object; nothing is shared with this one.

        Raises:
            ValueError: the window is NaN or ends before it starts.
        """
        check_window(start, end)
        if not self.is_sorted():
            return self._in_order().slice(start, end, reset_origin)
        first, last = (int(row) for row in self.timestamps.searchsorted((start, end)))
        arrays = {name: self.__dict__[name][first:last].copy() for name in self.keys()}
        if reset_origin:
            arrays.update({name: arrays[name] - start for name in self._timekeys})
        return self._with_arrays(arrays, cut_domain(self._domain, Window(start, end, reset_origin)))

    def count_between(self, start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.int64]:
        """How many rows lie in each of many windows, ``start <= timestamps < end``; no window is cut for that.

        Args:
            start: Starts in seconds. Shape: (W,).
            end: Ends in seconds. Shape: (W,).

        Returns:
            int64. Shape: (W,).
        """
        timestamps = self._times_to_search()
        return (timestamps.searchsorted(end) - timestamps.searchsorted(start)).astype(np.int64, copy=False)

    def select_by_interval(self, interval: Interval) -> Self:
        """The rows whose times lie in the given intervals, with the same origin.

        Args:
            interval: Sorted and disjoint intervals.

        Returns:
            A new object, whose domain is cut down to the intervals.

        Raises:
            ValueError: the intervals are not sorted and disjoint.
        """
        domain = self.domain & interval
        # Reading the last array turns a lazy series into an eager one: only then look its method up.
        mask = interval_algebra.covers((interval.start, interval.end), self.timestamps)
        out = self.select_by_mask(mask)
        out.domain = domain
        return out

    def add_split_mask(self, name: str, interval: Interval) -> None:
        """Add the Boolean array ``<name>_mask``: which times lie in the given intervals.

        Raises:
            ValueError: there already is such an array.
        """
        mask_name = f"{name}_mask"
        if mask_name in self.keys():
            raise ValueError(f"there already is an array '{mask_name}': a split mask is set once")
        setattr(self, mask_name, interval_algebra.covers((interval.start, interval.end), self.timestamps))

    @classmethod
    def from_dataframe(  # type: ignore[override]
        cls,
        df: "pd.DataFrame",
        domain: Interval | Literal["auto"] = "auto",
        unsigned_to_long: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Take the columns of a pandas data frame, of which one is "timestamps".

        Args:
            df: One row a time.
            domain: Where the series is defined.
            unsigned_to_long: Whether unsigned integers become int64.
            **kwargs: Further arguments of the constructor, for instance ``timekeys``.

        Raises:
            ValueError: "timestamps" is missing, or a column cannot become an array.
        """
        if "timestamps" not in df.columns:
            raise ValueError(f"a time series needs a column 'timestamps', found {list(df.columns)}: rename one")
        return super().from_dataframe(df, unsigned_to_long=unsigned_to_long, domain=domain, **kwargs)

    def to_hdf5(self, file: h5py.Group) -> None:
        """Write the series, in order of time, to an HDF5 file or group; see :meth:`ArrayDict.to_hdf5`."""
        if not self.is_sorted():
            self._in_order().to_hdf5(file)
            return
        super().to_hdf5(file)
        domain = self.domain
        if len(domain):
            write_second_index(file, self._current("timestamps"), float(domain.start[0]), float(domain.end[-1]))
        else:
            file.create_dataset("timestamp_indices_1s", data=np.zeros(0, dtype=np.int64))
        domain.to_hdf5(file.create_group("domain"))
        write_names(file, "timekeys", self._timekeys)
        file.attrs["object"] = "IrregularTimeSeries"

    @classmethod
    def from_stored(cls, stored: StoredGroup) -> Self:
        """Build the object from the layout of its group (see :func:`nd_data.storage.read_layout`)."""
        check_kind(stored, "IrregularTimeSeries")
        arrays = {name: array.read() for name, array in stored.arrays.items()}
        try:
            out = cls(**arrays, timekeys=stored.timekeys, domain=Interval.from_stored(stored.groups["domain"]))
        except ValueError as error:
            raise ValueError(f"{stored.where()}: {error}") from None
        if not out.is_sorted():
            raise ValueError(f"{stored.where('timestamps')} is not sorted")
        return out

    def _times_to_search(self) -> NDArray[np.float64]:
        return self.timestamps if self.is_sorted() else np.sort(self.timestamps)

    def _in_order(self) -> Self:
        # Neither slicing nor saving may change their source.
        ordered = copy.copy(self)
        ordered.sort()
        return ordered

    def _private_state(self, domain: Interval | SlicedDomain | None = None) -> dict[str, Any]:
        if domain is None:
            domain = self._domain if isinstance(self._domain, SlicedDomain) else copy.deepcopy(self._domain)
        return {"_timekeys": self._timekeys, "_domain": domain, "_sorted": True if self._sorted else None}


class LazyIrregularTimeSeries(StoredArrays, IrregularTimeSeries):
    """An :class:`IrregularTimeSeries` in a file: lazy in time and by array.

    A slice looks its rows up when an array is first used, and reads only those. It comes from
    ``LazyIrregularTimeSeries.from_hdf5`` or ``Data.load``, and becomes an :class:`IrregularTimeSeries` once all was
    read.
    """

    _eager_class = IrregularTimeSeries
    _kind = "IrregularTimeSeries"
    _float_times = ("timestamps",)

    @classmethod
    def _stored_state(cls, stored: StoredGroup) -> dict[str, Any]:
        timekeys = stored.timekeys if "timestamps" in stored.timekeys else (*stored.timekeys, "timestamps")
        return {
            **super()._stored_state(stored),
            "_timekeys": timekeys,
            "_domain": SlicedDomain(stored.groups["domain"]),
            "_sorted": True,
        }

    def register_timekey(self, timekey: str) -> None:
        """Declare that an array is times, so that it moves with the origin from now on."""
        getattr(self, timekey)
        super().register_timekey(timekey)

    def sort(self) -> None:
        """Put all arrays in order of time, in place; only needed after other timestamps were set."""
        if not self.is_sorted():
            self.materialize()
            self.sort()

    def slice(self, start: float, end: float, reset_origin: bool = True) -> Self:
        """The rows with ``start <= timestamps < end``; what was not read stays on disk.

        See :meth:`IrregularTimeSeries.slice`.
        """
        check_window(start, end)
        return self._sliced(Window(start, end, reset_origin))

    def _sliced(self, window: Window) -> Self:
        if not self.is_sorted():
            return copy.copy(self).materialize().slice(*window)
        domain = cut_domain(self._domain, window)
        if not self._is_touched():
            return self._untouched(window, domain)
        start, end, reset_origin = window
        rows = self._resolved()
        first, last = self._current("timestamps").searchsorted((start, end)).tolist()
        read = {name: self.__dict__[name][first:last].copy() for name in self._names if name in self.__dict__}
        if reset_origin:
            read = {name: array - start if name in self._timekeys else array for name, array in read.items()}
        return self._with_rows(rows.narrowed(first, last, start if reset_origin else None), read, domain)

    def _times_to_search(self) -> NDArray[np.float64]:
        held: NDArray[np.float64] | None = self.__dict__.get("timestamps")
        if held is not None:
            return held if self.is_sorted() else np.sort(held)
        self._resolved()
        mapped = self._searchable("timestamps")
        return self._read("timestamps") if mapped is None else mapped

    def _read(self, name: str) -> NDArray[Any]:
        if name != "timestamps":
            return super()._read(name)
        window = self._window
        inside = None if window is None else self._searchable(name)
        if window is None or inside is None:
            values = super()._read(name)
        else:  # looked up and read in one go
            first, last = inside.searchsorted((window.start, window.end)).tolist()
            self._narrow(first, last, window)
            values = inside[first:last] - window.start if window.reset_origin else inside[first:last].copy()
        check_order(values, self._stored.arrays[name])
        return values

    def _locate(self, start: float, end: float) -> tuple[int, int]:
        times = self._searchable("timestamps")
        if times is not None:
            first, last = times.searchsorted((start, end)).tolist()
            return first, last
        rows, timestamps = self._rows, self._stored.arrays["timestamps"]
        if rows.index is None and not rows.shifts:
            low, high = self._bracket(start, end) if timestamps.offset is None else (rows.start, rows.stop)
            first = timestamps.count_before(start, low, high)
            last = timestamps.count_before(end, first, high)
            return first - rows.start, last - rows.start
        times = rows.shifted(rows.read(timestamps).astype(np.float64, copy=False))
        return int(times.searchsorted(start)), int(times.searchsorted(end))

    def _bracket(self, start: float, end: float) -> tuple[int, int]:
        # Where h5py has to read, the index by seconds spares reading all times; a second of margin covers its rounding,
        # and where it does not hold what it promises, all times are read.
        rows, index = self._rows, self._stored.second_index
        if index is None:
            return rows.start, rows.stop
        seconds = self._stored.cache.get("seconds")
        if seconds is None:
            seconds = self._stored.cache["seconds"] = index.read()
        origin = SlicedDomain(self._stored.groups["domain"]).bounds()[0]
        before = int(np.floor(start - origin)) - 1 if np.isfinite(start) else -1
        after = int(np.ceil(end - origin)) + 1 if np.isfinite(end) else len(seconds)
        low = rows.start if before < 0 or len(seconds) == 0 else int(seconds[min(before, len(seconds) - 1)])
        high = rows.stop if after >= len(seconds) else int(seconds[max(after, 0)])
        low, high = min(max(low, rows.start), rows.stop), max(min(high, rows.stop), rows.start)
        timestamps = self._stored.arrays["timestamps"]
        holds = low <= high and (low == rows.start or timestamps.read(low - 1, low)[0] < start)
        holds = holds and (high == rows.stop or timestamps.read(high, high + 1)[0] >= end)
        return (low, high) if holds else (rows.start, rows.stop)


__all__ = ["IrregularTimeSeries", "LazyIrregularTimeSeries"]
