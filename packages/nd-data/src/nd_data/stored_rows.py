"""What the lazy containers share: arrays that stay on disk, and which of their rows are meant.

A lazy object is a stored group, a selection of its rows, and at most one window of time whose rows have not been looked
up yet. Reading an array looks the window up, copies the rows, and keeps the copy on the object.
"""

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from nd_data.storage.layout import StoredArray, StoredGroup, layout_of

if TYPE_CHECKING:
    import h5py

    from nd_data.array_dict import ArrayDict

    _Base = ArrayDict
else:
    _Base = object


class Window(NamedTuple):
    """A half-open window of time, ``start <= t < end``, and whether its start becomes the origin."""

    start: float
    end: float
    reset_origin: bool


class Rows:
    """Rows of stored arrays: a range, thinned out by an index where there is one, and how far its times were moved.

    Args:
        start: First row.
        stop: One past the last row.
        index: Positions within the range, or None for all of it.
        shifts: What is subtracted from times, one after the other, in the order of the cuts: so a lazy object gives bit
            for bit what an eager one gives.
    """

    __slots__ = ("index", "shifts", "start", "stop")

    def __init__(
        self, start: int, stop: int, index: NDArray[np.intp] | None = None, shifts: tuple[float, ...] = ()
    ) -> None:
        self.start = start
        self.stop = stop
        self.index = index
        self.shifts = shifts

    def __len__(self) -> int:
        return self.stop - self.start if self.index is None else len(self.index)

    def narrowed(self, start: int, stop: int, shift: float | None = None) -> "Rows":
        """The rows ``start <= row < stop`` of these."""
        shifts = self.shifts if shift is None else (*self.shifts, shift)
        if self.index is None:
            return Rows(self.start + start, self.start + max(start, stop), None, shifts)
        return Rows(self.start, self.stop, self.index[start:stop], shifts)

    def picked(self, positions: NDArray[np.intp], shift: float | None = None) -> "Rows":
        """Some of these rows, in the order given."""
        shifts = self.shifts if shift is None else (*self.shifts, shift)
        index = positions if self.index is None else self.index[positions]
        return Rows(self.start, self.stop, index, shifts)

    def masked(self, mask: NDArray[np.bool_]) -> "Rows":
        """The rows of these where a mask is True."""
        index = np.flatnonzero(mask) if self.index is None else self.index[mask]
        return Rows(self.start, self.stop, index, self.shifts)

    def read(self, array: StoredArray) -> NDArray[Any]:
        """A fresh copy of these rows of an array."""
        values = array.read(self.start, self.stop)
        return values if self.index is None else values[self.index]

    def view(self, array: StoredArray) -> NDArray[Any]:
        """These rows of an array that is mapped, without a copy: to work something out from, not to keep."""
        if 0 in array.shape:
            return array.read(self.start, self.stop)
        values: NDArray[Any] = array.rows()[self.start : self.stop]
        return values if self.index is None else values[self.index]

    def shifted(self, times: NDArray[Any]) -> NDArray[Any]:
        """Times as they count from the present origin."""
        for shift in self.shifts:
            times = times - shift
        return times


