"""Where everything lies in a recording file: read once, small, without handles, and safe to send to other processes."""

import difflib
import os
from bisect import bisect_left, bisect_right
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from nd_data.storage.open_files import OPEN_FILES, RecordingFile, open_hdf5

OBJECT_KINDS = ("ArrayDict", "Data", "Interval", "IrregularTimeSeries", "RegularTimeSeries")

REQUIRED_ARRAYS = {"Interval": ("start", "end"), "IrregularTimeSeries": ("timestamps",)}

#: Kinds of dtype whose bytes in the file are those of the array: bool, integers, floats, complex, fixed-width bytes.
MAPPABLE_KINDS = "biufcS"

#: Groups within groups; deeper ones are taken for links in a circle.
DEEPEST = 32


class StoredArray:
    """One array of a file: its key, shape and dtype, and, if it can be mapped, the byte where it starts.

    Args:
        file: The file that holds it.
        key: Its full name in the file, for instance ``"spikes/timestamps"``.
        shape: Its shape.
        dtype: Its dtype as stored.
        offset: The byte where the contiguous values start, or None where h5py has to read them.
        is_text: Whether the bytes are UTF-8 text to be decoded on reading.
    """

    __slots__ = ("dtype", "file", "is_text", "key", "offset", "shape")

    def __init__(
        self,
        file: RecordingFile,
        key: str,
        *,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        offset: int | None,
        is_text: bool = False,
    ) -> None:
        self.file = file
        self.key = key
        self.shape = shape
        self.dtype = dtype
        self.offset = offset
        self.is_text = is_text

    def rows(self) -> NDArray[Any] | h5py.Dataset:
        """Something to index: a read-only view of the mapped file, or the h5py dataset."""
        if self.file.handle is not None:
            return self.file.handle[self.key]
        held = OPEN_FILES.open(self.file)
        view = held.views.get(self.key)
        if view is not None:
            return view
        if self.offset is not None:
            return held.view(self.key, self.shape, self.dtype, self.offset)
        return held.dataset(self.key)

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """A fresh, writable copy of the rows ``start <= row < stop``.

        Raises:
            FileNotFoundError: the file is gone.
            ValueError: the file was changed since its layout was read, or is damaged.
        """
        if 0 in self.shape:
            return self._decoded(
                np.empty(self.shape, self.dtype)[start:stop] if self.shape else np.empty((), self.dtype)
            )
        rows = self.rows()
        if isinstance(rows, np.ndarray):
            return self._decoded(rows[start:stop].copy() if self.shape else rows.copy())
        try:
            values = np.asarray(rows[start:stop] if self.shape else rows[()])
        except OSError as error:
            raise ValueError(f"{self.file.path}: '{self.key}' cannot be read: {error}") from error
        return self._decoded(values)

    def count_before(self, value: float, start: int, stop: int, *, or_equal: bool = False) -> int:
        """How many of all rows come before a value, given that the answer is in ``start <= rows <= stop``.

        Args:
            value: What to look for in this sorted array.
            start: The least possible answer.
            stop: The greatest possible answer.
            or_equal: Whether rows that equal the value count as before it.
        """
        if stop <= start:
            return start
        rows = self.rows()
        if not isinstance(rows, np.ndarray):
            rows = np.asarray(rows[start:stop])
            return start + int(rows.searchsorted(value, side="right" if or_equal else "left"))
        if rows.flags.aligned and rows.dtype.isnative:
            return start + int(rows[start:stop].searchsorted(value, side="right" if or_equal else "left"))
        # NumPy would copy all of a misaligned array before it searches.
        return (bisect_right if or_equal else bisect_left)(rows, value, start, stop)

    def _decoded(self, values: NDArray[Any]) -> NDArray[Any]:
        if not self.is_text:
            return values
        try:
            if values.dtype.kind == "S":
                try:
                    return values.astype(np.str_)  # ASCII, the usual case
                except UnicodeDecodeError:
                    return np.char.decode(values, "utf-8")
            decoded = [item.decode("utf-8") if isinstance(item, bytes) else str(item) for item in values.ravel()]
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.file.path}: '{self.key}' should hold UTF-8 text: {error}") from error
        return np.array(decoded, dtype=np.str_).reshape(values.shape)


