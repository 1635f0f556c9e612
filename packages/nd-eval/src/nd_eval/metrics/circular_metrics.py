"""Circular error and circular correlation as torchmetrics classes: the functions, over many updates."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from nd_eval.metrics.circular_scores import (
    check_period,
    correlation_rows,
    error_rows,
    mean_correlation,
    mean_error,
)
from nd_eval.metrics.regression_scores import as_columns
from nd_eval.metrics.statistic_metric import SumMetric


class _CircularMetric(SumMetric):
    """A metric of angles with a period."""

    def __init__(self, *, period: float = 2 * math.pi, num_outputs: int | None = None, **kwargs: Any) -> None:
        super().__init__(num_outputs=num_outputs, **kwargs)
        check_period(period)
        self.period = period


class CircularError(_CircularMetric):
    """Mean absolute angle over everything it was updated with; see :func:`~nd_eval.circular_error`.

    Args:
        period: A full turn: 2π for radians, 360 for degrees.
        num_outputs: Number of angles; None takes that of the first update.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    higher_is_better = False
    scale = "log"

    def _rows(self, preds: Tensor, target: Tensor) -> Tensor:
        return error_rows(*as_columns(preds, target), self.period)

    def _value(self, table: Tensor) -> Tensor:
        return mean_error(table)


class CircularCorrelation(_CircularMetric):
    """Correlation of angles over everything it was updated with; see :func:`~nd_eval.circular_correlation`.

    Args:
        period: A full turn: 2π for radians, 360 for degrees.
        num_outputs: Number of angles; None takes that of the first update.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True
    scale = "fisher"

    def _rows(self, preds: Tensor, target: Tensor) -> Tensor:
        return correlation_rows(*as_columns(preds, target), self.period)

    def _value(self, table: Tensor) -> Tensor:
        return mean_correlation(table)
