"""Last observation carried forward."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def carry_forward(values: ArrayLike, observed: ArrayLike, *, initial: float = 0.0) -> NDArray[Any]:
    """Replace what was not observed by what was observed last.

    Args:
        values: Shape: (T, ...).
        observed: True where a value counts; what else stands there, NaN too, is never read. Shape: (T, ...) or (T,).
        initial: What stands before the first observation.

    Returns:
        A new array of the shape and dtype of `values`.

    Raises:
        ValueError: the shapes do not fit.

    >>> carry_forward([1.0, 7.0, 0.0, 7.0], [True, False, True, False])
    array([1., 1., 0., 0.])
    """
    values, observed = np.asarray(values), np.asarray(observed, dtype=np.bool_)
    if observed.ndim == 1 and values.ndim > 1:
        observed = observed.reshape(-1, *(1,) * (values.ndim - 1))
    try:
        observed = np.broadcast_to(observed, values.shape)
    except ValueError:
        raise ValueError(f"observed has shape {observed.shape}, expected {values.shape} or ({len(values)},)") from None
    steps = np.arange(len(values)).reshape(-1, *(1,) * (values.ndim - 1))
    last = np.maximum.accumulate(np.where(observed, steps, -1), axis=0)
    carried = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    return np.where(last >= 0, carried, np.asarray(initial, dtype=values.dtype))
