"""Scores of sequences with missing observations: masked MSE, MAE, SMAPE and Pearson, with a choice of reduction.

Shape legend: ``B`` sequences, ``T`` steps, ``K`` outcomes. For an elementwise error ``e`` and a mask ``m``:

- ``none``: ``e`` where the mask holds and 0 elsewhere, (B, T, K); for Pearson r of each sequence and outcome, (B, K);
- ``flatten``: of each outcome over all its valid points, then the mean over outcomes;
- ``within-seq``: of each sequence and outcome over its valid steps, then the mean over sequences, then over outcomes;
- ``between-seq``: between the masked means of each sequence, across sequences, then the mean over outcomes.

A (sequence, outcome) pair without a valid step, and an outcome without a valid pair, are left out of every mean.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from nd_eval.metrics.paired_moments import (
    Elementwise,
    PairedMoments,
    absolute_error,
    correlation,
    mean_over,
    merge_moments,
    paired_moments,
    squared_error,
    symmetric_percentage_error,
)

Reduction = Literal["within-seq", "between-seq", "flatten", "none"]
Undefined = Literal["skip", "zero"]

# Means of sequences are rounded, so equal ones may differ by this share of their size.
_EQUAL_MEANS = 1e-13


def masked_mse(
    preds: Tensor, target: Tensor, mask: Tensor | None = None, *, reduction: Reduction = "within-seq"
) -> Tensor:
    """Masked mean squared error; accumulated in float64, differentiable.

    Args:
        preds: Predictions. Shape: (B, T, K), or (B, T) for one outcome.
        target: Targets of the same shape; what lies under the mask may be NaN.
        mask: True (or 1) where a target is observed; None: everywhere. Shape: (B, T, K), (B, T, 1) or (B, T).
        reduction: ``within-seq``, ``between-seq``, ``flatten`` or ``none``; see the module.

    Returns:
        float64: a scalar, NaN if nothing is valid, or the errors in the shape of ``preds`` for ``none``.

    Raises:
        ValueError: the shapes do not fit, or the reduction is unknown.

    Example:
        >>> import torch
        >>> from nd_eval import masked_mse
        >>> float(masked_mse(torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, float("nan")]]), torch.tensor([[1, 0]])))
        4.0
    """
    return _masked_error(preds, target, mask, reduction, squared_error)


def masked_mae(
    preds: Tensor, target: Tensor, mask: Tensor | None = None, *, reduction: Reduction = "within-seq"
) -> Tensor:
    """Masked mean absolute error; arguments and result as those of :func:`masked_mse`."""
    return _masked_error(preds, target, mask, reduction, absolute_error)


def masked_smape(
    preds: Tensor, target: Tensor, mask: Tensor | None = None, *, reduction: Reduction = "within-seq"
) -> Tensor:
    """Masked symmetric mean absolute percentage error, ``2 |p - y| / (|p| + |y|)`` in [0, 2] with 0/0 = 0.

    Arguments and result are those of :func:`masked_mse`.
    """
    return _masked_error(preds, target, mask, reduction, symmetric_percentage_error)


def masked_pearsonr(
    preds: Tensor,
    target: Tensor,
    mask: Tensor | None = None,
    *,
    reduction: Reduction = "within-seq",
    undefined: Undefined = "skip",
) -> Tensor:
    """Masked Pearson correlation; arguments and result as those of :func:`masked_mse`, but (B, K) for ``none``.

    It is undefined below two valid points and where either side is constant.

    Args:
        preds: Predictions. Shape: (B, T, K), or (B, T) for one outcome.
        target: Targets of the same shape.
        mask: True where a target is observed. Shape: (B, T, K), (B, T, 1) or (B, T).
        reduction: ``within-seq``, ``between-seq``, ``flatten`` or ``none``.
        undefined: ``skip`` leaves undefined correlations out (NaN if all are, and in the matrix of ``none``); ``zero``
            counts them as 0. Pairs without any valid step are left out either way.
    """
    preds, target, mask = as_sequences(preds, target, mask, reduction)
    return reduced_correlation(paired_moments(preds, target, dim=1, mask=mask), reduction, undefined)


def as_sequences(preds: Tensor, target: Tensor, mask: Tensor | None, reduction: str) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, targets and mask as (B, T, K), after checking that everything fits."""
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction must be one of {', '.join(get_args(Reduction))}; found {reduction!r}")
    if preds.shape != target.shape or preds.ndim not in (2, 3):
        raise ValueError(
            "predictions and targets must both be (B, T, K), or (B, T) for one outcome; "
            f"found {tuple(preds.shape)} and {tuple(target.shape)}"
        )
    if preds.ndim == 2:
        preds, target = preds.unsqueeze(-1), target.unsqueeze(-1)
    if mask is None:
        return preds, target, torch.ones_like(preds, dtype=torch.bool)
    spread = mask.unsqueeze(-1) if mask.ndim == 2 else mask
    if spread.ndim != 3 or spread.shape[:2] != preds.shape[:2] or spread.shape[2] not in (1, preds.shape[2]):
        raise ValueError(
            f"a mask of shape {tuple(mask.shape)} does not fit predictions (B, T, K) = {tuple(preds.shape)}"
        )
    return preds, target, spread.to(torch.bool).expand_as(preds)


def reduced_error(moments: PairedMoments, reduction: Reduction, error: Elementwise) -> Tensor:
    """Masked mean error from the moments of each sequence and outcome, (B, K)."""
    counted = moments.number > 0
    if reduction == "flatten":
        total, number = moments.error.sum(0), moments.number.sum(0)
        return mean_over(total / number.clamp(min=1.0), number > 0)[0]
    if reduction == "within-seq":
        each = moments.error / moments.number.clamp(min=1.0)
    else:
        each = error(moments.mean_preds, moments.mean_target)
    return mean_over(*mean_over(each, counted))[0]


def reduced_correlation(moments: PairedMoments, reduction: Reduction, undefined: Undefined) -> Tensor:
    """Masked Pearson correlation from the moments of each sequence and outcome, (B, K)."""
    if undefined not in get_args(Undefined):
        raise ValueError(f"undefined must be one of {', '.join(get_args(Undefined))}; found {undefined!r}")
    counted = moments.number > 0
    if reduction == "flatten" and moments.number.shape[0] == 0:
        return moments.number.new_tensor(torch.nan)
    if reduction == "flatten":
        values, defined = correlation(merge_moments(moments))
        counted = counted.any(0)
    elif reduction == "between-seq":
        across = paired_moments(moments.mean_preds, moments.mean_target, mask=counted)
        values, defined = correlation(across, constant_within=_EQUAL_MEANS)
        counted = counted.any(0)
    else:
        values, defined = correlation(moments)
    if undefined == "zero":
        values, defined = torch.where(counted & ~defined, 0.0, values), counted
    if reduction == "none":
        return values
    return mean_over(*(mean_over(values, defined) if reduction == "within-seq" else (values, defined)))[0]


def _masked_error(
    preds: Tensor, target: Tensor, mask: Tensor | None, reduction: Reduction, error: Elementwise
) -> Tensor:
    shape = preds.shape
    preds, target, mask = as_sequences(preds, target, mask, reduction)
    if reduction == "none":
        preds, target = preds.to(torch.float64), target.to(torch.float64)
        visible = error(torch.where(mask, preds, 0.0), torch.where(mask, target, 0.0))
        return torch.where(mask, visible, 0.0).reshape(shape)
    return reduced_error(paired_moments(preds, target, dim=1, mask=mask, error=error), reduction, error)
