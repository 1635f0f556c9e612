"""Plain values as attributes of an HDF5 group: numbers, strings, short lists, and what functions turn into those."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import h5py

#: Functions that turn a value which HDF5 cannot hold into one that it can, by the type of the value.
SerializeFunctions = Mapping[type | tuple[type, ...], Callable[..., Any]]


def serialized(value: Any, serialize_fn_map: SerializeFunctions | None) -> Any:
    """A value as HDF5 can hold it, by the function for its type, also within lists and tuples.

    A date or time without a function of its own becomes text, as torch_brain 0.2 writes it.
    """
    for kind, function in (serialize_fn_map or {}).items():
        if isinstance(value, kind):
            return function(value, serialize_fn_map=serialize_fn_map)
    if isinstance(value, dt.date | dt.time):
        return str(value)
    if isinstance(value, list | tuple):
        return type(value)(serialized(item, serialize_fn_map) for item in value)
    return value


def write_value(group: h5py.Group, name: str, value: Any) -> None:
    """Write a number, a string or a short list of them as an attribute."""
    try:
        group.attrs[name] = value
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise TypeError(
            f"'{f'{group.name}/{name}'.strip('/')}' of type {type(value).__name__} cannot be written to HDF5: {error}; "
            "use an ArrayDict for long arrays, and serialize_fn_map for other types"
        ) from error
