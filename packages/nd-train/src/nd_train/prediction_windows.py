"""Windows to predict on: any split or stretch of time, and recordings that hold no behaviour at all.

Shape legend: ``n`` output times of a window, ``D`` channels of a readout.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from nd_data import ArrayDict, Data, Dataset, Interval, collate
from nd_data.samplers import DistributedStitchingFixedWindowSampler
from nd_data.transforms import Compose
from nd_models import DataType, DecoderModel, ModalitySpec, MultitaskDecoderModel
from nd_train.data_module import NeuralDataModule

DEFAULT_RATE = 100.0
"""Output times a second where neither the recording nor the user says when."""

WHOLE = "whole"
"""What stands for a recording from its beginning to its end in place of a split."""

SINGLE = "readout"
"""What the readout of a model with one is called in traces, as stitched evaluation calls it."""

_HOLDER = "asked_times"
_KEYS = {True: "readout", False: "multitask_readout"}

Asked = Mapping[str, Sequence[str]]
"""Readouts that are asked for at regular times, by session id."""


@dataclass(frozen=True)
class PredictionWindows:
    """What to predict on.

    Attributes:
        loader: Batches of windows.
        asked: The readouts of each session whose targets are not known.
        covered: What time is covered, in words.
    """

    loader: DataLoader[Any]
    asked: Asked
    covered: str


class AskTimes:
    """Let a window ask for outputs at regular times, where its recording has none of its own.

    A recording of new data has spikes but no behaviour: no times to predict at, and no targets. Here it gets the times
    ``k / rate`` of its own clock, the same in every window that holds them, and zeros as targets, which nobody scores.

    Args:
        readouts: The model's readouts by name; of a model with one, it alone as ``"readout"``.
        asked: For each session, which of them to ask for at regular times; other windows stay as they are.
        rate: Output times a second.
    """

    def __init__(self, readouts: Mapping[str, ModalitySpec], asked: Asked, rate: float) -> None:
        self.readouts = readouts
        self.asked = asked
        self.rate = rate
        self._configurations: dict[str, dict[str, Any]] = {}

    def __call__(self, data: Data) -> Data:
        """The window with the times to ask for, or as it is."""
        session = data.session.id
        names = self.asked.get(session, ())
        if names:
            domain = cast("Interval", data.domain)  # every window has one
            times = _grid(cast("float", data.absolute_start), float(domain.end[-1]), self.rate)
            values = {_values_name(self.readouts[name]): _zeros(self.readouts[name], len(times)) for name in names}
            setattr(data, _HOLDER, ArrayDict(timestamps=times, **values))
            if session not in self._configurations:
                # One for all windows of a recording: tokenizers keep what they worked out for a configuration.
                self._configurations[session] = self._configuration(data.config, names)
            data.config = self._configurations[session]
        return data

    def _configuration(self, config: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
        single = SINGLE in self.readouts
        entries = _entries(config, single=single)
        # Without weights and evaluation intervals: nothing of this is scored.
        asked = [
            {
                "readout_id": entry["readout_id"],
                "timestamp_key": f"{_HOLDER}.timestamps",
                "value_key": f"{_HOLDER}.{_values_name(self.readouts[name])}",
            }
            if name in names
            else entry
            for name, entry in entries.items()
        ]
        return {**config, _KEYS[single]: asked[0] if single else asked}


def readouts_of(model: DecoderModel) -> dict[str, ModalitySpec]:
    """A model's readouts by the name that they have in traces."""
    if isinstance(model, MultitaskDecoderModel):
        return dict(model.readout_specs)
    return {SINGLE: cast("ModalitySpec", model.readout_spec)}


