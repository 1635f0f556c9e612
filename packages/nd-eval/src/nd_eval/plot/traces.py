"""Predicted against true over time.

Shape legend: ``U`` distinct times, ``K`` dimensions of the output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nd_eval.evaluation_result import EvaluationResult
from nd_eval.known_name import known_name
from nd_eval.metrics.circular_scores import circular_error
from nd_eval.metrics.classification_scores import accuracy
from nd_eval.metrics.regression_scores import r2_score
from nd_eval.plot.class_names import ClassNames, class_labels
from nd_eval.plot.picture import (
    FAINT_COLOR,
    PREDICTED_COLOR,
    TRUE_COLOR,
    Picture,
    panels,
    plain,
    quantity_text,
    score_text,
    shortened,
    shortened_names,
    with_unit,
)
from nd_eval.plot.sources import Columns, checked_period, columns_of, named_traces
from nd_eval.plot.time_lines import broken_line, gap_length, lonely_points, stretches, wrapped_line
from nd_eval.plot.turns import turn_ticks
from nd_eval.stitched_trace import StitchedTrace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_INCHES_PER_LETTER = 0.085


def plot_traces(
    source: EvaluationResult | StitchedTrace | Mapping[str, StitchedTrace],
    *,
    task: str | None = None,
    recordings: Sequence[str] | None = None,
    dimensions: Sequence[int] | None = None,
    dimension_names: Sequence[str] | None = None,
    class_names: ClassNames | None = None,
    unit: str | None = None,
    period: float | None = None,
    mask: Tensor | Mapping[str, Tensor] | None = None,
    start: float | None = None,
    seconds: float | None = None,
    gap: float | None = None,
    axes: Axes | Sequence[Axes] | None = None,
) -> Picture:
    """Draw predictions over targets, one panel for each recording and dimension.

    A line stops where time has a gap and where a value is NaN; a point without neighbours is a dot. Classes are drawn
    as bars. The score beside a panel's name is that of all its evaluated and observed times, shown or not: R², the
    mean circular error with a ``period``, the accuracy of classes.

    Args:
        source: An evaluation's result; one stitched trace, ``StitchedTrace(timestamps, preds, targets)`` of plain
            tensors; or traces by name.
        task: The task of the result to draw; None where it has only one.
        recordings: Which to draw, in this order; None draws all.
        dimensions: Which dimensions of the output; None draws all.
        dimension_names: A name for each of the dimensions drawn; None counts them.
        class_names: Names of the classes, by index or as a mapping.
        unit: Unit of the values, such as ``cm/s``.
        period: A full turn of angles (2π, 360): they are drawn within one turn, the short way from one to the next.
        mask: True where a time was evaluated, (U,) for one recording or by name; other time is shaded and not scored.
        start: First second to draw, on the recording's clock; None starts at its first time.
        seconds: How many seconds to draw; None draws everything.
        gap: Steps of time longer than this many seconds are gaps; None takes 1.5 steps of a regular grid, 5 median
            steps of other times.
        axes: matplotlib Axes to draw on, one for each panel (recording after recording); None makes a figure.

    Raises:
        ImportError: matplotlib is not installed.
        KeyError: there is no such task or recording; the message lists those there are.
        ValueError: there is nothing to draw, the shapes do not fit, or Axes are too few or too many.

    Example:
        >>> import torch
        >>> from nd_eval import StitchedTrace
        >>> from nd_eval.plot import plot_traces
        >>> times = torch.arange(500, dtype=torch.float64) / 100
        >>> velocity = torch.stack([times.sin(), times.cos()], dim=1)
        >>> trace = StitchedTrace(times, 0.9 * velocity, velocity)
        >>> picture = plot_traces(trace, dimension_names=["x", "y"], unit="cm/s")
        >>> [axes.get_ylabel() for axes in picture.axes]
        ['x (cm/s)', 'y (cm/s)']
    """
    checked_period(period)
    traces = named_traces(source, task, recordings)
    columns = {name: columns_of(trace.preds, trace.targets, name) for name, trace in traces.items()}
    chosen = _dimensions(columns, dimensions)
    names = _names(chosen, dimension_names)
    if isinstance(mask, Mapping):
        for name in mask:
            known_name(name, traces, "recording")
    elif mask is not None and len(traces) > 1:
        raise ValueError(f"give the mask of each recording by name: {', '.join(traces)}")
    masks = {name: _mask(mask, name, trace) for name, trace in traces.items()}
    alone = len(traces) == 1
    rows, across = (len(chosen), 1) if alone else (len(traces), len(chosen))
    width = 10.0 if across == 1 else min(16.0, 5.5 * across)
    picture = panels(axes, rows, across, size=(width, 1.7 * rows + 0.8), share_times=alone)
    letters = max(12, int(width / across / _INCHES_PER_LETTER) - 18)
    titles = dict(zip(traces, shortened_names(list(traces), letters), strict=True))
    lines: dict[str, Line2D] = {}
    for row, (name, trace) in enumerate(traces.items()):
        times = trace.timestamps.detach().cpu().to(torch.float64)
        first = float(times[0]) if start is None else start
        shown = (times >= first) & (times < first + (float("inf") if seconds is None else seconds))
        if not bool(shown.any()):
            raise ValueError(
                f"{f'recording {name!r}: ' if name else ''}there is no time between {first:g} s and "
                f"{first + (seconds or float('inf')):g} s; the trace goes from {times[0]:g} s to {times[-1]:g} s"
            )
        for place, dimension in enumerate(chosen):
            panel = picture.axes[row * len(chosen) + place]
            values = Columns(
                columns[name].preds[:, dimension], columns[name].targets[:, dimension], columns[name].are_classes
            )
            lines |= _draw(panel, times, values, shown, masks[name], gap, period, class_names)
            label = shortened(names[place], 20)
            panel.set_ylabel(with_unit(label, unit), fontsize=9)
            panel.set_title(titles[name] if not alone or place == 0 else "", fontsize=9, loc="left")
            panel.set_title(_score(values, masks[name], period, unit), fontsize=9, loc="right")
            if row * len(chosen) + place >= len(picture.axes) - (1 if alone else len(chosen)):
                panel.set_xlabel("time (s)", fontsize=9)
    if axes is None:
        picture.figure.legend(
            lines.values(), lines.keys(), loc="outside upper right", ncols=3, frameon=False, fontsize=9
        )
    else:
        # Above the line of the titles, where it hides nothing.
        picture.axes[0].legend(
            lines.values(),
            lines.keys(),
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            borderaxespad=2.3,
            borderpad=0.0,
            ncols=3,
            frameon=False,
            fontsize=8,
        )
    return picture


def _draw(
    panel: Axes,
    times: Tensor,
    values: Columns,
    shown: Tensor,
    mask: Tensor | None,
    gap: float | None,
    period: float | None,
    class_names: ClassNames | None,
) -> dict[str, Line2D]:
    """Fill one panel; its legend's handles by name."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    plain(panel)
    gap = gap_length(times) if gap is None else gap
    drawn: dict[str, Line2D] = {}
    for name, of_name, color, width in (
        ("true", values.targets, TRUE_COLOR, 5.0 if values.are_classes else 2.2),
        ("predicted", values.preds, PREDICTED_COLOR, 1.5 if values.are_classes else 1.1),
    ):
        part = of_name[shown].to(torch.float64)
        if values.are_classes and mask is not None:
            part = torch.where(mask[shown], part, torch.nan)
        if period is None or values.are_classes:
            line = broken_line(times[shown], part, gap, steady=values.are_classes)
        else:
            line = wrapped_line(times[shown], part, gap, period)
        panel.plot(
            *(of_line.numpy() for of_line in line),
            color=color,
            linewidth=width,
            solid_capstyle="butt",
            marker=".",
            markersize=2.5 + 1.2 * width,
            markeredgewidth=0,
            markevery=lonely_points(line[1]),
            label=name,
        )
        drawn[name] = Line2D([], [], color=color, linewidth=width)
    if values.are_classes:
        found = sorted({*values.targets[shown].tolist(), *values.preds[shown].tolist()})
        panel.set_yticks(found, [shortened(label, 16) for label in class_labels(found, class_names)])
        panel.set_ylim(found[0] - 0.5, found[-1] + 0.5)
    elif period is not None:
        places, labels = turn_ticks(0.0, period, period, parts=4 if panel.bbox.height > 100 else 2)
        panel.set_yticks(places, labels)
        panel.set_ylim(-0.03 * period, 1.03 * period)
    panel.ticklabel_format(axis="x", useOffset=False, style="plain")
    if mask is not None:
        spans = stretches(times[shown], ~mask[shown], gap)
        if spans:
            panel.broken_barh(spans, (0.0, 1.0), transform=panel.get_xaxis_transform(), color=FAINT_COLOR, zorder=0)
            drawn["not evaluated"] = Patch(color=FAINT_COLOR)  # type: ignore[assignment]
    return drawn


