"""The baseline a decoder must beat: ridge regression on the spike counts around each target time.

T target times, U units, L lagged bins, D target dimensions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nd_data import Data, Dataset
from nd_data.interval import Interval
from nd_eval import StitchedTrace, balanced_accuracy, r2_score
from nd_models import DataType, ModalitySpec
from nd_models.ridge import RidgeDecoder

PENALTIES = tuple(float(10.0**power) for power in range(6))


def ridge_scores(
    root: str | Path,
    config: Any,
    spec: ModalitySpec,
    *,
    window_length: float,
    bin_width: float = 0.1,
    split: str = "test",
    penalties: Sequence[float] = PENALTIES,
) -> dict[str, float]:
    """Fit and score one ridge regression a recording, on the recordings and splits of a decoder's run.

    A target at time t is regressed on the spike counts of every unit in the bins that tile the `window_length` around
    t: what a window of that length shows. The penalty is the one of `penalties` that does best on the ``valid`` split;
    the regression is then fitted on ``train`` and ``valid`` together. Classes are regressed one against the rest, with
    rare ones repeated until all weigh about alike, and the largest wins.

    Args:
        root: Folder of recordings.
        config: Their configuration, as `Dataset` takes it.
        spec: The readout: which series holds its times and values, and whether these are classes.
        window_length: Seconds around a target whose spikes count.
        bin_width: Seconds of one count.
        split: Where to score.
        penalties: Ridge penalties to choose from.

    Returns:
        By recording: R², the mean over dimensions; for classes, balanced accuracy.

    Raises:
        ValueError: a recording without targets in one of its splits.
    """
    traces = ridge_traces(
        root, config, spec, window_length=window_length, bin_width=bin_width, split=split, penalties=penalties
    )
    if spec.type == DataType.CONTINUOUS:
        return {recording_id: float(r2_score(trace.preds, trace.targets)) for recording_id, trace in traces.items()}
    return {
        recording_id: float(balanced_accuracy(trace.preds.argmax(dim=1), trace.targets, num_classes=spec.dim))
        for recording_id, trace in traces.items()
    }


def ridge_traces(
    root: str | Path,
    config: Any,
    spec: ModalitySpec,
    *,
    window_length: float,
    bin_width: float = 0.1,
    split: str = "test",
    penalties: Sequence[float] = PENALTIES,
) -> dict[str, StitchedTrace]:
    """What the regressions of `ridge_scores` predict, for intervals and pictures of their scores.

    Args:
        root: As there.
        config: As there.
        spec: As there.
        window_length: As there.
        bin_width: As there.
        split: As there.
        penalties: As there.

    Returns:
        By recording: times, predictions and targets in the recording's units; for classes, a value for each class, the
        largest of which wins, and class indices.

    Raises:
        ValueError: a recording without targets in one of its splits.
    """
    parts = {name: Dataset(root, config=config, split=name) for name in ("train", "valid", split)}
    intervals = {name: dataset.get_sampling_intervals() for name, dataset in parts.items()}
    traces: dict[str, StitchedTrace] = {}
    for recording_id in intervals["train"]:
        examples = {
            name: _examples(
                dataset.get_recording_data(recording_id),
                intervals[name][recording_id],
                spec,
                window_length,
                bin_width,
            )
            for name, dataset in parts.items()
        }
        for name, (_, targets, _) in examples.items():
            if not len(targets):
                raise ValueError(f"recording '{recording_id}': no {spec.value_key} in its {name} split")
        features, targets, times = examples[split]
        pairs = {name: pair[:2] for name, pair in examples.items()}
        if spec.type != DataType.CONTINUOUS:
            pairs = {name: _balanced(*pair) for name, pair in pairs.items()}
        chosen = RidgeDecoder(lags=1, penalties=penalties).fit([pairs["train"]], validation=[pairs["valid"]])
        decoder = RidgeDecoder(lags=1, penalties=[chosen.penalty]).fit([pairs["train"], pairs["valid"]])
        continuous = spec.type == DataType.CONTINUOUS
        traces[recording_id] = StitchedTrace(
            timestamps=torch.from_numpy(times),
            preds=torch.from_numpy(decoder.predict(features)),
            targets=torch.from_numpy(targets if continuous else targets.argmax(axis=1)),
        )
    return traces


def _examples(
    recording: Data, intervals: Interval, spec: ModalitySpec, window_length: float, bin_width: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Features (T, L·U), targets (T, D) and times (T,) of the target times inside `intervals`."""
    times = np.asarray(recording.get_nested_attribute(spec.timestamp_key), dtype=np.float64)
    values = np.asarray(recording.get_nested_attribute(spec.value_key))
    values = values.astype(np.float64) if spec.type == DataType.CONTINUOUS else np.eye(spec.dim)[values.astype(int)]
    spike_times = np.asarray(recording.spikes.timestamps, dtype=np.float64)
    unit_index = np.asarray(recording.spikes.unit_index)
    units = len(recording.units.id)
    features, targets, kept = [], [], []
    for start, end in zip(intervals.start, intervals.end, strict=True):
        inside = slice(*np.searchsorted(times, [start, end]))
        spikes = slice(*np.searchsorted(spike_times, [start, end]))
        features.append(
            lagged_counts(times[inside], spike_times[spikes], unit_index[spikes], units, window_length, bin_width)
        )
        targets.append(values[inside])
        kept.append(times[inside])
    return np.concatenate(features), np.concatenate(targets), np.concatenate(kept)


def _balanced(
    features: NDArray[np.float64], targets: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Repeat the examples of rare classes (targets one-hot) until every class has about as many as the most common."""
    count = targets.sum(axis=0)
    repeats = np.rint(count.max() / np.maximum(count, 1)).astype(int)[targets.argmax(axis=1)]
    return np.repeat(features, repeats, axis=0), np.repeat(targets, repeats, axis=0)


def lagged_counts(
    times: NDArray[np.float64],
    spike_times: NDArray[np.float64],
    unit_index: NDArray[np.integer[Any]],
    units: int,
    window_length: float,
    bin_width: float,
    *,
    grid: float = 0.005,
) -> NDArray[np.float64]:
    """Spike counts in the bins around each time.

    Args:
        times: Target times in seconds. Shape: (T,).
        spike_times: Sorted spike times in seconds.
        unit_index: Unit of every spike.
        units: How many units there are, U.
        window_length: Seconds that the L bins span, centred on each time.
        bin_width: Seconds of a bin; L = round(window_length / bin_width), at least 1.
        grid: Bin edges are rounded to this many seconds.

    Returns:
        Counts, L bins of U units each. Shape: (T, L·U).
    """
    lags = max(round(window_length / bin_width), 1)
    if not len(times):
        return np.zeros((0, lags * units))
    half = lags * bin_width / 2
    origin = times[0] - half - grid
    cells = int(np.ceil((times[-1] + half - origin) / grid)) + 2
    inside = (spike_times >= origin) & (spike_times < origin + cells * grid)
    cell = ((spike_times[inside] - origin) / grid).astype(np.int64)
    counts = np.zeros((cells + 1, units), dtype=np.float64)
    np.add.at(counts, (cell + 1, unit_index[inside]), 1.0)
    before = np.cumsum(counts, axis=0)
    edges = times[:, None] - half + bin_width * np.arange(lags + 1)
    at = np.clip(np.rint((edges - origin) / grid).astype(np.int64), 0, cells)
    features: NDArray[np.float64] = np.diff(before[at], axis=1).reshape(len(times), lags * units)
    return features
