"""Traces for the eye: as many points as a page has room for, packed into text that a browser unpacks.

U distinct times, K dimensions of the output, P points that are drawn of a dimension.
"""

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nd_eval import StitchedTrace
from nd_eval.plot.sources import columns_of
from nd_eval.plot.time_lines import gap_length
from nd_train.report.score_sheet import is_scorable

FEWEST_POINTS = 400
"""Fewer points than this of a dimension tell nothing: then fewer traces are put in."""

_LARGEST = 32767
_MISSING = -32768  # a value that is NaN


@dataclass(frozen=True)
class PackedTrace:
    """One trace as text.

    Attributes:
        recording: Its id.
        task: The readout.
        header: What the page needs to unpack and to describe it, plain values.
        text: For every dimension P steps of time (int32 ticks; negative after a gap), P predictions and, where there
            are targets, P targets (int16 between the header's ``low`` and ``high``), little-endian, deflated, base64.
    """

    recording: str
    task: str
    header: Mapping[str, Any]
    text: str


def pack_trace(recording: str, task: str, trace: StitchedTrace, *, points: int | None = None) -> PackedTrace:
    """Choose the points of a trace to draw, and pack them.

    Args:
        recording: Its id.
        task: The readout.
        trace: Times with predictions and, where known, targets.
        points: About how many points of a dimension to keep: of each stretch of neighbours the smallest and the
            largest prediction and target, at their own times. None keeps all. Of classes every change is kept first.
    """
    times = trace.timestamps.to(torch.float64).cpu().numpy()
    preds, targets, are_classes = _columns(trace)
    gap = gap_length(torch.from_numpy(times))
    tick = max(1e-6, float(times[-1] - times[0]) / 2**30)
    dimensions, parts, kept = [], [], 0
    for column in range(preds.shape[1]):
        series = [preds[:, column]] + ([] if targets is None else [targets[:, column]])
        chosen = chosen_points(times, series, points, gap=gap, steady=are_classes)
        kept += len(chosen)
        finite = np.concatenate([one[np.isfinite(one)] for one in series])
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        high = high if high > low else low + 1.0
        dimensions.append({"points": len(chosen), "low": low, "high": high})
        parts.append(_ticks(times[chosen], tick, _before_gap(times, chosen, gap)).tobytes())
        parts += [_levels(one[chosen], low, high).tobytes() for one in series]
    every = len(times) * preds.shape[1]
    header = {
        "start": float(times[0]),
        "end": float(times[-1]),
        "tick": tick,
        "dimensions": dimensions,
        "truth": targets is not None,
        "classes": are_classes,
        "times": len(times),
        "every": math.ceil(every / kept) if kept < every and not (are_classes and points is None) else 1,
        "median_step": float(np.median(np.diff(times))) if len(times) > 1 else 0.0,
    }
    text = base64.b64encode(zlib.compress(b"".join(parts), 9)).decode("ascii")
    return PackedTrace(recording, task, header, text)


def pack_traces(
    traces: Sequence[tuple[str, str, StitchedTrace]], room: int, *, ranks: Sequence[float] | None = None
) -> tuple[list[PackedTrace], int]:
    """Pack traces into so many characters, all points where they fit.

    Args:
        traces: Recording, task and trace.
        room: Characters for all together.
        ranks: A score of each trace. Where not even `FEWEST_POINTS` of every one fit, the traces that are kept are
            spread evenly over these from the worst to the best; without, over their order.

    Returns:
        The packed traces in the order given, and how many were left out.
    """
    if not traces or room <= 0:
        return [], len(traces)
    values = sum(len(trace) * _width(trace) for _, _, trace in traces)
    # No trace packs tighter than about half a byte a point: do not try what cannot fit.
    points = (
        None if values < room * 2 else max(FEWEST_POINTS, int(room / sum(_width(trace) for *_, trace in traces) / 4))
    )
    kept = list(range(len(traces)))
    fitting: list[PackedTrace] | None = None
    while True:
        packed = [pack_trace(*traces[place], points=points) for place in kept]
        size = sum(len(one.text) for one in packed)
        if size <= room:
            if points is None or fitting is not None or size > 0.85 * room:
                return packed, len(traces) - len(kept)
            # The guess was too careful: once more with what is left.
            fitting, points = packed, int(points * 0.95 * room / size)
            continue
        if fitting is not None:
            return fitting, len(traces) - len(kept)
        longest = max(int(one["points"]) for trace in packed for one in trace.header["dimensions"])
        points = int((longest if points is None else min(points, longest)) * 0.92 * room / size)
        if points < FEWEST_POINTS:
            if len(kept) == 1:
                return [], len(traces)
            fewer = max(1, min(len(kept) - 1, int(len(kept) * max(points, 1) / FEWEST_POINTS)))
            kept = spread(kept, fewer, ranks)
            points = FEWEST_POINTS


