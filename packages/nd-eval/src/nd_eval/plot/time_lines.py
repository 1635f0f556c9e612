"""Lines over time that stop where time or values stop.

Shape legend: ``U`` times, ``P`` points of a line.
"""

from __future__ import annotations

import torch
from torch import Tensor

_REGULAR = 0.9  # of the steps are about the median: a regular grid


def gap_length(timestamps: Tensor) -> float:
    """Steps longer than this many seconds are gaps: 1.5 steps of a regular grid, 5 median steps of other times."""
    steps = timestamps.diff()
    if not len(steps):
        return float("inf")
    median = float(steps.median())
    regular = float(((steps - median).abs() <= 0.1 * median).to(torch.float64).mean()) >= _REGULAR
    return median * (1.5 if regular else 5.0)


def broken_line(timestamps: Tensor, values: Tensor, gap: float, *, steady: bool = False) -> tuple[Tensor, Tensor]:
    """Put a NaN wherever the line must not be drawn.

    Args:
        timestamps: Ascending times. Shape: (U,) float64.
        values: Shape: (U,) float64.
        gap: Steps longer than this are gaps.
        steady: Whether only points of the same value are joined, as suits classes.

    Returns:
        Times and values of the line, (P,) each; between two points that are not joined there is one with a NaN value.
    """
    breaks = timestamps.diff() > gap
    if steady:
        breaks |= values.diff() != 0
    places = breaks.nonzero().flatten()
    between = (timestamps[places] + timestamps[places + 1]) / 2.0
    return _inserted(timestamps, values, places, [(between, torch.full_like(between, torch.nan))])


def wrapped_line(timestamps: Tensor, angles: Tensor, gap: float, period: float) -> tuple[Tensor, Tensor]:
    """A line of angles within one turn, which leaves it on one side and comes back on the other.

    Args:
        timestamps: Ascending times. Shape: (U,) float64.
        angles: Of any number of turns. Shape: (U,) float64.
        gap: Steps longer than this are gaps.
        period: A full turn.

    Returns:
        Times and values of the line, (P,) each: the angles in [0, period), and where the short way from one to the next
        crosses the end of the turn, the point at which it leaves, a NaN, and the point at which it comes back.
    """
    angles = angles.to(torch.float64).remainder(period)
    angles = torch.where(angles >= period, 0.0, angles)  # what a tiny negative angle rounds to
    times, values = broken_line(timestamps, angles, gap)
    steps = values.diff()
    places = (steps.abs() > period / 2.0).nonzero().flatten()  # the other way round is shorter
    upwards = steps[places] < 0.0
    leaves = upwards.to(torch.float64) * period
    share = (leaves - values[places]) / (steps[places] + torch.where(upwards, 1.0, -1.0).to(torch.float64) * period)
    crossing = times[places] + share.clamp(0.0, 1.0) * times.diff()[places]
    nothing = torch.full_like(crossing, torch.nan)
    return _inserted(times, values, places, [(crossing, leaves), (crossing, nothing), (crossing, period - leaves)])


def _inserted(
    times: Tensor, values: Tensor, places: Tensor, points: list[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """A line with some points more after each of some places."""
    number = torch.ones(len(times), dtype=torch.int64)
    number[places] += len(points)
    first = number.cumsum(0) - number
    line_times, line_values = (torch.empty(int(number.sum()), dtype=torch.float64) for _ in range(2))
    line_times[first], line_values[first] = times.to(torch.float64), values.to(torch.float64)
    for offset, (of_times, of_values) in enumerate(points, start=1):
        line_times[first[places] + offset], line_values[first[places] + offset] = of_times, of_values
    return line_times, line_values


def lonely_points(values: Tensor) -> list[int]:
    """Places of the points of a line that have no neighbour to be joined to, which need a dot to be seen."""
    seen = torch.isfinite(values)
    before, after = torch.zeros_like(seen), torch.zeros_like(seen)
    before[1:], after[:-1] = seen[:-1], seen[1:]
    lonely: list[int] = (seen & ~before & ~after).nonzero().flatten().tolist()
    return lonely


def stretches(timestamps: Tensor, chosen: Tensor, gap: float) -> list[tuple[float, float]]:
    """Start and length in seconds of each stretch of neighbouring chosen times, half a step wider on both sides.

    Args:
        timestamps: Shape: (U,).
        chosen: Shape: (U,) bool.
        gap: Steps longer than this end a stretch.
    """
    places = chosen.nonzero().flatten()
    if not len(places):
        return []
    times = timestamps.to(torch.float64)
    half = float(times.diff().median()) / 2.0 if len(times) > 1 else 0.5
    ends = (places.diff() > 1) | (times[places].diff() > gap)
    first = torch.cat([places[:1], places[1:][ends]])
    last = torch.cat([places[:-1][ends], places[-1:]])
    return [
        (start - half, end - start + 2.0 * half)
        for start, end in zip(times[first].tolist(), times[last].tolist(), strict=True)
    ]
