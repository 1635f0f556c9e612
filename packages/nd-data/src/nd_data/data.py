"""A recording, or a part of one: named containers, arrays and plain values that share one clock."""

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

import h5py
import numpy as np

from nd_data.array_dict import ArrayDict, check_kind, raise_missing
from nd_data.interval import Interval
from nd_data.nested_attributes import NestedAttributes
from nd_data.sliced_domain import SlicedDomain, cut_domain
from nd_data.storage.layout import StoredGroup, layout_of, read_layout
from nd_data.storage.open_files import OPEN_FILES
from nd_data.storage.values import SerializeFunctions, serialized, write_value
from nd_data.storage.writing import write_arrays, write_names, write_recording
from nd_data.stored_parts import Cuts, covered_by, cut_part, has_time, read_part
from nd_data.stored_rows import Window
from nd_data.time_keys import check_window


class Data(NestedAttributes):
    """Named containers, arrays, strings and numbers, held as attributes, that are sliced together.

    Args:
        domain: Where in time the data are defined: an Interval, "auto" for all that its parts cover, or None for data
            without time.
        **kwargs: Containers (:class:`ArrayDict`, :class:`Interval`, :class:`IrregularTimeSeries`,
            :class:`RegularTimeSeries`, another :class:`Data`), NumPy arrays, strings and numbers.

    Raises:
        ValueError: a part has times, but there is no domain.

    Example:
        >>> from nd_data import IrregularTimeSeries
        >>> data = Data(
        ...     session="monday",
        ...     spikes=IrregularTimeSeries([0.1, 1.2, 2.3], unit_index=[0, 1, 0], domain=Interval(0.0, 3.0)),
        ...     domain=Interval(0.0, 3.0),
        ... )
        >>> window = data.slice(1.0, 2.0)
        >>> window.spikes.timestamps.round(3), window.absolute_start, window.session
        (array([0.2]), 1.0, 'monday')
    """

    holds_parts: ClassVar[bool] = True

    _domain: Interval | SlicedDomain | None = None
    _absolute_start: float = 0.0
    # Parts that are still only on disk: their group, and how to cut and select from what is read.
    _stored: StoredGroup | None = None
    _lazy: bool = True
    _names: tuple[str, ...] = ()
    _cuts: Cuts = ()
    # Parts in memory that do not change any more, and those of them that never can: see nd_data.window_source.
    _held: Mapping[str, Any] | None = None
    _constants: Mapping[str, tuple[str, Any]] | None = None

    def __init__(self, *, domain: Interval | Literal["auto"] | None = None, **kwargs: Any) -> None:
        if isinstance(domain, str):
            if domain != "auto":
                raise ValueError(f"the domain must be an Interval, 'auto' or None, got '{domain}'")
            domain = covered_by(kwargs.values())
        if domain is not None and not isinstance(domain, Interval):
            raise ValueError(f"the domain must be an Interval, 'auto' or None, got {type(domain).__name__}")
        self._domain = domain
        for name, value in kwargs.items():
            setattr(self, name, value)

    @property
    def domain(self) -> Interval | None:
        """Where in time the data are defined; None for data without time."""
        if isinstance(self._domain, SlicedDomain):
            self._domain = self._domain.interval()
        return self._domain

    @domain.setter
    def domain(self, domain: Interval | None) -> None:
        if domain is not None and not isinstance(domain, Interval):
            raise ValueError(f"the domain must be an Interval or None, got {type(domain).__name__}")
        self._domain = domain

    @property
    def start(self) -> float | None:
        """Start of the domain in seconds; None for data without time, or without any of it."""
        domain = self.domain
        return None if domain is None or len(domain) == 0 else float(domain.start[0])

    @property
    def end(self) -> float | None:
        """End of the domain in seconds; None for data without time, or without any of it."""
        domain = self.domain
        return None if domain is None or len(domain) == 0 else float(domain.end[-1])

    @property
    def absolute_start(self) -> float | None:
        """Where the origin of these times lies in the recording, in seconds; None for data without time."""
        return None if self._domain is None else self._absolute_start

    @property
    def file(self) -> Path | None:
        """The file that parts of these data are still read from, or None."""
        return None if self._stored is None else Path(self._stored.file.path)

    def keys(self) -> list[str]:
        """The names of all parts, read or not."""
        if self._stored is None:
            return [name for name in self.__dict__ if not name.startswith("_")]
        return list(self._names)

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            if self._domain is None and has_time(value):
                raise ValueError(
                    f"'{name}' has times: data that hold it need a domain, pass domain='auto' or an Interval"
                )
            if self._stored is not None and name not in self._names and name != "domain":
                self._names = (*self._names, name)
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self._stored is None or name not in self._names:
            raise_missing(self, name, () if name.startswith("_") else self.keys())
        if self._held is not None and name in self._held:
            value = cut_part(self._held[name], self._cuts)
        else:
            value = read_part(self._stored, name, cuts=self._cuts, lazy=self._lazy, data_class=type(self))
        self.__dict__[name] = value
        return value

    def __delattr__(self, name: str) -> None:
        if name in self._names:
            self._names = tuple(other for other in self._names if other != name)
            self.__dict__.pop(name, None)
        else:
            object.__delattr__(self, name)

    def slice(self, start: float, end: float, reset_origin: bool = True) -> Self:
        """Everything between two times; what has no time is kept as it is.

        Args:
            start: Start of the window in seconds.
            end: End of the window in seconds.
            reset_origin: Whether times then count from the start of the window.

        Returns:
            A new object. Setting parts of either leaves the other as it is; only the arrays inside parts without time
            are shared. What was not read stays on disk.

        Raises:
            ValueError: the data have no time, or the window is NaN or ends before it starts.
        """
        if self._domain is None:
            raise ValueError("these data have no domain, and so no times to slice")
        check_window(start, end)
        return self._sliced(Window(start, end, reset_origin))

    @property
    def _is_timed(self) -> bool:
        # Whether it is cut when what holds it is.
        return self._domain is not None

    def _sliced(self, window: Window) -> Self:
        out = object.__new__(type(self))
        own, state = self.__dict__, out.__dict__
        state.update(own)
        if self._stored is not None:
            state["_cuts"] = (*self._cuts, window)
        if self._stored is None or not own.keys().isdisjoint(self._names):
            for name, value in own.items():
                if not name.startswith("_"):
                    state[name] = cut_part(value, (window,))
        state["_domain"] = None if self._domain is None else cut_domain(self._domain, window)
        if window.reset_origin:
            state["_absolute_start"] = self._absolute_start + float(window.start)
        return out

    def select_by_interval(self, interval: Interval) -> Self:
        """Everything inside the given intervals, with the same origin; regular series become irregular.

        Args:
            interval: Sorted and disjoint intervals.

        Raises:
            ValueError: the data have no time, or the intervals are not sorted and disjoint.
        """
        domain = self.domain
        if domain is None:
            raise ValueError("these data have no domain, and so no times to select by")
        out = object.__new__(type(self))
        state = out.__dict__
        for name, value in self.__dict__.items():
            if not name.startswith("_"):
                state[name] = cut_part(value, (interval,))
            elif name not in ("_domain", "_cuts"):
                state[name] = value
        if self._stored is not None:
            state["_cuts"] = (*self._cuts, copy.deepcopy(interval))
        state["_domain"] = domain & interval
        return out

    def set_train_domain(self, interval: Interval) -> None:
        """Set ``train_domain``: the times to train on."""
        self.train_domain = interval

    def set_valid_domain(self, interval: Interval) -> None:
        """Set ``valid_domain``: the times to choose a model by."""
        self.valid_domain = interval

    def set_test_domain(self, interval: Interval) -> None:
        """Set ``test_domain``: the times to report on."""
        self.test_domain = interval

    def add_split_mask(self, name: str, interval: Interval) -> None:
        """Add the Boolean array ``<name>_mask`` to every part with times: which of its rows lie in the intervals.

        Args:
            name: For instance "train".
            interval: The times of the split.

        Raises:
            ValueError: a part already has such an array.
        """
        for key in self.keys():
            value = getattr(self, key)
            if has_time(value) and not key.endswith("_domain"):
                value.add_split_mask(name, interval)

    def to_dict(self) -> dict[str, Any]:
        """A deep copy of all parts by name, with "_domain" and "_absolute_start"."""
        parts = {name: copy.deepcopy(getattr(self, name)) for name in self.keys()}
        return {**parts, "_domain": copy.deepcopy(self.domain), "_absolute_start": self._absolute_start}

    def materialize(self) -> Self:
        """Read everything that is still only on disk into memory.

        Returns:
            This object.
        """
        for name in self.keys():
            value = getattr(self, name)
            if isinstance(value, Data | ArrayDict):
                value.materialize()
        _ = self.domain
        if self._stored is not None:
            names = self._names
            parts = {name: self.__dict__.pop(name) for name in names}
            for private in ("_stored", "_lazy", "_names", "_cuts", "_held", "_constants"):
                self.__dict__.pop(private, None)
            self.__dict__.update(parts)
        return self

    def to_hdf5(self, file: h5py.Group, serialize_fn_map: SerializeFunctions | None = None) -> None:
        """Write everything to an HDF5 file or group; parts that are None are left out.

        Args:
            file: Open for writing, and empty.
            serialize_fn_map: Functions ``f(value, serialize_fn_map=...)`` by type, for values that HDF5 cannot hold.

        Raises:
            TypeError: a value cannot be written; the message names it.
        """
        arrays = {}
        for name in self.keys():
            value = getattr(self, name)
            if isinstance(value, Data):
                value.to_hdf5(file.create_group(name), serialize_fn_map=serialize_fn_map)
            elif isinstance(value, ArrayDict):
                value.to_hdf5(file.create_group(name))
            elif isinstance(value, np.ndarray):
                arrays[name] = value
            elif value is not None:
                write_value(file, name, serialized(value, serialize_fn_map))
        text_keys = write_arrays(file, arrays)
        if text_keys:
            write_names(file, "_unicode_keys", text_keys)
        domain = self.domain
        if domain is not None:
            domain.to_hdf5(file.create_group("domain"))
        file.attrs["object"] = "Data"
        file.attrs["absolute_start"] = self._absolute_start

    @classmethod
    def from_hdf5(cls, file: h5py.Group, lazy: bool = True) -> Self:
        """Read from an HDF5 file or group that is open.

        Args:
            file: What :meth:`to_hdf5` wrote.
            lazy: Whether to leave everything on disk until it is used. The file must then be open read-only; a file on
                disk may be closed afterwards.

        Raises:
            ValueError: the group does not follow the layout, or is open for writing and should be read lazily.
        """
        return cls.from_stored(layout_of(file, lazy=lazy), lazy=lazy)

    @classmethod
    def from_stored(cls, stored: StoredGroup, *, lazy: bool = True) -> Self:
        """Build the object from the layout of its group (see :func:`nd_data.storage.read_layout`)."""
        check_kind(stored, "Data")
        out = object.__new__(cls)
        domain = stored.groups.get("domain")
        names = [*stored.groups, *stored.arrays, *stored.attributes]
        parts = [name for name in names if name not in ("domain", "absolute_start") and not name.startswith("_")]
        out.__dict__.update(
            _stored=stored,
            _lazy=lazy,
            _names=tuple(parts),
            _absolute_start=float(stored.attributes.get("absolute_start", 0.0)),
            _domain=None if domain is None else SlicedDomain(domain),
        )
        for name in parts:
            if hasattr(cls, name):
                raise ValueError(f"{stored.where(name)} has the name of an attribute of every Data: it cannot be read")
        return out if lazy else out.materialize()

    @classmethod
    def load(cls, path: str | os.PathLike[str], lazy: bool = True) -> Self:
        """Read a recording file.

        Args:
            path: The file.
            lazy: Whether to leave everything on disk until it is used. No handle needs closing: those in use are
                shared, and bounded in number (``nd_data.storage.OPEN_FILES``).

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not HDF5, is truncated, or does not follow the layout; the message names file and
                key.
        """
        return cls.from_stored(read_layout(path), lazy=lazy)

    def save(self, path: str | os.PathLike[str], serialize_fn_map: SerializeFunctions | None = None) -> None:
        """Write a recording file, which takes its place only once it is complete.

        Args:
            path: Where to; a file that is there is replaced.
            serialize_fn_map: See :meth:`to_hdf5`.

        Raises:
            FileNotFoundError: the folder does not exist.
            TypeError: a value cannot be written; the message names it.
        """
        if self._stored is not None and self._stored.file.path == str(Path(path).absolute()):
            self.materialize()  # its file is about to be replaced
        with write_recording(path) as file:
            self.to_hdf5(file, serialize_fn_map=serialize_fn_map)

    def close(self, strict: bool = False) -> None:
        """Let go of the file that parts are still read from; it opens again when one is used.

        Args:
            strict: Whether to raise when there is no such file.

        Raises:
            RuntimeError: there is no such file, and ``strict`` is True.
        """
        if self._stored is not None and self._stored.file.handle is None:
            OPEN_FILES.close(self._stored.file)
        elif strict:
            raise RuntimeError("these data are not read from a file")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __copy__(self) -> Self:
        # A new skeleton over the same arrays: what is set on the copy is not set on this one.
        out = object.__new__(type(self))
        for name, value in self.__dict__.items():
            out.__dict__[name] = copy.copy(value) if isinstance(value, Data | ArrayDict) else value
        return out

    def __repr__(self) -> str:
        lines = [part_repr(name, getattr(self, name)) for name in self.keys()]
        if self._absolute_start:
            lines.append(f"absolute_start={self._absolute_start}")
        return f"{type(self).__name__}(\n" + "".join(f"{line},\n" for line in lines) + ")"


def part_repr(name: str, value: object) -> str:
    """One line, or several, that say what a part is."""
    if isinstance(value, np.ndarray):
        return f"{name}={list(value.shape)}"
    return f"{name}={value!r}"


__all__ = ["Data"]
