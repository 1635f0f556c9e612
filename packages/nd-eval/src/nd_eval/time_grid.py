"""Times that follow each other at a constant step: their groups without sorting.

Most outputs are regular. Where every time lies near a multiple of one step, its number follows by a division, which is
several times faster than a sort. It is only taken where it gives the very groups that gaps between sorted times give.

Shape legend: ``N`` times, ``G`` steps from the first to the last.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 1 << 15  # small enough to stay in the cache, and to be allocated without the help of the system
_SAMPLE = 1 << 12
_STEPS_PER_TIME = 4  # more, and tables of G entries would outgrow the times


def regular_steps(times: Tensor, *, tolerance: float) -> tuple[Tensor, int] | None:
    """The number of the step on which each time lies; None if the times are not regular.

    Any two times of one step are closer than half the tolerance, any two of different steps the tolerance apart.

    Args:
        times: Finite times, at least one, in any order. Shape: (N,) float64.
        tolerance: Times closer than this many seconds are one time.

    Returns:
        Steps from the earliest time on, (N,) int64, and the number of steps G.
    """
    earliest, latest = (float(end) for end in times.aminmax())
    step = _step(times, earliest, tolerance)
    if step is None or step < 2.0 * tolerance:
        return None
    span = latest - earliest
    if span / step > _STEPS_PER_TIME * times.numel():
        return None
    steps = torch.empty(times.shape, dtype=torch.int64, device=times.device)
    low, high = 0.0, 0.0
    for start in range(0, times.numel(), _BLOCK):
        part = slice(start, start + _BLOCK)
        distance = times[part] - earliest
        number = (distance / step).add_(0.5).floor_()
        steps[part] = number
        least, most = distance.sub_(number, alpha=step).aminmax()
        low, high = min(low, float(least)), max(high, float(most))
        if high - low >= 0.5 * tolerance:
            return None
    return steps, round(span / step) + 1


def _step(times: Tensor, earliest: float, tolerance: float) -> float | None:
    """The step between neighbouring times, to within what rounding of the times leaves open."""
    # Neighbours in time stand side by side where windows come whole; of times in any order, some of a sample are.
    sample = torch.cat([times[:_SAMPLE], times[:: -(-times.numel() // _SAMPLE)]])
    gaps = torch.sort(sample).values.diff()
    gaps = gaps[gaps >= tolerance]
    if gaps.numel() == 0:
        return None
    step = float(gaps.min())
    # One step is known to a share of itself; the number of a time a few steps away is beyond doubt, and so is the step
    # that follows from it, to a smaller share; and so on.
    error = 0.25 * tolerance
    known = step
    distances = sample.sub_(earliest)
    while True:
        within = distances[distances <= 0.1 * step / error * known]
        farthest = float(within.max()) if within.numel() else 0.0
        if farthest <= known:
            return step
        step = farthest / round(farthest / step)
        known = farthest
