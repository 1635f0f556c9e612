"""Arrays and objects of a recording file: small, without handles, and safe to send to other processes."""

from bisect import bisect_left, bisect_right
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from nd_data.storage.open_files import OPEN_FILES, RecordingFile


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
