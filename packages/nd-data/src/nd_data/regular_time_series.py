"""Values sampled at a fixed rate, in one run or with gaps (LFP, EMG, cursor velocity)."""

import copy
import math
from numbers import Real
from typing import Any, ClassVar, Literal, NamedTuple, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from nd_data.array_dict import ArrayDict, check_kind
from nd_data.gap_filling import fill_gaps
from nd_data.interval import Interval
from nd_data.irregular_time_series import IrregularTimeSeries
from nd_data.sliced_domain import SlicedDomain, checked_domain
from nd_data.storage.layout import StoredGroup
from nd_data.stored_rows import StoredArrays
from nd_data.time_keys import check_times, check_window

#: Seconds. A time of a window, however near to 0, is off by what subtracting two times of the recording loses.
ROUNDING = 1e-9


class RegularTimeSeries(ArrayDict):
    """Arrays whose rows are samples at a fixed rate; row i is at ``domain.start[0] + i / sampling_rate``.

    A domain of several intervals makes the series gappy: rows between the intervals only fill the gaps.

    Args:
        sampling_rate: Samples a second.
        domain_start: Time of the first sample in seconds.
        domain: None or "auto" for one run that starts at ``domain_start``; or intervals on the grid of samples, which
            begin with the first sample and end after the last.
        **kwargs: Arrays of shape (T, ...), time first.

    Raises:
        ValueError: lengths differ, the rate is not positive, or the domain does not fit the samples.

    Example:
        >>> cursor = RegularTimeSeries(sampling_rate=10.0, vel=np.arange(20.0))
        >>> window = cursor.slice(0.5, 0.8)
        >>> window.vel, window.timestamps
        (array([5., 6., 7.]), array([0. , 0.1, 0.2]))
    """

    _is_timed: ClassVar[bool] = True
    _sampling_rate: float
    _domain: Interval | SlicedDomain

    def __init__(
        self,
        *,
        sampling_rate: float,
        domain_start: float = 0.0,
        domain: Interval | Literal["auto"] | None = None,
        **kwargs: ArrayLike,
    ) -> None:
        super().__init__(**kwargs)
        if not is_number(sampling_rate) or not 0 < sampling_rate < math.inf:
            raise ValueError(f"the sampling rate must be a positive number of samples a second, got {sampling_rate!r}")
        if not is_number(domain_start) or not math.isfinite(domain_start):
            raise ValueError(f"domain_start must be a number of seconds, got {domain_start!r}")
        self._sampling_rate = float(sampling_rate)
        length = self._first_dimension() or 0
        if isinstance(domain, Interval):
            domain = checked_domain(domain)
            check_grid(domain, self._sampling_rate, length)
            self._domain = domain
        elif domain is None or domain == "auto":
            start = float(domain_start)
            self._domain = Interval(start, start + length / self._sampling_rate)
        else:
            raise ValueError(f"the domain must be an Interval, 'auto' or None, got {domain!r}")

    @property
    def sampling_rate(self) -> float:
        """Samples a second."""
        return self._sampling_rate

    @property
    def domain(self) -> Interval:
        """Where there are samples: one interval a run."""
        if isinstance(self._domain, SlicedDomain):
            self._domain = self._domain.interval()
        return self._domain

    @property
    def timestamps(self) -> NDArray[np.float64]:
        """The time of every row, gaps included, in seconds. Shape: (T,)."""
        first = self._span().first
        return first + np.arange(self._first_dimension() or 0, dtype=np.float64) / self._sampling_rate

    def is_gappy(self) -> bool:
        """Whether there are gaps."""
        return self._span().runs > 1

    def index_mask(self) -> NDArray[np.bool_]:
        """Which rows are samples, and not the filling of a gap. Shape: (T,)."""
        length = self._first_dimension() or 0
        if not self.is_gappy():
            return np.ones(length, dtype=np.bool_)
        begin, stop = run_rows(self.domain, self._sampling_rate)
        change = np.zeros(length + 1, dtype=np.int8)
        change[begin] += 1
        change[stop] -= 1
        return change[:-1].cumsum() > 0

    def slice(self, start: float, end: float, reset_origin: bool = True, eps: float = 1e-9) -> Self:
        """The samples with ``start <= t < end``.

        A gap at either end of the result is left out, one in its midst stays filled.

        Args:
            start: Start of the window in seconds.
            end: End of the window in seconds.
            reset_origin: Whether times then count from the start of the window.
            eps: A time this close to a sample, in samples, is the time of that sample; so is one within a nanosecond,
                because times of windows carry the rounding of absolute ones.

        Returns:
            A new object; nothing is shared with this one. Its domain runs from the first sample to one step past the
            last.

        Raises:
            ValueError: the window is NaN or ends before it starts.
        """
        check_window(start, end)
        first, last, domain = self._cut(start, end, reset_origin, eps)
        return self._with_arrays({name: self.__dict__[name][first:last].copy() for name in self.keys()}, domain)

    def to_irregular(self) -> IrregularTimeSeries:
        """The samples as an irregular series, without what fills gaps."""
        timestamps = self.timestamps
        arrays: dict[str, Any] = {name: getattr(self, name) for name in self.keys()}
        if self.is_gappy():
            mask = self.index_mask()
            timestamps, arrays = timestamps[mask], {name: values[mask] for name, values in arrays.items()}
        else:
            arrays = {name: values.copy() for name, values in arrays.items()}
        domain = self.domain
        return IrregularTimeSeries(
            timestamps=timestamps, domain=Interval(domain.start.copy(), domain.end.copy()), **arrays
        )

    def select_by_mask(self, mask: NDArray[np.bool_]) -> IrregularTimeSeries:  # type: ignore[override]
        """Keep the samples where a mask is True; what is left is no longer regular.

        Args:
            mask: One flag a row, of dtype bool. Shape: (T,).

        Returns:
            An irregular series with the same domain.

        Raises:
            ValueError: the mask is not a Boolean array of shape (T,).
        """
        self._check_mask(mask)
        irregular = self.to_irregular()
        return irregular.select_by_mask(mask[self.index_mask()])

    def select_by_interval(self, interval: Interval) -> IrregularTimeSeries:
        """The samples whose times lie in the given intervals, those that `slice` finds in each of them.

        Args:
            interval: Sorted and disjoint intervals.

        Returns:
            What is left, which is no longer regular, with the same origin.

        Raises:
            ValueError: the intervals are not sorted and disjoint.
        """
        domain = self.domain & interval
        out = self.select_by_mask(self._inside(interval))
        # A sample that is the border's own but for rounding must not lie before it.
        times = out.timestamps
        run = domain.start.searchsorted(times + rounding_of(times, self._span().first), side="right") - 1
        out.timestamps = np.maximum(times, domain.start[run])
        out.domain = domain
        return out

    def add_split_mask(self, name: str, interval: Interval) -> None:
        """Add the Boolean array ``<name>_mask``: which samples lie in the given intervals, gaps included.

        Raises:
            ValueError: there already is such an array.
        """
        mask_name = f"{name}_mask"
        if mask_name in self.keys():
            raise ValueError(f"there already is an array '{mask_name}': a split mask is set once")
        setattr(self, mask_name, self._inside(interval))

    @classmethod
    def from_gappy_timeseries(
        cls,
        timestamps: ArrayLike,
        sampling_rate: float,
        gap_value: Any = None,
        rtol: float = 1e-3,
        **kwargs: ArrayLike,
    ) -> "RegularTimeSeries":
        """Make a regular series of samples of which some are missing.

        Args:
            timestamps: Strictly increasing times in seconds, on a grid. Shape: (N,).
            sampling_rate: Samples a second of the grid.
            gap_value: What fills gaps: one value, or values by kind of dtype ('b', 'i', 'u', 'f'). Default: False, -1,
                0, NaN.
            rtol: How far a time may lie from the grid, in samples.
            **kwargs: Arrays of shape (N, ...).

        Raises:
            ValueError: times do not fit the grid, the rate is too high by a whole factor, or a gap value does not fit.
            KeyError: the gap values have none for an array's kind of dtype.

        Example:
            >>> series = RegularTimeSeries.from_gappy_timeseries([0.0, 0.1, 0.3], 10.0, x=[1.0, 2.0, 4.0])
            >>> series.x, series.index_mask()
            (array([ 1.,  2., nan,  4.]), array([ True,  True, False,  True]))
        """
        times = check_times("timestamps", timestamps)
        arrays = {name: np.asarray(values) for name, values in kwargs.items()}
        grid = fill_gaps(times, sampling_rate, arrays, gap_value=gap_value, rtol=rtol)
        if len(times) > 1:
            step = int(np.round(np.diff(times).min() * sampling_rate))
            if step > 1:
                raise ValueError(
                    f"no two timestamps are closer than {step} samples of {sampling_rate} Hz: the sampling rate may be "
                    f"{sampling_rate / step} Hz"
                )
        filled: dict[str, Any] = grid.arrays
        return RegularTimeSeries(sampling_rate=sampling_rate, domain=Interval(grid.start, grid.end), **filled)

    def to_hdf5(self, file: h5py.Group) -> None:
        """Write the series to an HDF5 file or group; see :meth:`ArrayDict.to_hdf5`."""
        super().to_hdf5(file)
        self.domain.to_hdf5(file.create_group("domain"))
        file.attrs["object"] = "RegularTimeSeries"
        file.attrs["sampling_rate"] = self._sampling_rate

    @classmethod
    def from_stored(cls, stored: StoredGroup) -> Self:
        """Build the object from the layout of its group (see :func:`nd_data.storage.read_layout`)."""
        check_kind(stored, "RegularTimeSeries")
        arrays: dict[str, Any] = {name: array.read() for name, array in stored.arrays.items()}
        try:
            return cls(
                **arrays,
                sampling_rate=float(stored.attributes["sampling_rate"]),
                domain=Interval.from_stored(stored.groups["domain"]),
            )
        except ValueError as error:
            raise ValueError(f"{stored.where()}: {error}") from None

    def _inside(self, interval: Interval) -> NDArray[np.bool_]:
        # Which rows lie in any of the intervals, which may overlap and come in any order.
        length = self._first_dimension() or 0
        span, rate = self._span(), self._sampling_rate
        begin, stop = (rows_at(times, span, rate, length) for times in (interval.start, interval.end))
        count = np.bincount(begin, minlength=length + 1) - np.bincount(stop, minlength=length + 1)
        return count[:length].cumsum() > 0

    def _span(self) -> "Span":
        if isinstance(self._domain, SlicedDomain):
            return Span(*self._domain.bounds())
        if len(self._domain) == 0:
            return Span(0.0, 0.0, 0)
        return Span(float(self._domain.start[0]), float(self._domain.end[-1]), len(self._domain))

    def _cut(self, start: float, end: float, reset_origin: bool, eps: float) -> tuple[int, int, SlicedDomain]:
        # The rows of a window, and the domain that is left.
        span, rate, length = self._span(), self._sampling_rate, self._first_dimension() or 0
        first, first_time = row_at(start, span, rate, length, eps)
        last, last_time = row_at(end, span, rate, length, eps)
        shift = start if reset_origin else 0.0
        if span.runs > 1 and first < last:
            begin, stop = run_rows(self.domain, rate)
            keep = (stop > first) & (begin < last)
            begin, stop = begin[keep], stop[keep]
            starts = np.where(begin < first, first_time, self.domain.start[keep])
            ends = np.where(stop > last, last_time, self.domain.end[keep])
            if keep.any():
                first, last = max(first, int(begin[0])), min(last, int(stop[-1]))
                return first, last, SlicedDomain(Interval(starts - shift, ends - shift))
            last = first
        if first >= last:
            empty = 0.0 if reset_origin else first_time
            return first, first, SlicedDomain((empty, empty))
        return first, last, SlicedDomain((first_time - shift, last_time - shift))

    def _private_state(self, domain: SlicedDomain | None = None) -> dict[str, Any]:
        kept = copy.deepcopy(self._domain) if domain is None else domain
        return {"_sampling_rate": self._sampling_rate, "_domain": kept}


