"""Accuracy and balanced accuracy as torchmetrics classes: the functions, over many updates."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nd_eval.metrics.classification_scores import (
    class_counts,
    correct_over_total,
    mean_recall,
    merge_class_counts,
)
from nd_eval.metrics.statistic_metric import StatisticMetric


class _ClassCountsMetric(StatisticMetric):
    """A metric computed from how often each class was the target, and was predicted then."""

    higher_is_better = True

    def __init__(self, *, num_classes: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes

    def _statistic(self, preds: Tensor, target: Tensor) -> Tensor:
        return class_counts(preds, target, num_classes=self.num_classes)

    def _merge(self, tables: list[Tensor]) -> Tensor:
        return merge_class_counts(tables)


class Accuracy(_ClassCountsMetric):
    """Share of right classes over everything it was updated with; see :func:`~nd_eval.accuracy`.

    Args:
        num_classes: With it, a class outside 0 … num_classes - 1 is an error.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    def _value(self, table: Tensor) -> Tensor:
        return correct_over_total(table)


class BalancedAccuracy(_ClassCountsMetric):
    """Mean recall of the classes over everything it was updated with; see :func:`~nd_eval.balanced_accuracy`.

    Args:
        num_classes: With it, a class outside 0 … num_classes - 1 is an error.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    def _value(self, table: Tensor) -> Tensor:
        return mean_recall(table)