class StoredArrays(_Base):
    """The lazy half of a container: arrays come from a file when they are first used.

    It stands before the eager class among the bases, and gives way to it once everything was read.
    """

    _eager_class: ClassVar[type["ArrayDict"]]
    _kind: ClassVar[str]
    _float_times: ClassVar[tuple[str, ...]] = ()

    _stored: StoredGroup
    _names: tuple[str, ...]
    _rows: Rows
    _window: Window | None

    def __init__(self, **_: Any) -> None:
        raise TypeError(f"{type(self).__name__} comes from a file: use {type(self).__name__}.from_hdf5 or Data.load")

    @classmethod
    def from_stored(cls, stored: StoredGroup) -> Self:
        """Build the object from the layout of its group, without reading any array."""
        from nd_data.array_dict import check_kind

        check_kind(stored, cls._kind)
        out = object.__new__(cls)
        out.__dict__.update(cls._stored_state(stored))
        hiding = stored.cache.get("hiding")
        if hiding is None:
            from nd_data.array_dict import check_name

            try:
                hiding = stored.cache["hiding"] = [name for name in stored.arrays if check_name(cls, name)]
            except ValueError as error:
                raise ValueError(f"{stored.where()}: {error}") from None
        for name in hiding:  # the method would be found in its stead if it were left on disk
            out.__dict__[name] = out._read(name)
        return out

    @classmethod
    def from_hdf5(cls, file: "h5py.Group") -> Self:
        """Point at an object in an HDF5 file or group, without reading any array.

        Args:
            file: Opened read-only. Where it is a file on disk, it may be closed afterwards.

        Raises:
            ValueError: the group holds another kind of object, does not follow the layout, or is open for writing.
        """
        return cls.from_stored(layout_of(file, lazy=True))

    @classmethod
    def _stored_state(cls, stored: StoredGroup) -> dict[str, Any]:
        return {
            "_stored": stored,
            "_names": tuple(stored.arrays),
            "_rows": Rows(0, stored.length() or 0),
            "_window": None,
        }

    def keys(self) -> list[str]:
        """The names of all arrays, read or not."""
        return list(self._names)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._names:
            from nd_data.array_dict import raise_missing

            raise_missing(self, name, () if name.startswith("_") else self._names)
        values = self.__dict__[name] = self._read(name)
        self._settle()
        return values

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if not name.startswith("_") and name in self.__dict__ and name not in self._names:
            self._names = (*self._names, name)

    def __delattr__(self, name: str) -> None:
        if name not in self._names:
            object.__delattr__(self, name)
            return
        self._resolved()  # while the times are there to look rows up by
        self.__dict__.pop(name, None)
        self._names = tuple(other for other in self._names if other != name)
        self._settle()

    def materialize(self) -> Self:
        """Read everything that is still only on disk into memory.

        Returns:
            This object, which is no longer a lazy one.
        """
        for name in self._unread():
            self.__dict__[name] = self._read(name)
        self._settle()
        return self

    def select_by_mask(self, mask: NDArray[np.bool_]) -> Self:
        """Keep the rows where a mask is True; what was not read stays on disk.

        Args:
            mask: One flag a row, of dtype bool. Shape: (N,).

        Returns:
            A new object; nothing is shared with this one.

        Raises:
            ValueError: the mask is not a Boolean array of shape (N,).
        """
        self._check_mask(mask)
        read = {name: self.__dict__[name][mask] for name in self._names if name in self.__dict__}
        return self._with_rows(self._resolved().masked(mask), read)

    def _unread(self) -> list[str]:
        return [name for name in self._names if name not in self.__dict__]

    def _is_touched(self) -> bool:
        # Whether an array was read or replaced, or dropped, so that the stored times no longer tell all.
        state, names = self.__dict__, self._names
        if len(names) != len(self._stored.arrays):
            return True
        return not state.keys().isdisjoint(names)

    def _first_dimension(self) -> int | None:
        for name in self._names:
            if name in self.__dict__:
                return int(self.__dict__[name].shape[0])
        return len(self._resolved()) if self._names else None

    def _trailing_shape(self, name: str) -> tuple[int, ...]:
        held = self.__dict__.get(name)
        shape: tuple[int, ...] = self._stored.arrays[name].shape if held is None else held.shape
        return shape[1:]

    def _dtype(self, name: str) -> np.dtype[Any]:
        held: NDArray[Any] | None = self.__dict__.get(name)
        if held is not None:
            return held.dtype
        stored = self._stored.arrays[name]
        if stored.is_text:
            return np.dtype((np.str_, stored.dtype.itemsize))
        return np.dtype(np.float64) if name in self._float_times else stored.dtype

    def _current(self, name: str) -> NDArray[Any]:
        held: NDArray[Any] | None = self.__dict__.get(name)
        return self._read(name) if held is None else held

    def _read(self, name: str) -> NDArray[Any]:
        rows = self._rows if self._window is None else self._resolved()
        array = self._stored.arrays[name]
        shifts = rows.shifts if name in self.__dict__.get("_timekeys", ()) else ()
        values = rows.view(array) if shifts and array.offset is not None else rows.read(array)
        if name in self._float_times and values.dtype != np.float64:
            values = values.astype(np.float64)
        for shift in shifts:
            values = values - shift
        return values

    def _resolved(self) -> Rows:
        window = self._window
        if window is not None:
            self._narrow(*self._locate(window.start, window.end), window)
        return self._rows

    def _searchable(self, name: str) -> NDArray[np.float64] | None:
        # These rows of a sorted array of times where they lie in a mapped file, if NumPy can search them there.
        array, rows = self._stored.arrays[name], self._rows
        if rows.index is not None or rows.shifts or array.offset is None or len(rows) == 0:
            return None
        # NumPy would copy all of a misaligned array, or of one of another dtype, before it searches.
        if array.offset % 8 or array.dtype != np.float64 or not array.dtype.isnative:
            return None
        values = array.rows()
        return values if len(rows) == len(values) else values[rows.start : rows.stop]

    def _narrow(self, start: int, stop: int, window: Window) -> None:
        # What a window that was not looked up yet comes to.
        state = self.__dict__
        state["_rows"] = self._rows.narrowed(start, stop, window.start if window.reset_origin else None)
        state["_window"] = None

    def _locate(self, start: float, end: float) -> tuple[int, int]:
        raise AssertionError(f"{type(self).__name__} has no times to find [{start}, {end}) by")

    def _with_rows(self, rows: Rows, read: dict[str, NDArray[Any]], domain: Any = None) -> Self:
        out = object.__new__(type(self))
        state = out.__dict__
        state.update(self._private_state(domain))
        state.update(read)
        state["_stored"] = self._stored
        state["_names"] = self._names
        state["_rows"] = rows
        state["_window"] = None
        return out

    def _untouched(self, window: Window, domain: Any = None) -> Self:
        # A window of an object of which nothing was read or changed: its rows are looked up when one is.
        self._resolved()
        out = object.__new__(type(self))
        state = out.__dict__
        state.update(self.__dict__)
        state["_window"] = window
        if domain is not None:
            state["_domain"] = domain
        return out

    def _settle(self) -> None:
        # Once nothing is left on disk, this is an eager object like any other.
        state = self.__dict__
        names = self._names
        for name in names:
            if name not in state:
                return
        arrays = {name: state.pop(name) for name in names}
        for private in ("_stored", "_names", "_rows", "_window"):
            del state[private]
        state.update(arrays)
        object.__setattr__(self, "__class__", self._eager_class)


def check_order(times: NDArray[Any], array: StoredArray) -> None:
    """Raise if times that were read are not in order, or one is NaN."""
    steps = len(times) - 1
    if steps > 0 and np.count_nonzero(times[1:] >= times[:-1]) != steps:
        raise ValueError(f"{array.file.path}: '{array.key}' is not sorted, or holds NaN")
