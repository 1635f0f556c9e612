"""What a file of traces says of its tasks, and the way from the scale of training to the units of the data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nd_data import Dataset
from nd_eval import StitchedTrace
from nd_models import DataType, ModalitySpec
from nd_train.target_statistics import readout_entries
from nd_train.traces import Traces

SCALE = ("normalize_mean", "normalize_std")
"""The attributes that take a trace back to the units of the data."""


def readout_attributes(spec: ModalitySpec) -> dict[str, Any]:
    """What is known of a readout: the kind of its values, where they come from, their unit, and names of classes."""
    return {
        "type": spec.type.name.lower(),
        "value_key": spec.value_key,
        "unit": spec.unit,
        "class_names": None if spec.class_names is None else list(spec.class_names),
    }


def target_scales(dataset: Dataset, readouts: Mapping[str, ModalitySpec]) -> dict[str, dict[str, dict[str, Any]]]:
    """What the continuous targets of each recording are scaled by, as its configuration says.

    Args:
        dataset: The recordings, with their configuration.
        readouts: The model's readouts, by the name that the configuration has for them.

    Returns:
        By session id and readout ``normalize_mean`` and ``normalize_std``, where there is one of them.
    """
    scales: dict[str, dict[str, dict[str, Any]]] = {}
    sessions = dataset.get_session_id_dict()
    for recording_id, configuration in dataset.get_recording_config_dict().items():
        found = {}
        for entry in readout_entries(configuration):
            spec = readouts.get(str(entry["readout_id"]))
            scale = {name: entry[name] for name in SCALE if name in entry}
            if scale and spec is not None and spec.type is DataType.CONTINUOUS:
                found[str(entry["readout_id"])] = scale
        if found:
            scales[sessions[recording_id]] = found
    return scales


def in_data_units(trace: StitchedTrace, attributes: Mapping[str, Any]) -> StitchedTrace:
    """A trace in the units of the data: predictions and targets times ``normalize_std``, plus ``normalize_mean``.

    Args:
        trace: As a model gives it, or as a file holds it.
        attributes: What is known of it; without both attributes it is in these units already.

    Returns:
        The trace itself where there is nothing to do.
    """
    if not any(name in attributes for name in SCALE):
        return trace
    mean, std = (
        torch.as_tensor(attributes.get(name, usual), dtype=torch.float64)
        for name, usual in zip(SCALE, (0.0, 1.0), strict=True)
    )

    def restored(values: Tensor) -> Tensor:
        return (values.double() * std.to(values.device) + mean.to(values.device)).to(values.dtype)

    return dataclasses.replace(trace, preds=restored(trace.preds), targets=restored(trace.targets))


def traces_in_data_units(traces: Traces, scales: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Traces:
    """All traces in the units of the data.

    Args:
        traces: By recording and task.
        scales: As `target_scales` finds them, or `nd_train.traces.read_trace_attributes`.
    """
    return {
        recording: {
            task: in_data_units(trace, scales.get(recording, {}).get(task, {})) for task, trace in tasks.items()
        }
        for recording, tasks in traces.items()
    }
