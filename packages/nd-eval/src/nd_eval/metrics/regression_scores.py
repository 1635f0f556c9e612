"""Scores of continuous predictions: R², Pearson's r, mean squared and mean absolute error.

Shape legend: ``N`` times, ``K`` dimensions of the output.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from nd_eval.metrics.paired_moments import (
    PairedMoments,
    absolute_error,
    correlation,
    determination,
    mean_over,
    paired_moments,
    squared_error,
)

MultiOutput = Literal["uniform_average", "variance_weighted", "raw_values"]


def r2_score(preds: Tensor, target: Tensor, *, multioutput: MultiOutput = "uniform_average") -> Tensor:
    """Coefficient of determination, ``1 - Σ(y - p)² / Σ(y - ȳ)²`` per dimension.

    The sums are float64 and two-pass: right for targets with a large offset or a tiny scale. A dimension whose target
    is constant, or that has fewer than two points, has no R²: it is NaN under ``raw_values`` and left out of the
    averages.

    Args:
        preds: Predictions. Shape: (N,) or (N, K).
        target: Targets of the same shape.
        multioutput: ``uniform_average`` over the dimensions; ``variance_weighted`` by the targets' sums of squares;
            ``raw_values`` for each dimension, (K,).

    Returns:
        float64, a scalar or (K,); NaN where nothing is defined.

    Raises:
        ValueError: the shapes differ or are not one of the two.

    Example:
        >>> import torch
        >>> from nd_eval import r2_score
        >>> target = torch.tensor([1.0, 2.0, 3.0, 4.0]) * 1e-2 + 1e4
        >>> float(r2_score(target, target))
        1.0
    """
    check_multioutput(multioutput)
    return averaged_determination(paired_moments(*as_columns(preds, target)), multioutput)


def pearsonr(preds: Tensor, target: Tensor, *, multioutput: MultiOutput = "uniform_average") -> Tensor:
    """Pearson's correlation of each dimension.

    Undefined (NaN, left out of the average) where either side is constant or has fewer than two points.

    Args:
        preds: Predictions. Shape: (N,) or (N, K).
        target: Targets of the same shape.
        multioutput: ``uniform_average`` over the dimensions, ``variance_weighted`` by the targets' sums of squares, or
            ``raw_values`` for each, (K,).

    Returns:
        float64 in [-1, 1], a scalar or (K,).

    Raises:
        ValueError: the shapes differ or are not one of the two.
    """
    check_multioutput(multioutput)
    return averaged_correlation(paired_moments(*as_columns(preds, target)), multioutput)


def mse(preds: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over all entries, float64; NaN of nothing.

    Args:
        preds: Predictions. Shape: (N,) or (N, K).
        target: Targets of the same shape.
    """
    return mean_of_errors(paired_moments(*as_columns(preds, target), error=squared_error))


def mae(preds: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error over all entries, float64; NaN of nothing.

    Args:
        preds: Predictions. Shape: (N,) or (N, K).
        target: Targets of the same shape.
    """
    return mean_of_errors(paired_moments(*as_columns(preds, target), error=absolute_error))


def as_columns(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both as (N, K), after checking that they fit."""
    if preds.shape != target.shape:
        raise ValueError(
            f"predictions and targets must have one shape; found {tuple(preds.shape)} and {tuple(target.shape)}"
        )
    if preds.ndim not in (1, 2):
        raise ValueError(f"expected shape (N,) or (N, K); found {tuple(preds.shape)}")
    return (preds, target) if preds.ndim == 2 else (preds.unsqueeze(1), target.unsqueeze(1))


def check_multioutput(multioutput: str) -> None:
    """Refuse an unknown way to average over dimensions."""
    if multioutput not in get_args(MultiOutput):
        raise ValueError(f"multioutput must be one of {', '.join(get_args(MultiOutput))}; found {multioutput!r}")


def averaged_determination(moments: PairedMoments, multioutput: MultiOutput) -> Tensor:
    """R² from moments (K,), or of many at once from (K, ...)."""
    return _averaged(*determination(moments), moments.spread_target, multioutput)


def averaged_correlation(moments: PairedMoments, multioutput: MultiOutput) -> Tensor:
    """Pearson's r from moments (K,), or of many at once from (K, ...)."""
    return _averaged(*correlation(moments), moments.spread_target, multioutput)


def mean_of_errors(moments: PairedMoments) -> Tensor:
    """Mean elementwise error from moments (K,), or of many at once from (K, ...)."""
    return moments.error.sum(0) / moments.number.sum(0)


def _averaged(values: Tensor, defined: Tensor, weights: Tensor, multioutput: MultiOutput) -> Tensor:
    if multioutput == "raw_values":
        return values
    if multioutput == "uniform_average":
        return mean_over(values, defined)[0]
    shares = torch.where(defined, weights, 0.0)
    return torch.where(defined, values * shares, 0.0).sum(0) / shares.sum(0)