class StoredGroup:
    """One object of a file: its kind, its arrays, the objects within, and its plain attributes.

    Args:
        file: The file that holds it.
        key: Its full name in the file; empty for the root.
        kind: The class that was written: one of ``OBJECT_KINDS``.
    """

    __slots__ = ("arrays", "attributes", "cache", "file", "groups", "key", "kind", "second_index", "timekeys")

    def __init__(self, file: RecordingFile, key: str, kind: str) -> None:
        self.file = file
        self.key = key
        self.kind = kind
        self.arrays: dict[str, StoredArray] = {}
        self.groups: dict[str, StoredGroup] = {}
        self.attributes: dict[str, Any] = {}
        self.timekeys: tuple[str, ...] = ()
        self.second_index: StoredArray | None = None
        self.cache: dict[str, Any] = {}  # small things that are worth keeping once they were read

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        return None, {name: getattr(self, name) for name in self.__slots__ if name != "cache"} | {"cache": {}}

    def __deepcopy__(self, memo: dict[int, Any]) -> "StoredGroup":
        return self  # a layout is never changed

    def where(self, name: str | None = None) -> str:
        """The file and key of this object, or of a thing in it, for error messages."""
        key = "/".join(part for part in (self.key, name) if part)
        return f"{self.file.path}: '{key or '/'}'"

    def length(self) -> int | None:
        """The first dimension that all arrays share, or None without arrays."""
        for array in self.arrays.values():
            return array.shape[0]
        return None


def read_layout(path: str | os.PathLike[str]) -> StoredGroup:
    """Read where everything lies in a recording file.

    Args:
        path: An HDF5 file in the brainset layout.

    Returns:
        The root object. No handle stays open.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not HDF5, is truncated, or does not follow the layout; the message names file and key.
    """
    file = RecordingFile(path)
    with open_hdf5(file.path) as handle:
        return group_layout(handle, file)


def layout_of(group: h5py.Group, *, lazy: bool = False) -> StoredGroup:
    """Read the layout of an object from a file or group that the caller has open.

    Args:
        group: An open h5py file or group.
        lazy: Whether arrays will be read later. The file must then be open read-only; where it is a file on disk it is
            found again by its path, so that the caller may close it.

    Raises:
        ValueError: the group does not follow the layout, or is open for writing and should be read lazily.
    """
    handle = group.file
    read_only = handle.mode == "r"
    if lazy and not read_only:
        raise ValueError(f"{handle.filename} is open in mode '{handle.mode}': open it with mode 'r' to read it lazily")
    on_disk = read_only and handle.driver == "sec2" and os.path.exists(handle.filename)  # noqa: PTH110 a str or bytes
    return group_layout(group, RecordingFile(handle.filename) if on_disk else RecordingFile.borrowed(handle))


def group_layout(group: h5py.Group, file: RecordingFile) -> StoredGroup:
    """Read the layout of one group, and of everything in it, from an open h5py group."""
    key = group.name.strip("/")
    attributes = _attributes(group, file, key)
    kind = _text(attributes.pop("object", None))
    if kind not in OBJECT_KINDS:
        found = "has no attribute 'object'" if kind is None else f"holds an object of the unknown kind '{kind}'"
        nearest = difflib.get_close_matches(str(kind), OBJECT_KINDS, n=1)
        raise ValueError(
            f"{file.path}: '{key or '/'}' {found}, expected one of {', '.join(OBJECT_KINDS)}"
            + (f" (nearest: {nearest[0]})" if nearest and kind else "")
        )
    if key.count("/") >= DEEPEST:
        raise ValueError(f"{file.path}: '{key}' lies deeper than {DEEPEST} groups: do links lead in a circle?")
    stored = StoredGroup(file, key, kind)
    text_keys = _names(attributes.pop("_unicode_keys", ()))
    stored.timekeys = _names(attributes.pop("timekeys", ()))
    stored.attributes = attributes
    for name in group:
        try:
            if group.id.links.get_info(name.encode()).type == h5py.h5l.TYPE_EXTERNAL:
                raise ValueError(f"{stored.where(name)} is a link into another file: copy what it leads to")
            item = group[name]
        except (KeyError, OSError) as error:
            raise ValueError(f"{stored.where(name)} cannot be read: {error}") from error
        if isinstance(item, h5py.Group):
            stored.groups[name] = group_layout(item, file)
        elif isinstance(item, h5py.Dataset):
            stored.arrays[name] = _array_layout(item, file, is_text=name in text_keys)
        else:
            raise ValueError(f"{stored.where(name)} is neither a group nor a dataset")
    if kind != "Data":
        _check_arrays(stored)
    return stored


