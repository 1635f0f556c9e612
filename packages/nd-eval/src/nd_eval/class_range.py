"""Which classes a task can have, and refusing others: as soon as they come, and before they are scored.

Shape legend: ``M`` outputs.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torchmetrics
from torch import Tensor

from nd_eval.metric_value import aligned
from nd_eval.metrics.classification_metrics import ClassCountsMetric
from nd_eval.metrics.classification_scores import check_class_range


def check_classes(preds: Tensor, targets: Tensor, metrics: Iterable[torchmetrics.Metric]) -> None:
    """Refuse classes that the logits, or a metric, do not have. One pass over the classes, unless one is outside.

    Args:
        preds: Class indices or logits; floats beside targets that are floats are not looked at. Shape: (M, ...).
        targets: Targets; only integers are classes. Shape: (M, ...).
        metrics: The metrics that will score them. A metric's ``ignore_index`` may be among the targets.

    Raises:
        ValueError: a class is outside the range; the message names it and the range.
    """
    if targets.is_floating_point() or targets.numel() == 0:
        return
    preds, targets = aligned(preds, targets)
    for metric in metrics:
        count = _class_count(preds, targets, metric)
        if count is None:
            continue
        _check("target", targets, count, getattr(metric, "ignore_index", None))
        if not preds.is_floating_point():
            _check("predicted", preds, count, None)


def _class_count(preds: Tensor, targets: Tensor, metric: torchmetrics.Metric) -> int | None:
    """The number of classes; None where nothing says it."""
    if preds.is_floating_point():
        if preds.ndim == targets.ndim + 1:
            return preds.shape[-1]
        if isinstance(metric, ClassCountsMetric):
            return 2  # one logit for each decision
    known = getattr(metric, "num_classes", None)
    return known if isinstance(known, int) else None


def _check(name: str, classes: Tensor, count: int, ignored: int | None) -> None:
    if classes.dtype == torch.bool or classes.numel() == 0:
        return
    lowest, highest = classes.aminmax()
    if int(lowest) < 0 or int(highest) >= count:
        check_class_range(name, classes if ignored is None else classes[classes != ignored], count)
