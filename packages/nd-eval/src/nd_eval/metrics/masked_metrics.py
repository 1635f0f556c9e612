"""The masked scores as torchmetrics classes: the value of all points of an epoch, however they were batched."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nd_eval.metrics.masked_scores import (
    Reduction,
    Undefined,
    as_sequences,
    reduced_correlation,
    reduced_error,
)
from nd_eval.metrics.paired_moments import (
    Elementwise,
    PairedMoments,
    absolute_error,
    paired_moments,
    squared_error,
    symmetric_percentage_error,
)
from nd_eval.metrics.statistic_metric import StatisticMetric


class MaskedMetric(StatisticMetric):
    """Keeps the moments of every sequence and outcome: a few numbers a sequence, whatever its length."""

    _error: Elementwise = staticmethod(squared_error)

    def __init__(self, *, reduction: Reduction = "within-seq", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if reduction not in ("within-seq", "between-seq", "flatten"):
            raise ValueError(f"reduction must be one of within-seq, between-seq, flatten; found {reduction!r}")
        self.reduction: Reduction = reduction

    def update(self, preds: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Take in a batch of sequences, (B, T, K) with a mask as for :func:`~nd_eval.masked_mse`."""
        preds, target, mask = as_sequences(preds.detach(), target.detach(), mask, self.reduction)
        self._take(self._of_sequences(preds, target, mask))

    @property
    def count(self) -> int:
        """Number of valid points taken in so far."""
        return sum(int(table[1].sum()) for table in self._tables())

    def _statistic(self, preds: Tensor, target: Tensor) -> Tensor:
        return self._of_sequences(*as_sequences(preds, target, None, self.reduction))

    def _of_sequences(self, preds: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Outcome and moments of each sequence and outcome, (1 + fields, B K)."""
        moments = torch.stack(paired_moments(preds, target, dim=1, mask=mask, error=self._error))
        outcome = torch.arange(preds.shape[2], dtype=torch.float64, device=preds.device).expand(moments.shape[1:])
        return torch.cat([outcome.unsqueeze(0), moments]).flatten(1)

    def _merge(self, tables: list[Tensor]) -> Tensor:
        outcomes = {int(table[0].max()) + 1 for table in tables if table.numel()}
        if len(outcomes) > 1:
            raise ValueError(
                f"the number of outcomes must stay the same; found {' and '.join(map(str, sorted(outcomes)))}"
            )
        return torch.cat(tables, dim=1)

    def _value(self, table: Tensor) -> Tensor:
        if table.numel() == 0:
            return table.new_tensor(torch.nan)
        outcomes = int(table[0].max()) + 1
        return self._reduced(PairedMoments(*table[1:].reshape(len(PairedMoments._fields), -1, outcomes)))

    def _reduced(self, moments: PairedMoments) -> Tensor:
        return reduced_error(moments, self.reduction, self._error)


class MaskedMeanSquaredError(MaskedMetric):
    """:func:`~nd_eval.masked_mse` of everything it was updated with.

    Args:
        reduction: ``within-seq``, ``between-seq`` or ``flatten``.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    higher_is_better = False


class MaskedMeanAbsoluteError(MaskedMetric):
    """:func:`~nd_eval.masked_mae` of everything it was updated with.

    Args:
        reduction: ``within-seq``, ``between-seq`` or ``flatten``.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    higher_is_better = False
    _error = staticmethod(absolute_error)


class MaskedSMAPE(MaskedMetric):
    """:func:`~nd_eval.masked_smape` of everything it was updated with.

    Args:
        reduction: ``within-seq``, ``between-seq`` or ``flatten``.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    higher_is_better = False
    _error = staticmethod(symmetric_percentage_error)


class MaskedPearsonCorrCoef(MaskedMetric):
    """:func:`~nd_eval.masked_pearsonr` of everything it was updated with.

    Args:
        reduction: ``within-seq``, ``between-seq`` or ``flatten``.
        undefined: ``skip`` leaves undefined correlations out, ``zero`` counts them as 0.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(self, *, reduction: Reduction = "within-seq", undefined: Undefined = "skip", **kwargs: Any) -> None:
        super().__init__(reduction=reduction, **kwargs)
        self.undefined: Undefined = undefined

    def _reduced(self, moments: PairedMoments) -> Tensor:
        return reduced_correlation(moments, self.reduction, self.undefined)