class LazyRegularTimeSeries(StoredArrays, RegularTimeSeries):
    """A :class:`RegularTimeSeries` in a file: lazy in time and by array.

    It comes from ``LazyRegularTimeSeries.from_hdf5`` or ``Data.load``, and becomes a :class:`RegularTimeSeries` once
    all was read.
    """

    _eager_class = RegularTimeSeries
    _kind = "RegularTimeSeries"

    @classmethod
    def _stored_state(cls, stored: StoredGroup) -> dict[str, Any]:
        return {
            **super()._stored_state(stored),
            "_sampling_rate": float(stored.attributes["sampling_rate"]),
            "_domain": SlicedDomain(stored.groups["domain"]),
        }

    def slice(self, start: float, end: float, reset_origin: bool = True, eps: float = 1e-9) -> Self:
        """The samples with ``start <= t < end``; what was not read stays on disk.

        See :meth:`RegularTimeSeries.slice`.
        """
        check_window(start, end)
        first, last, domain = self._cut(start, end, reset_origin, eps)
        read = {name: self.__dict__[name][first:last].copy() for name in self._names if name in self.__dict__}
        return self._with_rows(self._rows.narrowed(first, last), read, domain)

    def select_by_mask(self, mask: NDArray[np.bool_]) -> IrregularTimeSeries:  # type: ignore[override]
        """Keep the samples where a mask is True; what is left is no longer regular, and in memory."""
        return RegularTimeSeries.select_by_mask(self, mask)


