"""The baseline a decoder must beat: ridge regression on the spike counts around each target time.

T target times, U units, L lagged bins, D target dimensions.
"""

import dataclasses
from collections.abc import Mapping, Sequence
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
from nd_train.target_statistics import readout_entries

Examples = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Features (T, L·U), targets (T, D) and times (T,)."""

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
    readout_id: str | None = None,
    skipped: dict[str, str] | None = None,
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
        readout_id: The readout's name: then only recordings whose configuration asks for it are fitted, with times and
            values from where the configuration has them. None takes all recordings, and `spec` as it is.
        skipped: Where given, recordings that cannot be fitted are left out, and noted here with the reason.

    Returns:
        By session id: R², the mean over dimensions; for classes, balanced accuracy.

    Raises:
        ValueError: a recording without spikes, or without targets in one of its splits; or labels, of which several may
            hold at a time.
    """
    traces = ridge_traces(
        root,
        config,
        spec,
        window_length=window_length,
        bin_width=bin_width,
        split=split,
        penalties=penalties,
        readout_id=readout_id,
        skipped=skipped,
    )
    if spec.type == DataType.CONTINUOUS:
        return {session_id: float(r2_score(trace.preds, trace.targets)) for session_id, trace in traces.items()}
    return {
        session_id: float(balanced_accuracy(trace.preds.argmax(dim=1), trace.targets, num_classes=spec.dim))
        for session_id, trace in traces.items()
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
    readout_id: str | None = None,
    skipped: dict[str, str] | None = None,
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
        readout_id: As there.
        skipped: As there.

    Returns:
        By session id: times, predictions and targets in the recording's units; for classes, a value for each class, the
        largest of which wins, and class indices.

    Raises:
        ValueError: As there.
    """
    if spec.type not in (DataType.CONTINUOUS, DataType.MULTINOMIAL):
        raise ValueError(f"ridge regression is for numbers and classes, not for {spec.type.name} labels")
    parts = {name: Dataset(root, config=config, split=name) for name in ("train", "valid", split)}
    intervals = {name: dataset.get_sampling_intervals() for name, dataset in parts.items()}
    configured, sessions = parts["train"].get_recording_config_dict(), parts["train"].get_session_id_dict()
    traces: dict[str, StitchedTrace] = {}
    for recording_id in intervals["train"]:
        own = spec if readout_id is None else _configured_spec(spec, readout_id, configured[recording_id])
        if own is None:
            continue
        try:
            examples = {
                name: _examples(
                    dataset.get_recording_data(recording_id),
                    intervals[name][recording_id],
                    own,
                    window_length,
                    bin_width,
                    where=f"recording '{recording_id}'",
                    split=name,
                )
                for name, dataset in parts.items()
            }
        except ValueError as error:
            if skipped is None:
                raise
            skipped[recording_id] = str(error)
            continue
        traces[sessions[recording_id]] = _fitted(examples, split, own, penalties)
    return traces


def _configured_spec(spec: ModalitySpec, readout_id: str, configuration: Mapping[str, Any]) -> ModalitySpec | None:
    """The readout with the keys that a recording's configuration has for it; None where it does not ask for it."""
    for entry in readout_entries(configuration):
        if str(entry["readout_id"]) == readout_id:
            keys = {key: entry[key] for key in ("timestamp_key", "value_key") if key in entry}
            return dataclasses.replace(spec, **keys)
    return None


def _fitted(
    examples: Mapping[str, Examples], split: str, spec: ModalitySpec, penalties: Sequence[float]
) -> StitchedTrace:
    """What the regression with the best penalty predicts for a split."""
    features, targets, times = examples[split]
    pairs = {name: pair[:2] for name, pair in examples.items()}
    continuous = spec.type == DataType.CONTINUOUS
    if not continuous:
        pairs = {name: _balanced(*pair) for name, pair in pairs.items()}
    chosen = RidgeDecoder(lags=1, penalties=penalties).fit([pairs["train"]], validation=[pairs["valid"]])
    decoder = RidgeDecoder(lags=1, penalties=[chosen.penalty]).fit([pairs["train"], pairs["valid"]])
    return StitchedTrace(
        timestamps=torch.from_numpy(times),
        preds=torch.from_numpy(decoder.predict(features)),
        targets=torch.from_numpy(targets if continuous else targets.argmax(axis=1)),
    )


def _examples(
    recording: Data,
    intervals: Interval,
    spec: ModalitySpec,
    window_length: float,
    bin_width: float,
    *,
    where: str,
    split: str,
) -> Examples:
    """Features (T, L·U), targets (T, D) and times (T,) of the target times inside `intervals`."""
    lacking = [key for key in (spec.timestamp_key, spec.value_key) if not recording.has_nested_attribute(key)]
    if lacking:
        raise ValueError(f"{where}: it has no {lacking[0]}")
    if "spikes" not in recording:
        raise ValueError(f"{where}: it has no spikes, which the regression counts")
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
    if not sum(map(len, kept)):
        raise ValueError(f"{where}: no {spec.value_key} in its {split} split")
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
