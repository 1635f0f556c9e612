"""Put samples with gaps on a regular grid, the missing ones filled with a value that says so."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: What fills a gap, by kind of dtype: Boolean, signed, unsigned, floating.
DEFAULT_GAP_VALUES: dict[str, Any] = {"b": False, "i": -1, "u": 0, "f": np.nan}


class Grid(NamedTuple):
    """Samples on a regular grid.

    Args:
        start: Starts of the runs without gaps, in seconds. Shape: (R,).
        end: Ends of the runs. Shape: (R,).
        arrays: The arrays, gaps filled. Shape of each: (T, ...).
    """

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    arrays: dict[str, NDArray[Any]]


def fill_gaps(
    timestamps: NDArray[np.float64],
    sampling_rate: float,
    arrays: Mapping[str, NDArray[Any]],
    *,
    gap_value: Any = None,
    rtol: float = 1e-3,
) -> Grid:
    """Put samples on the regular grid that starts with the first of them.

    Args:
        timestamps: Strictly increasing times in seconds. Shape: (N,), N > 0.
        sampling_rate: Samples a second of the grid.
        arrays: Arrays of shape (N, ...).
        gap_value: One value for all arrays, or values by kind of dtype, or None for ``DEFAULT_GAP_VALUES``.
        rtol: How far a time may lie from the grid, in samples.

    Returns:
        Runs without gaps, and the filled arrays.

    Raises:
        ValueError: times do not fit the grid, lengths differ, or a gap value does not fit an array's dtype.
        KeyError: the gap values have none for an array's kind of dtype.
    """
    if timestamps.ndim != 1 or len(timestamps) == 0:
        raise ValueError(f"expected at least one timestamp in one dimension, got shape {timestamps.shape}")
    if not (np.diff(timestamps) > 0).all():
        raise ValueError("the timestamps must strictly increase")
    exact = (timestamps - timestamps[0]) * sampling_rate
    index = np.round(exact).astype(np.int64)
    farthest = float(np.abs(exact - index).max())
    if farthest > rtol:
        raise ValueError(
            f"the timestamps lie up to {farthest:.3g} samples from a grid of {sampling_rate} Hz, at most {rtol} is "
            "allowed: use the right sampling rate, a larger rtol, or an IrregularTimeSeries"
        )
    steps = np.diff(index)
    if (steps < 1).any():
        raise ValueError(f"two timestamps fall on the same sample of a grid of {sampling_rate} Hz")
    is_first = np.concatenate([[True], steps > 1])
    is_last = np.concatenate([steps > 1, [True]])
    filled = {}
    for name, values in arrays.items():
        if len(values) != len(timestamps):
            raise ValueError(f"'{name}' has {len(values)} rows, expected one for each of {len(timestamps)} timestamps")
        value = _gap_value(name, values.dtype, DEFAULT_GAP_VALUES if gap_value is None else gap_value)
        filled[name] = np.full((int(index[-1]) + 1, *values.shape[1:]), value, dtype=values.dtype)
        filled[name][index] = values
    return Grid(
        timestamps[0] + index[is_first] / sampling_rate, timestamps[0] + (index[is_last] + 1) / sampling_rate, filled
    )


def _gap_value(name: str, dtype: np.dtype[Any], gap_value: Any) -> Any:
    if isinstance(gap_value, Mapping):
        if dtype.kind not in gap_value:
            raise KeyError(
                f"no gap value for '{name}' of {dtype}: expected one for the kind '{dtype.kind}', got {dict(gap_value)}"
            )
        gap_value = gap_value[dtype.kind]
    with np.errstate(invalid="ignore", over="ignore"):
        try:
            stored = np.asarray(gap_value).astype(dtype)
            same = bool(stored == gap_value) or (gap_value != gap_value and dtype.kind in "fc")
        except (TypeError, ValueError, OverflowError):
            same = False
    if not same:
        raise ValueError(f"the gap value {gap_value!r} cannot be held by '{name}' of {dtype}: choose one that can")
    return gap_value


__all__ = ["DEFAULT_GAP_VALUES", "Grid", "fill_gaps"]