def is_number(value: object) -> bool:
    """Whether a value is a real number, of Python's or NumPy's."""
    return isinstance(value, Real) and not isinstance(value, bool)


class Span(NamedTuple):
    """The time of the first sample, the end of the last, and the number of runs without gaps."""

    first: float
    last: float
    runs: int


def row_at(time: float, span: Span, rate: float, length: int, eps: float) -> tuple[int, float]:
    """The first row that is not before a time, and the time of that row."""
    if time <= span.first:
        return 0, span.first
    if time > span.last:
        return length, span.last
    exact = (time - span.first) * rate
    nearest = round(exact)
    rounding = rate * max(ROUNDING, 4 * math.ulp(max(abs(time), abs(span.first))))
    row = nearest if abs(exact - nearest) <= max(eps, rounding) else math.ceil(exact)
    return min(row, length), span.first + row / rate


def rounding_of(times: NDArray[np.float64], first: float) -> NDArray[np.float64]:
    """By how many seconds times may be off for rounding. Shape: that of ``times``."""
    spacing: NDArray[np.float64] = np.spacing(np.maximum(np.abs(times), abs(first)))
    return np.maximum(ROUNDING, 4 * spacing)


def rows_at(times: NDArray[np.float64], span: Span, rate: float, length: int) -> NDArray[np.intp]:
    """The first row that is not before each of many times. Shape: that of ``times``."""
    exact = ((times - span.first) * rate).clip(-1, length + 1)
    nearest = np.round(exact)
    rounding = rate * rounding_of(times, span.first)
    with np.errstate(invalid="ignore"):  # a time may be infinite, and then is not near any row
        rows = np.where(np.abs(exact - nearest) <= rounding, nearest, np.ceil(exact))
    return rows.clip(0, length).astype(np.intp)


def run_rows(domain: Interval, rate: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First row, and one past the last row, of each run of a gappy series."""
    first = domain.start[0] if len(domain) else 0.0
    begin = np.round((domain.start - first) * rate).astype(np.intp)
    return begin, np.round((domain.end - first) * rate).astype(np.intp)


def check_grid(domain: Interval, rate: float, length: int) -> None:
    """Raise if a domain does not begin with the first sample, end after the last, and lie on the grid of samples."""
    rows = run_rows(domain, rate)[1][-1] if len(domain) else 0
    if rows != length:
        raise ValueError(
            f"the domain spans {rows} samples at {rate} Hz, but the arrays have {length} rows: make them match, or "
            "leave the domain out and pass domain_start"
        )


__all__ = ["LazyRegularTimeSeries", "RegularTimeSeries"]
