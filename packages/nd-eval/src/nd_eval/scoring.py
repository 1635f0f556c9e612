"""From stitched traces to scores: which metric sees what, and what becomes of a score that does not exist."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
import torchmetrics
from torch import Tensor

from nd_eval.class_range import check_classes
from nd_eval.evaluation_result import EvaluationResult, monitored_score
from nd_eval.metric_value import aligned, fresh_copy, metric_value
from nd_eval.metrics.metric_table import METRICS, build_metric
from nd_eval.stitched_trace import StitchedTrace

MetricsByName = Mapping[str, torchmetrics.Metric]
MetricsByTask = Mapping[str, MetricsByName]
MetricsByRecording = Mapping[str, MetricsByTask]


def score_traces(
    traces: Mapping[tuple[str, str], StitchedTrace],
    *,
    metrics: MetricsByRecording | None,
    expected: Iterable[tuple[str, str]],
) -> EvaluationResult:
    """Score the trace of every (recording, task).

    Args:
        traces: The stitched traces.
        metrics: Metrics by recording, task and name. They are copied, never changed. None scores continuous targets by
            R² and classes by balanced accuracy. A task without metrics is not scored, but its trace is kept.
        expected: Every (recording, task) that should have been evaluated; those that were not are named in the result.
    """
    scores: dict[str, dict[str, dict[str, float]]] = {}
    used: dict[str, dict[str, dict[str, torchmetrics.Metric]]] = {}
    directions: dict[str, bool | None] = {}
    undefined: list[tuple[str, str, str]] = []
    unobserved: dict[tuple[str, str], int] = {}
    scored: set[tuple[str, str]] = set()
    for (recording, task), trace in traces.items():
        observed = trace.observed()
        if len(observed) < len(trace):
            unobserved[recording, task] = len(trace) - len(observed)
        if len(observed) == 0:
            continue
        scored.add((recording, task))
        chosen = default_metrics(observed.targets) if metrics is None else metrics.get(recording, {}).get(task, {})
        for name, metric in chosen.items():
            direction = direction_of(name, metric)
            if directions.setdefault(name, direction) != direction:
                raise ValueError(
                    f"recording {recording!r}, task {task!r}: larger is better for one {name!r}, not for another"
                )
            value = _score(observed, metric, where=f"recording {recording!r}, task {task!r}, metric {name!r}")
            scores.setdefault(recording, {}).setdefault(task, {})[name] = value
            used.setdefault(recording, {}).setdefault(task, {})[name] = metric
            if math.isnan(value) and _says_nothing(observed):
                undefined.append((recording, task, name))
    wanted = sorted({*expected, *traces})
    recordings = sorted({recording for recording, _ in wanted})
    rows = [(r, t, m, value) for r, tasks in scores.items() for t, names in tasks.items() for m, value in names.items()]
    names = sorted({metric for *_, metric, _ in rows if directions[metric] is not None})
    return EvaluationResult(
        scores=scores,
        averages=_averages(rows, set(undefined)),
        score=monitored_score(rows, directions, tuple(undefined)),
        is_mixed=len(names) > 1,
        statement=_statement(names, directions),
        larger_is_better=directions,
        left_out=tuple(r for r in recordings if not any(recording == r for recording, _ in scored)),
        left_out_tasks=tuple(pair for pair in wanted if pair not in scored),
        undefined=tuple(undefined),
        unobserved=unobserved,
        traces=_nested(traces),
        metrics=used,
    )


def default_metrics(targets: Tensor) -> dict[str, torchmetrics.Metric]:
    """R² for continuous targets, balanced accuracy for classes.

    The dtype says which they are, never the values: floats that happen to be 0 and 1 in one recording may be other
    numbers in the next, and the two would be scored by different metrics. Labels that hold or do not, kept as floats
    beside logits, want a metric of their own, or integers.
    """
    name = "r2" if targets.is_floating_point() else "balanced_accuracy"
    return {name: build_metric(name)}


def direction_of(name: str, metric: torchmetrics.Metric) -> bool | None:
    """Whether larger values of a metric are better: what it says itself, else what the table says of its name."""
    said = metric.higher_is_better
    if said is None and name in METRICS:
        return METRICS[name].larger_is_better
    return said


def _score(trace: StitchedTrace, metric: torchmetrics.Metric, *, where: str) -> float:
    preds, targets = aligned(trace.preds, trace.targets)
    try:
        check_classes(preds, targets, [metric])
        if preds.is_floating_point() and bool(preds.sum().isnan()) and bool(torch.isnan(preds).any()):
            return float("nan")  # never hidden behind an arg max
        return metric_value(fresh_copy(metric), preds, targets)
    except (IndexError, RuntimeError, TypeError, ValueError) as problem:
        if len(trace) < 2 and targets.is_floating_point():
            return float("nan")  # some metrics refuse a single point
        kind = TypeError if isinstance(problem, TypeError) else ValueError
        raise kind(f"{where}: {problem}") from problem


def _says_nothing(trace: StitchedTrace) -> bool:
    """Whether no model could have got a score from these targets (rather than this model getting NaN)."""
    if trace.preds.is_floating_point() and bool(torch.isnan(trace.preds).any()):
        return False
    columns = trace.targets.reshape(len(trace), -1)
    return len(trace) < 2 or bool((columns.amin(0) == columns.amax(0)).all())


def _averages(
    rows: list[tuple[str, str, str, float]], undefined: set[tuple[str, str, str]]
) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, list[float]]] = {}
    for recording, task, metric, value in rows:
        kept = values.setdefault(task, {}).setdefault(metric, [])
        if (recording, task, metric) not in undefined:
            kept.append(value)
    return {
        task: {name: sum(kept) / len(kept) if kept else float("nan") for name, kept in names.items()}
        for task, names in sorted(values.items())
    }


def _statement(names: list[str], directions: Mapping[str, bool | None]) -> str:
    if not names:
        return "nothing to average"
    parts = ", ".join(name if directions[name] else f"{name} (an error, negated)" for name in names)
    warning = "; metrics of different scales are mixed, see the averages of each" if len(names) > 1 else ""
    return f"mean of {parts} over recordings and tasks, larger is better{warning}"


def _nested(traces: Mapping[tuple[str, str], StitchedTrace]) -> dict[str, dict[str, StitchedTrace]]:
    nested: dict[str, dict[str, StitchedTrace]] = {}
    for (recording, task), trace in traces.items():
        nested.setdefault(recording, {})[task] = trace
    return nested
