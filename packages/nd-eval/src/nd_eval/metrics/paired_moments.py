"""Counts, means and centred sums of predictions and targets: what R², correlation and mean errors are made of.

Everything is float64 and two-pass, so offsets and tiny scales cost no digits, and parts merge as in Chan, Golub and
LeVeque (1983, "Algorithms for computing the sample variance"). Every function is differentiable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Elementwise = Callable[[Tensor, Tensor], Tensor]


class PairedMoments(NamedTuple):
    """Moments of pairs (prediction, target), all of one shape; every field is float64.

    Attributes:
        number: Number of pairs.
        mean_preds: Mean prediction, 0 where there is no pair.
        mean_target: Mean target, 0 where there is no pair.
        spread_preds: Sum of squared distances from the mean prediction.
        spread_target: Sum of squared distances from the mean target.
        comoment: Sum of the products of the two distances from their means.
        low_preds: Smallest prediction, infinity where there is no pair.
        high_preds: Largest prediction, minus infinity where there is no pair.
        low_target: Smallest target.
        high_target: Largest target.
        error: Sum of the elementwise error.
    """

    number: Tensor
    mean_preds: Tensor
    mean_target: Tensor
    spread_preds: Tensor
    spread_target: Tensor
    comoment: Tensor
    low_preds: Tensor
    high_preds: Tensor
    low_target: Tensor
    high_target: Tensor
    error: Tensor


def squared_error(preds: Tensor, target: Tensor) -> Tensor:
    """``(p - y)²``."""
    return (preds - target) ** 2


def absolute_error(preds: Tensor, target: Tensor) -> Tensor:
    """``|p - y|``."""
    return (preds - target).abs()


def symmetric_percentage_error(preds: Tensor, target: Tensor) -> Tensor:
    """``2 |p - y| / (|p| + |y|)``, between 0 and 2; 0 where both are 0."""
    size = preds.abs() + target.abs()
    return torch.where(size == 0, 0.0, 2.0 * (preds - target).abs() / torch.where(size == 0, 1.0, size))


def paired_moments(
    preds: Tensor, target: Tensor, *, dim: int = 0, mask: Tensor | None = None, error: Elementwise = squared_error
) -> PairedMoments:
    """Moments of the pairs along a dimension.

    Args:
        preds: Predictions, any real dtype.
        target: Targets of the same shape.
        dim: The dimension to sum over; it is gone from the result.
        mask: True where a pair counts, of the same shape; what lies under False may be NaN.
        error: Elementwise error whose sum is kept.
    """
    preds, target = preds.to(torch.float64), target.to(torch.float64)
    if mask is None:
        number = torch.full_like(preds.detach().sum(dim), preds.shape[dim])
    else:
        number = mask.sum(dim).to(torch.float64)
        preds, target = torch.where(mask, preds, 0.0), torch.where(mask, target, 0.0)
    divisor = number.clamp(min=1.0)
    means, centred = [], []
    for values in (preds, target):
        mean = values.sum(dim) / divisor
        distance = values - mean.unsqueeze(dim)
        means.append(mean)
        centred.append(distance if mask is None else torch.where(mask, distance, 0.0))
    rest_preds, rest_target = centred[0].sum(dim), centred[1].sum(dim)
    # The second terms take out what the rounding of the mean left in.
    spread_preds = (centred[0] * centred[0]).sum(dim) - rest_preds**2 / divisor
    spread_target = (centred[1] * centred[1]).sum(dim) - rest_target**2 / divisor
    comoment = (centred[0] * centred[1]).sum(dim) - rest_preds * rest_target / divisor
    low_preds, high_preds = _ends(preds.detach(), mask, dim)
    low_target, high_target = _ends(target.detach(), mask, dim)
    errors = error(preds, target)
    total = (errors if mask is None else torch.where(mask, errors, 0.0)).sum(dim)
    return PairedMoments(
        number,
        means[0],
        means[1],
        spread_preds,
        spread_target,
        comoment,
        low_preds,
        high_preds,
        low_target,
        high_target,
        total,
    )


def unmasked_moments(preds: Tensor, target: Tensor, *, error: Elementwise = squared_error) -> PairedMoments:
    """Moments of the columns of (n, K), n of 1 or more: :func:`paired_moments` in half of the time, not differentiable.

    Both sides go through each step together, as rows of float64: sums along what lies side by side are fast.
    """
    count, columns = target.shape
    both = torch.empty((2, columns, count), dtype=torch.float64, device=target.device)
    both[0].copy_(preds.T)
    both[1].copy_(target.T)
    low, high, means = both.amin(2), both.amax(2), both.mean(2)
    if error is squared_error:
        distance = both[0] - both[1]
        total = distance.mul_(distance).sum(1)
    else:
        total = error(both[0], both[1]).sum(1)
    both -= means.unsqueeze(2)
    rest = both.sum(2)
    sides = both.transpose(0, 1)
    # The second term takes out what the rounding of the mean left in.
    products = torch.bmm(sides, sides.transpose(1, 2)) - rest.T.unsqueeze(2) * rest.T.unsqueeze(1) / count
    return PairedMoments(
        number=torch.full_like(total, count),
        mean_preds=means[0],
        mean_target=means[1],
        spread_preds=products[:, 0, 0],
        spread_target=products[:, 1, 1],
        comoment=products[:, 0, 1],
        low_preds=low[0],
        high_preds=high[0],
        low_target=low[1],
        high_target=high[1],
        error=total,
    )


def merge_moments(parts: PairedMoments, *, dim: int = 0) -> PairedMoments:
    """Moments of all pairs together from the moments of parts of them, along a dimension."""
    number = parts.number.sum(dim)
    divisor = number.clamp(min=1.0)
    means, distances = [], []
    for mean in (parts.mean_preds, parts.mean_target):
        # Around one of the means, so that a large offset does not swamp the differences between parts.
        origin = mean.narrow(dim, 0, 1)
        shift = (parts.number * (mean - origin)).sum(dim) / divisor
        merged = origin.squeeze(dim) + shift
        means.append(merged)
        distances.append(torch.where(parts.number > 0, mean - merged.unsqueeze(dim), 0.0))
    return PairedMoments(
        number,
        means[0],
        means[1],
        (parts.spread_preds + parts.number * distances[0] ** 2).sum(dim),
        (parts.spread_target + parts.number * distances[1] ** 2).sum(dim),
        (parts.comoment + parts.number * distances[0] * distances[1]).sum(dim),
        parts.low_preds.amin(dim),
        parts.high_preds.amax(dim),
        parts.low_target.amin(dim),
        parts.high_target.amax(dim),
        parts.error.sum(dim),
    )


def determination(moments: PairedMoments) -> tuple[Tensor, Tensor]:
    """R² of each column, ``1 - Σ(y - p)² / Σ(y - ȳ)²``, and where it is defined.

    It is undefined, and NaN, where the target is constant or has fewer than two points. Where it is defined it is NaN
    only if a prediction or a target is. The error of the moments must be the squared one.
    """
    constant = _constant(moments.low_target, moments.high_target, 0.0) | (moments.spread_target <= 0)
    defined = (moments.number >= 2) & ~constant
    spread = torch.where(defined, moments.spread_target, 1.0)
    return torch.where(defined, 1.0 - moments.error / spread, torch.nan), defined


def correlation(moments: PairedMoments, *, constant_within: float = 0.0) -> tuple[Tensor, Tensor]:
    """Pearson's r of each column, in [-1, 1], and where it is defined.

    It is undefined, and NaN, below two points and where either side is constant: where its range is at most the share
    ``constant_within`` of its size.
    """
    constant = (
        _constant(moments.low_preds, moments.high_preds, constant_within)
        | _constant(moments.low_target, moments.high_target, constant_within)
        | (moments.spread_preds <= 0)
        | (moments.spread_target <= 0)
    )
    defined = (moments.number >= 2) & ~constant
    # Two roots instead of one of the product, which could leave the range of floats.
    spreads = [torch.where(defined, spread, 1.0).sqrt() for spread in (moments.spread_preds, moments.spread_target)]
    return torch.where(defined, (moments.comoment / spreads[0] / spreads[1]).clamp(-1.0, 1.0), torch.nan), defined


def mean_over(values: Tensor, counted: Tensor, *, dim: int = 0) -> tuple[Tensor, Tensor]:
    """Mean of the values that count, along a dimension, and where there is any; NaN where there is none."""
    number = counted.sum(dim)
    total = torch.where(counted, values, 0.0).sum(dim)
    return torch.where(number > 0, total / number.clamp(min=1), torch.nan), number > 0


def _constant(low: Tensor, high: Tensor, within: float) -> Tensor:
    # Written so that NaN, whose comparisons are all false, is not taken for a constant but shows in the result.
    return high - low <= within * torch.maximum(low.abs(), high.abs())


def _ends(values: Tensor, mask: Tensor | None, dim: int) -> tuple[Tensor, Tensor]:
    if values.shape[dim] == 0:
        shape = values.sum(dim)
        return torch.full_like(shape, torch.inf), torch.full_like(shape, -torch.inf)
    if mask is None:
        return values.amin(dim), values.amax(dim)  # several times faster than aminmax along a dimension
    low = torch.where(mask, values, torch.inf).amin(dim)
    return low, torch.where(mask, values, -torch.inf).amax(dim)
