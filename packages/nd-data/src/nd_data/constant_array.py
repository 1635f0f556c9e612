"""Arrays whose values can never change, so that what was worked out from one stays true."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def constant_array(values: NDArray[Any]) -> NDArray[Any]:
    """A copy of an array that nobody can write to, whatever flags they set.

    Args:
        values: Of a dtype without Python objects. Any shape.

    Raises:
        ValueError: the dtype holds Python objects, which could change by themselves.

    Example:
        >>> ids = constant_array(np.array(["a", "b"]))
        >>> ids.flags.writeable, is_constant(ids), is_constant(ids.copy())
        (False, True, False)
    """
    if values.dtype.hasobject:
        raise ValueError(f"an array of {values.dtype} holds Python objects and cannot be made constant")
    return np.ndarray(values.shape, values.dtype, buffer=values.tobytes())


def is_constant(array: NDArray[Any]) -> bool:
    """Whether an array came from :func:`constant_array`.

    Its bytes then belong to a Python ``bytes`` object, which has no way to be written to; views, copies and unpickled
    arrays are answered with False.

    Args:
        array: Any array.
    """
    base: object = array.base
    return type(base) is bytes


__all__ = ["constant_array", "is_constant"]
