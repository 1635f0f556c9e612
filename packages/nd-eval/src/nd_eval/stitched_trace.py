"""What stitching leaves of one task in one recording.

Shape legend: ``U`` distinct times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class StitchedTrace:
    """Predictions and targets of one task in one recording, one of each for every time.

    Attributes:
        timestamps: Absolute times in seconds, ascending. Shape: (U,) float64.
        preds: Predictions: floats (values or logits) or class indices. Shape: (U, ...).
        targets: Targets. Shape: (U, ...).
    """

    timestamps: Tensor
    preds: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return self.timestamps.numel()

    def observed(self) -> StitchedTrace:
        """The times whose target is not NaN."""
        # A sum is finite only without NaN: one quick pass tells for most.
        if not self.targets.is_floating_point() or bool(torch.isfinite(self.targets.sum())):
            return self
        seen = ~torch.isnan(self.targets).reshape(len(self), -1).any(1)
        return self if bool(seen.all()) else self.at(seen)

    def at(self, places: Tensor) -> StitchedTrace:
        """The times at some places, given by index or as a mask."""
        return StitchedTrace(self.timestamps[places], self.preds[places], self.targets[places])


def joined_traces(traces: Sequence[StitchedTrace]) -> StitchedTrace:
    """One trace of several, one or more, that share no time, in the order of their times."""
    if len(traces) == 1:
        return traces[0]
    whole = StitchedTrace(
        torch.cat([trace.timestamps for trace in traces]),
        torch.cat([trace.preds for trace in traces]),
        torch.cat([trace.targets for trace in traces]),
    )
    return whole.at(torch.sort(whole.timestamps, stable=True).indices)
