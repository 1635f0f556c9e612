"""Write arrays in the brainset layout, and whole files under a temporary name that is renamed at the end."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray


@contextlib.contextmanager
def write_recording(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open a new HDF5 file that takes its place only when everything in it was written.

    Args:
        path: Where the file will be. An existing file is replaced, in one step, at the end.

    Yields:
        The file, open for writing under a temporary name in the same folder.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: the folder {target.parent} does not exist")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        # Aligned arrays can be searched where they lie in a mapped file.
        with h5py.File(temporary, "w", alignment_threshold=1, alignment_interval=8) as file:
            yield file
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_arrays(group: h5py.Group, arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """Write arrays as contiguous datasets, text as fixed-width UTF-8.

    Args:
        group: Where to write.
        arrays: Name to array.

    Returns:
        The names of the arrays that hold text.

    Raises:
        TypeError: an array has a dtype that HDF5 cannot hold.
    """
    text_keys = []
    for name, values in arrays.items():
        if values.dtype.kind == "U":
            values = np.char.encode(values, "utf-8")
            text_keys.append(name)
        try:
            group.create_dataset(name, data=values)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"'{f'{group.name}/{name}'.strip('/')}' of dtype {values.dtype} cannot be written to HDF5: {error}"
            ) from error
    return text_keys


def write_names(group: h5py.Group, attribute: str, names: Sequence[str]) -> None:
    """Write a list of names as an attribute of bytes."""
    group.attrs[attribute] = np.array([name.encode("utf-8") for name in names], dtype="S")


def write_second_index(group: h5py.Group, timestamps: NDArray[np.float64], start: float, end: float) -> None:
    """Write, for each whole second since ``start``, the index of the first timestamp that is not before it.

    Args:
        group: Where to write.
        timestamps: Sorted times in seconds. Shape: (N,).
        start: Start of the domain in seconds.
        end: End of the domain in seconds.
    """
    seconds = np.arange(start, end + 1.0, 1.0, dtype=np.float64)
    group.create_dataset("timestamp_indices_1s", data=np.searchsorted(timestamps, seconds))
