"""Times that follow each other at a constant step: their groups without sorting.

Most outputs are regular. Where every time lies near a multiple of one step, its number follows by a division, which is
several times faster than a sort. It is only taken where it gives the very groups that gaps between sorted times give.

Shape legend: ``N`` times, ``G`` steps from the first to the last.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_BLOCK = 1 << 14  # small enough to stay in the cache, and to be allocated without the help of the system
_FIRST = 1 << 9
_SAMPLE = 1 << 12
_STEPS_PER_TIME = 4  # more, and tables of G entries would outgrow the times


class RegularSteps(NamedTuple):
    """Times that all lie near multiples of one step, counted from the earliest time on.

    Attributes:
        numbers: The step on which each time lies, (N,) int64.
        sizes: How many times lie on each step, (G,) int64.
        earliest: The earliest time of each step, (G,) float64; infinity where there is none.
    """

    numbers: Tensor
    sizes: Tensor
    earliest: Tensor


def regular_steps(times: Tensor, *, tolerance: float) -> RegularSteps | None:
    """The steps on which regular times lie; None if the times are not regular.

    Any two times of one step are closer than half the tolerance, any two of different steps the tolerance apart.

    Args:
        times: Finite times, at least one, in any order. Shape: (N,) float64.
        tolerance: Times closer than this many seconds are one time.
    """
    first, last = (float(end) for end in times.aminmax())
    for step in likely_steps(times, first, last, tolerance=tolerance):
        steps = steps_at(times, first, last, step, tolerance)
        if steps is not None:
            return steps
    return None


def likely_steps(times: Tensor, first: float, last: float, *, tolerance: float) -> Iterator[float]:
    """Steps, in seconds, at which times from the first to the last may lie, found from a sample of them."""
    # Neighbours in time stand side by side where windows come whole; of times in any order, some of a sample are.
    tried = None
    for head, spread in ((_FIRST, _FIRST), (_SAMPLE, _SAMPLE)):
        sample = torch.cat([times[:head], times[:: -(-times.numel() // spread)]])
        least = _least_gap(sample[:_FIRST] if head == _FIRST else sample, tolerance)
        if least is None:
            continue
        step = _refined(least, sample - first, tolerance)
        if step == tried:
            continue
        tried = step
        if step >= 2.0 * tolerance and last - first <= _STEPS_PER_TIME * times.numel() * step:
            yield step


def steps_at(times: Tensor, first: float, last: float, step: float, tolerance: float) -> RegularSteps | None:
    """The step on which each time lies; None if one lies beside."""
    count = round((last - first) / step) + 1
    numbers = torch.empty(times.shape, dtype=torch.int64)
    sizes = torch.zeros(count, dtype=torch.int64)
    earliest = torch.full((count,), torch.inf, dtype=torch.float64)
    ones = torch.ones(min(_BLOCK, times.numel()), dtype=torch.int64)
    low, high = 0.0, 0.0
    for start in range(0, times.numel(), _BLOCK):
        here = times[start : start + _BLOCK]
        distance = here - first
        number = (distance / step).round_()
        least, most = distance.sub_(number, alpha=step).aminmax()
        low, high = min(low, float(least)), max(high, float(most))
        if high - low >= 0.5 * tolerance:
            return None
        of_block = numbers[start : start + _BLOCK].copy_(number)
        sizes.scatter_add_(0, of_block, ones[: of_block.numel()])
        earliest.scatter_reduce_(0, of_block, here, "amin")
    return RegularSteps(numbers, sizes, earliest)


def _least_gap(times: Tensor, tolerance: float) -> float | None:
    """The least gap between two times that are not the same."""
    gaps = torch.sort(times).values.diff()
    gaps = gaps[gaps >= tolerance]
    return float(gaps.min()) if gaps.numel() else None


def _refined(step: float, distances: Tensor, tolerance: float) -> float:
    """A step known from one gap, to within what rounding of the times leaves open."""
    # One step is known to a share of itself; the number of a time a few steps away is beyond doubt, and so is the step
    # that follows from it, to a smaller share; and so on.
    ascending: list[float] = torch.sort(distances).values.tolist()
    error = 0.25 * tolerance
    known = step
    while True:
        within = bisect_right(ascending, 0.1 * step / error * known)
        farthest = ascending[within - 1] if within else 0.0
        if farthest <= known:
            return step
        step = farthest / round(farthest / step)
        known = farthest