def chosen_points(
    times: NDArray[np.float64],
    series: Sequence[NDArray[np.float64]],
    points: int | None,
    *,
    gap: float,
    steady: bool = False,
) -> NDArray[np.int64]:
    """Which times of a line to draw.

    Args:
        times: Shape: (U,).
        series: Lines over them, (U,) each; NaN is nothing.
        points: About how many to keep; None for all.
        gap: Longer steps of time are gaps, whose two sides are kept while they are few.
        steady: Whether lines are steps between classes: then the points where nothing changes are left out.

    Returns:
        Places in ascending order, the first and the last among them.
    """
    count = len(times)
    kept = np.arange(count, dtype=np.int64)
    sides = np.flatnonzero(np.diff(times) > gap)
    sides = np.concatenate([sides, sides + 1])
    if steady and count > 2:
        changes = np.flatnonzero(np.any([np.diff(one) != 0 for one in series], axis=0))
        kept = np.unique(np.concatenate([[0, count - 1], changes, changes + 1, sides]))
    if points is None or len(kept) <= points:
        return kept
    stretches = max(1, points // (2 * len(series)))
    width = math.ceil(count / stretches)
    padded = math.ceil(count / width) * width
    places = [np.array([0, count - 1])]
    offsets = np.arange(padded // width) * width
    for one in series:
        for worst, extreme in ((np.inf, np.argmin), (-np.inf, np.argmax)):
            filled = np.full(padded, worst)
            filled[:count] = np.where(np.isfinite(one), one, worst)
            places.append(np.minimum(extreme(filled.reshape(-1, width), axis=1) + offsets, count - 1))
    if len(sides) <= points // 2:
        places.append(sides)
    return np.unique(np.concatenate(places)).astype(np.int64)


def _columns(trace: StitchedTrace) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, bool]:
    if is_scorable(trace):
        columns = columns_of(trace.preds, trace.targets)
        both = [values.to(torch.float64).numpy() for values in columns[:2]]
        return both[0], both[1], columns.are_classes
    preds = trace.preds.detach().cpu()
    are_classes = not preds.is_floating_point()
    return preds.to(torch.float64).reshape(len(preds), -1).numpy(), None, are_classes


def _width(trace: StitchedTrace) -> int:
    """Dimensions that are drawn: of classes one, however many logits there are."""
    of_one = trace.targets if is_scorable(trace) else trace.preds
    return max(1, of_one[0].numel())


def _before_gap(times: NDArray[np.float64], chosen: NDArray[np.int64], gap: float) -> NDArray[np.bool_]:
    """Whether a gap lies between each chosen place and the one before."""
    gaps = np.concatenate([[0], np.cumsum(np.diff(times) > gap)])
    return np.concatenate([[False], np.diff(gaps[chosen]) > 0])


def _ticks(times: NDArray[np.float64], tick: float, after_gap: NDArray[np.bool_]) -> NDArray[np.int32]:
    offsets = np.rint((times - times[0]) / tick).astype(np.int64)
    steps = np.diff(offsets, prepend=0)
    signed: NDArray[np.int32] = np.where(after_gap, -steps, steps).astype("<i4")
    return signed


def _levels(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.int16]:
    seen = np.isfinite(values)
    scaled = np.rint((np.where(seen, values, low) - low) / (high - low) * 2 * _LARGEST) - _LARGEST
    levels: NDArray[np.int16] = np.where(seen, scaled, _MISSING).astype("<i2")
    return levels


def spread(kept: Sequence[int], number: int, ranks: Sequence[float] | None) -> list[int]:
    """So many of some places, evenly over their ranks from the lowest to the highest, or over their order."""
    ordered = list(kept)
    if ranks is not None and any(math.isfinite(ranks[place]) for place in ordered):
        ordered.sort(key=lambda place: (not math.isfinite(ranks[place]), ranks[place]))
    step = (len(ordered) - 1) / max(1, number - 1)
    return sorted({ordered[round(place * step)] for place in range(number)})
