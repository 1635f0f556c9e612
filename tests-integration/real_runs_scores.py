"""Scores of real runs with their intervals, and how far one decoder is ahead of another on the same time.

U times, S seeds, D output width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from nd_eval import StitchedTrace, bootstrap_interval, build_metric
from nd_models import DataType, ModalitySpec

TOLERANCE_S = 1e-6


def scored(traces: dict[str, StitchedTrace], metric: str, spec: ModalitySpec) -> dict[str, list[float]]:
    """Score of each recording with the ends of its 95 % interval (block bootstrap over time)."""
    found = {}
    for recording, trace in sorted(traces.items()):
        interval = bootstrap_interval(build_metric(metric), trace.preds, _targets(trace, spec))
        found[recording] = [round(number, 4) for number in (interval.value, interval.low, interval.high)]
    return found


def ahead_of(
    ours: Sequence[StitchedTrace], theirs: Sequence[StitchedTrace], metric: str, spec: ModalitySpec
) -> list[float]:
    """Mean score of one decoder's seeds less that of another's, with the ends of its 95 % interval.

    Blocks of time are drawn for both alike: what is hard for both cancels.

    Args:
        ours: A trace of one recording for each seed.
        theirs: Those of the other decoder, as many or not. Times that not all traces have are left out.
        metric: What is compared, by name.
        spec: What is read out.

    Raises:
        ValueError: no time is in all traces.
    """
    traces = [*ours, *theirs]
    shared = traces[0].timestamps
    for trace in traces[1:]:
        shared = shared[(shared - trace.timestamps[_nearest(trace, shared)]).abs() < TOLERANCE_S]
    if not len(shared):
        raise ValueError("expected traces of the same recording and split, found no time that all of them have")
    places = [_nearest(trace, shared) for trace in traces]
    preds = torch.stack([trace.preds[at].double() for trace, at in zip(traces, places, strict=True)], dim=1)
    # Each beside its own targets: a network's are scaled, a regression's are not.
    targets = torch.stack([_targets(trace, spec)[at] for trace, at in zip(traces, places, strict=True)], dim=1)
    interval = bootstrap_interval(_Difference(metric, len(ours)), preds, targets)
    return [round(number, 4) for number in (interval.value, interval.low, interval.high)]


def _nearest(trace: StitchedTrace, times: Tensor) -> Tensor:
    """Index of the nearest of a trace's times, for each of the times asked for."""
    after = torch.searchsorted(trace.timestamps, times).clamp(1, max(1, len(trace) - 1))
    if len(trace) == 1:
        return torch.zeros_like(after)
    before = after - 1
    nearer = times - trace.timestamps[before] <= trace.timestamps[after] - times
    return torch.where(nearer, before, after)


def _targets(trace: StitchedTrace, spec: ModalitySpec) -> Tensor:
    """Targets as the metric takes them: classes are whole numbers, also out of a file of floats."""
    return trace.targets if spec.type == DataType.CONTINUOUS else trace.targets.long().reshape(len(trace))


class _Difference(Metric):
    """Mean score of the first of several predictions less that of the others: (U, S, D) beside targets (U, S, …)."""

    def __init__(self, name: str, first: int) -> None:
        super().__init__()
        self.name, self.first = name, first
        self.value: Tensor
        self.add_state("value", torch.tensor(0.0, dtype=torch.float64))

    def update(self, preds: Tensor, target: Tensor) -> None:
        pairs = zip(preds.unbind(1), target.unbind(1), strict=True)
        scores = torch.stack([build_metric(self.name)(one, true).double() for one, true in pairs])
        self.value = scores[: self.first].mean() - scores[self.first :].mean()

    def compute(self) -> Tensor:
        return self.value
