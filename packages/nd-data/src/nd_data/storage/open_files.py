"""The files that this process holds open: a bounded set, opened on first use, never shared with another process.

Contiguous arrays are views of one read-only memory map a file; everything else goes through h5py.
"""

import mmap
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray


class RecordingFile:
    """The identity of a file: where it is, and the size and time of change it had when its layout was read.

    It holds no handle, so that it can be pickled and sent to another process. A layout read from one version of a file
    must not be applied to another one: :meth:`OpenFiles.open` compares size and time before it opens the file.

    Args:
        path: Where the file is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the path is a folder.
    """

    __slots__ = ("handle", "identity", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = str(Path(path).absolute())
        self.identity = (self.path, *fingerprint(self.path))
        self.handle: h5py.File | None = None

    @classmethod
    def borrowed(cls, handle: h5py.File) -> "RecordingFile":
        """A file that only its owner's open handle leads to: one in memory, or one that is being written."""
        out = cls.__new__(cls)
        out.path = str(handle.filename)
        out.identity = (out.path, -1, -1)
        out.handle = handle
        return out

    def __repr__(self) -> str:
        return f"RecordingFile({self.path!r})"


def fingerprint(path: str) -> tuple[int, int]:
    """The size in bytes and the time of change in nanoseconds of a file."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"no recording at {path}: check the path, and that the file was not moved") from None
    except NotADirectoryError:
        raise FileNotFoundError(f"no recording at {path}: a part of the path is a file, not a folder") from None
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder, expected an HDF5 recording file")
    return status.st_size, status.st_mtime_ns


class OpenFile:
    """One file as this process holds it: a memory map and, where an array needs it, an h5py handle."""

    __slots__ = ("_datasets", "_handle", "_map", "_path", "views")

    def __init__(self, path: str) -> None:
        self._path = path
        self._map: mmap.mmap | None = None
        self._handle: h5py.File | None = None
        self._datasets: dict[str, Any] = {}
        self.views: dict[str, NDArray[Any]] = {}

    def view(self, key: str, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int) -> NDArray[Any]:
        """A read-only view of the contiguous array that starts at a byte offset."""
        if self._map is None:
            with Path(self._path).open("rb") as stream:
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            view: NDArray[Any] = np.ndarray(shape, dtype, buffer=self._map, offset=offset)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{self._path}: '{key}' should hold {shape} of {dtype} at byte {offset}, "
                f"but the file has {len(self._map)} bytes: it is truncated"
            ) from error
        self.views[key] = view
        return view

    def dataset(self, key: str) -> Any:
        """The h5py dataset behind a key, for arrays that cannot be mapped."""
        dataset = self._datasets.get(key)
        if dataset is None:
            if self._handle is None:
                self._handle = open_hdf5(self._path)
            dataset = self._datasets[key] = self._handle[key]
        return dataset

    def close(self) -> None:
        """Let go of the map and the handle."""
        self._datasets.clear()
        self.views.clear()
        if self._handle is not None:
            self._handle.close()
            self._handle = None
        self._map = None  # unmapped when the last view of it goes


class OpenFiles:
    """A bounded set of open files that belongs to one process.

    The least recently used file is closed when a new one would exceed the limit; it opens again when it is needed.
    After a fork the child starts with an empty set of its own.

    Args:
        limit: The most files held open at a time.

    Raises:
        ValueError: the limit is below one.
    """

    def __init__(self, limit: int = 128) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._files: OrderedDict[tuple[str, int, int], OpenFile] = OrderedDict()
        self.limit = limit

    @property
    def limit(self) -> int:
        """The most files held open at a time."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"the limit on open files must be at least 1, got {limit}")
        self._limit = limit

    def __len__(self) -> int:
        return len(self._files) if self._owner == os.getpid() else 0

    def open(self, file: RecordingFile) -> OpenFile:
        """The open form of a file, opened now if this process does not hold it yet.

        Raises:
            FileNotFoundError: the file is gone.
            ValueError: the file was changed since its layout was read.
        """
        if self._owner != os.getpid():
            self._start_over()
        with self._lock:
            identity = file.identity
            held = self._files.get(identity)
            if held is not None:
                self._files.move_to_end(identity)
                return held
            if fingerprint(file.path) != identity[1:]:
                raise ValueError(f"{file.path} was changed since it was opened: load the recording again")
            held = self._files[identity] = OpenFile(file.path)
            while len(self._files) > self._limit:
                self._files.popitem(last=False)[1].close()
            return held

    def holds(self, file: RecordingFile) -> bool:
        """Whether this process holds a file open."""
        return self._owner == os.getpid() and file.identity in self._files

    def close(self, file: RecordingFile | None = None) -> None:
        """Close one file, or all of them; whatever is needed later opens again."""
        if self._owner != os.getpid():
            self._start_over()
        with self._lock:
            if file is None:
                closing = list(self._files.values())
                self._files.clear()
            else:
                held = self._files.pop(file.identity, None)
                closing = [] if held is None else [held]
            for held in closing:
                held.close()

    def _start_over(self) -> None:
        # The parent's lock may have been held at the fork, and its handles are the parent's to close.
        self._lock = threading.Lock()
        self._files = OrderedDict()
        self._owner = os.getpid()


def open_hdf5(path: str) -> h5py.File:
    """Open an HDF5 file for reading, or say in one line why it cannot be read."""
    fingerprint(path)
    try:
        return h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        raise ValueError(f"{path} cannot be read as HDF5 (not an HDF5 file, truncated, or locked): {error}") from error


#: The files that this process holds open, at most 128; set ``OPEN_FILES.limit`` to hold fewer or more.
OPEN_FILES = OpenFiles()
