"""Arrays from the columns of a pandas data frame; pandas itself is only needed by those who have one."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


def dataframe_arrays(df: "pd.DataFrame", *, unsigned_to_long: bool = True) -> dict[str, NDArray[Any]]:
    """One array a column.

    Args:
        df: Columns of numbers, of text, or of NumPy arrays of one shape, which are stacked.
        unsigned_to_long: Whether unsigned integers become int64.

    Returns:
        Column name to array of shape (N, ...).

    Raises:
        ValueError: a column holds anything else, or a missing text.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for column in df.columns:
        values = _column_array(str(column), df[column].to_numpy())
        if unsigned_to_long and values.dtype.kind == "u":
            values = values.astype(np.int64)
        arrays[str(column)] = values
    return arrays


def _column_array(column: str, values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "biufcSU":
        return values
    items = list(values)
    if all(isinstance(item, str) for item in items):
        return np.array(items, dtype=np.str_)
    if items and all(isinstance(item, np.ndarray) for item in items):
        shapes = {item.shape for item in items}
        if len(shapes) == 1:
            return np.stack(items)
        raise ValueError(f"column '{column}' holds arrays of different shapes {sorted(shapes)}, expected one shape")
    numbers = [item for item in items if isinstance(item, bool | int | float | np.number | np.bool_)]
    if len(numbers) == len(items):
        return np.array(items)
    odd = next(item for item in items if not isinstance(item, str | bool | int | float | np.number | np.bool_))
    raise ValueError(
        f"column '{column}': found {type(odd).__name__} {odd!r}, expected only numbers, text, or arrays of one shape"
    )
