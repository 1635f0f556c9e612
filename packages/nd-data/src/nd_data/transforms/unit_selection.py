"""Keep some units of a window, and what belongs to them, with the rest renumbered.

Shape legend: U units.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nd_data.data import Data
from nd_data.irregular_time_series import IrregularTimeSeries
from nd_data.regular_time_series import RegularTimeSeries


def keep_units(data: Data, unit_mask: NDArray[np.bool_], *, field: str, reset_index: bool) -> Data:
    """Keep the units of a mask, in place in ``data`` (the arrays behind it stay as they are).

    Args:
        data: A window with ``units``.
        unit_mask: True for the units to keep. Shape: (U,).
        field: What belongs to the units: the path of an `IrregularTimeSeries` with ``unit_index`` (events of dropped
            units go), or of an array in a time series with one column a unit (their columns go).
        reset_index: Drop the units from ``data.units`` as well and number the kept ones from 0. Otherwise the units
            stay and keep their numbers, and arrays keep their columns, which are set to 0.

    Returns:
        ``data``.

    Raises:
        ValueError: the mask does not fit the units, or the field is neither of the two.
    """
    num_units = len(data.units)
    unit_mask = np.asarray(unit_mask)
    if unit_mask.dtype != np.bool_ or unit_mask.shape != (num_units,):
        raise ValueError(
            f"a unit mask must be boolean with one value for each of {num_units} units, got {unit_mask.dtype} of shape "
            f"{unit_mask.shape}"
        )
    target = data.get_nested_attribute(field)
    if isinstance(target, IrregularTimeSeries):
        data.set_nested_attribute(field, _kept_events(target, unit_mask, reset_index=reset_index))
    elif isinstance(target, np.ndarray) and _is_in_time_series(data, field):
        if target.ndim < 2 or target.shape[1] != num_units:
            raise ValueError(
                f"{field!r} must have one column for each of {num_units} units to drop units from it, got shape "
                f"{target.shape}"
            )
        kept: NDArray[Any] = target[:, unit_mask] if reset_index else _with_zeros(target, unit_mask)
        data.set_nested_attribute(field, kept)
    else:
        raise ValueError(
            f"{field!r} is a {type(target).__name__}; units can be dropped from an IrregularTimeSeries with "
            "unit_index, as in 'spikes', or from an array of a time series, as in 'calcium.df_over_f'"
        )
    if reset_index:
        data.units = data.units.select_by_mask(unit_mask)
    return data


def _kept_events(
    events: IrregularTimeSeries, unit_mask: NDArray[np.bool_], *, reset_index: bool
) -> IrregularTimeSeries:
    unit_index = events.unit_index
    kept = events.select_by_mask(unit_mask[unit_index.astype(np.int64, copy=False)])
    if reset_index:
        new_index = (np.cumsum(unit_mask) - 1).astype(unit_index.dtype)
        kept.unit_index = new_index[kept.unit_index.astype(np.int64, copy=False)]
    return kept


def _is_in_time_series(data: Data, field: str) -> bool:
    parent, _, _ = field.rpartition(".")
    return bool(parent) and isinstance(data.get_nested_attribute(parent), (IrregularTimeSeries, RegularTimeSeries))


def _with_zeros(array: NDArray[Any], unit_mask: NDArray[np.bool_]) -> NDArray[Any]:
    kept = array.copy()
    kept[:, ~unit_mask] = 0
    return kept
