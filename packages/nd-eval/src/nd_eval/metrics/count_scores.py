"""Scores of predicted spike counts under a Poisson model: bits per spike and pseudo-R².

Shape legend: ``N`` time bins, ``K`` neurons.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from nd_eval.metrics.paired_moments import mean_over
from nd_eval.metrics.regression_scores import as_columns

NeuronAverage = Literal["uniform_average", "deviance_weighted", "raw_values"]

# Rounding leaves about this share of the terms of a deviance that is 0.
_NOTHING = 1e-12


def bits_per_spike(
    preds: Tensor,
    target: Tensor,
    *,
    null_rates: Tensor | None = None,
    zero_rate: float = 1e-9,
    log_rates: bool = False,
) -> Tensor:
    """Log-likelihood of spike counts beyond that of a constant rate for each neuron, in bits per spike.

    ``(log L(preds) - log L(null)) / (log 2 · Σ counts)`` over all neurons and bins, as in the Neural Latents Benchmark
    (Pei et al. 2021, "Neural Latents Benchmark '21"). 0 is no better than each neuron's mean count.

    Args:
        preds: Expected counts per bin, 0 or more. Shape: (N,) or (N, K).
        target: Counts; NaN is a bin that was not recorded and is left out. Shape: as ``preds``.
        null_rates: Expected counts per bin of each neuron under the null model, (K,). None takes the mean counts of
            ``target``, as the benchmark does.
        zero_rate: A rate of exactly 0, which would make a spike impossible, is set to this one, as the benchmark does.
        log_rates: Whether ``preds`` are logarithms of expected counts.

    Returns:
        float64 scalar; NaN if there is no spike.

    Raises:
        ValueError: the shapes do not fit, or a rate or a count is negative.

    Example:
        >>> import torch
        >>> from nd_eval import bits_per_spike
        >>> counts = torch.tensor([[0.0, 2.0], [2.0, 0.0]])
        >>> float(bits_per_spike(torch.ones(2, 2), counts)), round(float(bits_per_spike(counts, counts)), 6)
        (0.0, 1.0)
    """
    rows = count_rows(*as_columns(preds, target), zero_rate=zero_rate, log_rates=log_rates)
    return gain_per_spike(rows.sum(0), null_rates, zero_rate)


def poisson_pseudo_r2(
    preds: Tensor,
    target: Tensor,
    *,
    average: NeuronAverage = "uniform_average",
    null_rates: Tensor | None = None,
    zero_rate: float = 1e-9,
    log_rates: bool = False,
) -> Tensor:
    """Share of the Poisson deviance that the predicted rates explain: ``1 - D(preds) / D(null)`` of each neuron.

    ``D = 2 Σ (y log(y / rate) - y + rate)`` (Cameron and Windmeijer 1997, J Econometrics 77:329). 1 is perfect, 0 no
    better than the mean count. A neuron whose count never changes has none and is left out of the averages.

    Args:
        preds: Expected counts per bin, 0 or more. Shape: (N,) or (N, K).
        target: Counts; NaN is a bin that was not recorded and is left out. Shape: as ``preds``.
        average: ``uniform_average`` over the neurons; ``deviance_weighted`` by the deviance of their null model, that
            is of all neurons together; ``raw_values`` for each neuron, (K,).
        null_rates: As for :func:`bits_per_spike`.
        zero_rate: As for :func:`bits_per_spike`.
        log_rates: As for :func:`bits_per_spike`.

    Returns:
        float64, a scalar or (K,); NaN where nothing is defined.

    Raises:
        ValueError: the shapes do not fit, a rate or a count is negative, or the average is unknown.
    """
    check_neuron_average(average)
    rows = count_rows(*as_columns(preds, target), zero_rate=zero_rate, log_rates=log_rates)
    return explained_deviance(rows.sum(0), null_rates, zero_rate, average)


def count_rows(preds: Tensor, target: Tensor, *, zero_rate: float, log_rates: bool) -> Tensor:
    """What each bin adds to the sums that the scores are made of, (N, 5, K).

    Number of bins, counts y, rates r, y log r, and y log y.
    """
    if not 0.0 < zero_rate < math.inf:
        raise ValueError(f"zero_rate must be a positive rate; found {zero_rate}")
    rates, counts = preds.to(torch.float64), target.to(torch.float64)
    if log_rates:
        rates = rates.exp()
    for name, values in (("rate", rates), ("count", counts)):
        if bool((values < 0).any()):
            place = torch.nonzero(values < 0)[0].tolist()
            raise ValueError(
                f"a {name} must be 0 or more; found {float(values[tuple(place)]):g} at bin {place[0]}, neuron "
                f"{place[1]}{'; are these log rates (log_rates=True)?' if name == 'rate' else ''}"
            )
    recorded = ~torch.isnan(counts)
    counts = torch.where(recorded, counts, 0.0)
    rates = torch.where(recorded, torch.where(rates == 0, zero_rate, rates), 1.0)
    bins = recorded.to(torch.float64)
    return torch.stack([bins, counts, rates * bins, counts * rates.log(), torch.xlogy(counts, counts)], dim=1)


def gain_per_spike(sums: Tensor, null_rates: Tensor | None, zero_rate: float) -> Tensor:
    """Bits per spike from sums, (5, K, ...)."""
    bins, counts, rates, counts_log_rate, _ = sums.unbind(0)
    null = _null_rates(bins, counts, null_rates, zero_rate)
    gain = (counts_log_rate - rates) - (counts * null.log() - bins * null)
    spikes = counts.sum(0)
    return torch.where(spikes > 0, gain.sum(0) / spikes.clamp(min=1e-300) / math.log(2.0), torch.nan)


def explained_deviance(sums: Tensor, null_rates: Tensor | None, zero_rate: float, average: NeuronAverage) -> Tensor:
    """Pseudo-R² from sums, (5, K, ...)."""
    bins, counts, rates, counts_log_rate, counts_log_count = sums.unbind(0)
    null = _null_rates(bins, counts, null_rates, zero_rate)
    deviance = counts_log_count - counts_log_rate - counts + rates
    terms = [counts_log_count, counts * null.log(), counts, bins * null]
    null_deviance = terms[0] - terms[1] - terms[2] + terms[3]
    size = terms[0].abs() + terms[1].abs() + terms[2] + terms[3]
    defined = (bins >= 2) & (counts > 0) & ~(null_deviance <= _NOTHING * size)
    if average == "deviance_weighted":
        total = torch.where(defined, null_deviance, 0.0).sum(0)
        left = torch.where(defined, deviance, 0.0).sum(0)
        return torch.where(defined.any(0), 1.0 - left / torch.where(total > 0, total, 1.0), torch.nan)
    values = 1.0 - deviance / torch.where(defined, null_deviance, 1.0)
    return torch.where(defined, values, torch.nan) if average == "raw_values" else mean_over(values, defined)[0]


def check_neuron_average(average: str) -> None:
    """Refuse an unknown way to average over neurons."""
    if average not in get_args(NeuronAverage):
        raise ValueError(f"average must be one of {', '.join(get_args(NeuronAverage))}; found {average!r}")


def _null_rates(bins: Tensor, counts: Tensor, given: Tensor | None, zero_rate: float) -> Tensor:
    if given is None:
        null = counts / bins.clamp(min=1.0)
    else:
        null = given.to(bins.device, torch.float64)
        if tuple(null.shape) != tuple(bins.shape[:1]) or not bool((null >= 0).all()):
            raise ValueError(
                f"null_rates must be one rate of 0 or more for each of {bins.shape[0]} neurons; "
                f"found shape {tuple(null.shape)}{'' if null.shape != bins.shape[:1] else ' with a negative or NaN'}"
            )
        null = null.reshape(-1, *(1 for _ in bins.shape[1:])).expand_as(bins)
    return torch.where(null == 0, zero_rate, null)
