"""R², Pearson's r, mean squared and mean absolute error as torchmetrics classes: the functions, over many updates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nd_eval.metrics.paired_moments import (
    Elementwise,
    PairedMoments,
    absolute_error,
    merge_moments,
    paired_moments,
    squared_error,
)
from nd_eval.metrics.regression_scores import (
    MultiOutput,
    as_columns,
    averaged_correlation,
    averaged_determination,
    check_multioutput,
    mean_of_errors,
)
from nd_eval.metrics.statistic_metric import StatisticMetric


class _MomentsMetric(StatisticMetric):
    """A metric computed from the moments of each output dimension."""

    _error: Elementwise = staticmethod(squared_error)

    def __init__(self, *, num_outputs: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_outputs = num_outputs

    def _statistic(self, preds: Tensor, target: Tensor) -> Tensor:
        preds, target = as_columns(preds, target)
        tables = self._tables()
        expected = tables[0].shape[1] if self.num_outputs is None and tables else self.num_outputs
        if expected is not None and preds.shape[1] != expected:
            raise ValueError(f"expected {expected} output dimensions; found {preds.shape[1]}")
        return torch.stack(paired_moments(preds, target, error=self._error))

    def _merge(self, tables: list[Tensor]) -> Tensor:
        if len(tables) == 1:
            return tables[0]
        return torch.stack(merge_moments(PairedMoments(*torch.stack(tables, dim=1))))


class R2Score(_MomentsMetric):
    """Coefficient of determination over everything it was updated with; see :func:`~nd_eval.r2_score`.

    Args:
        multioutput: How dimensions are averaged: ``uniform_average``, ``variance_weighted`` or ``raw_values``.
        num_outputs: Number of output dimensions; None takes that of the first update.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(
        self, *, multioutput: MultiOutput = "uniform_average", num_outputs: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(num_outputs=num_outputs, **kwargs)
        check_multioutput(multioutput)
        self.multioutput: MultiOutput = multioutput

    def _value(self, table: Tensor) -> Tensor:
        return averaged_determination(PairedMoments(*table), self.multioutput)


class PearsonCorrCoef(_MomentsMetric):
    """Pearson's correlation over everything it was updated with; see :func:`~nd_eval.pearsonr`.

    Args:
        multioutput: How dimensions are averaged: ``uniform_average``, ``variance_weighted`` or ``raw_values``.
        num_outputs: Number of output dimensions; None takes that of the first update.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(
        self, *, multioutput: MultiOutput = "uniform_average", num_outputs: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(num_outputs=num_outputs, **kwargs)
        check_multioutput(multioutput)
        self.multioutput: MultiOutput = multioutput

    def _value(self, table: Tensor) -> Tensor:
        return averaged_correlation(PairedMoments(*table), self.multioutput)


class MeanSquaredError(_MomentsMetric):
    """Mean squared error over all entries it was updated with; see :func:`~nd_eval.mse`.

    Args:
        num_outputs: Number of output dimensions; None takes that of the first update.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    higher_is_better = False

    def _value(self, table: Tensor) -> Tensor:
        return mean_of_errors(PairedMoments(*table))


class MeanAbsoluteError(_MomentsMetric):
    """Mean absolute error over all entries it was updated with; see :func:`~nd_eval.mae`.

    Args:
        num_outputs: Number of output dimensions; None takes that of the first update.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    higher_is_better = False
    _error = staticmethod(absolute_error)

    def _value(self, table: Tensor) -> Tensor:
        return mean_of_errors(PairedMoments(*table))
