"""Predicted against true values.

Shape legend: ``N`` times, ``K`` dimensions of the output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nd_eval.evaluation_result import EvaluationResult
from nd_eval.metrics.circular_scores import circular_error
from nd_eval.metrics.regression_scores import r2_score
from nd_eval.plot.picture import (
    ACCENT_COLOR,
    PREDICTED_COLOR,
    Picture,
    panels,
    plain,
    quantity_text,
    score_text,
    shortened,
    with_unit,
)
from nd_eval.plot.sources import aligned_pairs, checked_period, columns_of
from nd_eval.plot.turns import turn_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DENSE = 3000  # points beyond which single ones hide each other
_CELLS = 60


def plot_scatter(
    preds: Tensor | EvaluationResult,
    targets: Tensor | None = None,
    *,
    task: str | None = None,
    recordings: Sequence[str] | None = None,
    dimensions: Sequence[int] | None = None,
    dimension_names: Sequence[str] | None = None,
    unit: str | None = None,
    period: float | None = None,
    axes: Axes | Sequence[Axes] | None = None,
) -> Picture:
    r"""Draw predicted over true values, one panel for each dimension, with the line where both are equal.

    Up to 3,000 times are points; more are counted in cells, on a logarithmic colour scale. The corner has R² (of angles
    the mean circular error) and the number of times; times whose target is NaN are left out.

    Args:
        preds: Values (N,) or (N, K); or an evaluation's result, whose recordings are pooled.
        targets: Values of the same shape; None with a result.
        task: The task of the result; None where it has only one.
        recordings: Which recordings of the result; None takes all.
        dimensions: Which dimensions of the output; None draws all.
        dimension_names: A name for each of the dimensions drawn; None counts them.
        unit: Unit of the values, such as ``cm/s``.
        period: A full turn of angles (2π, 360). True angles are drawn within one turn, predictions the short way round
            from them, so that 359° for a true 1° is just below the line.
        axes: matplotlib Axes to draw on, one for each dimension; None makes a figure.

    Raises:
        ImportError: matplotlib is not installed.
        KeyError: there is no such task or recording.
        TypeError: the targets are classes, or are missing.
        ValueError: the shapes do not fit, there is nothing to draw, or Axes are too few or too many.

    Example:
        >>> import torch
        >>> from nd_eval.plot import plot_scatter
        >>> angle = torch.arange(0.0, 360.0, 2.0)
        >>> picture = plot_scatter(angle + 3.0, angle, unit="°", period=360)
        >>> picture.axes[0].get_xlabel(), picture.axes[0].texts[0].get_text()
        ('true (°)', 'mean error 3.00°\nn = 180')
    """
    checked_period(period)
    columns = columns_of(*aligned_pairs(preds, targets, task, recordings))
    if columns.are_classes:
        raise TypeError("a scatter is of continuous values; draw classes with plot_confusion")
    width = columns.targets.shape[1]
    chosen = list(range(width)) if dimensions is None else list(dimensions)
    if not chosen or any(not 0 <= dimension < width for dimension in chosen):
        raise ValueError(f"dimensions must be among 0 … {width - 1}; found {chosen}")
    if dimension_names is not None and len(dimension_names) != len(chosen):
        raise ValueError(f"{len(chosen)} dimensions are drawn, but {len(dimension_names)} names were given")
    names = dimension_names or (["", ""] if chosen == [0] else [f"dimension {number + 1}" for number in chosen])
    across = min(len(chosen), 4)
    rows = math.ceil(len(chosen) / across)
    if axes is None:
        picture = panels(None, rows, across, size=(4.0 * across, 3.7 * rows), square=True)
        for unused in picture.axes[len(chosen) :]:
            unused.remove()
        picture = Picture(picture.figure, picture.axes[: len(chosen)])
    else:
        picture = panels(axes, 1, len(chosen), size=(0.0, 0.0))
    for panel, dimension, name in zip(picture.axes, chosen, names, strict=False):
        _draw(panel, columns.preds[:, dimension], columns.targets[:, dimension], period, unit)
        panel.set_title(shortened(name, 40), fontsize=9, loc="left")
        panel.set_xlabel(with_unit("true", unit), fontsize=9)
        panel.set_ylabel(with_unit("predicted", unit), fontsize=9)
    return picture


def _draw(panel: Axes, preds: Tensor, targets: Tensor, period: float | None, unit: str | None) -> None:
    plain(panel)
    seen = torch.isfinite(targets)
    number = int(seen.sum())
    if not number:
        raise ValueError("there is nothing to draw: every target is NaN")
    preds, targets = preds[seen], targets[seen]
    if period is None:
        score = f"R² {score_text(float(r2_score(preds, targets)))}"
    else:
        score = f"mean error {quantity_text(float(circular_error(preds, targets, period=period)), unit)}"
        targets = targets.remainder(period)
        preds = targets + (preds - targets + period / 2.0).remainder(period) - period / 2.0
    finite = torch.isfinite(preds)
    missing = number - int(finite.sum())
    preds, targets = preds[finite], targets[finite]
    low, high = _limits(preds, targets, period)
    panel.plot([low, high], [low, high], color=ACCENT_COLOR, linewidth=1.2, zorder=3, gid="equal")
    if len(preds) > _DENSE:
        from matplotlib import colormaps
        from matplotlib.colors import ListedColormap, LogNorm

        # A single time must be told from the background.
        shades = ListedColormap(colormaps["Blues"](torch.linspace(0.25, 1.0, 256).numpy()))

        cells = panel.hexbin(
            targets.numpy(),
            preds.numpy(),
            gridsize=_CELLS,
            norm=LogNorm(vmin=1),
            cmap=shades,
            mincnt=1,
            linewidths=0.1,
            extent=(low, high, low, high),
        )
        bar = panel.figure.colorbar(cells, ax=panel, fraction=0.046, pad=0.03)
        bar.set_label("times in a cell", fontsize=8)
        bar.ax.tick_params(labelsize=8)
        bar.ax.yaxis.set_major_formatter("{x:,.0f}")
        bar.outline.set_visible(False)
    else:
        panel.scatter(targets.numpy(), preds.numpy(), s=9, color=PREDICTED_COLOR, alpha=0.45, linewidths=0)
    if period is not None:
        for set_ticks in (panel.set_xticks, panel.set_yticks):
            set_ticks(*turn_ticks(low, high, period))
    panel.set_xlim(*((low, high) if period is None else (-0.02 * period, 1.02 * period)))
    panel.set_ylim(low, high)
    panel.set_aspect("equal", adjustable="box")
    text = f"{score}\nn = {number:,}" + (f", {missing:,} predictions not finite" if missing else "")
    panel.text(0.03, 0.97, text, transform=panel.transAxes, va="top", fontsize=9, bbox=_BEHIND_TEXT, zorder=4)


_BEHIND_TEXT = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}


def _limits(preds: Tensor, targets: Tensor, period: float | None) -> tuple[float, float]:
    if period is not None:
        half = float((preds - targets).abs().max()) if len(preds) else 0.0
        reach = max(period / 8.0, math.ceil(half / (period / 8.0) - 1e-9) * period / 8.0)
        return -reach, period + reach
    both = torch.cat([preds, targets]) if len(preds) else torch.zeros(1, dtype=torch.float64)
    low, high = float(both.min()), float(both.max())
    margin = 0.04 * (high - low) or max(1e-12, 0.05 * abs(high)) or 1.0
    return low - margin, high + margin
