"""The scores of a run as its report shows them: with intervals, beside baselines, and along time."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torchmetrics

from nd_eval import METRICS, ConfidenceIntervals, EvaluationResult, ScoreInterval, StitchedTrace, build_metric
from nd_eval.scoring import score_traces
from nd_train.report.drift import Drift, evaluated_seconds, score_drift
from nd_train.report.run_folder import RunFolder, Scores
from nd_train.traces import has_targets

LEVEL = 0.95

_FIRST = ("r2", "balanced_accuracy", "accuracy", "pearsonr")


@dataclass(frozen=True)
class ScoreLine:
    """One recording and task.

    Attributes:
        recording: Its id.
        task: The readout.
        metric: Name of the task's first metric, which the rest of the line is about.
        score: Its score, with an interval where there are traces.
        others: The task's other metrics.
        baselines: The same metric by baseline.
        times: Evaluated times.
        seconds: Time they stand for; None without traces.
        units: Units of the recording; None where the run has no record of them.
        spikes_per_second: Of all its units together; None likewise.
        drift: Score by window of time.
    """

    recording: str
    task: str
    metric: str
    score: ScoreInterval
    others: Mapping[str, float] = field(default_factory=dict)
    baselines: Mapping[str, float] = field(default_factory=dict)
    times: int | None = None
    seconds: float | None = None
    units: int | None = None
    spikes_per_second: float | None = None
    drift: Drift | None = None


@dataclass(frozen=True)
class Headline:
    """The mean over recordings of a task's first metric.

    Attributes:
        task: The readout.
        metric: Name of the metric.
        score: The mean, with the interval for these recordings.
        sampled: The same with the interval for recordings like these; None of fewer than three.
        recordings: How many.
        baselines: Mean of each baseline over the recordings that both have, and the decoder's own over those.
    """

    task: str
    metric: str
    score: ScoreInterval
    sampled: ScoreInterval | None
    recordings: int
    baselines: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class ScoreSheet:
    """All scores of a run.

    Attributes:
        lines: By recording and task.
        headlines: By task.
        result: The evaluation made anew from the traces; None without any.
        notes: What a reader must know of them.
    """

    lines: tuple[ScoreLine, ...]
    headlines: tuple[Headline, ...]
    result: EvaluationResult | None = None
    notes: tuple[str, ...] = ()


def score_sheet(run: RunFolder, *, resamples: int = 1000) -> ScoreSheet:
    """Score a run's traces with intervals, and lay them beside its stored scores.

    The stored scores are what is shown; traces that do not give them again are named in the notes.
    """
    if run.system == "longitudinal":
        return ScoreSheet((), ())
    scorable = {
        (recording, task): trace
        for recording, by_task in run.traces.items()
        for task, trace in by_task.items()
        if is_scorable(trace)
    }
    metrics, unknown = _metrics(run.scores, scorable)
    result = intervals = sampled = None
    notes = [f"The metric {name} is not in nd-eval's table: no interval and no drift." for name in sorted(unknown)]
    if scorable and (metrics or not run.scores):
        chosen = metrics if run.scores else None
        result = score_traces(scorable, metrics=chosen, expected=())
        intervals = result.confidence_intervals(LEVEL, resamples=resamples)
        sampled = result.confidence_intervals(LEVEL, resamples=100, over_recordings="sampled")
    scores: Scores = run.scores or (result.scores if result is not None else {})
    if result is not None and run.scores:
        notes += _disagreements(run.scores, result.scores)
    lines = tuple(
        _line(run, recording, task, named, intervals, result)
        for recording, by_task in sorted(scores.items())
        for task, named in sorted(by_task.items())
        if named
    )
    tasks = sorted({line.task for line in lines})
    headlines = tuple(_headline(task, lines, intervals, sampled) for task in tasks)
    return ScoreSheet(lines, headlines, result, tuple(notes))


def is_scorable(trace: StitchedTrace) -> bool:
    """Whether enough is known of the truth; predictions of new data have none."""
    return has_targets(trace) and len(trace.observed()) > 1


def first_metric(names: Mapping[str, Any]) -> str:
    """The metric that stands for a task."""
    return next((name for name in _FIRST if name in names), next(iter(names)))


def larger_is_better(metric: str) -> bool:
    """Whether a larger value is a better one; metrics that are not in the table are taken for scores."""
    return METRICS[metric].larger_is_better if metric in METRICS else True


def _metrics(
    scores: Scores, traces: Mapping[tuple[str, str], StitchedTrace]
) -> tuple[dict[str, dict[str, dict[str, torchmetrics.Metric]]], set[str]]:
    found: dict[str, dict[str, dict[str, torchmetrics.Metric]]] = {}
    unknown: set[str] = set()
    for (recording, task), trace in traces.items():
        for name in scores.get(recording, {}).get(task, {}):
            if name not in METRICS:
                unknown.add(name)
                continue
            classes = trace.preds.shape[-1] if METRICS[name].targets == "classes" and _are_logits(trace) else None
            found.setdefault(recording, {}).setdefault(task, {})[name] = build_metric(name, num_classes=classes)
    return found, unknown


def _are_logits(trace: StitchedTrace) -> bool:
    return trace.preds.is_floating_point() and trace.preds.ndim == trace.targets.ndim + 1


def _disagreements(stored: Scores, computed: Scores) -> list[str]:
    worst = [
        recording
        for recording, by_task in computed.items()
        for task, named in by_task.items()
        for name, value in named.items()
        if abs(value - (known := stored[recording][task][name])) > 1e-3 * max(1.0, abs(known))
    ]
    if not worst:
        return []
    note = (
        f"The traces do not give the stored scores again (first: {worst[0]}): one of the two files is of another "
        "evaluation. The intervals are of the traces."
    )
    return [note]


def _line(
    run: RunFolder,
    recording: str,
    task: str,
    named: Mapping[str, float],
    intervals: ConfidenceIntervals | None,
    result: EvaluationResult | None,
) -> ScoreLine:
    metric = first_metric(named)
    of_task = {} if intervals is None else intervals.scores.get(recording, {}).get(task, {})
    trace: StitchedTrace | None = run.traces.get(recording, {}).get(task)
    drift = None
    if result is not None and trace is not None and metric in of_task:
        drift = score_drift(trace.observed(), metric, result.metrics[recording][task][metric])
    known = (run.record.get("data") or {}).get("recordings", {}).get(recording) or {}
    spikes, duration = known.get("spikes"), known.get("duration")
    return ScoreLine(
        recording,
        task,
        metric,
        score=of_task.get(metric) or _plain(named[metric]),
        others={name: value for name, value in named.items() if name != metric},
        baselines={
            name: value
            for name, scores in run.baselines.items()
            if (value := scores.get(recording, {}).get(task, {}).get(metric)) is not None
        },
        times=None if trace is None else len(trace),
        seconds=None if trace is None else evaluated_seconds(trace.timestamps),
        units=known.get("units"),
        spikes_per_second=spikes / duration if spikes is not None and duration else None,
        drift=drift,
    )


def _headline(
    task: str,
    lines: tuple[ScoreLine, ...],
    intervals: ConfidenceIntervals | None,
    sampled: ConfidenceIntervals | None,
) -> Headline:
    of_task = [line for line in lines if line.task == task]
    metric = of_task[0].metric
    of_metric = [line for line in of_task if line.metric == metric]
    values = [line.score.value for line in of_metric if math.isfinite(line.score.value)]
    mean = sum(values) / len(values) if values else math.nan
    found = None if intervals is None else intervals.averages.get(task, {}).get(metric)
    # An interval is that of the mean only where it is of the same recordings.
    if found is None or not math.isclose(found.value, mean, rel_tol=1e-3, abs_tol=1e-3):
        found, sampled = _plain(mean), None
    of_baseline: dict[str, tuple[float, float]] = {}
    for name in dict.fromkeys(name for line in of_metric for name in line.baselines):
        both = [(line.baselines[name], line.score.value) for line in of_metric if name in line.baselines]
        of_baseline[name] = (sum(theirs for theirs, _ in both) / len(both), sum(ours for _, ours in both) / len(both))
    wider = None if sampled is None or len(values) < 3 else sampled.averages.get(task, {}).get(metric)
    return Headline(task, metric, found, wider, len(values), of_baseline)


def _plain(value: float) -> ScoreInterval:
    return ScoreInterval(float(value), math.nan, math.nan, math.nan)
