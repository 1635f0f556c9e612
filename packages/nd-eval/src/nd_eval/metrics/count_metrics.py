"""Bits per spike and Poisson pseudo-R² as torchmetrics classes: the functions, over many updates."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nd_eval.metrics.count_scores import (
    NeuronAverage,
    check_neuron_average,
    count_rows,
    explained_deviance,
    gain_per_spike,
)
from nd_eval.metrics.regression_scores import as_columns
from nd_eval.metrics.statistic_metric import SumMetric


class _CountMetric(SumMetric):
    """A metric of expected counts against counts."""

    def __init__(
        self,
        *,
        null_rates: Tensor | None = None,
        zero_rate: float = 1e-9,
        log_rates: bool = False,
        num_outputs: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_outputs=num_outputs, **kwargs)
        self.null_rates = null_rates
        self.zero_rate = zero_rate
        self.log_rates = log_rates

    def _rows(self, preds: Tensor, target: Tensor) -> Tensor:
        return count_rows(*as_columns(preds, target), zero_rate=self.zero_rate, log_rates=self.log_rates)


class BitsPerSpike(_CountMetric):
    """Bits per spike over everything it was updated with; see :func:`~nd_eval.bits_per_spike`.

    Args:
        null_rates: Expected counts per bin under the null model, (K,); None takes the mean counts of the targets.
        zero_rate: A rate of exactly 0 is set to this one.
        log_rates: Whether predictions are logarithms of expected counts.
        num_outputs: Number of neurons; None takes that of the first update.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True
    scale = "log_when_far"

    def _value(self, table: Tensor) -> Tensor:
        return gain_per_spike(table, self.null_rates, self.zero_rate)


class PoissonPseudoR2(_CountMetric):
    """Explained Poisson deviance over everything it was updated with; see :func:`~nd_eval.poisson_pseudo_r2`.

    Args:
        average: How neurons are averaged: ``uniform_average``, ``deviance_weighted`` or ``raw_values``.
        null_rates: Expected counts per bin under the null model, (K,); None takes the mean counts of the targets.
        zero_rate: A rate of exactly 0 is set to this one.
        log_rates: Whether predictions are logarithms of expected counts.
        num_outputs: Number of neurons; None takes that of the first update.
        kwargs: Of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True
    scale = "log_below_one"

    def __init__(
        self,
        *,
        average: NeuronAverage = "uniform_average",
        null_rates: Tensor | None = None,
        zero_rate: float = 1e-9,
        log_rates: bool = False,
        num_outputs: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            null_rates=null_rates, zero_rate=zero_rate, log_rates=log_rates, num_outputs=num_outputs, **kwargs
        )
        check_neuron_average(average)
        self.average: NeuronAverage = average

    def _value(self, table: Tensor) -> Tensor:
        return explained_deviance(table, self.null_rates, self.zero_rate, self.average)
