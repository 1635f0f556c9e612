"""How long the blocks of a bootstrap must be for a series, and the long-run variance of the series.

Shape legend: ``N`` values of a series.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dependence:
    """How a series depends on its past.

    Attributes:
        block_length: Block length of least mean squared error for the variance of the mean; 1 without dependence.
        long_run_variance: ``Σ_k R(k)`` over all lags, N times the variance of the mean for a long series; may be
            negative where the estimate has failed.
    """

    block_length: float
    long_run_variance: float


def automatic_block_length(series: Tensor) -> float:
    """Block length for a circular block bootstrap of the mean of a series.

    Politis and White (2004, Econometric Reviews 23:53) with the correction of Patton, Politis and White (2009,
    Econometric Reviews 28:372), at most ``min(3 √N, N / 3)``.

    Args:
        series: The series, in order of time. Shape: (N,).

    Returns:
        A number of values, 1 or more; not rounded.

    Raises:
        ValueError: the series is not one row of finite numbers.

    Example:
        >>> import torch
        >>> from nd_eval import automatic_block_length
        >>> noise = torch.randn(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> automatic_block_length(noise) < 5 < automatic_block_length(noise.cumsum(0))
        True
    """
    if series.ndim != 1 or not bool(torch.isfinite(series).all()):
        raise ValueError(f"a series must be one row of finite numbers, shape (N,); found {tuple(series.shape)}")
    return dependence(series).block_length


def dependence(series: Tensor) -> Dependence:
    """Block length and long-run variance of a finite series, (N,), by flat-top lag windows."""
    count = series.numel()
    values = series.to(torch.float64)
    values = values - values.mean() if count else values
    if count < 4 or not bool(values.abs().max() > 0):
        return Dependence(1.0, float(values.square().mean()) if count else 0.0)
    covariances = _autocovariances(values)
    if not float(covariances[0]) > 0:
        return Dependence(1.0, 0.0)
    # Lags beyond which the correlations stay within what chance gives, for a while.
    following = max(5, math.ceil(math.sqrt(math.log10(count))))
    longest = min(math.ceil(math.sqrt(count)) + following, count - 1)
    chance = 2.0 * math.sqrt(math.log10(count) / count)
    correlations = covariances[1 : longest + following + 1] / covariances[0]
    small = (correlations.abs() < chance).to(torch.int64)
    runs = small.unfold(0, following, 1).sum(1) == following if small.numel() >= following else small[:0].bool()
    if bool(runs.any()):
        last = int(runs.to(torch.int64).argmax())
    else:
        large = torch.nonzero(small == 0)
        last = int(large.max()) + 1 if large.numel() else 0
    window = min(2 * max(last, 1), longest)
    lags = torch.arange(1, window + 1, dtype=torch.float64, device=values.device)
    share = lags / window
    weights = torch.where(share <= 0.5, 1.0, 2.0 * (1.0 - share)) * 2.0  # both signs of the lag
    long_run = float(covariances[0] + (weights * covariances[1 : window + 1]).sum())
    slope = float((weights * lags * covariances[1 : window + 1]).sum())
    # Taking out the series' own mean has taken this share out of the sum of its covariances.
    lost = (1.0 + float(weights.sum())) / count
    limit = max(1.0, math.ceil(min(3.0 * math.sqrt(count), count / 3.0)))
    if long_run == 0.0:
        return Dependence(limit, long_run)
    length = (2.0 * slope**2 / (4.0 / 3.0 * long_run**2)) ** (1.0 / 3.0) * count ** (1.0 / 3.0)
    return Dependence(min(max(1.0, length), limit), long_run / max(0.5, 1.0 - lost))


def _autocovariances(values: Tensor) -> Tensor:
    """Autocovariances at all lags, (N,), of a series with mean 0."""
    count = values.numel()
    spectrum = torch.fft.rfft(values, n=2 * count)
    covariances: Tensor = torch.fft.irfft(spectrum.abs().square(), n=2 * count)[:count] / count
    return covariances
