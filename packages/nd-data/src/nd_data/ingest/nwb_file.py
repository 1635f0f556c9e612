"""Open an NWB file, or say in one line why it cannot be read as one."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py


@contextlib.contextmanager
def open_nwb(path: str | os.PathLike[str]) -> Iterator[tuple[Any, list[str]]]:
    """Open an NWB file for reading; its arrays stay on disk until they are indexed.

    Args:
        path: An NWB 2 file, in HDF5.

    Yields:
        The ``pynwb.NWBFile``, and what pynwb had to say about the file.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pynwb is not installed.
        ValueError: the file is no NWB 2 file, or pynwb cannot read it.
    """
    path = Path(path)
    check_is_nwb(path)
    try:
        import pynwb
    except ImportError as error:
        raise ImportError(f"reading NWB needs pynwb: pip install 'nd-data[nwb]' ({error})") from error
    with contextlib.ExitStack() as stack:
        with warnings.catch_warnings(record=True) as caught:
            # What pynwb finds odd about a file belongs into the report, and stops nobody from reading it.
            warnings.simplefilter("always")
            try:
                file = stack.enter_context(pynwb.NWBHDF5IO(str(path), mode="r", load_namespaces=True))
                nwb = file.read()
            except Exception as error:
                raise ValueError(f"{path}: pynwb cannot read this file: {first_line(error)}") from error
        # Deprecations are about versions of the format, not about what is in the file.
        about_file = [warning for warning in caught if not issubclass(warning.category, DeprecationWarning)]
        yield nwb, list(dict.fromkeys(f"pynwb: {warning.message}" for warning in about_file))


def check_is_nwb(path: Path) -> None:
    """Raise if a path does not lead to an NWB 2 file in HDF5."""
    if not path.exists():
        raise FileNotFoundError(f"no NWB file at {path}: check the path")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected an NWB file in HDF5 (NWB in Zarr is not read)")
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            kind, old_version = file.attrs.get("neurodata_type"), file.get("nwb_version")
    except OSError as error:
        raise ValueError(f"{path} is no NWB file: it cannot be read as HDF5 ({error})") from error
    if isinstance(kind, bytes):
        kind = kind.decode()
    if kind != "NWBFile":
        found = "it is NWB 1, expected NWB 2" if old_version is not None else f"its root has neurodata_type {kind!r}"
        raise ValueError(f"{path} is no NWB file: {found}")


def first_line(error: BaseException) -> str:
    """What an error says and about which object, without the contents that pynwb prints with it."""
    text = str(error.args[-1]).strip() if error.args else ""
    place = getattr(error.args[0], "path", None) if error.args else None
    said = text.splitlines()[0] if text else type(error).__name__
    return f"{str(place).removeprefix('root/')}: {said}" if isinstance(place, str) else said


__all__ = ["open_nwb"]
