"""Which step a time falls into: between dates or seconds on one side and step numbers on the other."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """Steps of one length from one origin: step i covers origin + i·step ≤ time < origin + (i + 1)·step.

    Attributes:
        origin: Start of step 0; a NumPy date or a number.
        step: Length of a step; a NumPy duration or a number, positive.

    Raises:
        ValueError: a step that is not positive.
        TypeError: a date with a number for a step, or the reverse.

    >>> axis = TimeAxis(np.datetime64("2024-03-01"), np.timedelta64(1, "D"))
    >>> axis.id_of("2024-03-03T18:30")
    2
    >>> axis.time_of(2)
    np.datetime64('2024-03-03')
    """

    origin: np.datetime64 | float
    step: np.timedelta64 | float

    def __post_init__(self) -> None:
        if isinstance(self.origin, np.datetime64) != isinstance(self.step, np.timedelta64):
            raise TypeError(f"an origin {self.origin!r} and a step {self.step!r} do not go together")
        if not self.step > type(self.step)(0):
            raise ValueError(f"a step must be longer than zero, got {self.step}")

    def id_of(self, time: Any) -> int:
        """The step that a time falls into: a date, a text such as "2024-03-01", or a number.

        Raises:
            ValueError: no such time, or the wrong kind of it.
        """
        if isinstance(self.origin, np.datetime64):
            return int(self.ids_of(np.array([_date(time)]))[0])
        if isinstance(time, bool | str) or not np.isreal(time) or not np.isfinite(time):
            raise ValueError(f"the time axis counts in numbers, got {time!r}")
        return int(self.ids_of(np.array([float(time)]))[0])

    def ids_of(self, times: NDArray[Any]) -> NDArray[np.int64]:
        """The steps that times fall into. Shape: (N,) dates or numbers to (N,) int64."""
        if isinstance(self.origin, np.datetime64):
            return np.asarray((times - self.origin) // self.step, dtype=np.int64)
        # A time that should start a step may lie a rounding error before it.
        steps = (np.asarray(times, dtype=np.float64) - float(self.origin)) / float(self.step)
        return np.floor(np.where(np.abs(steps - np.round(steps)) < 1e-9, np.round(steps), steps)).astype(np.int64)

    def time_of(self, time_id: int) -> np.datetime64 | float:
        """When a step starts."""
        start: np.datetime64 | float = self.origin + self.step * time_id  # type: ignore[operator]
        return start


def _date(time: Any) -> np.datetime64:
    """Anything that names a moment; of a zone, the clock on the wall."""
    if getattr(time, "tzinfo", None) is not None:
        time = time.replace(tzinfo=None)
    if isinstance(time, bool | int | float):
        raise ValueError(f"the time axis counts in dates, got {time!r}")
    try:
        date = np.datetime64(time, "ns")
    except (TypeError, ValueError):
        raise ValueError(f"{time!r} is no date; write it as 2024-03-01 or 2024-03-01T18:30") from None
    if np.isnat(date):
        raise ValueError(f"{time!r} is no date")
    return date


def axis_of_dates(dates: "pd.Series", time_step: "str | pd.Timedelta") -> TimeAxis:
    """The axis whose step 0 holds the first of the dates; whole days, hours, … start where the clock says.

    Raises:
        ValueError: the step is no fixed length of time.
    """
    import pandas as pd

    try:
        step = pd.Timedelta(time_step)
    except (TypeError, ValueError):
        raise ValueError(
            f"time_step={time_step!r} is no fixed length of time; expected for instance '1D', '7D', '12h' or '90min'"
        ) from None
    if not step > pd.Timedelta(0):
        raise ValueError(f"time_step must be longer than zero, got {time_step!r}")
    return TimeAxis(dates.min().floor(step).to_datetime64(), step.to_timedelta64())
