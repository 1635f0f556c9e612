"""What the containers with times check alike: arrays of times, the names of arrays that are times, and windows."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nd_data.array_dict import ArrayDict


def check_times(name: str, value: Any) -> NDArray[np.float64]:
    """Times as float64.

    Args:
        name: What they are, for error messages.
        value: What was given.

    Raises:
        ValueError: they are no numbers, have not one dimension, or hold NaN.
    """
    times = np.asarray(value)
    if times.dtype.kind not in "iufb" and times.size:
        raise ValueError(f"'{name}' must be times in seconds, got an array of {times.dtype}")
    if times.ndim != 1:
        raise ValueError(f"'{name}' must have one dimension, got shape {times.shape}")
    times = times.astype(np.float64, copy=False)
    missing = np.isnan(times)
    if missing.any():
        raise ValueError(f"'{name}' holds {int(missing.sum())} NaN, the first in row {int(np.argmax(missing))}")
    return times


def named_times(owner: "ArrayDict", timekeys: Iterable[str] | None, always: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the arrays that are times, each once.

    Raises:
        ValueError: a name is not among the arrays.
    """
    names = tuple(dict.fromkeys([*(timekeys or ()), *always]))
    existing = owner.keys()
    for name in names:
        if name not in existing:
            raise ValueError(f"the time key '{name}' is not among the arrays {existing}")
    return names


def check_window(start: float, end: float) -> None:
    """Raise if a window of time is NaN or ends before it starts."""
    if not start <= end:
        raise ValueError(f"a window must not end before it starts, got [{start}, {end})")


__all__ = ["check_times", "check_window", "named_times"]
