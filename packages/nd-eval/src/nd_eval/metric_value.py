"""The value of a metric for one stitched trace, apart from whatever the metric was used for before.

Shape legend: ``U`` distinct times.
"""

from __future__ import annotations

import copy

import torch
import torchmetrics
from torch import Tensor

from nd_eval.metrics.masked_metrics import MaskedMetric
from nd_eval.metrics.statistic_metric import StatisticMetric


def fresh_copy(metric: torchmetrics.Metric) -> torchmetrics.Metric:
    """A copy on the CPU that has seen nothing and never talks to other processes; itself where it needs no copy."""
    if isinstance(metric, StatisticMetric):
        return metric
    fresh = copy.deepcopy(metric).to("cpu")
    # Every process holds the whole trace: a sum over processes would count it again, or wait for one that has none.
    for part in fresh.modules():
        if isinstance(part, torchmetrics.Metric):
            part.distributed_available_fn = _never
    fresh.reset()
    return fresh


def metric_value(fresh: torchmetrics.Metric, preds: Tensor, target: Tensor) -> float:
    """Value for one trace, (U, ...), of what :func:`fresh_copy` gave.

    To a metric of sequences the trace is one sequence.

    Raises:
        ValueError: the metric gives more than one number.
    """
    if isinstance(fresh, StatisticMetric):
        if isinstance(fresh, MaskedMetric):
            preds, target = preds.unsqueeze(0), target.unsqueeze(0)
        value = fresh.value_of(preds, target)
    else:
        fresh.reset()
        fresh.update(preds, target)
        value = torch.as_tensor(fresh.compute())
    if value.numel() != 1:
        raise ValueError(f"a metric must give one number; found shape {tuple(value.shape)}")
    return float(value)


def aligned(preds: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Let (U, 1) and (U,) meet: both are one dimension, or one binary logit, a time."""
    if preds.ndim == targets.ndim + 1 and preds.shape[-1] == 1:
        return preds.squeeze(-1), targets
    if targets.ndim == preds.ndim + 1 and targets.shape[-1] == 1:
        return preds, targets.squeeze(-1)
    if not targets.is_floating_point() and targets.ndim == 2 and targets.shape[1] == 1 and preds.ndim == 2:
        return (preds.squeeze(-1) if preds.shape[1] == 1 else preds), targets.squeeze(-1)
    return preds, targets


def _never() -> bool:
    return False
