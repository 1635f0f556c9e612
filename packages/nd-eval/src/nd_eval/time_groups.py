"""Which values fall on the same time: sorting, and cutting the sorted times into groups.

Shape legend: ``N`` values, ``U`` distinct times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from nd_eval.grid_runs import GridRuns, runs_on_grid
from nd_eval.time_grid import likely_steps, steps_at

# Below this many values a comparison sort is as fast as anything.
_WORTH_A_ROUGH_SORT = 1 << 15

# Below 2^31; not close to a power of two, which would fill the buckets of a radix sort in step with the cache.
_TICKS = 1_500_000_000

# Large temporaries cost more to allocate than to fill, so what passes over all times does it in parts.
_BLOCK = 1 << 16


@dataclass(frozen=True)
class TimeGroups:
    """The distinct times of ``N`` values.

    Attributes:
        sizes: Number of values in each group, (U,) int64.
        timestamps: The earliest time of each group, (U,), in the dtype of the input.
        sorted_order: Positions of the values, group after group, (N,) int64; None where they came so, or where
            ``numbers`` tell.
        known_numbers: Group of each value in the order in which the values were given, (N,) int64, where it is known
            without an order.
        runs: The runs in which the values lie on regular steps, where they are known to.
    """

    sizes: Tensor
    timestamps: Tensor
    sorted_order: Tensor | None
    known_numbers: Tensor | None = None
    runs: GridRuns | None = None

    def __len__(self) -> int:
        return self.sizes.numel()

    @cached_property
    def numbers(self) -> Tensor | None:
        """Group of each value in the order in which the values were given, (N,) int64; None if it takes an order."""
        return self.known_numbers if self.runs is None else self.runs.numbers(int(self.sizes.sum()))

    @cached_property
    def order(self) -> Tensor | None:
        """Positions of the values, group after group, (N,) int64; None where they came so."""
        if self.numbers is None or _ascends(self.numbers):
            return self.sorted_order
        keys = self.numbers.to(torch.int32) if len(self) < 2**31 else self.numbers
        return torch.sort(keys, stable=True).indices

    @cached_property
    def first(self) -> Tensor:
        """Place in that order at which each group begins, (U,) int64."""
        return self.sizes.cumsum(0).sub_(self.sizes)

    @cached_property
    def size_pairs(self) -> Tensor:
        """Number of values in each group, twice, (2 U,) float64."""
        return self.sizes.to(torch.float64).unsqueeze(1).expand(-1, 2).flatten()

    @cached_property
    def group(self) -> Tensor:
        """Group of each value in that order, (N,) int64, ascending from 0 to U - 1."""
        return torch.repeat_interleave(self.sizes)

    def in_order(self, values: Tensor) -> Tensor:
        """Put the values, (N, ...), into the order of their groups."""
        return values if self.order is None else values.index_select(0, self.order)

    def group_of_values(self) -> Tensor:
        """Group of each value in the order in which the values were given, (N,) int64."""
        if self.numbers is not None:
            return self.numbers
        if self.order is None:
            return self.group
        return torch.empty_like(self.group).index_copy_(0, self.order, self.group)


def group_times(timestamps: Tensor, *, tolerance: float, parts: Tensor | None = None) -> TimeGroups:
    """Sort times and group those that are closer than a tolerance.

    A group ends where the gap to the next sorted time is the tolerance or more, so nothing depends on where a rounding
    grid would lie. Where times follow each other so densely that such a chain grows as wide as the tolerance, it is cut
    again, from its earliest time on, into groups narrower than the tolerance: times a tolerance apart or more are never
    one. The groups depend on the set of times alone, not on their order.

    Args:
        timestamps: Times in seconds; floating point or integer. Shape: (N,).
        tolerance: Times closer than this many seconds are one time; 0 groups equal times only.
        parts: How many times, one after the other, come from each window: a hint that may be wrong, and changes nothing
            but how long it takes. (W,) int64.

    Raises:
        ValueError: the times are not one row of finite numbers, or the tolerance is negative or not finite.
        TypeError: the times are boolean or complex.
    """
    ends = _check(timestamps, tolerance)
    times = timestamps.to(torch.float64) if timestamps.is_floating_point() else timestamps
    regular = _regular_groups(times, ends, tolerance, timestamps.dtype, parts)
    if regular is not None:
        return regular
    if _ascends(times):
        groups = _exact_groups(times, None, tolerance)
    else:
        groups = _rough_groups(times, tolerance) or _exact_groups(times, _ascending_order(times), tolerance)
    order, first, distinct = groups
    return TimeGroups(_lengths(first, times.numel()), distinct.to(timestamps.dtype), order)


def _regular_groups(
    times: Tensor, ends: tuple[float, float], tolerance: float, dtype: torch.dtype, parts: Tensor | None
) -> TimeGroups | None:
    """Groups of times at a constant step; None where they are not."""
    if times.device.type != "cpu" or times.dtype != torch.float64 or times.numel() < 2 or tolerance == 0.0:
        return None
    first, last = ends
    starts = None if parts is None else parts.cumsum(0).sub_(parts)
    for step in likely_steps(times, first, last, tolerance=tolerance):
        runs = runs_on_grid(times, first, last, step, tolerance=tolerance, starts=starts)
        if runs is not None:
            return _groups_of_runs(runs, times, dtype)
        found = steps_at(times, first, last, step, tolerance)
        if found is not None:
            numbers, sizes, earliest = found
            taken = sizes > 0
            if not bool(taken.all()):
                numbers = (taken.cumsum(0) - 1).index_select(0, numbers)
                sizes, earliest = sizes[taken], earliest[taken]
            return TimeGroups(sizes, earliest.to(dtype), None, numbers)
    return None


def _groups_of_runs(runs: GridRuns, times: Tensor, dtype: torch.dtype) -> TimeGroups:
    sizes = runs.sizes()
    if int(torch.count_nonzero(sizes)) < sizes.numel():
        taken = torch.nonzero(sizes).flatten()
        runs, sizes = replace(runs, taken=taken), sizes.index_select(0, taken)
    return TimeGroups(sizes, runs.smallest(times, torch.inf).to(dtype), None, runs=runs)


_Groups = tuple[Tensor | None, Tensor, Tensor]  # order, places where groups begin, earliest times


def _exact_groups(times: Tensor, order: Tensor | None, tolerance: float) -> _Groups:
    """Groups of times that ascend in an order."""
    first = _starts(times, times, order, tolerance)
    assert first is not None  # they ascend
    if _is_chained(times, times, order, first, tolerance):
        first = _cut_chains(times if order is None else times[order], first, tolerance)
    return order, first, _at(times, order, first)


def _rough_groups(times: Tensor, tolerance: float) -> _Groups | None:
    """Groups by 32-bit ticks, which sort twice as fast as the times do; None where that does not tell all it must.

    The range of the times is cut into equal ticks, so ticks ascend with the times. Values of one tick come out in any
    order, which matters to nobody as long as they are closer than the tolerance.
    """
    if times.device.type != "cpu" or times.dtype != torch.float64 or times.numel() < _WORTH_A_ROUGH_SORT:
        return None
    earliest, latest = (float(end) for end in times.aminmax())
    scale = _TICKS / (latest - earliest)
    if scale == float("inf"):
        return None
    ticks = torch.empty(times.shape, dtype=torch.int32)
    for start in range(0, times.numel(), _BLOCK):
        part = slice(start, start + _BLOCK)
        ticks[part] = (times[part] - earliest).mul_(scale)
    ticks, order = torch.sort(ticks, stable=True)
    first = _starts(times, times, order, tolerance)
    if first is not None:
        chained = _is_chained(times, times, order, first, tolerance)
        return None if chained else (order, first, _at(times, order, first))
    # Some ticks hold several times in the wrong order: take each tick, with its earliest and its latest time, for one.
    begins = torch.ones(times.shape, dtype=torch.bool)
    torch.ne(ticks[1:], ticks[:-1], out=begins[1:])
    tick_first = torch.nonzero(begins).flatten()
    tick = torch.repeat_interleave(_lengths(tick_first, times.numel()))
    ordered = times.index_select(0, order)
    low = ordered.index_select(0, tick_first).scatter_reduce_(0, tick, ordered, "amin")
    high = ordered.index_select(0, tick_first).scatter_reduce_(0, tick, ordered, "amax")
    if bool((high - low >= tolerance).any()):
        return None
    first = _starts(low, high, None, tolerance)
    if first is None or _is_chained(low, high, None, first, tolerance):
        return None
    return order, tick_first[first], low[first]


def _ascends(times: Tensor) -> bool:
    parts = range(0, times.numel() - 1, _BLOCK)
    return all(
        bool((times[i + 1 : i + 1 + _BLOCK] >= times[i : i + _BLOCK][: times.numel() - 1 - i]).all()) for i in parts
    )


def _ascending_order(times: Tensor) -> Tensor:
    return torch.sort(_sortable(times), stable=True).indices


def _sortable(times: Tensor) -> Tensor:
    if times.dtype != torch.float64 or times.device.type != "cpu":
        return times
    # The bits of a float64, read as an integer, ascend with its value (those of a negative one after flipping all but
    # the sign): torch sorts integers by radix, several times faster than it compares floats.
    bits = times.contiguous().view(torch.int64)
    return bits ^ ((bits >> 63) & 0x7FFF_FFFF_FFFF_FFFF)


def _at(times: Tensor, order: Tensor | None, places: Tensor) -> Tensor:
    """The times at places of the order."""
    return times.index_select(0, places if order is None else order.index_select(0, places))


def _starts(low: Tensor, high: Tensor, order: Tensor | None, tolerance: float) -> Tensor | None:
    """Places of the order at which groups begin, (U,); None if the times do not ascend in that order.

    ``low`` and ``high`` are the earliest and the latest time of what lies at each place.
    """
    begins = torch.ones(low.shape, dtype=torch.bool, device=low.device)
    for start in range(1, low.numel(), _BLOCK):
        part, before = slice(start, start + _BLOCK), slice(start - 1, min(start + _BLOCK, low.numel()) - 1)
        if order is None:
            gaps = low[part] - high[before]
        else:
            times = low.index_select(0, order[before.start : part.stop])
            gaps = times[1:] - times[:-1]
        if bool((gaps < 0).any()):
            return None
        torch.ge(gaps, tolerance, out=begins[part]) if tolerance > 0.0 else torch.gt(gaps, 0, out=begins[part])
    return torch.nonzero(begins).flatten()


def _is_chained(low: Tensor, high: Tensor, order: Tensor | None, first: Tensor, tolerance: float) -> bool:
    """Whether a group is as wide as the tolerance."""
    lengths = _lengths(first, low.numel())
    # Two neighbours of one group are closer than the tolerance: it takes three to be a chain.
    if tolerance == 0.0 or low.numel() == 0 or (low is high and int(lengths.max()) <= 2):
        return False
    spans = _at(high, order, first + lengths - 1) - _at(low, order, first)
    return bool((spans >= tolerance).any())


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


def _check(timestamps: Tensor, tolerance: float) -> tuple[float, float]:
    """The earliest and the latest time, (0, 0) of none, after refusing what cannot be grouped."""
    if timestamps.ndim != 1:
        raise ValueError(f"timestamps must be one row of times, shape (N,); found shape {tuple(timestamps.shape)}")
    if timestamps.dtype == torch.bool or timestamps.is_complex():
        raise TypeError(f"timestamps must be floating point or integer; found {timestamps.dtype}")
    if not 0.0 <= tolerance < float("inf"):
        raise ValueError(f"tolerance must be a finite number of seconds, 0 or more; found {tolerance}")
    # Infinities and NaN reach the ends of the range: two numbers tell, and the search waits until there is a culprit.
    if timestamps.numel() == 0:
        return 0.0, 0.0
    first, last = (float(end) for end in timestamps.aminmax())
    if math.isfinite(first) and math.isfinite(last):
        return first, last
    wrong = torch.nonzero(~torch.isfinite(timestamps)).flatten()
    raise ValueError(
        f"timestamps must be finite; found {float(timestamps[wrong[0]])} at position {int(wrong[0])} "
        f"({wrong.numel()} of {timestamps.numel()} are not finite)"
    )
