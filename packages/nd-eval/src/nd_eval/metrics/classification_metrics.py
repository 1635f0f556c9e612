"""Accuracy, balanced accuracy and F1 as torchmetrics classes: the functions, over many updates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nd_eval.metrics.classification_scores import (
    F1Average,
    averaged_f1,
    check_f1_average,
    class_counts,
    class_rows,
    correct_over_total,
    logit_classes,
    mean_recall,
    merge_class_counts,
)
from nd_eval.metrics.statistic_metric import AdditiveStatistics, StatisticMetric


class ClassCountsMetric(StatisticMetric):
    """A metric computed from how often each class was the target, was predicted, and was predicted rightly."""

    higher_is_better = True
    scale = "logit"

    def __init__(self, *, num_classes: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes

    def additive_statistics(self, preds: Tensor, target: Tensor) -> AdditiveStatistics | None:
        """The metric of these predictions and targets as a function of sums over time; None if it is not one number."""
        table = self._statistic(preds, target)
        if self._value(table).ndim:
            return None
        classes = table[0].to(torch.int64)

        def value(sums: Tensor) -> Tensor:
            counts = sums.reshape(-1, 3, classes.numel()).movedim(0, -1)
            return self._value(torch.cat([table[0, :, None].expand(counts.shape[1:]).unsqueeze(0), counts]))

        return AdditiveStatistics(
            rows=lambda preds, target: class_rows(preds, target, classes, num_classes=self.num_classes).flatten(1),
            value=value,
        )

    def _statistic(self, preds: Tensor, target: Tensor) -> Tensor:
        return class_counts(preds, target, num_classes=self.num_classes)

    def _merge(self, tables: list[Tensor]) -> Tensor:
        return merge_class_counts(tables)


class Accuracy(ClassCountsMetric):
    """Share of right classes over everything it was updated with; see :func:`~nd_eval.accuracy`.

    Args:
        num_classes: With it, a class outside 0 … num_classes - 1 is an error.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    def _value(self, table: Tensor) -> Tensor:
        return correct_over_total(table)


class BalancedAccuracy(ClassCountsMetric):
    """Mean recall of the classes over everything it was updated with; see :func:`~nd_eval.balanced_accuracy`.

    Args:
        num_classes: With it, a class outside 0 … num_classes - 1 is an error.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    def _value(self, table: Tensor) -> Tensor:
        return mean_recall(table)


class F1Score(ClassCountsMetric):
    """F1 over everything it was updated with; see :func:`~nd_eval.f1_score`.

    Args:
        average: ``macro``, ``weighted``, ``micro``, or ``none`` for each class by itself.
        num_classes: With it, a class outside 0 … num_classes - 1 is an error.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    def __init__(self, *, average: F1Average = "macro", num_classes: int | None = None, **kwargs: Any) -> None:
        super().__init__(num_classes=num_classes, **kwargs)
        check_f1_average(average)
        self.average: F1Average = average

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take in predictions and targets."""
        if self.average == "none" and self.num_classes is None:
            self.num_classes = logit_classes(preds, target)
        super().update(preds, target)

    def _value(self, table: Tensor) -> Tensor:
        return averaged_f1(table, self.average, num_classes=self.num_classes)
