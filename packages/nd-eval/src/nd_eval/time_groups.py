"""Which values fall on the same time: sorting, and cutting the sorted times into groups.

Shape legend: ``N`` values, ``U`` distinct times, ``R`` runs of sorted values that are known to be one time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

# Below this many values a comparison sort is as fast as anything.
_WORTH_A_ROUGH_SORT = 1 << 15

# Large temporaries cost more to allocate than to fill, so what passes over all times does it in parts.
_BLOCK = 1 << 16


@dataclass(frozen=True)
class TimeGroups:
    """The distinct times of ``N`` values.

    Attributes:
        order: Positions of the values, group after group, (N,) int64; None where they came so.
        first: Place in that order at which each group begins, (U,) int64.
        sizes: Number of values in each group, (U,) int64.
        timestamps: The earliest time of each group, (U,), in the dtype of the input.
    """

    order: Tensor | None
    first: Tensor
    sizes: Tensor
    timestamps: Tensor

    def __len__(self) -> int:
        return self.first.numel()

    @cached_property
    def group(self) -> Tensor:
        """Group of each value in that order, (N,) int64, ascending from 0 to U - 1."""
        return torch.repeat_interleave(self.sizes)

    def in_order(self, values: Tensor) -> Tensor:
        """Put the values, (N, ...), into the order of their groups."""
        return values if self.order is None else values.index_select(0, self.order)

    def group_of_values(self) -> Tensor:
        """Group of each value in the order in which the values were given, (N,) int64."""
        if self.order is None:
            return self.group
        return torch.empty_like(self.group).index_copy_(0, self.order, self.group)


def group_times(timestamps: Tensor, *, tolerance: float) -> TimeGroups:
    """Sort times and group those that are closer than a tolerance.

    A group ends where the gap to the next sorted time is the tolerance or more, so nothing depends on where a rounding
    grid would lie. Where times follow each other so densely that such a chain grows as wide as the tolerance, it is cut
    again, from its earliest time on, into groups narrower than the tolerance: times a tolerance apart or more are never
    one. The groups depend on the set of times alone, not on their order.

    Args:
        timestamps: Times in seconds; floating point or integer. Shape: (N,).
        tolerance: Times closer than this many seconds are one time; 0 groups equal times only.

    Raises:
        ValueError: the times are not one row of finite numbers, or the tolerance is negative or not finite.
        TypeError: the times are boolean or complex.
    """
    _check(timestamps, tolerance)
    times = timestamps.to(torch.float64) if timestamps.is_floating_point() else timestamps
    runs = _rough_runs(times, tolerance) or _exact_runs(times)
    first, chained = _cut(runs, tolerance)
    if chained and runs.first is not None:
        runs = _exact_runs(times)
        first, chained = _cut(runs, tolerance)
    if chained:
        first = _cut_chains(runs.low, first, tolerance)
    distinct = runs.low.index_select(0, first).to(timestamps.dtype)
    if runs.first is not None:
        first = runs.first.index_select(0, first)
    return TimeGroups(runs.order, first, _lengths(first, times.numel()), distinct)


@dataclass(frozen=True)
class _Runs:
    """Sorted values in runs that are one time each: run after run ascends, within a run the order is any.

    ``order``: (N,) or None if nothing moved; ``first``: (R,) place where each run begins, None if every value is a run
    of its own (R = N); ``low`` and ``high``: (R,) earliest and latest time of each run.
    """

    order: Tensor | None
    first: Tensor | None
    low: Tensor
    high: Tensor


def _rough_runs(times: Tensor, tolerance: float) -> _Runs | None:
    """Sort by 31-bit ticks, twice as fast as by the times themselves; None where that does not tell all it must.

    A tick is the range of the times cut into 2^31 - 1 parts, so ticks ascend with the times. Values of one tick come
    out in any order, which matters to nobody as long as they are closer than the tolerance.
    """
    if times.device.type != "cpu" or times.dtype != torch.float64 or times.numel() < _WORTH_A_ROUGH_SORT:
        return None
    if _ascends(times):
        return None
    earliest, latest = (float(end) for end in times.aminmax())
    scale = (2**31 - 2) / (latest - earliest)
    if scale == float("inf"):
        return None
    ticks = torch.empty(times.shape, dtype=torch.int32)
    for start in range(0, times.numel(), _BLOCK):
        part = slice(start, start + _BLOCK)
        ticks[part] = (times[part] - earliest).mul_(scale)
    ticks, order = torch.sort(ticks, stable=True)
    ordered = times.index_select(0, order)
    if _ascends(ordered):
        return _Runs(order, None, ordered, ordered)
    begins = torch.ones(times.shape, dtype=torch.bool)
    torch.ne(ticks[1:], ticks[:-1], out=begins[1:])
    first = torch.nonzero(begins).flatten()
    run = torch.repeat_interleave(_lengths(first, times.numel()))
    low = ordered.index_select(0, first).scatter_reduce_(0, run, ordered, "amin")
    high = ordered.index_select(0, first).scatter_reduce_(0, run, ordered, "amax")
    return _Runs(order, first, low, high) if bool((high - low < tolerance).all()) else None


def _exact_runs(times: Tensor) -> _Runs:
    if _ascends(times):
        return _Runs(None, None, times, times)
    order = torch.sort(_sortable(times), stable=True).indices
    ordered = times.index_select(0, order)
    return _Runs(order, None, ordered, ordered)


def _sortable(times: Tensor) -> Tensor:
    if times.dtype != torch.float64 or times.device.type != "cpu":
        return times
    # The bits of a float64, read as an integer, ascend with its value (those of a negative one after flipping all but
    # the sign): torch sorts integers by radix, several times faster than it compares floats.
    bits = times.contiguous().view(torch.int64)
    return bits ^ ((bits >> 63) & 0x7FFF_FFFF_FFFF_FFFF)


def _ascends(times: Tensor) -> bool:
    parts = range(0, times.numel() - 1, _BLOCK)
    return all(
        bool((times[i + 1 : i + 1 + _BLOCK] >= times[i : i + _BLOCK][: times.numel() - 1 - i]).all()) for i in parts
    )


def _cut(runs: _Runs, tolerance: float) -> tuple[Tensor, bool]:
    """The runs that begin a group, (U,), and whether a group is as wide as the tolerance."""
    begins = torch.ones(runs.low.shape, dtype=torch.bool, device=runs.low.device)
    low, high, apart = runs.low[1:], runs.high[:-1], begins[1:]
    for start in range(0, apart.numel(), _BLOCK):
        part = slice(start, start + _BLOCK)
        gaps = low[part] - high[part]
        torch.ge(gaps, tolerance, out=apart[part]) if tolerance > 0.0 else torch.gt(gaps, 0, out=apart[part])
    first = torch.nonzero(begins).flatten()
    lengths = _lengths(first, begins.numel())
    if tolerance == 0.0 or first.numel() == begins.numel() or (runs.first is None and int(lengths.max()) <= 2):
        return first, False
    spans = runs.high.index_select(0, first + lengths - 1) - runs.low.index_select(0, first)
    return first, bool((spans >= tolerance).any())


def _cut_chains(ordered: Tensor, first: Tensor, tolerance: float) -> Tensor:
    """Let further groups begin within those of the sorted times that are as wide as the tolerance."""
    last = first + _lengths(first, ordered.numel()) - 1
    chains = torch.nonzero(ordered[last] - ordered[first] >= tolerance).flatten()
    cuts: list[int] = []
    for start, stop in zip(first[chains].tolist(), (last[chains] + 1).tolist(), strict=True):
        chain = ordered[start:stop]
        # Far from zero a tolerance may be less than the spacing of floats: step over equal times at least.
        beyond = torch.maximum(
            torch.searchsorted(chain, chain + tolerance), torch.searchsorted(chain, chain, right=True)
        )
        following = beyond.tolist()
        place = following[0]
        while place < len(following):
            cuts.append(start + place)
            place = following[place]
    return torch.cat([first, first.new_tensor(cuts)]).sort().values


def _lengths(first: Tensor, count: int) -> Tensor:
    lengths = torch.full_like(first, count)
    lengths[:-1] = first[1:]
    return lengths.sub_(first)


def _check(timestamps: Tensor, tolerance: float) -> None:
    if timestamps.ndim != 1:
        raise ValueError(f"timestamps must be one row of times, shape (N,); found shape {tuple(timestamps.shape)}")
    if timestamps.dtype == torch.bool or timestamps.is_complex():
        raise TypeError(f"timestamps must be floating point or integer; found {timestamps.dtype}")
    if not 0.0 <= tolerance < float("inf"):
        raise ValueError(f"tolerance must be a finite number of seconds, 0 or more; found {tolerance}")
    # Infinities and NaN reach the ends of the range: two numbers tell, and the search waits until there is a culprit.
    if timestamps.numel() == 0 or bool(torch.isfinite(torch.stack(timestamps.aminmax())).all()):
        return
    wrong = torch.nonzero(~torch.isfinite(timestamps)).flatten()
    raise ValueError(
        f"timestamps must be finite; found {float(timestamps[wrong[0]])} at position {int(wrong[0])} "
        f"({wrong.numel()} of {timestamps.numel()} are not finite)"
    )