def _score(values: Columns, mask: Tensor | None, period: float | None, unit: str | None) -> str:
    preds, targets = values.preds, values.targets
    if mask is not None:
        preds, targets = preds[mask], targets[mask]
    if values.are_classes:
        return f"accuracy {score_text(float(accuracy(preds, targets)))}" if len(targets) else ""
    seen = ~torch.isnan(targets)
    if not bool(seen.any()):
        return ""
    if period is not None:
        return f"mean error {quantity_text(float(circular_error(preds[seen], targets[seen], period=period)), unit)}"
    return f"R² {score_text(float(r2_score(preds[seen], targets[seen])))}"


def _dimensions(columns: Mapping[str, Columns], chosen: Sequence[int] | None) -> list[int]:
    widths = {name: of_name.targets.shape[1] for name, of_name in columns.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"recordings of different numbers of dimensions cannot share a picture: {widths}")
    width = next(iter(widths.values()))
    if chosen is None:
        return list(range(width))
    outside = [dimension for dimension in chosen if not 0 <= dimension < width]
    if outside or not chosen:
        raise ValueError(f"dimensions must be among 0 … {width - 1}; found {list(chosen)}")
    return list(chosen)


def _names(chosen: Sequence[int], names: Sequence[str] | None) -> list[str]:
    if names is None:
        return ["value"] if list(chosen) == [0] else [f"dimension {dimension + 1}" for dimension in chosen]
    if len(names) != len(chosen):
        raise ValueError(f"{len(chosen)} dimensions are drawn, but {len(names)} names were given: {list(names)}")
    return list(names)


def _mask(mask: Tensor | Mapping[str, Tensor] | None, name: str, trace: StitchedTrace) -> Tensor | None:
    of_name = mask.get(name) if isinstance(mask, Mapping) else mask
    if of_name is None:
        return None
    if of_name.shape != (len(trace),):
        raise ValueError(
            f"{f'recording {name!r}: ' if name else ''}the mask must have one entry for each of the {len(trace)} "
            f"times; found shape {tuple(of_name.shape)}"
        )
    return of_name.detach().cpu().to(torch.bool)
