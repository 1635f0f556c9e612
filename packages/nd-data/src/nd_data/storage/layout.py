"""Where everything lies in a recording file: read once, small, without handles, and safe to send to other processes."""

import math
import os
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o

from nd_data.nearest_names import name_hint
from nd_data.storage.hdf5_objects import DAMAGE, attribute_names, attribute_value, links_of, numpy_type
from nd_data.storage.open_files import RecordingFile, open_hdf5
from nd_data.storage.stored_objects import StoredArray, StoredGroup

OBJECT_KINDS = ("ArrayDict", "Data", "Interval", "IrregularTimeSeries", "RegularTimeSeries")

REQUIRED_ARRAYS = {"Interval": ("start", "end"), "IrregularTimeSeries": ("timestamps",)}

#: Kinds of dtype whose bytes in the file are those of the array: bool, integers, floats, complex, fixed-width bytes.
MAPPABLE_KINDS = "biufcS"

#: Groups within groups; deeper ones are taken for links in a circle.
DEEPEST = 32


class LayoutError(ValueError):
    """Something in a file that does not follow the layout of recordings.

    Args:
        path: The file.
        key: Full name of the object in the file, empty for the root.
        what: What is wrong; it names the key.
    """

    def __init__(self, path: str, key: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.key = key
        self.what = what


def read_layout(
    path: str | os.PathLike[str],
    *,
    parts: Callable[[str], bool] | None = None,
    report: Callable[[LayoutError], object] | None = None,
) -> StoredGroup:
    """Read where everything lies in a recording file.

    Args:
        path: An HDF5 file in the brainset layout.
        parts: Whether to look at a part of the recording, by its name; without it, at all of them.
        report: Called with each thing that does not follow the layout, which is then left out; without it, the first
            one is raised.

    Returns:
        The root object. No handle stays open.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not HDF5, is truncated, or does not follow the layout; the message names file and key.
    """
    file = RecordingFile(path)
    with open_hdf5(file.path) as handle:
        return group_layout(handle, file, parts=parts, report=report)


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


def group_layout(
    group: h5py.Group,
    file: RecordingFile,
    *,
    parts: Callable[[str], bool] | None = None,
    report: Callable[[LayoutError], object] | None = None,
) -> StoredGroup:
    """Read the layout of one group, and of everything in it, from an open h5py group."""
    reader = LayoutReader(file, can_be_mapped=group.file.userblock_size == 0, report=report)
    key = group.name.strip("/")
    try:
        return reader.group(group.id, key, parts)
    except LayoutError:
        raise
    except DAMAGE as error:
        raise LayoutError(file.path, key, f"'{key or '/'}' is damaged: {error}") from error


class LayoutReader:
    """Walks an open file once.

    Args:
        file: The file that holds what is read.
        can_be_mapped: Whether byte offsets that HDF5 tells are those of the file.
        report: Called with each thing that does not follow the layout, which is then left out, and so is what it
            should have been a part of where that makes no sense without; without it, the first one is raised.
    """

    def __init__(
        self, file: RecordingFile, *, can_be_mapped: bool, report: Callable[[LayoutError], object] | None = None
    ) -> None:
        self.file = file
        self.can_be_mapped = can_be_mapped and file.handle is None
        self.report = report

    def group(self, group: Any, key: str, parts: Callable[[str], bool] | None = None) -> StoredGroup:
        """One group, and everything in it.

        Args:
            group: An ``h5py.h5g.GroupID``.
            key: Its full name.
            parts: Whether to look at something in it, by its name; without it, at everything.
        """
        attributes = self._attributes(group, key)
        kind = _text(attributes.pop("object", None))
        if kind not in OBJECT_KINDS:
            found = "has no attribute 'object'" if kind is None else f"holds an object of the unknown kind '{kind}'"
            hint = name_hint(kind or "", OBJECT_KINDS, noun="expected one of")
            raise self._error(key, f"{found}; {hint}")
        if key.count("/") >= DEEPEST:
            raise self._error(key, f"lies deeper than {DEEPEST} groups: do links lead in a circle?")
        stored = StoredGroup(self.file, key, kind)
        text_keys = _names(attributes.pop("_unicode_keys", ()))
        stored.timekeys = _names(attributes.pop("timekeys", ()))
        stored.attributes = attributes
        prefix = f"{key}/" if key else ""
        for name, link, link_kind in links_of(group):
            if parts is not None and not parts(name):
                continue
            try:
                item = self._item(group, link, link_kind, prefix + name)
                if isinstance(item, h5g.GroupID):
                    stored.groups[name] = self.group(item, prefix + name)
                else:
                    stored.arrays[name] = self._array(item, prefix + name, is_text=name in text_keys)
            except LayoutError as error:
                self._pass_on(error)
        if kind != "Data":
            self._check(stored)
        return stored

    def _item(self, group: Any, link: bytes, link_kind: int, key: str) -> Any:
        if link_kind == h5l.TYPE_EXTERNAL:
            raise self._error(key, "is a link into another file: copy what it leads to")
        try:
            item = h5o.open(group, link)
        except DAMAGE as error:
            raise self._error(key, f"cannot be read: {error}") from error
        if not isinstance(item, h5g.GroupID | h5d.DatasetID):
            raise self._error(key, "is neither a group nor a dataset")
        return item

    def _array(self, dataset: Any, key: str, *, is_text: bool) -> StoredArray:
        try:
            dtype, shape = numpy_type(dataset.get_type()), dataset.shape
        except TypeError as error:
            raise self._error(key, f"has a type that NumPy does not know: {error}") from error
        except DAMAGE as error:
            raise self._error(key, f"is damaged: {error}") from error
        if shape is None:
            raise self._error(key, "is an empty dataset without a shape, expected an array")
        plain = dtype.kind in MAPPABLE_KINDS and dtype.fields is None
        # Chunked, compressed, compact and external datasets have no offset, and neither has one without any values.
        offset = dataset.get_offset() if self.can_be_mapped and plain and dtype.subdtype is None else None
        if offset is not None:
            end, size = offset + math.prod(shape) * dtype.itemsize, self.file.identity[1]
            if end > size:
                raise self._error(key, f"should end at byte {end}, but the file has {size}: it is truncated")
        stored_dtype = np.dtype(dtype.str) if plain else np.dtype(dtype.kind)
        return StoredArray(self.file, key, shape=tuple(shape), dtype=stored_dtype, offset=offset, is_text=is_text)

    def _attributes(self, group: Any, key: str) -> dict[str, Any]:
        attributes = {}
        for stored_name in attribute_names(group):
            name = stored_name.decode("utf-8", "surrogateescape")
            try:
                attributes[name] = attribute_value(group, stored_name)
            except DAMAGE as error:
                what = f"attribute '{name}' of '{key or '/'}' cannot be read: {error}"
                self._pass_on(LayoutError(self.file.path, key, what))
        return attributes

    def _check(self, stored: StoredGroup) -> None:
        """What a container needs besides arrays; it also puts them in order."""
        key, kind, arrays = stored.key, stored.kind, stored.arrays
        for required in REQUIRED_ARRAYS.get(kind, ()):
            if required not in arrays:
                found = sorted(arrays) or "nothing"
                raise self._error(key, f"is of kind {kind} but has no dataset '{required}', only {found}")
        if kind in ("IrregularTimeSeries", "RegularTimeSeries"):
            domain = stored.groups.get("domain")
            if domain is None or domain.kind != "Interval":
                raise self._error(key, f"is of kind {kind} but has no Interval 'domain'")
        if kind == "RegularTimeSeries" and "sampling_rate" not in stored.attributes:
            raise self._error(key, "is of kind RegularTimeSeries but has no attribute 'sampling_rate'")
        if kind == "IrregularTimeSeries":
            stored.second_index = arrays.pop("timestamp_indices_1s", None)
        stored.arrays = {name: arrays[name] for name in REQUIRED_ARRAYS.get(kind, ())} | arrays
        lengths = {name: array.shape[0] if array.shape else None for name, array in stored.arrays.items()}
        if len(set(lengths.values())) > 1:
            raise self._error(key, f"all arrays must have the same first dimension, found {lengths}", separator=": ")
        if None in lengths.values():
            raise self._error(
                key, f"arrays must have at least one dimension, '{next(iter(lengths))}' has none", separator=": "
            )
        for name in stored.timekeys:
            if name not in stored.arrays:
                wrong = self._error(
                    f"{key}/{name}".strip("/"), f"is listed in 'timekeys' but is not among {sorted(stored.arrays)}"
                )
                self._pass_on(wrong)

    def _error(self, key: str, what: str, *, separator: str = " ") -> LayoutError:
        return LayoutError(self.file.path, key, f"'{key or '/'}'{separator}{what}")

    def _pass_on(self, error: LayoutError) -> None:
        if self.report is None:
            raise error
        self.report(error)


def _names(values: Any) -> tuple[str, ...]:
    return tuple(text for value in np.ravel(values) if (text := _text(value)) is not None)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


__all__ = ["LayoutError", "StoredArray", "StoredGroup", "group_layout", "layout_of", "read_layout"]
