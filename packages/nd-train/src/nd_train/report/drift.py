"""How good the decoding was along a recording.

U distinct times, K dimensions of the output, W windows of time.
"""

import math
from dataclasses import dataclass

import torch
import torchmetrics
from torch import Tensor

from nd_eval import StitchedTrace
from nd_eval.metric_value import aligned, fresh_copy, metric_value
from nd_eval.plot.time_lines import gap_length

_SECONDS = 10.0  # of a window, where the recording is long enough for some
_FEWEST, _MOST = 4, 30
_FEWEST_TIMES = 10  # of a window


@dataclass(frozen=True)
class Drift:
    """Score by window of time.

    Attributes:
        starts: First time of each window in seconds. Length W.
        ends: Last time of each.
        values: Score of each; NaN where it does not exist.
        of_whole_variance: Whether the windows are measured against the variance of the whole recording, so that their
            mean is its R².
    """

    starts: tuple[float, ...]
    ends: tuple[float, ...]
    values: tuple[float, ...]
    of_whole_variance: bool

    @property
    def thirds(self) -> tuple[float, float]:
        """Mean of the first and of the last third of the windows."""
        count = max(1, len(self.values) // 3)
        parts = (self.values[:count], self.values[-count:])
        return tuple(_mean(part) for part in parts)  # type: ignore[return-value]  # two of them


def evaluated_seconds(timestamps: Tensor) -> float:
    """How much time the evaluated times of a trace stand for: gaps left out, half a step more at every end.

    >>> evaluated_seconds(torch.tensor([0.0, 0.1, 0.2, 5.0, 5.1], dtype=torch.float64))
    0.5
    """
    if len(timestamps) < 2:
        return 0.0
    steps = timestamps.to(torch.float64).diff()
    inside = steps <= gap_length(timestamps.to(torch.float64))
    stretches = int((~inside).sum()) + 1
    return round(float(steps[inside].sum() + stretches * steps.median()), 6)


def score_drift(trace: StitchedTrace, name: str, metric: torchmetrics.Metric) -> Drift | None:
    """Score of one recording and task by window of time; windows have equally many evaluated times.

    R² of a short window says more of how much the hand happened to move in it than of the decoder. Its windows are
    therefore measured against the variance of the whole recording: 1 − mean over dimensions of (mean squared error of
    the window / variance of the recording). The mean over windows is then the R² of the recording.

    Args:
        trace: Observed times only.
        name: The metric's name in the table of nd_eval.
        metric: The metric; never changed.

    Returns:
        The windows; None of a trace too short for four.
    """
    count = len(trace)
    windows = min(_MOST, max(_FEWEST, int(evaluated_seconds(trace.timestamps) / _SECONDS)), count // _FEWEST_TIMES)
    if windows < _FEWEST:
        return None
    preds, targets = aligned(trace.preds, trace.targets)
    parts = torch.tensor_split(torch.arange(count), windows)
    whole = name in ("r2", "r2_variance_weighted") and targets.is_floating_point()
    if whole:
        values = _explained(preds, targets, parts, weighted=name == "r2_variance_weighted")
    else:
        fresh = fresh_copy(metric)
        values = [_value_or_nan(fresh, preds[part], targets[part]) for part in parts]
    times = trace.timestamps.to(torch.float64)
    return Drift(
        starts=tuple(float(times[part[0]]) for part in parts),
        ends=tuple(float(times[part[-1]]) for part in parts),
        values=tuple(values),
        of_whole_variance=whole,
    )


def _explained(preds: Tensor, targets: Tensor, parts: tuple[Tensor, ...], *, weighted: bool) -> list[float]:
    count = len(targets)
    truth = targets.to(torch.float64).reshape(count, -1)
    squares = (preds.to(torch.float64).reshape(count, -1) - truth).square()
    variance = (truth - truth.mean(0)).square().mean(0)
    values = []
    for part in parts:
        error = squares[part].mean(0)
        ratio = error.sum() / variance.sum() if weighted else (error / variance).mean()
        value = 1.0 - float(ratio)
        values.append(value if math.isfinite(value) else math.nan)
    return values


def _value_or_nan(fresh: torchmetrics.Metric, preds: Tensor, targets: Tensor) -> float:
    try:
        return metric_value(fresh, preds, targets)
    except (IndexError, RuntimeError, TypeError, ValueError):
        return math.nan  # such as a window of one class


def _mean(values: tuple[float, ...]) -> float:
    seen = [value for value in values if math.isfinite(value)]
    return sum(seen) / len(seen) if seen else math.nan
