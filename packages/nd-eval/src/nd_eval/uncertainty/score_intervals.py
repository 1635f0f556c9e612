"""Confidence intervals from replicates of a score, and those of all the scores of an evaluation.

Shape legend: ``R`` resamples, ``U`` distinct times.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torchmetrics
from torch import Tensor

from nd_eval.metric_value import aligned
from nd_eval.metrics.statistic_metric import Scale, StatisticMetric
from nd_eval.stitched_trace import StitchedTrace
from nd_eval.uncertainty.block_bootstrap import Replicates, block_bootstrap
from nd_eval.uncertainty.student import student_quantile
from nd_eval.uncertainty.value_scale import IDENTITY, value_scale

OverRecordings = Literal["fixed", "sampled"]

_FEWEST_RESAMPLES = 100
_MOST_UNDEFINED = 0.05  # of the resamples


@dataclass(frozen=True)
class ScoreInterval:
    """A score with its confidence interval.

    Attributes:
        value: The score, NaN where there is none.
        low: Lower end; NaN where the score is undefined or its time too short for two blocks.
        high: Upper end.
        standard_error: Standard error of the score.
        block_length: Number of times in a block; None for an average.
        block_count: How many blocks fit into the evaluated time; None for an average. Near five, the
            fewest there can be, read the interval with care.
    """

    value: float
    low: float
    high: float
    standard_error: float
    block_length: int | None = None
    block_count: float | None = None

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class ConfidenceIntervals:
    """Intervals of the scores of an evaluation.

    Attributes:
        level: Share of repetitions in which an interval is to hold the truth.
        scores: Interval by recording, task and metric.
        averages: Interval of the mean over recordings by task and metric.
    """

    level: float
    scores: Mapping[str, Mapping[str, Mapping[str, ScoreInterval]]]
    averages: Mapping[str, Mapping[str, ScoreInterval]]

    def rows(self) -> list[tuple[str, str, str, float, float, float]]:
        """Every score as (recording, task, metric, value, low, high), for a table."""
        return [
            (recording, task, metric, interval.value, interval.low, interval.high)
            for recording, tasks in self.scores.items()
            for task, metrics in tasks.items()
            for metric, interval in metrics.items()
        ]


def bootstrap_interval(
    metric: torchmetrics.Metric,
    preds: Tensor,
    target: Tensor,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    block_length: int | None = None,
    generator: torch.Generator | None = None,
) -> ScoreInterval:
    """Confidence interval of one metric over the time of one recording.

    Blocks of neighbouring times are drawn with replacement, and the score's distance from that of the whole, in
    standard errors, is collected over the resamples (a studentised block bootstrap; Götze and Künsch 1996, Annals of
    Statistics 24:1914), on a scale that keeps the ends within bounds: logarithm of an error, Fisher's z of a
    correlation, logit of an accuracy. Both ends have the same share of misses.

    Args:
        metric: A metric of this package or of torchmetrics that gives one number; never changed. Those of the table
            take milliseconds, any other is computed anew for each resample.
        preds: Predictions in order of time. Shape: (U, ...).
        target: Targets. Shape: (U, ...).
        level: Share of repetitions in which the interval is to hold the truth.
        resamples: Number of resamples.
        block_length: Times of a block; None chooses by the autocorrelation of the score's own influence.
        generator: Where the blocks come from; None for one of its own with the seed 0.

    Raises:
        ValueError: the lengths differ, the level is not between 0 and 1, there are fewer than 100 resamples, or the
            block is not 1 or more.

    Example:
        >>> import torch
        >>> from nd_eval import MeanSquaredError, bootstrap_interval
        >>> error = torch.randn(2000, generator=torch.Generator().manual_seed(0))
        >>> interval = bootstrap_interval(MeanSquaredError(), error, torch.zeros(2000))
        >>> 1.0 in interval, 1.2 in interval
        (True, False)
    """
    _check(level, resamples)
    if preds.shape[:1] != target.shape[:1] or target.ndim == 0:
        raise ValueError(f"predictions of shape {tuple(preds.shape)} but targets of shape {tuple(target.shape)}")
    if block_length is not None and block_length < 1:
        raise ValueError(f"a block must have 1 time or more; found {block_length}")
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    if target.shape[0] < 2:
        return ScoreInterval(math.nan, math.nan, math.nan, math.nan)
    replicates = block_bootstrap(
        metric,
        *(values.detach().cpu() for values in aligned(preds, target)),
        resamples=resamples,
        generator=generator,
        block_length=block_length,
    )
    return _interval(replicates, scale_of(metric), level)


def intervals_of_scores(
    traces: Mapping[str, Mapping[str, StitchedTrace]],
    metrics: Mapping[str, Mapping[str, Mapping[str, torchmetrics.Metric]]],
    undefined: tuple[tuple[str, str, str], ...],
    *,
    level: float,
    resamples: int,
    seed: int,
    block_seconds: float | None,
    over_recordings: OverRecordings,
) -> ConfidenceIntervals:
    """Intervals of the scores of an evaluation; see :meth:`~nd_eval.EvaluationResult.confidence_intervals`."""
    _check(level, resamples)
    if block_seconds is not None and not 0.0 < block_seconds < math.inf:
        raise ValueError(f"block_seconds must be a positive number of seconds; found {block_seconds}")
    if over_recordings not in get_args(OverRecordings):
        raise ValueError(
            f"over_recordings must be one of {', '.join(get_args(OverRecordings))}; found {over_recordings!r}"
        )
    scores: dict[str, dict[str, dict[str, ScoreInterval]]] = {}
    averaged: dict[str, dict[str, list[tuple[Replicates, Scale]]]] = {}
    for recording, tasks in metrics.items():
        for task, named in tasks.items():
            trace = traces[recording][task].observed()
            for name, metric in named.items():
                kept = averaged.setdefault(task, {}).setdefault(name, [])
                of_task = scores.setdefault(recording, {}).setdefault(task, {})
                if (recording, task, name) in undefined:
                    of_task[name] = ScoreInterval(math.nan, math.nan, math.nan, math.nan)
                    continue
                replicates = block_bootstrap(
                    metric,
                    *aligned(trace.preds, trace.targets),
                    resamples=resamples,
                    generator=torch.Generator().manual_seed(_seed_of(seed, recording, task)),
                    block_length=_times_of(block_seconds, trace.timestamps),
                )
                kept.append((replicates, scale_of(metric)))
                of_task[name] = _interval(*kept[-1], level)
    averages = {
        task: {name: _average(kept, level, over_recordings) for name, kept in named.items()}
        for task, named in sorted(averaged.items())
    }
    return ConfidenceIntervals(level, scores, averages)


def scale_of(metric: torchmetrics.Metric) -> Scale:
    """The name of the scale on which values of the metric are spread evenly."""
    return metric.scale if isinstance(metric, StatisticMetric) else "identity"


def _average(kept: list[tuple[Replicates, Scale]], level: float, over_recordings: OverRecordings) -> ScoreInterval:
    if not kept:
        return ScoreInterval(math.nan, math.nan, math.nan, math.nan)
    count, scale = len(kept), kept[0][1]
    values = torch.tensor([replicates.value for replicates, _ in kept], dtype=torch.float64)
    if over_recordings == "sampled":
        return _student(values, scale, level)
    whole = Replicates(
        value=float(values.mean()),
        standard_error=math.sqrt(sum(replicates.standard_error**2 for replicates, _ in kept)) / count,
        values=torch.stack([replicates.values for replicates, _ in kept]).mean(0),
        standard_errors=torch.stack([replicates.standard_errors for replicates, _ in kept]).square().sum(0).sqrt()
        / count,
        block_length=0,
        block_count=0.0,
    )
    found = _interval(whole, scale, level)
    return ScoreInterval(found.value, found.low, found.high, found.standard_error)


def _interval(replicates: Replicates, scale_name: Scale, level: float) -> ScoreInterval:
    value, error = replicates.value, replicates.standard_error
    blocks = (replicates.block_length, replicates.block_count)
    if not math.isfinite(value) or not math.isfinite(error):
        return ScoreInterval(value, math.nan, math.nan, error, *blocks)
    if error == 0.0:
        return ScoreInterval(value, value, value, error, *blocks)
    here, scale = torch.tensor(value, dtype=torch.float64), value_scale(scale_name, error)
    if not bool(torch.isfinite(scale.forward(here))):
        scale = IDENTITY
    distances = (scale.forward(replicates.values) - scale.forward(here)) / (
        scale.derivative(replicates.values) * replicates.standard_errors
    )
    finite = torch.isfinite(distances)
    if float((~finite).to(torch.float64).mean()) > _MOST_UNDEFINED:
        return _percentiles(replicates, level)
    tails = torch.tensor([0.5 + level / 2.0, 0.5 - level / 2.0], dtype=torch.float64)
    ends = scale.inverse(scale.forward(here) - distances[finite].quantile(tails) * scale.derivative(here) * error)
    return ScoreInterval(value, float(ends[0]), float(ends[1]), error, *blocks)


def _percentiles(replicates: Replicates, level: float) -> ScoreInterval:
    """For a score so near the end of its range that many resamples have no standard error."""
    values = replicates.values[torch.isfinite(replicates.values)]
    ends = torch.tensor([math.nan, math.nan])
    if len(values) >= _FEWEST_RESAMPLES // 2:
        tail = (1.0 - level) / 2.0
        ends = values.quantile(torch.tensor([tail, 1.0 - tail], dtype=torch.float64))
    return ScoreInterval(
        replicates.value,
        float(ends[0]),
        float(ends[1]),
        replicates.standard_error,
        replicates.block_length,
        replicates.block_count,
    )


def _student(values: Tensor, scale_name: Scale, level: float) -> ScoreInterval:
    count, mean = len(values), values.mean()
    if count < 2 or not bool(torch.isfinite(values).all()):
        return ScoreInterval(float(mean), math.nan, math.nan, math.nan)
    error = float(values.std(correction=1)) / math.sqrt(count)
    if error == 0.0:
        return ScoreInterval(float(mean), float(mean), float(mean), error)
    scale = value_scale(scale_name, error)
    if not bool(torch.isfinite(scale.forward(mean))):
        scale = IDENTITY
    width = student_quantile(0.5 + level / 2.0, count - 1) * scale.derivative(mean) * error
    ends = scale.inverse(scale.forward(mean) + torch.stack([-width, width]))
    return ScoreInterval(float(mean), float(ends[0]), float(ends[1]), error)


def _times_of(block_seconds: float | None, timestamps: Tensor) -> int | None:
    if block_seconds is None or len(timestamps) < 2:
        return None
    return max(1, round(block_seconds / float(timestamps.diff().median())))


def _seed_of(seed: int, recording: str, task: str) -> int:
    """A seed of its own for each recording and task, so that one more recording changes nothing for the others."""
    text = f"{seed}\n{recording}\n{task}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")


def _check(level: float, resamples: int) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, such as 0.95; found {level}")
    if resamples < _FEWEST_RESAMPLES:
        raise ValueError(f"an interval takes {_FEWEST_RESAMPLES} resamples or more; found {resamples}")
