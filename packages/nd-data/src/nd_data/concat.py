"""Join objects of one kind, one after the other."""

import copy
from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any, TypeVar, cast

import numpy as np

from nd_data.array_dict import ArrayDict
from nd_data.gap_filling import fill_gaps
from nd_data.interval import Interval
from nd_data.irregular_time_series import IrregularTimeSeries
from nd_data.regular_time_series import RegularTimeSeries

Joined = TypeVar("Joined", bound=ArrayDict)


def concat(objs: Sequence[Joined], sort: bool = True) -> Joined:
    """Join time series, intervals or array dictionaries.

    Args:
        objs: Objects of one kind with the same arrays. Regular series must share one sampling rate and one grid, and
            not overlap; what lies between them becomes a gap.
        sort: Whether an irregular series is put in order of time.

    Returns:
        A new object; its domain is the union of all domains.

    Raises:
        ValueError: no objects, different arrays or time keys, or regular series that do not fit one grid.
        TypeError: objects of different kinds.

    Example:
        >>> late = IrregularTimeSeries([2.0], unit_index=[1], domain=Interval(2.0, 3.0))
        >>> early = IrregularTimeSeries([0.5], unit_index=[0], domain=Interval(0.0, 1.0))
        >>> concat([late, early]).timestamps
        array([0.5, 2. ])
    """
    if not objs:
        raise ValueError("expected at least one object to concatenate, got none")
    kinds = (IrregularTimeSeries, RegularTimeSeries, Interval, ArrayDict)
    kind = next((kind for kind in kinds if isinstance(objs[0], kind)), None)
    if kind is None or any(next(k for k in kinds if isinstance(obj, k)) is not kind for obj in objs):
        found = sorted({type(obj).__name__ for obj in objs})
        raise TypeError(f"expected time series, intervals or array dictionaries of one kind, got {found}")
    names = objs[0].keys()
    for obj in objs[1:]:
        if set(obj.keys()) != set(names):
            raise ValueError(f"all objects must have the same arrays, found {names} and {obj.keys()}")
    joined: Any
    if kind is RegularTimeSeries:
        joined = _concat_regular([obj for obj in objs if isinstance(obj, RegularTimeSeries)], names)
    elif kind is ArrayDict:
        joined = ArrayDict(**_stacked(objs, names))
    else:
        timed = [obj for obj in objs if isinstance(obj, IrregularTimeSeries | Interval)]
        timekeys = timed[0].timekeys()
        for obj in timed[1:]:
            if set(obj.timekeys()) != set(timekeys):
                raise ValueError(f"all objects must have the same time keys, found {timekeys} and {obj.timekeys()}")
        if kind is Interval:
            joined = Interval(**_stacked(objs, names), timekeys=timekeys)
        else:
            domain = reduce(or_, [obj.domain for obj in timed if isinstance(obj, IrregularTimeSeries)])
            joined = IrregularTimeSeries(**_stacked(objs, names), timekeys=timekeys, domain=domain)
            if sort:
                joined.sort()
    return cast("Joined", joined)


def _stacked(objs: Sequence[ArrayDict], names: Sequence[str]) -> dict[str, Any]:
    return {name: np.concatenate([getattr(obj, name) for obj in objs]) for name in names}


def _concat_regular(series: Sequence[RegularTimeSeries], names: Sequence[str]) -> RegularTimeSeries:
    rates = {one.sampling_rate for one in series}
    if len(rates) > 1:
        raise ValueError(f"regular series must share one sampling rate, found {sorted(rates)} Hz")
    filled = sorted((one for one in series if len(one)), key=lambda one: float(one.timestamps[0]))
    if not filled:
        return copy.deepcopy(series[0])
    kept = [one.to_irregular() for one in filled]
    grid = fill_gaps(np.concatenate([one.timestamps for one in kept]), rates.pop(), _stacked(kept, names))
    arrays: dict[str, Any] = grid.arrays
    return RegularTimeSeries(sampling_rate=filled[0].sampling_rate, domain=Interval(grid.start, grid.end), **arrays)


__all__ = ["concat"]