def prediction_windows(
    data_module: NeuralDataModule,
    model: DecoderModel,
    *,
    split: str | None = None,
    start: float | None = None,
    end: float | None = None,
    rate: float | None = None,
) -> PredictionWindows:
    """Overlapping windows over a split, or over whole recordings, to predict on.

    Args:
        data_module: Where the recordings are, and how to batch them.
        model: The model, with its vocabularies.
        split: A split's name, or ``"whole"``; None takes ``test`` where every recording has it, and else all.
        start: Seconds; nothing before it.
        end: Seconds; nothing from it on.
        rate: Output times a second in place of the recordings' own; None takes those, and `DEFAULT_RATE` where there
            are none.

    Raises:
        ValueError: the rate is not above 0, a recording has no such split, or no stretch of the chosen time holds a
            window.
    """
    if rate is not None and not (0 < rate < math.inf):
        raise ValueError(f"rate: expected output times a second above 0, found {rate}")
    if split is None:
        split = "test" if data_module.has_split("test") else WHOLE
    readouts = readouts_of(model)
    dataset = Dataset(data_module.root, config=data_module.config, split=None if split == WHOLE else split)
    asked = _asked(dataset, readouts, every=rate is not None)
    dataset.transform = Compose([AskTimes(readouts, asked, rate or DEFAULT_RATE), model.tokenize])
    intervals = dataset.get_sampling_intervals()
    if start is not None or end is not None:
        wanted = Interval(-math.inf if start is None else start, math.inf if end is None else end)
        intervals = {recording: interval & wanted for recording, interval in intervals.items()}
    trainer = data_module.trainer
    sampler = DistributedStitchingFixedWindowSampler(
        sampling_intervals=intervals,
        window_length=model.sequence_length,
        step=data_module.eval_step or model.sequence_length / 2,
        batch_size=data_module.eval_batch_size,
        num_replicas=1 if trainer is None else trainer.world_size,
        rank=0 if trainer is None else trainer.global_rank,
        whole_batches=True,
    )
    loader: DataLoader[Any] = DataLoader(
        dataset,
        sampler=sampler,
        batch_size=data_module.eval_batch_size,
        collate_fn=collate,
        **data_module.loader_settings(),
    )
    covered = "whole recordings" if split == WHOLE else f"split '{split}'"
    covered += "" if start is None else f", from {start:g} s"
    covered += "" if end is None else f", up to {end:g} s"
    return PredictionWindows(loader, asked, covered)


def _asked(dataset: Dataset, readouts: Mapping[str, ModalitySpec], *, every: bool) -> dict[str, list[str]]:
    asked: dict[str, list[str]] = {}
    for recording_id in dataset.recording_ids:
        recording = dataset.open_recording(recording_id)
        entries = _entries(recording.config, single=SINGLE in readouts)
        lacking = [
            name
            for name, entry in entries.items()
            # A readout that the model does not have is left to its tokenizer, whose error says which it has.
            if name in readouts and (every or not _holds(recording, entry, readouts[name]))
        ]
        if lacking:
            asked[str(recording.session.id)] = lacking
    return asked


def _entries(config: Mapping[str, Any], *, single: bool) -> dict[str, Mapping[str, Any]]:
    if single:
        return {SINGLE: config["readout"]} if "readout" in config else {}
    return {str(entry["readout_id"]): entry for entry in config.get("multitask_readout", [])}


def _holds(recording: Data, entry: Mapping[str, Any], spec: ModalitySpec) -> bool:
    keys = entry.get("timestamp_key", spec.timestamp_key), entry.get("value_key", spec.value_key)
    return all(recording.has_nested_attribute(key) for key in keys)


def _values_name(spec: ModalitySpec) -> str:
    return f"values_{spec.id}"


def _grid(start: float, length: float, rate: float) -> NDArray[np.float64]:
    """The times k / rate within [start, start + length), relative to the start."""
    # A grid time that rounding puts just before the start or the end is meant to be on it.
    tolerance = 1e-6 * rate
    first = math.ceil(start * rate - tolerance)
    last = math.ceil((start + length) * rate - tolerance)
    return np.maximum(np.arange(first, last) / rate - start, 0.0)


def _zeros(spec: ModalitySpec, number: int) -> NDArray[Any]:
    if spec.type is DataType.MULTINOMIAL:
        return np.zeros(number, dtype=np.int64)
    return np.zeros((number, spec.dim), dtype=np.float32)