def _array_layout(dataset: h5py.Dataset, file: RecordingFile, *, is_text: bool) -> StoredArray:
    key = dataset.name.strip("/")
    try:
        dtype, shape = dataset.dtype, dataset.shape
    except TypeError as error:
        raise ValueError(f"{file.path}: '{key}' has a type that NumPy does not know: {error}") from error
    if shape is None:
        raise ValueError(f"{file.path}: '{key}' is an empty dataset without a shape, expected an array")
    offset = None
    creation = dataset.id.get_create_plist()
    if (
        file.handle is None
        and dtype.kind in MAPPABLE_KINDS
        and dtype.fields is None
        and dtype.subdtype is None
        and creation.get_layout() == h5py.h5d.CONTIGUOUS
        and creation.get_external_count() == 0
        and dataset.file.userblock_size == 0
    ):
        offset = dataset.id.get_offset()
        end = (offset or 0) + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if offset is not None and end > file.identity[1]:
            raise ValueError(
                f"{file.path}: '{key}' should end at byte {end}, but the file has {file.identity[1]}: it is truncated"
            )
    plain = np.dtype(dtype.str) if dtype.kind in MAPPABLE_KINDS and dtype.fields is None else np.dtype(dtype.kind)
    return StoredArray(file, key, shape=tuple(shape), dtype=plain, offset=offset, is_text=is_text)


def _check_arrays(stored: StoredGroup) -> None:
    for required in REQUIRED_ARRAYS.get(stored.kind, ()):
        if required not in stored.arrays:
            raise ValueError(
                f"{stored.where()} is of kind {stored.kind} but has no dataset '{required}', "
                f"only {sorted(stored.arrays) or 'nothing'}"
            )
    if stored.kind in ("IrregularTimeSeries", "RegularTimeSeries"):
        domain = stored.groups.get("domain")
        if domain is None or domain.kind != "Interval":
            raise ValueError(f"{stored.where()} is of kind {stored.kind} but has no Interval 'domain'")
    if stored.kind == "RegularTimeSeries" and "sampling_rate" not in stored.attributes:
        raise ValueError(f"{stored.where()} is of kind RegularTimeSeries but has no attribute 'sampling_rate'")
    if stored.kind == "IrregularTimeSeries":
        stored.second_index = stored.arrays.pop("timestamp_indices_1s", None)
        stored.arrays = {"timestamps": stored.arrays["timestamps"], **stored.arrays}
    if stored.kind == "Interval":
        stored.arrays = {"start": stored.arrays["start"], "end": stored.arrays["end"], **stored.arrays}
    lengths = {name: array.shape[0] if array.shape else None for name, array in stored.arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{stored.where()}: all arrays must have the same first dimension, found {lengths}")
    if None in lengths.values():
        raise ValueError(f"{stored.where()}: arrays must have at least one dimension, '{next(iter(lengths))}' has none")
    for name in stored.timekeys:
        if name not in stored.arrays:
            raise ValueError(f"{stored.where(name)} is listed in 'timekeys' but is not among {sorted(stored.arrays)}")


def _attributes(group: h5py.Group, file: RecordingFile, key: str) -> dict[str, Any]:
    attributes = {}
    for name in group.attrs:
        try:
            attributes[name] = group.attrs[name]
        except (OSError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"{file.path}: attribute '{name}' of '{key or '/'}' cannot be read: {error}") from error
    return attributes


def _names(values: Any) -> tuple[str, ...]:
    return tuple(text for value in np.ravel(values) if (text := _text(value)) is not None)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
