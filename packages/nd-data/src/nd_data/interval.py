"""Sets of half-open intervals of time, with whatever describes each of them (trials, movement phases, splits)."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from nd_data import interval_algebra
from nd_data.array_dict import ArrayDict, check_kind
from nd_data.split_counts import split_counts
from nd_data.storage.layout import StoredGroup
from nd_data.storage.writing import write_names
from nd_data.time_keys import check_times, check_window, named_times

if TYPE_CHECKING:
    import pandas as pd


class Interval(ArrayDict):
    """Half-open intervals ``start <= t < end`` in seconds.

    Args:
        start: Start times; a number stands for a single interval. Shape: (N,), float64.
        end: End times. Shape: (N,), float64.
        timekeys: Names of the arrays that are times, and so move with the origin; start and end always are.
        **kwargs: What describes each interval: arrays of shape (N, ...).

    Raises:
        ValueError: lengths differ, a start or end is NaN, or a time key does not exist.

    Example:
        >>> trials = Interval(start=[0.0, 2.0], end=[1.0, 3.5], direction=[45, 90])
        >>> trials.slice(2.5, 4.0).direction
        array([90])
        >>> both = trials & Interval(0.5, 3.0)
        >>> both.start, both.end
        (array([0.5, 2. ]), array([1., 3.]))
    """

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    _is_timed: ClassVar[bool] = True
    _timekeys: tuple[str, ...]
    _sorted: bool | None = None

    def __init__(
        self,
        start: float | ArrayLike,
        end: float | ArrayLike,
        *,
        timekeys: Iterable[str] | None = None,
        **kwargs: ArrayLike,
    ) -> None:
        super().__init__(start=np.atleast_1d(np.asarray(start)), end=np.atleast_1d(np.asarray(end)), **kwargs)
        self._timekeys = named_times(self, timekeys, ("start", "end"))

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
        if name in ("start", "end"):
            value = check_times(name, value)
        super().__setattr__(name, value)
        if name in ("start", "end"):
            self._sorted = None

    def __iter__(self) -> Iterator[tuple[np.float64, np.float64]]:
        """Go through the (start, end) of each interval."""
        yield from zip(self.start, self.end, strict=True)

    def is_sorted(self) -> bool:
        """Whether starts and ends both never decrease."""
        if self._sorted is None:
            start, end = self.start, self.end
            self._sorted = bool((start[1:] >= start[:-1]).all() and (end[1:] >= end[:-1]).all())
        return self._sorted

    def is_disjoint(self) -> bool:
        """Whether no two intervals overlap, in whatever order they come."""
        start, end = self.start, self.end
        if not self.is_sorted():
            order = np.lexsort((end, start))
            start, end = start[order], end[order]
        return bool((end[:-1] <= start[1:]).all())

    def sort(self) -> Self:
        """Put the intervals in order of time, in place.

        Returns:
            This object.

        Raises:
            ValueError: intervals overlap, so that they have no order.
        """
        if not self.is_disjoint():
            raise ValueError("these intervals overlap and cannot be sorted: they must be disjoint")
        if not self.is_sorted():
            order = np.lexsort((self.end, self.start))
            for name in self.keys():
                self.__dict__[name] = getattr(self, name)[order]
        self._sorted = True
        return self

    def slice(self, start: float, end: float, reset_origin: bool = True) -> Self:
        """The intervals that overlap ``[start, end)``, whole, in order of time.

        Args:
            start: Start of the window in seconds.
            end: End of the window in seconds.
            reset_origin: Whether times then count from the start of the window.

        Returns:
            A new object; nothing is shared with this one.

        Raises:
            ValueError: the window is NaN or ends before it starts.
        """
        check_window(start, end)
        if self.is_sorted():
            rows: slice | NDArray[np.intp] = slice(
                int(self.end.searchsorted(start, side="right")), int(self.start.searchsorted(end))
            )
        else:
            order = np.lexsort((self.end, self.start))
            rows = order[(self.end[order] > start) & (self.start[order] < end)]
        out = self._with_arrays({name: self.__dict__[name][rows].copy() for name in self.keys()})
        if reset_origin:
            for name in self._timekeys:
                out.__dict__[name] = out.__dict__[name] - start
        return out

    def select_by_interval(self, interval: "Interval") -> Self:
        """The intervals that overlap any of the given ones, whole and with the same origin.

        Args:
            interval: Where to look.
        """
        mask = interval_algebra.overlaps((self.start, self.end), (interval.start, interval.end))
        return self.select_by_mask(mask)

    def add_split_mask(self, name: str, interval: "Interval") -> None:
        """Add the Boolean array ``<name>_mask``: which of these intervals overlap the given ones.

        Raises:
            ValueError: there already is such an array.
        """
        mask_name = f"{name}_mask"
        if mask_name in self.keys():
            raise ValueError(f"there already is an array '{mask_name}': a split mask is set once")
        inside = interval_algebra.overlaps((self.start, self.end), (interval.start, interval.end))
        setattr(self, mask_name, inside)

    def dilate(self, size: float, max_len: float | None = None) -> Self:
        """Grow every interval on both sides, neighbours at most until they meet half-way.

        Args:
            size: Seconds on each side, not negative.
            max_len: No interval grows beyond this many seconds.

        Raises:
            ValueError: the size is negative, or the intervals are not sorted and disjoint.
        """
        if not size >= 0:
            raise ValueError(f"intervals are dilated by a size that is not negative, got {size}")
        out = copy.deepcopy(self)
        out.start, out.end = interval_algebra.dilated(ordered_bounds(self, "given"), size, max_len)
        return out

    def coalesce(self, eps: float = 1e-6) -> "Interval":
        """Join neighbours that are less than ``eps`` seconds apart; only start and end are kept.

        Raises:
            ValueError: ``eps`` is negative, or the intervals overlap in a way that gives them no order.
        """
        if not eps >= 0:
            raise ValueError(f"eps must not be negative, got {eps}")
        ordered = self if self.is_sorted() else copy.deepcopy(self).sort()
        return Interval(*interval_algebra.coalesced((ordered.start, ordered.end), eps))

    def difference(self, other: "Interval") -> "Interval":
        """The times that are in these intervals and not in the others; only start and end are kept.

        Raises:
            ValueError: either side is not sorted and disjoint.
        """
        return unchecked_interval(
            *interval_algebra.difference(ordered_bounds(self, "left"), ordered_bounds(other, "right"))
        )

    def __and__(self, other: "Interval") -> "Interval":
        """The times that are in both; only start and end are kept. Both sides must be sorted and disjoint."""
        return unchecked_interval(
            *interval_algebra.intersection(ordered_bounds(self, "left"), ordered_bounds(other, "right"))
        )

    def __or__(self, other: "Interval") -> "Interval":
        """The times that are in either, joined where they touch. Both sides must be sorted and disjoint."""
        return unchecked_interval(*interval_algebra.union(ordered_bounds(self, "left"), ordered_bounds(other, "right")))

    def split(
        self,
        sizes: Sequence[int] | Sequence[float],
        *,
        shuffle: bool = False,
        random_seed: int | np.random.Generator | None = None,
    ) -> list[Self]:
        """Deal the intervals out to several sets, each in the order of this one.

        Args:
            sizes: Either whole numbers that add up to the number of intervals, or fractions that add up to one.
            shuffle: Whether intervals are drawn at random rather than in order.
            random_seed: A seed or a generator for the shuffle.

        Returns:
            One object for each size.

        Raises:
            ValueError: fewer than two sizes, more sizes than intervals, or sizes that do not add up.
        """
        counts = split_counts(sizes, len(self))
        order = np.random.default_rng(random_seed).permutation(len(self)) if shuffle else np.arange(len(self))
        parts = []
        for part in np.split(order, np.cumsum(counts)[:-1]):
            mask = np.zeros(len(self), dtype=np.bool_)
            mask[part] = True
            parts.append(self.select_by_mask(mask))
        return parts

    def subdivide(self, step: float, drop_short: bool = False) -> "Interval":
        """Cut every interval into pieces of ``step`` seconds, which keep what describes their interval.

        Args:
            step: Seconds a piece.
            drop_short: Whether to leave out what remains at the end of an interval when it is shorter than a step.

        Raises:
            ValueError: the step is not positive.
        """
        if not step > 0:
            raise ValueError(f"the step must be positive, got {step}")
        start, end, owner = interval_algebra.subdivided((self.start, self.end), step, keep_remainder=not drop_short)
        rest = {name: getattr(self, name)[owner] for name in self.keys() if name not in ("start", "end")}
        return Interval(start, end, timekeys=self._timekeys, **rest)

    @classmethod
    def linspace(cls, start: float, end: float, steps: int) -> Self:
        """Divide ``[start, end)`` into a number of equal intervals."""
        edges = np.linspace(start, end, steps + 1, dtype=np.float64)
        return cls(edges[:-1], edges[1:])

    @classmethod
    def arange(cls, start: float, end: float, step: float, include_end: bool = True) -> Self:
        """Divide ``[start, end)`` into intervals of ``step`` seconds.

        Args:
            start: Start in seconds.
            end: End in seconds.
            step: Seconds an interval.
            include_end: Whether to keep what remains at the end when it is shorter than a step.

        Raises:
            ValueError: the step is not positive.
        """
        pieces = Interval(float(start), float(end)).subdivide(step, drop_short=not include_end)
        return cls(pieces.start, pieces.end)

    @classmethod
    def from_list(cls, interval_list: Sequence[tuple[float, float]]) -> Self:
        """Make intervals of (start, end) pairs."""
        bounds = np.array(interval_list, dtype=np.float64).reshape(len(interval_list), 2)
        return cls(bounds[:, 0], bounds[:, 1])

    @classmethod
    def from_dataframe(cls, df: "pd.DataFrame", unsigned_to_long: bool = True, **kwargs: Any) -> Self:
        """Take the columns of a pandas data frame, of which two are "start" and "end".

        Args:
            df: One row an interval.
            unsigned_to_long: Whether unsigned integers become int64.
            **kwargs: Further arguments of the constructor, for instance ``timekeys``.

        Raises:
            ValueError: "start" or "end" is missing, or a column cannot become an array.
        """
        for column in ("start", "end"):
            if column not in df.columns:
                raise ValueError(f"intervals need a column '{column}', found {list(df.columns)}: rename one")
        return super().from_dataframe(df, unsigned_to_long=unsigned_to_long, **kwargs)

    def to_hdf5(self, file: h5py.Group) -> None:
        """Write the intervals to an HDF5 file or group; see :meth:`ArrayDict.to_hdf5`."""
        super().to_hdf5(file)
        write_names(file, "timekeys", self._timekeys)
        file.attrs["object"] = "Interval"

    @classmethod
    def from_stored(cls, stored: StoredGroup) -> Self:
        """Build the object from the layout of its group (see :func:`nd_data.storage.read_layout`)."""
        check_kind(stored, "Interval")
        arrays = {name: array.read() for name, array in stored.arrays.items()}
        try:
            return cls(**arrays, timekeys=stored.timekeys)
        except ValueError as error:
            raise ValueError(f"{stored.where()}: {error}") from None

    def _private_state(self, domain: Any = None) -> dict[str, Any]:  # noqa: ARG002 intervals are their own domain
        return {"_timekeys": self._timekeys, "_sorted": True if self._sorted else None}


def unchecked_interval(start: NDArray[np.float64], end: NDArray[np.float64]) -> Interval:
    """Intervals from bounds that were worked out from checked ones; the arrays become the object's own."""
    out = object.__new__(Interval)
    out.__dict__.update(start=start, end=end, _timekeys=("start", "end"))
    return out


def ordered_bounds(intervals: Interval, side: str) -> interval_algebra.Bounds:
    """Starts and ends, for operations that need them in order.

    Raises:
        ValueError: the intervals are not sorted, overlap, or one ends before it starts.
    """
    start, end = intervals.start, intervals.end
    if not (intervals.is_sorted() and (end[:-1] <= start[1:]).all()):
        if intervals.is_disjoint():
            raise ValueError(f"the {side} intervals must be sorted: call sort() first")
        raise ValueError(f"the {side} intervals must be disjoint, but some overlap")
    if (end < start).any():
        row = int(np.argmax(end < start))
        raise ValueError(f"{side} interval in row {row} ends before it starts: [{start[row]}, {end[row]})")
    return start, end


__all__ = ["Interval"]
