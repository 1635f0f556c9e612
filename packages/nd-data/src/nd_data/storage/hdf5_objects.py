"""Links, attributes and types of an open HDF5 file, through h5py's low-level interface.

Reading where everything lies in a recording means some sixty attributes and as many objects a file. h5py's usual
interface builds several objects for each of them; this does the same work in a third of the time.
"""

from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5t

#: What a file that is damaged makes h5py raise, depending on where the damage is.
DAMAGE = (OSError, KeyError, RuntimeError, TypeError, ValueError, OverflowError, MemoryError)

_MOST_TYPES = 4096
_types: dict[bytes, np.dtype[Any]] = {}


def numpy_type(identifier: Any) -> np.dtype[Any]:
    """The dtype of an HDF5 type; the few that files are made of are worked out once a process.

    Args:
        identifier: An ``h5py.h5t.TypeID``.

    Raises:
        TypeError: NumPy has no such type.
    """
    encoded = identifier.encode()
    dtype = _types.get(encoded)
    if dtype is None:
        dtype = identifier.dtype
        if len(_types) >= _MOST_TYPES:
            _types.clear()
        _types[encoded] = dtype
    return dtype


def links_of(group: Any) -> list[tuple[str, bytes, int]]:
    """The links of a group in alphabetical order: name, name as stored, and kind (``h5py.h5l.TYPE_HARD`` …).

    Args:
        group: An ``h5py.h5g.GroupID``.
    """
    found: list[tuple[bytes, int]] = []
    group.links.iterate(lambda name, info: found.append((name, info.type)), info=True)
    return [(name.decode("utf-8", "surrogateescape"), name, kind) for name, kind in found]


def attribute_names(holder: Any) -> list[bytes]:
    """The names of an object's attributes, as stored.

    Args:
        holder: An ``h5py.h5g.GroupID`` or another object with attributes.
    """
    names: list[bytes] = []
    h5a.iterate(holder, lambda name, *_: names.append(name))
    return names


def attribute_value(holder: Any, name: bytes) -> Any:
    """The value of an attribute, as ``h5py.AttributeManager`` gives it.

    Args:
        holder: An ``h5py.h5g.GroupID`` or another object with attributes.
        name: The name as stored.
    """
    attribute = h5a.open(holder, name)
    shape, dtype = attribute.shape, numpy_type(attribute.get_type())
    is_text = dtype.kind == "O"
    if shape is None or dtype.subdtype is not None or (is_text and (shape or h5t.check_string_dtype(dtype) is None)):
        return h5py.Group(holder).attrs[name]
    values = np.empty(shape, dtype)
    attribute.read(values)
    if is_text:
        text: bytes = values.item()
        return text.decode("utf-8", "surrogateescape")
    return values if shape else values[()]
