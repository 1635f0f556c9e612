"""Stitched traces of made-up series, as an evaluation leaves them: for the tests of the exporters."""

import numpy as np
import torch

from nd_eval import StitchingAccumulator


def stitched(series, *, step, offset=0.0, window=0.5):
    """Stitch windows, each half over the next, whose values err to opposite sides; ``series`` by (recording, task)."""
    accumulator = StitchingAccumulator()
    for (recording, task), (preds, targets) in series.items():
        length = round(window / step)
        for number, first in enumerate(range(0, len(preds), length // 2)):
            rows = slice(first, min(first + length, len(preds)))
            times = offset + step * torch.arange(rows.start, rows.stop, dtype=torch.float64)
            error = 0.02 * (-1) ** number if preds.dtype.is_floating_point else 0
            accumulator.update(
                recording, task, times, preds[rows] + error, targets[rows], window_starts=times[0].item()
            )
    return accumulator.compute()


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))
