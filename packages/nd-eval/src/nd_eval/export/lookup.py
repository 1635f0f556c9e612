"""Predictions of an evaluation at the times that a benchmark asks for.

Shape legend: ``U`` distinct times of a trace, ``N`` trials or windows, ``T`` times of each.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nd_eval.evaluation_result import EvaluationResult
from nd_eval.known_name import known_name
from nd_eval.stitched_trace import StitchedTrace

TraceSource = EvaluationResult | Mapping[str, Mapping[str, StitchedTrace]] | Mapping[tuple[str, str], StitchedTrace]


def trace_of(source: TraceSource, recording: str, task: str) -> StitchedTrace:
    """The stitched trace of a recording and task.

    Args:
        source: An evaluation's result, its ``traces``, or what ``StitchingAccumulator.compute()`` gave.
        recording: The recording.
        task: The task.

    Raises:
        KeyError: there is none; the message lists what there is.
    """
    traces = _by_recording(source)
    of_recording = traces[known_name(recording, traces, "recording")]
    return of_recording[known_name(task, of_recording, f"task of recording {recording!r} called")]


def predictions_at(
    trace: StitchedTrace, times: Tensor, *, tolerance: float = 1e-4, fill: float | None = None, name: str = "trace"
) -> Tensor:
    """The stitched predictions at given times.

    Args:
        trace: Stitched predictions; their times ascend.
        times: Absolute times in seconds, of any shape, such as (N, T) for the bins of trials.
        tolerance: How far, in seconds, a prediction's time may be from the time asked for; the nearest is taken.
        fill: What stands where there is no prediction; None makes that an error.
        name: What the trace is called in errors.

    Returns:
        Predictions, (..., ) of the shape of ``times`` followed by that of one prediction.

    Raises:
        ValueError: a time is not finite, the trace is empty, or times have no prediction and there is no ``fill``.

    Example:
        >>> import torch
        >>> from nd_eval import StitchedTrace
        >>> from nd_eval.export import predictions_at
        >>> seconds = torch.arange(100, dtype=torch.float64) / 50
        >>> trace = StitchedTrace(seconds, seconds[:, None] * 2, seconds[:, None])
        >>> trials = torch.tensor([[0.1], [1.0]], dtype=torch.float64) + torch.arange(3) / 50
        >>> predictions_at(trace, trials).shape
        torch.Size([2, 3, 1])
    """
    asked = times.detach().cpu().to(torch.float64)
    if not bool(torch.isfinite(asked).all()):
        raise ValueError(f"{name}: the times asked for must be finite seconds")
    if not len(trace):
        raise ValueError(f"{name}: has no predictions at all")
    stamps = trace.timestamps.detach().cpu().to(torch.float64)
    after = torch.searchsorted(stamps, asked.flatten()).clamp(max=len(stamps) - 1)
    before = (after - 1).clamp(min=0)
    flat = asked.flatten()
    nearest = torch.where((flat - stamps[before]).abs() < (stamps[after] - flat).abs(), before, after)
    missing = (stamps[nearest] - flat).abs() > tolerance
    if bool(missing.any()) and fill is None:
        first = int(missing.nonzero()[0])
        place = tuple(int(index) for index in torch.unravel_index(torch.tensor(first), asked.shape))
        raise ValueError(
            f"{name}: {int(missing.sum())} of {flat.numel()} times have no prediction within {tolerance:g} s, first "
            f"{float(flat[first]):.6f} s (place {place}); the trace has {len(stamps)} times from "
            f"{float(stamps[0]):.6f} to {float(stamps[-1]):.6f} s. Evaluate all of "
            "that time, or ask for the times that the model puts out"
        )
    values = trace.preds.detach().cpu()[nearest]
    if fill is not None:
        values = values.clone()
        values[missing] = fill
    return values.reshape((*asked.shape, *trace.preds.shape[1:]))


def _by_recording(source: TraceSource) -> Mapping[str, Mapping[str, StitchedTrace]]:
    if isinstance(source, EvaluationResult):
        return source.traces
    nested: dict[str, dict[str, StitchedTrace]] = {}
    for key, value in source.items():
        if isinstance(key, tuple) and isinstance(value, StitchedTrace):
            nested.setdefault(key[0], {})[key[1]] = value
        elif isinstance(key, str) and isinstance(value, Mapping):
            nested[key] = dict(value)
        else:
            raise TypeError(
                "predictions come as an EvaluationResult, its traces, or what StitchingAccumulator.compute() gives; "
                f"found {type(value).__name__} under {key!r}"
            )
    return nested
