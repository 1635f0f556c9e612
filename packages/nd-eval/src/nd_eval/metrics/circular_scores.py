"""Scores of angles: mean circular error, and the correlation of two angles.

Shape legend: ``N`` times, ``K`` angles.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nd_eval.metrics.paired_moments import mean_over
from nd_eval.metrics.regression_scores import as_columns

# Rounding leaves about this share of a sum over angles that do not vary.
_CONSTANT = 1e-12


def circular_error(preds: Tensor, target: Tensor, *, period: float = 2 * math.pi) -> Tensor:
    """Mean absolute angle between prediction and target, the short way round; in the unit of the angles.

    Between 0 and half a period; a quarter of it is what a prediction without knowledge gets.

    Args:
        preds: Angles, of any number of turns. Shape: (N,) or (N, K).
        target: Angles of the same shape.
        period: A full turn: 2π for radians, 360 for degrees, π for orientations in radians.

    Returns:
        float64 scalar, over all entries; NaN of nothing.

    Raises:
        ValueError: the shapes differ or are not one of the two, or the period is not a positive number.

    Example:
        >>> import torch
        >>> from nd_eval import circular_error
        >>> float(circular_error(torch.tensor([350.0]), torch.tensor([10.0]), period=360))
        20.0
    """
    check_period(period)
    return mean_error(error_rows(*as_columns(preds, target), period).sum(0))


def circular_correlation(preds: Tensor, target: Tensor, *, period: float = 2 * math.pi) -> Tensor:
    """Correlation of two angles after Fisher and Lee (1983, Biometrika 70:327), in [-1, 1].

    ``Σ sin(p_i - p_j) sin(y_i - y_j) / √(Σ sin²(p_i - p_j) Σ sin²(y_i - y_j))`` over all pairs of times, computed from
    sums over times. It needs no mean direction, which angles that go all round do not have. Adding a constant angle to
    either side changes nothing, so read it beside :func:`circular_error`.

    Args:
        preds: Angles. Shape: (N,) or (N, K).
        target: Angles of the same shape.
        period: A full turn: 2π for radians, 360 for degrees.

    Returns:
        float64 scalar, averaged over the K angles; NaN where a side does not vary or has fewer than two points (such
        angles are left out of the average).

    Raises:
        ValueError: the shapes differ or are not one of the two, or the period is not a positive number.
    """
    check_period(period)
    return mean_correlation(correlation_rows(*as_columns(preds, target), period).sum(0))


def check_period(period: float) -> None:
    """Refuse a full turn that is not a positive number."""
    if not 0.0 < period < math.inf:
        raise ValueError(f"period must be a positive number (2π for radians, 360 for degrees); found {period}")


def error_rows(preds: Tensor, target: Tensor, period: float) -> Tensor:
    """Number of entries and their error at each time, (N, 2, K)."""
    difference = (preds.to(torch.float64) - target.to(torch.float64)).remainder(period)
    error = torch.minimum(difference, period - difference)
    return torch.stack([torch.ones_like(error), error], dim=1)


def mean_error(sums: Tensor) -> Tensor:
    """Circular error from sums, (2, K, ...)."""
    return sums[1].sum(0) / sums[0].sum(0)


def correlation_rows(preds: Tensor, target: Tensor, period: float) -> Tensor:
    """What each time adds to the sums that the correlation is made of, (N, 9, K)."""
    turn = 2 * math.pi / period
    p, y = preds.to(torch.float64) * turn, target.to(torch.float64) * turn
    parts = [torch.ones_like(p)]
    parts += [p.cos() * y.cos(), p.sin() * y.sin(), p.cos() * y.sin(), p.sin() * y.cos()]
    parts += [(2 * p).cos(), (2 * p).sin(), (2 * y).cos(), (2 * y).sin()]
    return torch.stack(parts, dim=1)


def mean_correlation(sums: Tensor) -> Tensor:
    """Circular correlation from sums, (9, K, ...)."""
    number, cos_cos, sin_sin, cos_sin, sin_cos = sums[:5].unbind(0)
    squared = number**2
    spreads = [squared - sums[5] ** 2 - sums[6] ** 2, squared - sums[7] ** 2 - sums[8] ** 2]
    defined = (number >= 2) & ~((spreads[0] <= _CONSTANT * squared) | (spreads[1] <= _CONSTANT * squared))
    roots = [torch.where(defined, spread, 1.0).sqrt() for spread in spreads]
    values = 4.0 * (cos_cos * sin_sin - cos_sin * sin_cos) / roots[0] / roots[1]
    return mean_over(values.clamp(-1.0, 1.0), defined)[0]
