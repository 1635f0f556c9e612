"""Mean and standard deviation of continuous targets, from the training split alone, to scale targets by.

D channels of a readout.
"""

import pickle  # for the name of an error: nothing is unpickled
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nd_data import Data, Dataset, isin_interval
from nd_data.configuration import ConfigurationLike
from nd_data.configuration_source import ConfigurationSource
from nd_models import DataType, ModalitySpec
from nd_models.target_scale import TargetStatistics

# What Lightning calls the state of a `NeuralDataModule` in a checkpoint.
_DATA_MODULE = "NeuralDataModule"


def fit_target_statistics(dataset: Dataset, readout_specs: Mapping[str, ModalitySpec]) -> TargetStatistics:
    """Measure the targets of a split: every target time in its sampling intervals counts once.

    All recordings that share a readout are pooled, so that one decoder of them has one scale. Readouts of which every
    recording's configuration has ``normalize_mean`` and ``normalize_std`` are left out, and so are classes.

    Args:
        dataset: The recordings, with ``split="train"``. Its transform is not used.
        readout_specs: Modalities by readout id.

    Returns:
        Statistics by readout id. The standard deviation is that of the population.

    Raises:
        ValueError: a channel does not vary, or no recording has a target in the split.
    """
    moments: dict[str, _Moments] = {}
    lacking: set[str] = set()
    intervals = dataset.get_sampling_intervals()
    for recording_id, configuration in dataset.get_recording_config_dict().items():
        recording = dataset.open_recording(recording_id)
        for entry in readout_entries(configuration):
            readout_id = str(entry["readout_id"])
            spec = readout_specs.get(readout_id)
            if spec is None or spec.type is not DataType.CONTINUOUS:
                continue
            if "normalize_mean" in entry and "normalize_std" in entry:
                continue  # It has a scale of its own.
            lacking.add(readout_id)
            values = _targets(recording, entry, spec)
            if values is not None:
                times, numbers = values
                inside = numbers[isin_interval(times, intervals[recording_id])]
                moments.setdefault(readout_id, _Moments()).add(inside)
    return {name: moments.get(name, _Moments()).statistics(name) for name in sorted(lacking)}


def with_target_statistics(config: ConfigurationLike, statistics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A copy of a configuration in which readouts without ``normalize_mean`` or ``normalize_std`` have those measured.

    Args:
        config: As `Dataset` takes it; valid.
        statistics: As `fit_target_statistics` returns them.

    Example:
        >>> config = {"config": {"readout": {"readout_id": "speed", "normalize_mean": 0.0}}}
        >>> with_target_statistics(config, {"speed": {"mean": [2.0], "std": [3.0]}})
        [{'config': {'readout': {'readout_id': 'speed', 'normalize_mean': 0.0, 'normalize_std': 3.0}}}]
    """
    content = ConfigurationSource.read(config).value
    entries: list[dict[str, Any]] = [_copied(entry) for entry in (content if isinstance(content, list) else [content])]
    for entry in entries:
        for readout in readout_entries(entry.get("config") or {}):
            measured = statistics.get(str(readout["readout_id"]))
            if measured is not None:
                readout.setdefault("normalize_mean", _number_or_channels(measured["mean"]))
                readout.setdefault("normalize_std", _number_or_channels(measured["std"]))
    return entries


def statistics_of_checkpoint(path: str | PathLike[str]) -> TargetStatistics | None:
    """What the run that wrote a checkpoint scaled its targets by, so that others scale by the same.

    Args:
        path: A checkpoint that `nd_models.read_checkpoint` reads.

    Returns:
        Statistics by readout id; None where the checkpoint says nothing of them, as that of another program.
    """
    try:
        return statistics_in(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError:
        return None  # It holds more than plain values, which no checkpoint of ours does.


def statistics_in(checkpoint: Mapping[str, Any]) -> TargetStatistics | None:
    """The same of a checkpoint's content."""
    stored = checkpoint.get(_DATA_MODULE)
    return None if stored is None else dict(stored["target_statistics"])


def readout_entries(configuration: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What a recording's configuration says about each of its readouts, whether it has one or several."""
    if "readout" in configuration:
        yield configuration["readout"]
    yield from configuration.get("multitask_readout", [])


class _Moments:
    """Mean and sum of squared deviations, joined part by part (Chan et al. 1979), in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self.deviations: Any = 0.0

    def add(self, values: NDArray[Any]) -> None:
        values = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
        values = values[np.isfinite(values).all(axis=1)]
        if not len(values):
            return
        mean = values.mean(axis=0)
        deviations = np.square(values - mean).sum(axis=0)
        total = self.count + len(values)
        apart = mean - self.mean
        self.deviations = self.deviations + deviations + np.square(apart) * (self.count * len(values) / total)
        self.mean = self.mean + apart * (len(values) / total)
        self.count = total

    def statistics(self, readout_id: str) -> dict[str, list[float]]:
        if not self.count:
            raise ValueError(
                f"readout '{readout_id}': no recording has a target of it in the training split, so there is no "
                "mean and standard deviation; give normalize_mean and normalize_std in the configuration"
            )
        deviation = np.sqrt(self.deviations / self.count)
        # Rounding of a constant leaves less than this.
        constant = np.flatnonzero(deviation <= 1e-12 * np.abs(self.mean))
        if len(constant):
            channels = ", ".join(str(channel) for channel in constant.tolist())
            raise ValueError(
                f"readout '{readout_id}': channel {channels} has the same value at all {self.count} target times of "
                "the training split, so there is no scale; leave the readout out, or give normalize_std"
            )
        return {"mean": self.mean.tolist(), "std": deviation.tolist()}


def _targets(
    recording: Data, entry: Mapping[str, Any], spec: ModalitySpec
) -> tuple[NDArray[np.float64], NDArray[Any]] | None:
    keys = entry.get("timestamp_key", spec.timestamp_key), entry.get("value_key", spec.value_key)
    # A recording without the readout is the tokenizer's to refuse, which knows how to say so.
    if not all(recording.has_nested_attribute(key) for key in keys):
        return None
    times, values = (np.asarray(recording.get_nested_attribute(key)) for key in keys)
    return (times, values) if len(times) == len(values) else None


def _number_or_channels(numbers: Sequence[float]) -> float | list[float]:
    # One channel may be stored without a dimension of its own; a number fits either.
    return numbers[0] if len(numbers) == 1 else list(numbers)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(part) for part in value]
    return value
