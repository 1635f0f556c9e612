"""The same in figures for a paper, drawn by nd_eval.plot: scores, traces, drift and training curves."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nd_eval import EvaluationResult
from nd_eval.plot import Picture, plot_confusion, plot_scores, plot_traces
from nd_eval.plot.picture import ACCENT_COLOR, FAINT_COLOR, PREDICTED_COLOR, panels, plain, shortened_names
from nd_train.report.confusion_tables import are_classes
from nd_train.report.page_content import metric_label
from nd_train.report.run_folder import RunFolder
from nd_train.report.score_sheet import ScoreLine, ScoreSheet, first_metric
from nd_train.report.training_curves import grouped_curves, thinned
from nd_train.trace_attributes import in_data_units

_MOST_TRACES = 4
_MOST_CLASSES = 60
_SECONDS = 20.0
_COLORS = (PREDICTED_COLOR, ACCENT_COLOR, "#009E73", "#CC79A7", "#B8860B", "0.5")


def save_figures(run: RunFolder, sheet: ScoreSheet, folder: Path, kind: str) -> list[Path]:
    """Write every figure that the run has material for.

    Args:
        run: The run.
        sheet: Its scores.
        folder: Where to; made where it lacks.
        kind: ``png`` or ``pdf``.

    Returns:
        The files.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the run has neither scores nor traces nor curves.
    """
    written = [picture.save(folder / f"{_file_name(name)}.{kind}") for name, picture in _figures(run, sheet)]
    if not written:
        raise ValueError(f"{run.path}: there is nothing to draw, neither scores nor traces nor training curves")
    return written


def _figures(run: RunFolder, sheet: ScoreSheet) -> Iterator[tuple[str, Picture]]:
    for task in sorted({line.task for line in sheet.lines}):
        lines = [line for line in sheet.lines if line.task == task]
        scores = {line.recording: line.score for line in lines if math.isfinite(line.score.value)}
        if scores:
            yield f"scores_{task}", plot_scores(scores, metric=lines[0].metric)
        if any(line.drift for line in lines):
            yield f"score_over_time_{task}", _drift_picture(lines)
    if sheet.result is not None:
        yield from _trace_pictures(run, sheet.result)
    groups = grouped_curves(run.curves)
    if groups:
        yield "training", _training_picture(groups)


def _trace_pictures(run: RunFolder, result: EvaluationResult) -> Iterator[tuple[str, Picture]]:
    tasks = sorted({task for by_task in result.traces.values() for task in by_task})
    for task in tasks:
        ranked = sorted(
            (recording for recording, by_task in result.traces.items() if task in by_task),
            key=lambda recording: _score_of(result, recording, task),
            reverse=True,
        )
        # The best, the worst, and evenly between.
        step = (len(ranked) - 1) / max(1, min(_MOST_TRACES, len(ranked)) - 1)
        chosen = list(dict.fromkeys(ranked[round(place * step)] for place in range(min(_MOST_TRACES, len(ranked)))))
        widths = {recording: result.traces[recording][task].targets.shape[1:] for recording in chosen}
        chosen = [recording for recording in chosen if widths[recording] == widths[chosen[0]]]
        drawn = {name: in_data_units(result.traces[name][task], run.known(name, task)) for name in chosen}
        names = run.class_names(chosen[0], task) or None
        classes = are_classes(drawn[chosen[0]])
        of_labels = names is not None and not classes and len(names) == math.prod(widths[chosen[0]])
        yield (
            f"traces_{task}",
            plot_traces(
                drawn,
                seconds=_SECONDS,
                unit=run.unit(chosen[0], task) or None,
                class_names=names if classes else None,
                dimension_names=names if of_labels else None,
            ),
        )
        shown = names if names is not None and len(names) <= _MOST_CLASSES else None
        if classes and _number_of_classes(result, ranked, task) <= _MOST_CLASSES:
            yield f"confusion_{task}", plot_confusion(result, task=task, recordings=ranked, class_names=shown)


def _number_of_classes(result: EvaluationResult, recordings: list[str], task: str) -> int:
    return max(int(result.traces[name][task].targets.max()) for name in recordings) + 1


def _score_of(result: EvaluationResult, recording: str, task: str) -> float:
    named = result.scores.get(recording, {}).get(task, {})
    value = named[first_metric(named)] if named else math.nan
    return value if math.isfinite(value) else -math.inf


def _drift_picture(lines: list[ScoreLine]) -> Picture:
    picture = panels(None, 1, 1, size=(7.0, 3.0))
    (axes,) = picture.axes
    plain(axes)
    drifts = [line for line in lines if line.drift is not None]
    names = shortened_names([line.recording for line in drifts], 28)
    for place, (line, name) in enumerate(zip(drifts, names, strict=True)):
        drift = line.drift
        assert drift is not None
        minutes = [(start + end) / 120.0 for start, end in zip(drift.starts, drift.ends, strict=True)]
        few = len(drifts) <= len(_COLORS)
        color = _COLORS[place] if few else "0.75"
        axes.plot(
            minutes, drift.values, color=color, marker="o", markersize=3, linewidth=1.2, label=name if few else None
        )
    axes.axhline(0.0, color=FAINT_COLOR, linewidth=0.8, zorder=0)
    axes.set_xlabel("time in the recording (min)", fontsize=9)
    axes.set_ylabel(metric_label(lines[0].metric), fontsize=9)
    if len(drifts) <= len(_COLORS):
        axes.legend(frameon=False, fontsize=8)
    return picture


def _training_picture(groups: Mapping[str, Any]) -> Picture:
    picture = panels(None, len(groups), 1, size=(7.0, 2.4 * len(groups)), share_times=True)
    for axes, (title, curves) in zip(picture.axes, groups.items(), strict=True):
        plain(axes)
        for place, curve in enumerate(curves[: len(_COLORS)]):
            drawn = thinned(curve)
            axes.plot(drawn.steps, drawn.values, color=_COLORS[place], linewidth=1.2, label=curve.name)
        axes.set_ylabel(title, fontsize=9)
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize=8)
    picture.axes[-1].set_xlabel("step", fontsize=9)
    return picture


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
