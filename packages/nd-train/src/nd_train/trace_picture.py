"""The picture of a decoded trace: predicted against true, over the first seconds of evaluated time."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nd_eval import EvaluationResult, r2_score


def save_trace_picture(result: EvaluationResult, path: Path, *, task: str, seconds: float = 20.0) -> Path:
    """Draw every recording's stitched prediction beside its target.

    Needs matplotlib (``pip install 'nd-train[report]'``).

    Args:
        result: What a stitching evaluator computed.
        path: Where the picture goes; its suffix chooses the format.
        task: The readout to draw, of continuous values.
        seconds: How much of each recording to draw, from its first evaluated time.

    Returns:
        `path`.

    Raises:
        KeyError: no recording has this task.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    recordings = sorted(name for name, tasks in result.traces.items() if task in tasks)
    if not recordings:
        raise KeyError(
            f"no stitched trace of task '{task}'; there are {sorted({t for v in result.traces.values() for t in v})}"
        )
    dimensions = _columns(result.traces[recordings[0]][task].targets).shape[1]
    figure = Figure(figsize=(11, 1.7 * len(recordings) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(recordings), dimensions, squeeze=False, sharex=False)
    for row, name in enumerate(recordings):
        trace = result.traces[name][task]
        times = trace.timestamps.cpu().double().numpy()
        shown = times < times[0] + seconds
        times, targets, preds = times[shown] - times[0], _columns(trace.targets)[shown], _columns(trace.preds)[shown]
        # Time that was not evaluated, between trials say, is a gap in the line.
        steps = np.diff(times)
        gap: NDArray[np.intp] = (
            np.flatnonzero(steps > 5 * np.median(steps)) + 1 if len(steps) else np.zeros(0, dtype=np.intp)
        )
        times, targets, preds = (np.insert(a, gap, np.nan, axis=0) for a in (times, targets, preds))
        for column in range(dimensions):
            axis = axes[row, column]
            axis.plot(times, targets[:, column], color="0.55", linewidth=1.2, label="true")
            axis.plot(times, preds[:, column], color="#0b6e99", linewidth=1.2, label="predicted")
            axis.spines[["top", "right"]].set_visible(False)
            score = float(r2_score(_column(trace.preds, column), _column(trace.targets, column)))
            axis.set_title(f"{name}, dimension {column + 1}: R² {score:.2f}", fontsize=9, loc="left")
            axis.tick_params(labelsize=8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, loc="outside upper right", ncols=2)
    for axis in axes[-1]:
        axis.set_xlabel("seconds of evaluated time", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path


def _columns(values: Tensor) -> NDArray[np.float64]:
    array = values.detach().cpu().double().numpy()
    return array[:, None] if array.ndim == 1 else array


def _column(values: Tensor, column: int) -> Tensor:
    return values if values.ndim == 1 else values[:, column]
