"""Stretch or compress the time of a window by a random factor."""

import copy
from typing import TypeVar

from nd_data.data import Data
from nd_data.interval import Interval
from nd_data.irregular_time_series import IrregularTimeSeries
from nd_data.random_seed import RandomGenerator
from nd_data.regular_time_series import RegularTimeSeries
from nd_data.transforms.random_stream import RandomStream

_Timed = TypeVar("_Timed", Interval, IrregularTimeSeries)


class RandomTimeScaling:
    """Replace every time t by ``scale · t + offset``, both drawn uniformly, anew for each window.

    All times move: timestamps, intervals, further time keys, sampling rates, domains, also within nested `Data`. What
    was measured at those times stays as it is, and so does ``absolute_start``.

    Args:
        min_scale: Smallest factor, above 0.
        max_scale: Largest factor.
        min_offset: Smallest offset in seconds.
        max_offset: Largest offset in seconds.
        generator: Where the seed is drawn from, once; see `RandomStream`.

    Raises:
        ValueError: the factors are not above 0, or a smallest exceeds its largest.
    """

    def __init__(
        self,
        min_scale: float,
        max_scale: float,
        min_offset: float = 0,
        max_offset: float = 0,
        *,
        generator: RandomGenerator | None = None,
    ) -> None:
        if not 0 < min_scale <= max_scale or not min_offset <= max_offset:
            raise ValueError(
                "expected 0 < min_scale <= max_scale and min_offset <= max_offset, got "
                f"scales {min_scale} to {max_scale} and offsets {min_offset} to {max_offset}"
            )
        self.min_scale = min_scale
        self.max_scale = max_scale
        self.min_offset = min_offset
        self.max_offset = max_offset
        self._random = RandomStream(generator)

    def __call__(self, data: Data) -> Data:
        """Scale the times of a window; returns a new one."""
        rng = self._random.numpy()
        return rescale(data, rng.uniform(self.min_scale, self.max_scale), rng.uniform(self.min_offset, self.max_offset))


def rescale(data: Data, scale: float, offset: float) -> Data:
    """Replace every time t by ``scale · t + offset``; ``data`` stays as it is.

    Args:
        data: A recording or a window of one.
        scale: Factor, above 0.
        offset: Seconds.
    """
    scaled = copy.copy(data)
    for key in data.keys():  # noqa: SIM118  # not a mapping
        value = getattr(data, key)
        if isinstance(value, Interval):
            setattr(scaled, key, _with_scaled_times(value, scale, offset))
        elif isinstance(value, IrregularTimeSeries):
            series = _with_scaled_times(value, scale, offset)
            series.domain = _with_scaled_times(value.domain, scale, offset)
            setattr(scaled, key, series)
        elif isinstance(value, RegularTimeSeries):
            arrays = {name: getattr(value, name) for name in value.keys()}  # noqa: SIM118
            domain = _with_scaled_times(value.domain, scale, offset)
            setattr(scaled, key, RegularTimeSeries(sampling_rate=value.sampling_rate / scale, domain=domain, **arrays))
        elif isinstance(value, Data):
            setattr(scaled, key, rescale(value, scale, offset))
    if data.domain is not None:
        scaled.domain = _with_scaled_times(data.domain, scale, offset)
    return scaled


def _with_scaled_times(timed: _Timed, scale: float, offset: float) -> _Timed:
    scaled = copy.copy(timed)
    for key in timed.timekeys():
        setattr(scaled, key, getattr(timed, key) * scale + offset)
    return scaled
