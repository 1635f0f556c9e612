"""Score of each recording with its confidence interval, and their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from nd_eval.evaluation_result import EvaluationResult
from nd_eval.known_name import known_name
from nd_eval.metrics.metric_table import METRICS
from nd_eval.plot.picture import (
    ACCENT_COLOR,
    PREDICTED_COLOR,
    Picture,
    panels,
    plain,
    score_text,
    shortened_names,
    with_unit,
)
from nd_eval.plot.sources import one_of
from nd_eval.uncertainty.score_intervals import ConfidenceIntervals, ScoreInterval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABELS = {
    "r2": "R²",
    "r2_variance_weighted": "R² (variance-weighted)",
    "pearsonr": "Pearson's r",
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "f1_macro": "F1 (macro)",
    "f1_weighted": "F1 (weighted)",
    "poisson_pseudo_r2": "Poisson pseudo-R²",
    "masked_smape": "masked SMAPE",
}


class _Chosen(NamedTuple):
    """Intervals to draw: of recordings, of their mean, and what they are of."""

    scores: dict[str, ScoreInterval]
    mean: ScoreInterval | None
    metric: str
    level: float | None
    larger_is_better: bool | None


def plot_scores(
    source: EvaluationResult | ConfidenceIntervals | Mapping[str, ScoreInterval | float],
    *,
    task: str | None = None,
    metric: str | None = None,
    recordings: Sequence[str] | None = None,
    level: float | None = 0.95,
    larger_is_better: bool | None = None,
    reference: float | None = None,
    limits: tuple[float, float] | None = None,
    unit: str | None = None,
    axes: Axes | None = None,
) -> Picture:
    """Draw a dot and its confidence interval for each recording, best on top, and the mean of all below.

    A score that does not exist is written as such, below the others.

    Args:
        source: An evaluation's result; the intervals that it gave; or scores, or intervals, by name.
        task: The task to draw; None where there is only one.
        metric: The metric to draw; None where there is only one. For scores by name, what they are.
        recordings: Which to draw; None draws all. The mean is that of the recordings drawn; its interval is drawn
            where it is of all.
        level: Level of the intervals computed from a result; None draws its scores alone.
        larger_is_better: Which end is best; None takes it from the metric, else larger is.
        reference: Where to draw a line, such as chance.
        limits: Ends of the axis; scores outside are arrows at its edge. None shows everything.
        unit: Unit of the score.
        axes: matplotlib Axes to draw on; None makes a figure.

    Raises:
        ImportError: matplotlib is not installed.
        KeyError: there is no such task, metric or recording; the message lists those there are.
        ValueError: there is nothing to draw, or several tasks or metrics and none is chosen.

    Example:
        >>> from nd_eval.plot import plot_scores
        >>> picture = plot_scores({"day 1": 0.71, "day 2": 0.83}, metric="r2")
        >>> [label.get_text() for label in picture.axes[0].get_yticklabels()]
        ['day 2', 'day 1', 'mean of 2']
    """
    chosen = _chosen(source, task, metric, recordings, level)
    larger = larger_is_better if larger_is_better is not None else chosen.larger_is_better is not False
    rows = sorted(
        chosen.scores.items(),
        key=lambda row: (math.isnan(row[1].value), -row[1].value if larger else row[1].value, row[0]),
    )
    count = len(rows) + (2 if chosen.mean is not None else 0)
    picture = panels(axes, 1, 1, size=(7.0, 0.9 + 0.27 * max(count, 3)))
    (panel,) = picture.axes
    plain(panel)
    heights = [float(place) for place in range(len(rows))]
    labels = shortened_names([name for name, _ in rows], 36)
    for height, (_, interval) in zip(heights, rows, strict=True):
        _row(panel, height, interval, limits, PREDICTED_COLOR, "o")
    if chosen.mean is not None:
        panel.axhline(len(rows) - 0.25, color="0.7", linewidth=0.8)
        heights.append(len(rows) + 0.5)
        labels.append(f"mean of {sum(not math.isnan(interval.value) for _, interval in rows)}")
        _row(panel, heights[-1], chosen.mean, limits, ACCENT_COLOR, "D")
    if reference is not None:
        panel.axvline(reference, color="0.6", linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    panel.set_yticks(heights, labels, fontsize=8)
    panel.set_ylim(heights[-1] + 0.6, -0.6)
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)
    panel.grid(visible=True, axis="x", color="0.92", linewidth=0.8)
    panel.set_axisbelow(True)
    if limits is not None:
        panel.set_xlim(*limits)
    drawn = any(math.isfinite(interval.low) for _, interval in rows)
    suffix = f", {100 * chosen.level:g}% confidence interval" if chosen.level is not None and drawn else ""
    name = _LABELS.get(chosen.metric, chosen.metric.replace("_", " "))
    panel.set_xlabel(f"{with_unit(name, unit)}{suffix}", fontsize=9)
    return picture


def _row(
    panel: Axes, height: float, interval: ScoreInterval, limits: tuple[float, float] | None, color: str, marker: str
) -> None:
    beside = panel.get_yaxis_transform()
    value, low, high = interval.value, interval.low, interval.high
    text = score_text(value)
    if math.isfinite(low) and math.isfinite(high):
        panel.plot([low, high], [height, height], color=color, linewidth=1.8, solid_capstyle="butt", gid="interval")
        text += f"  [{score_text(low)}, {score_text(high)}]"
    panel.text(1.02, height, text, transform=beside, va="center", fontsize=8, color="0.2")
    if math.isnan(value):
        return
    place = value
    if limits is not None and not limits[0] <= value <= limits[1]:
        place, marker = (limits[0], "<") if value < limits[0] else (limits[1], ">")
    panel.plot([place], [height], marker, color=color, markersize=5.5, clip_on=place == value, zorder=3, gid="score")


def _chosen(
    source: EvaluationResult | ConfidenceIntervals | Mapping[str, ScoreInterval | float],
    task: str | None,
    metric: str | None,
    recordings: Sequence[str] | None,
    level: float | None,
) -> _Chosen:
    if isinstance(source, EvaluationResult):
        direction = source.larger_is_better
        if level is None:
            scores: Mapping[str, Mapping[str, Mapping[str, ScoreInterval | float]]] = source.scores
            averages: Mapping[str, Mapping[str, ScoreInterval]] = {}
        else:
            intervals = source.confidence_intervals(level)
            scores, averages = intervals.scores, intervals.averages
    elif isinstance(source, ConfidenceIntervals):
        direction, scores, averages, level = {}, source.scores, source.averages, source.level
    else:
        metric = metric or "score"
        direction, scores, averages, level = {}, {name: {"": {metric: of}} for name, of in source.items()}, {}, None
    task = one_of(task if task is not None else None, sorted({name for of in scores.values() for name in of}), "task")
    names = sorted({name for of in scores.values() for name in of.get(task, ())})
    metric = one_of(metric, names, "metric")
    every = {name: _interval(of[task][metric]) for name, of in scores.items() if metric in of.get(task, ())}
    found = every if recordings is None else {known_name(name, every, "recording"): every[name] for name in recordings}
    if not found:
        raise ValueError("there is nothing to draw: no recording was chosen")
    larger = direction.get(metric, METRICS[metric].larger_is_better if metric in METRICS else None)
    return _Chosen(found, _mean(found, every, averages.get(task, {}).get(metric)), metric, level, larger)


def _mean(
    found: Mapping[str, ScoreInterval], every: Mapping[str, ScoreInterval], average: ScoreInterval | None
) -> ScoreInterval | None:
    """The mean of the recordings drawn, with its interval if that is known; None of a single one."""
    values = [interval.value for interval in found.values() if not math.isnan(interval.value)]
    if len(values) < 2:
        return None
    if average is not None and set(found) == set(every):
        return average
    return _interval(sum(values) / len(values))


def _interval(score: ScoreInterval | float) -> ScoreInterval:
    return score if isinstance(score, ScoreInterval) else ScoreInterval(float(score), math.nan, math.nan, math.nan)
