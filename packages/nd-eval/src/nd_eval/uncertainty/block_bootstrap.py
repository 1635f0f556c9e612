"""A block bootstrap of any metric over time: values and standard errors of resampled traces.

Shape legend: ``N`` times, ``U`` units of one or more neighbouring times, ``M`` sums that a metric is made of, ``R``
resamples, ``L`` units of a block, ``b`` blocks of a resample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torchmetrics
from torch import Tensor

from nd_eval.metric_value import fresh_copy, metric_value
from nd_eval.metrics.statistic_metric import AdditiveStatistics, StatisticMetric
from nd_eval.uncertainty.block_length import Dependence, dependence

# The length of least error of the variance is too short for the right coverage: a longer block leaves less dependence
# out, and the studentised statistic pays for the fewer blocks. Chosen by docs/figures/interval_tuning.py, before the
# coverage of docs/explanation/uncertainty.md was measured.
_LENGTHENING = 3.0
_FEWEST_BLOCKS = 5

# What lasts is looked for among stretches of the time: noise of single times, such as that of spike counts, would hide
# it, and hiding it makes blocks and standard errors too small. With that the blocks of a score whose times are
# independent are about a twentieth of the time each, which costs little: Student's t with 19 degrees of freedom.
_STRETCHES = 96

# More units would not make an interval better, only slower.
_UNITS = 8192
_UNITS_WITHOUT_SUMS = 128  # each costs an evaluation of the metric

_GATHERED = 1 << 22  # numbers at a time


@dataclass(frozen=True)
class Replicates:
    """A score and what it might have been.

    Attributes:
        value: The score.
        standard_error: Its standard error.
        values: The score of each resample, (R,) float64; NaN where it does not exist.
        standard_errors: Its standard error in each resample, (R,).
        block_length: Times of a block.
        block_count: Blocks that fit into the time there is.
    """

    value: float
    standard_error: float
    values: Tensor
    standard_errors: Tensor
    block_length: int
    block_count: float


def block_bootstrap(
    metric: torchmetrics.Metric,
    preds: Tensor,
    target: Tensor,
    *,
    resamples: int,
    generator: torch.Generator,
    block_length: int | None = None,
) -> Replicates:
    """Resample blocks of time, wrapped around at the end (Politis and Romano 1992), and score each resample.

    A metric made of sums over time, as all of the table for stitched traces are, is resampled by its sums; any other
    is computed anew for each resample, and its standard errors come from leaving out one stretch after the other.

    Args:
        metric: Never changed.
        preds: Predictions in order of time. Shape: (N, ...).
        target: Targets. Shape: (N, ...).
        resamples: Number of resamples R.
        generator: Where the blocks come from.
        block_length: Times of a block; None for three times the automatic length of the score's own influence, seen
            in stretches of a 96th of the time.
    """
    statistics = metric.additive_statistics(preds, target) if isinstance(metric, StatisticMetric) else None
    if statistics is not None:
        return _of_sums(statistics, preds, target, resamples, generator, block_length)
    return _of_anything(metric, preds, target, resamples, generator, block_length)


def _of_sums(
    statistics: AdditiveStatistics,
    preds: Tensor,
    target: Tensor,
    resamples: int,
    generator: torch.Generator,
    block_length: int | None,
) -> Replicates:
    count = target.shape[0]
    times = max(1, math.ceil(count / _UNITS))
    sums = _unit_sums(statistics, preds, target, times)
    value, gradient = _value_and_gradient(statistics, sums.sum(0, keepdim=True))
    influence = sums @ gradient[0]
    length, error = _length_and_error(influence, times, block_length)
    wrapped = torch.cat([sums, sums[:length]]).cumsum(0)
    blocks = wrapped[length - 1 : length - 1 + len(sums)].clone()
    blocks[1:] -= wrapped[: len(sums) - 1]
    number = math.ceil(len(sums) / length)
    starts = torch.randint(len(sums), (resamples, number), generator=generator)
    values, errors = [], []
    for part in torch.split(starts, max(1, _GATHERED // (number * sums.shape[1]))):
        drawn = blocks[part]
        of_part, gradients = _value_and_gradient(statistics, drawn.sum(1))
        values.append(of_part)
        errors.append(_spread_of_sum((drawn @ gradients.unsqueeze(2)).squeeze(2)))
    return Replicates(float(value[0]), error, torch.cat(values), torch.cat(errors), length * times, len(sums) / length)


def _of_anything(
    metric: torchmetrics.Metric,
    preds: Tensor,
    target: Tensor,
    resamples: int,
    generator: torch.Generator,
    block_length: int | None,
) -> Replicates:
    count = target.shape[0]
    times = max(1, math.ceil(count / _UNITS_WITHOUT_SUMS))
    units = torch.split(torch.arange(count), times)
    fresh = fresh_copy(metric)
    value = metric_value(fresh, preds, target)
    # Leaving a unit out tells its influence (Quenouille's and Tukey's jackknife).
    rest = [torch.cat([torch.arange(int(unit[0])), torch.arange(int(unit[-1]) + 1, count)]) for unit in units]
    without = torch.tensor([_value_or_nan(fresh, preds[way], target[way]) for way in rest], dtype=torch.float64)
    influence = (value - without) * (len(units) - 1) / len(units)
    length, error = _length_and_error(influence, times, block_length)
    number = math.ceil(len(units) / length)
    starts = torch.randint(len(units), (resamples, number), generator=generator)
    places = (starts.unsqueeze(2) + torch.arange(length)) % len(units)
    values = torch.empty(resamples, dtype=torch.float64)
    for resample, chosen in enumerate(places.flatten(1).tolist()):
        way = torch.cat([units[unit] for unit in chosen])
        values[resample] = _value_or_nan(fresh, preds[way], target[way])
    errors = _spread_of_sum(influence[places].sum(2))
    return Replicates(value, error, values, errors, length * times, len(units) / length)


def _value_or_nan(fresh: torchmetrics.Metric, preds: Tensor, target: Tensor) -> float:
    try:
        return metric_value(fresh, preds, target)
    except (IndexError, RuntimeError, ValueError):
        return math.nan  # some metrics refuse what does not vary or lacks a class, which a resample may


def _unit_sums(statistics: AdditiveStatistics, preds: Tensor, target: Tensor, times: int) -> Tensor:
    """Sums of each unit of a number of times, (U, M); the last unit may be shorter."""
    at_once = times * max(1, _GATHERED // (times * statistics.rows(preds[:1], target[:1]).shape[1]))
    parts = []
    for start in range(0, target.shape[0], at_once):
        rows = statistics.rows(preds[start : start + at_once], target[start : start + at_once]).cpu()
        whole = len(rows) // times * times
        parts.append(rows[:whole].reshape(-1, times, rows.shape[1]).sum(1))
        if whole < len(rows):
            parts.append(rows[whole:].sum(0, keepdim=True))
    return torch.cat(parts)


def _value_and_gradient(statistics: AdditiveStatistics, sums: Tensor) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False), torch.enable_grad():
        leaf = sums.clone().requires_grad_()
        values = statistics.value(leaf)
        (gradients,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), gradients


def _length_and_error(influence: Tensor, times: int, block_length: int | None) -> tuple[int, float]:
    """Units of a block, and the standard error of the score, from the influence of each unit."""
    if not bool(torch.isfinite(influence).all()):
        return 1 if block_length is None else min(len(influence), math.ceil(block_length / times)), math.nan
    count = len(influence)
    found = _dependence_of_stretches(influence)
    if block_length is None:
        length = max(1, min(round(_LENGTHENING * found.block_length), count // _FEWEST_BLOCKS))
    else:
        length = max(1, min(count, round(block_length / times)))
    if length >= count:
        return length, math.nan
    centred = influence - influence.mean()
    wrapped = torch.cat([centred.new_zeros(1), centred, centred[:length]]).cumsum(0)
    of_blocks = float((wrapped[length : length + count] - wrapped[:count]).square().mean()) / length
    # The mean of the blocks fits the very blocks, and they leave out what depends over longer lags: both make the
    # variance small. Where the other estimate is larger, the middle is nearer: the larger of two would be too large.
    variance = of_blocks / (1.0 - length / count)
    variance = max(variance, 0.5 * (variance + found.long_run_variance))
    return length, math.sqrt(count * variance)


def _dependence_of_stretches(influence: Tensor) -> Dependence:
    size = max(1, math.ceil(len(influence) / _STRETCHES))
    whole = len(influence) // size * size
    found = dependence(influence[:whole].reshape(-1, size).sum(1))
    return Dependence(found.block_length * size, found.long_run_variance / size)


def _spread_of_sum(parts: Tensor) -> Tensor:
    """Standard error of the sum of independent parts, (R, b) to (R,)."""
    number = parts.shape[1]
    if number < 2:
        return torch.full(parts.shape[:1], torch.nan, dtype=torch.float64)
    return (parts.var(1, correction=1) * number).sqrt()
