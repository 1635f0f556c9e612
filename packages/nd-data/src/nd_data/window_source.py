"""A recording that many windows are cut from: it does not change any more, so that each window can be cut late."""

# ruff: noqa: SLF001 -- what this makes is told from other Data by its private state alone

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from nd_data.array_dict import ArrayDict, LazyArrayDict
from nd_data.constant_array import is_constant
from nd_data.data import Data


def window_source(data: Data) -> Data:
    """A copy of a recording to cut many windows from, at a price that does not depend on how many parts it has.

    What was read or set is held aside as it is, and a window cuts its own copy of such a part when that is first used,
    as it does with what is still on disk.

    Args:
        data: A recording that is read lazily from a file, not yet cut itself.

    Returns:
        A new object over the same arrays, which must not change any more, neither by setting its parts nor in place.

    Raises:
        ValueError: the data do not come from a file, or were cut: their parts would be cut twice.
    """
    if data._stored is None or data._cuts:
        raise ValueError("only a whole recording that is read lazily from a file can be a source of windows")
    out = object.__new__(type(data))
    held = dict(data._held or {})
    for name, value in data.__dict__.items():
        if name.startswith("_"):
            out.__dict__[name] = value
        else:
            is_nested = isinstance(value, Data) and value._stored is not None
            held[name] = window_source(value) if is_nested else copy.copy(value)
    out.__dict__["_held"] = held
    out.__dict__["_constants"] = constants_among(held)
    return out


def constants_among(held: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Strings, configurations and constant arrays among parts and within them.

    Args:
        held: Parts by name.

    Returns:
        Path, such as ``session.id``, to the name of the part that it is in, and the value.
    """
    constants: dict[str, tuple[str, Any]] = {}
    for part, value in held.items():
        inner: Mapping[str, Any] = {}
        if isinstance(value, str | dict):
            constants[part] = part, value
        elif isinstance(value, Data):
            inner = value._held or {}
        elif type(value) in (ArrayDict, LazyArrayDict):
            inner = value.__dict__
        for name, constant in inner.items():
            if isinstance(constant, str) or (isinstance(constant, np.ndarray) and is_constant(constant)):
                constants[f"{part}.{name}"] = part, constant
    return constants


__all__ = ["window_source"]
