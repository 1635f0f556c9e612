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
    unmasked_moments,
)
from nd_eval.metrics.regression_scores import (
    MultiOutput,
    as_columns,
    averaged_correlation,
    averaged_determination,
    check_multioutput,
    mean_of_errors,
)
from nd_eval.metrics.statistic_metric import AdditiveStatistics, StatisticMetric, check_columns

# Rounding leaves about this share of a sum of squares when a stretch that does not vary is resampled.
_CONSTANT = 1e-12
_PIECE = 1 << 17  # numbers


class _MomentsMetric(StatisticMetric):
    """A metric computed from the moments of each output dimension."""

    _error: Elementwise = staticmethod(squared_error)

    def __init__(self, *, num_outputs: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_outputs = num_outputs

    def additive_statistics(self, preds: Tensor, target: Tensor) -> AdditiveStatistics | None:
        """The metric of these predictions and targets as a function of sums over time; None if it is not one number."""
        table = self._statistic(preds, target)
        if self._value(table).ndim:
            return None
        whole = PairedMoments(*table)
        # Sums around the means of the whole lose no digits to an offset; what never varies is left with exact zeros.
        vary_preds, vary_target = whole.high_preds > whole.low_preds, whole.high_target > whole.low_target

        def rows(preds: Tensor, target: Tensor) -> Tensor:
            preds, target = (values.to(torch.float64) for values in as_columns(preds, target))
            p = torch.where(vary_preds, preds - whole.mean_preds, 0.0)
            y = torch.where(vary_target, target - whole.mean_target, 0.0)
            parts = [torch.ones_like(p), p, y, p * p, y * y, p * y, self._error(preds, target)]
            return torch.stack(parts, dim=1).flatten(1)

        def value(sums: Tensor) -> Tensor:
            return self._value(torch.stack(_moments_of_sums(sums.reshape(len(sums), 7, -1).movedim(0, -1))))

        return AdditiveStatistics(rows, value)

    def _statistic(self, preds: Tensor, target: Tensor) -> Tensor:
        preds, target = as_columns(preds, target)
        # Pieces that stay in the cache are several times faster, and lose nothing.
        times = max(1, _PIECE // max(1, preds.shape[1]))
        moments = unmasked_moments if preds.numel() else paired_moments
        pieces = [
            torch.stack(moments(p, y, error=self._error))
            for p, y in zip(torch.split(preds, times), torch.split(target, times), strict=True)
        ]
        check_columns(pieces[0], self.num_outputs)
        return self._merge(pieces)

    def _merge(self, tables: list[Tensor]) -> Tensor:
        if len(tables) == 1:
            return tables[0]
        for table in tables[1:]:
            check_columns(table, tables[0].shape[1])
        return torch.stack(merge_moments(PairedMoments(*torch.stack(tables, dim=1))))


def _moments_of_sums(sums: Tensor) -> PairedMoments:
    """Moments from the sums of (1, p, y, p², y², p y, error), (7, K, R), where p and y have a mean near 0."""
    number, p, y, pp, yy, py, error = sums.unbind(0)
    spreads = []
    for total, squares in ((p, pp), (y, yy)):
        spread = squares - total**2 / number
        spreads.append(torch.where(spread > _CONSTANT * squares, spread, 0.0))
    ends = torch.ones_like(number)  # whether a side is constant shows in its spread
    return PairedMoments(
        number=number,
        mean_preds=p / number,
        mean_target=y / number,
        spread_preds=spreads[0],
        spread_target=spreads[1],
        comoment=py - p * y / number,
        low_preds=-ends,
        high_preds=ends,
        low_target=-ends,
        high_target=ends,
        error=error,
    )


class R2Score(_MomentsMetric):
    """Coefficient of determination over everything it was updated with; see :func:`~nd_eval.r2_score`.

    Args:
        multioutput: How dimensions are averaged: ``uniform_average``, ``variance_weighted`` or ``raw_values``.
        num_outputs: Number of output dimensions; None takes that of the first update.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True
    scale = "log_below_one"

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
    scale = "fisher"

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
    scale = "log"

    def _value(self, table: Tensor) -> Tensor:
        return mean_of_errors(PairedMoments(*table))


class MeanAbsoluteError(_MomentsMetric):
    """Mean absolute error over all entries it was updated with; see :func:`~nd_eval.mae`.

    Args:
        num_outputs: Number of output dimensions; None takes that of the first update.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    higher_is_better = False
    scale = "log"
    _error = staticmethod(absolute_error)

    def _value(self, table: Tensor) -> Tensor:
        return mean_of_errors(PairedMoments(*table))
