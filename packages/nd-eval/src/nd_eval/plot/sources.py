"""What is to be drawn, from an evaluation's result or from traces and tensors.

Shape legend: ``U`` distinct times, ``K`` dimensions of the output, ``L`` labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nd_eval.evaluation_result import EvaluationResult
from nd_eval.known_name import known_name
from nd_eval.metric_value import aligned
from nd_eval.metrics.classification_scores import class_decisions
from nd_eval.stitched_trace import StitchedTrace


class Columns(NamedTuple):
    """Predictions and targets in columns, on the CPU.

    Attributes:
        preds: Values, (U, K) float64, or class indices, (U, L) int64.
        targets: Likewise.
        are_classes: Whether they are classes.
    """

    preds: Tensor
    targets: Tensor
    are_classes: bool


def named_traces(
    source: EvaluationResult | StitchedTrace | Mapping[str, StitchedTrace],
    task: str | None,
    recordings: Sequence[str] | None,
) -> dict[str, StitchedTrace]:
    """The traces to draw, by recording; a trace by itself has the name ''.

    Raises:
        KeyError: there is no such task or recording.
        ValueError: the result has several tasks and none is chosen, the lengths of a trace differ, its times do not
            ascend, or there is nothing to draw.
    """
    if isinstance(source, StitchedTrace):
        found = {"": source}
    elif isinstance(source, EvaluationResult):
        tasks = sorted({name for of_recording in source.traces.values() for name in of_recording})
        chosen = one_of(task, tasks, "task")
        found = {name: of_task[chosen] for name, of_task in sorted(source.traces.items()) if chosen in of_task}
    else:
        found = dict(source)
    if recordings is not None:
        found = {known_name(name, found, "recording"): found[name] for name in recordings}
    for name, trace in found.items():
        if trace.timestamps.ndim != 1 or not len(trace) == trace.preds.shape[0] == trace.targets.shape[0]:
            raise ValueError(
                f"{_place(name)}timestamps, predictions and targets must have the same first dimension; found shapes "
                f"{tuple(trace.timestamps.shape)}, {tuple(trace.preds.shape)} and {tuple(trace.targets.shape)}"
            )
        if not bool((trace.timestamps.diff() >= 0).all()) or not bool(torch.isfinite(trace.timestamps).all()):
            raise ValueError(f"{_place(name)}timestamps must be finite and ascend")
    if not any(len(trace) for trace in found.values()):
        raise ValueError("there is nothing to draw: no recording has a single evaluated time")
    return {name: trace for name, trace in found.items() if len(trace)}


def aligned_pairs(
    source: Tensor | EvaluationResult, targets: Tensor | None, task: str | None, recordings: Sequence[str] | None
) -> tuple[Tensor, Tensor]:
    """Predictions and targets: two tensors, or those of the chosen recordings of a result one after the other.

    Raises:
        TypeError: tensors without targets, or a result with them.
        ValueError: the lengths differ, or there is nothing.
        KeyError: there is no such task or recording.
    """
    if isinstance(source, EvaluationResult):
        if targets is not None:
            raise TypeError("a result brings its own targets; choose with task= and recordings=")
        traces = named_traces(source, task, recordings)
        parts = [aligned(trace.preds, trace.targets) for trace in traces.values()]
        if len({(preds.shape[1:], of_targets.shape[1:]) for preds, of_targets in parts}) > 1:
            shapes = {name: tuple(trace.preds.shape) for name, trace in traces.items()}
            raise ValueError(f"recordings of different numbers of dimensions cannot share a picture: {shapes}")
        return torch.cat([preds for preds, _ in parts]).cpu(), torch.cat([of_targets for _, of_targets in parts]).cpu()
    if targets is None:
        raise TypeError("predictions alone cannot be compared: give the targets as the second argument")
    if source.shape[:1] != targets.shape[:1] or targets.ndim == 0:
        raise ValueError(f"predictions of shape {tuple(source.shape)} but targets of shape {tuple(targets.shape)}")
    if not len(targets):
        raise ValueError("there is nothing to draw: the predictions and targets are empty")
    preds, targets = aligned(source, targets)
    return preds.detach().cpu(), targets.detach().cpu()


def columns_of(preds: Tensor, targets: Tensor, name: str = "") -> Columns:
    """Bring (U,), (U, 1), (U, K) and logits (U, C) into one layout.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    preds, targets = (values.detach().cpu() for values in aligned(preds, targets))
    if not targets.is_floating_point():
        try:
            decisions = class_decisions(preds, targets)
        except (TypeError, ValueError) as problem:
            raise type(problem)(f"{_place(name)}{problem}") from None
        both = [values.to(torch.int64).reshape(targets.shape[0], -1) for values in (decisions, targets)]
        return Columns(both[0], both[1], are_classes=True)
    if preds.shape != targets.shape or targets.ndim not in (1, 2):
        raise ValueError(
            f"{_place(name)}predictions and targets must both be (times,) or (times, dimensions); found "
            f"{tuple(preds.shape)} and {tuple(targets.shape)}"
        )
    both = [values.to(torch.float64).reshape(targets.shape[0], -1) for values in (preds, targets)]
    return Columns(both[0], both[1], are_classes=False)


def one_of(name: str | None, names: Sequence[str], kind: str) -> str:
    """The chosen one, or the only one.

    Raises:
        KeyError: there is no such name.
        ValueError: there are several and none is chosen, or none at all.
    """
    if name is not None:
        return known_name(name, names, kind)
    if len(names) == 1:
        return names[0]
    if not names:
        raise ValueError(f"there is nothing to draw: the result has no {kind}")
    raise ValueError(f"choose one {kind} with {kind}=; there are {', '.join(names)}")


def checked_period(period: float | None) -> None:
    """Refuse a full turn that is not a positive number."""
    if period is not None and not 0.0 < period < float("inf"):
        raise ValueError(f"period must be a positive number (2π for radians, 360 for degrees); found {period}")


def _place(name: str) -> str:
    return f"recording {name!r}: " if name else ""
