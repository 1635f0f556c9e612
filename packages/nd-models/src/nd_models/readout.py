"""Targets of a window for its readouts, as the recording's configuration asks for them.

Shapes: n time points of one readout, N time points of all readouts together, C channels.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nd_data import isin_interval
from nd_data.interval_membership import covered, weigh
from nd_data.interval_paths import interval_at
from nd_data.nearest_names import name_hint
from nd_models.filled import all_true, filled
from nd_models.modality import DataType, ModalitySpec
from nd_models.readout_plan import (
    ReadoutRequest,
    configuration_of,
    planned_readout,
    planned_readouts,
    recording_of,
)

if TYPE_CHECKING:
    from nd_data import Data

Targets = tuple[NDArray[np.float64], NDArray[Any], NDArray[np.float32], NDArray[np.bool_]]

MultitaskTargets = tuple[
    NDArray[np.float64],
    dict[str, NDArray[Any]],
    NDArray[np.int64],
    dict[str, NDArray[np.float32]],
    dict[str, NDArray[np.bool_]],
]


def prepare_for_readout(data: "Data", readout_spec: ModalitySpec) -> Targets:
    """Times, targets, weights and evaluation mask of a window's single readout, from `data.config["readout"]`.

    Args:
        data: A window of a recording, with its configuration.
        readout_spec: What the model predicts.

    Returns:
        Times in seconds from the window's start, float64, shape (n,); values, normalised where the configuration says
        so, shape (n, C) or (n,), float64 turned to float32; weights, float32, shape (n,); and a mask, shape (n,), True
        where the time point counts in evaluation.

    Raises:
        KeyError: the readout is unknown, or the recording has no such times or values.
        ValueError: the configuration or the values do not fit the readout.
    """
    return targets(data, planned_readout(data, configuration_of(data, "readout"), readout_spec), {})


def prepare_for_multitask_readout(data: "Data", readout_specs: Mapping[str, ModalitySpec]) -> MultitaskTargets:
    """Times, targets, task ids, weights and evaluation masks of all readouts in `data.config["multitask_readout"]`.

    Args:
        data: A window of a recording, with its configuration.
        readout_specs: The readouts that the model has, by name.

    Returns:
        Times, float64, shape (N,), one readout after the other; name to values, shape (n, C) or (n,); the readouts'
        ids, int64, shape (N,); name to weights, float32, shape (n,); name to evaluation mask, shape (n,).

    Raises:
        KeyError: a readout is unknown, or the recording has no such times or values.
        ValueError: the configuration or the values do not fit the readout, or a readout comes twice.
    """
    requests = planned_readouts(data, configuration_of(data, "multitask_readout"), readout_specs)
    return multitask_targets(data, requests, {})


def multitask_targets(data: "Data", requests: Iterable[ReadoutRequest], known: Mapping[str, Any]) -> MultitaskTargets:
    """What `prepare_for_multitask_readout` returns, of what a configuration was found to ask for.

    Args:
        data: A window of a recording.
        requests: See `nd_models.readout_plan`.
        known: What of the window was read before (`nd_data.window_values.read_values`).

    Raises:
        KeyError, ValueError: as `prepare_for_multitask_readout`.
    """
    times: list[NDArray[np.float64]] = []
    ids: list[NDArray[np.int64]] = []
    values: dict[str, NDArray[Any]] = {}
    weights: dict[str, NDArray[np.float32]] = {}
    masks: dict[str, NDArray[np.bool_]] = {}
    for request in requests:
        name = request.name
        timestamps, values[name], weights[name], masks[name] = targets(data, request, known)
        times.append(timestamps)
        ids.append(filled(len(timestamps), request.spec.id, np.int64))
    if len(times) == 1:
        return times[0], values, ids[0], weights, masks
    if not times:
        return np.zeros(0), values, np.zeros(0, dtype=np.int64), weights, masks
    return np.concatenate(times), values, np.concatenate(ids), weights, masks


def targets(data: "Data", request: ReadoutRequest, known: Mapping[str, Any]) -> Targets:
    """Times, targets, weights and evaluation mask of one readout of a window.

    Args:
        data: A window of a recording.
        request: What the configuration asks for.
        known: What of the window was read before (`nd_data.window_values.read_values`).

    Raises:
        KeyError, ValueError: as `prepare_for_readout`.
    """
    timestamps = known.get(request.timestamp_key)
    if not isinstance(timestamps, np.ndarray):
        try:
            timestamps = request.find_timestamps(data)
        except (AttributeError, KeyError):
            raise _absent(data, request.name, "timestamp_key", request.timestamp_key) from None
    values = known.get(request.value_key)
    if not isinstance(values, np.ndarray):
        try:
            values = request.find_values(data)
        except (AttributeError, KeyError):
            raise _absent(data, request.name, "value_key", request.value_key) from None
    if len(values) != len(timestamps):
        raise ValueError(
            f"{recording_of(data)}: readout {request.name!r} has {len(values)} values but {len(timestamps)} timestamps"
        )
    if request.is_scaled:
        values = _normalized(data, request, values)
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    if not (request.is_continuous and values.shape[1:] == request.shape):
        _check_values(data, request, values)

    weights = weigh(timestamps, [(_bounds(data, path, known), weight) for path, weight in request.weights])
    where = request.eval_interval
    if where is None:
        return timestamps, values, weights, all_true(len(timestamps))
    if isinstance(known.get(where), tuple):
        return timestamps, values, weights, covered(timestamps, *known[where])
    try:
        counting = data.get_nested_attribute(where)
    except (AttributeError, KeyError):
        raise _absent(data, request.name, "eval_interval", where) from None
    return timestamps, values, weights, isin_interval(timestamps, counting)


def _bounds(data: "Data", path: str, known: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bounds = known.get(path)
    if isinstance(bounds, tuple):
        return bounds
    interval = interval_at(data, path)
    return interval.start, interval.end


def _normalized(data: "Data", request: ReadoutRequest, values: Any) -> Any:
    if "normalize_mean" in request.entry:
        values = values - _statistic(data, request, "normalize_mean", values)
    if "normalize_std" in request.entry:
        deviation = _statistic(data, request, "normalize_std", values)
        if not np.all(np.asarray(deviation) > 0):
            raise ValueError(
                f"{recording_of(data)}: readout {request.name!r}: normalize_std must be above 0, got {deviation!r}"
            )
        values = values / deviation
    return values


def _statistic(data: "Data", request: ReadoutRequest, key: str, values: NDArray[Any]) -> Any:
    statistic = request.entry[key]
    if isinstance(statistic, (int, float)):
        return statistic
    channels = np.array(statistic, dtype=np.float64)
    if channels.shape != values.shape[1:]:
        raise ValueError(
            f"{recording_of(data)}: readout {request.name!r}: {key} must be one number or {values.shape[1:]} numbers, "
            f"one a channel, got {statistic!r}"
        )
    return channels


def _check_values(data: "Data", request: ReadoutRequest, values: NDArray[Any]) -> None:
    spec = request.spec
    if spec.type is DataType.MULTINOMIAL:
        if values.ndim != 1 or values.dtype.kind not in "iu":
            found = f"class indices must be integers of shape (n,), got {values.dtype} {values.shape}"
        elif values.size and not (values.min() >= 0 and values.max() < spec.dim):
            found = (
                f"classes must be 0 to {spec.dim - 1}, found {values.min()} to {values.max()}; give the ModalitySpec a "
                "larger dim or renumber the classes"
            )
        else:
            return
    elif values.shape[1:] != (spec.dim,) and not (values.ndim == 1 and spec.dim == 1):
        found = f"values must have shape (n, {spec.dim}), got {values.shape}"
    elif spec.type in (DataType.BINARY, DataType.MULTILABEL) and not _are_yes_or_no(values, spec):
        unknown = " (NaN where nobody knows)" if spec.type is DataType.MULTILABEL else ""
        found = f"values must be 0, 1 or a probability between{unknown}, found {values.min()} to {values.max()}"
    else:
        return
    raise ValueError(f"{recording_of(data)}: readout {request.name!r} ({request.value_key}): {found}")


def _are_yes_or_no(values: NDArray[Any], spec: ModalitySpec) -> bool:
    fine = (values >= 0) & (values <= 1)
    return bool(np.all(fine | np.isnan(values) if spec.type is DataType.MULTILABEL else fine))


def _absent(data: "Data", name: str, role: str, key: str) -> KeyError:
    wrong, existing = _where_the_path_ends(data, key)
    return KeyError(
        f"{recording_of(data)}: readout {name!r} wants {role} {key!r}, which the recording does not have; "
        f"{name_hint(wrong, existing, noun='known')}"
    )


def _where_the_path_ends(data: "Data", key: str) -> tuple[str, list[str]]:
    """The part of `key` up to the first name that does not exist, and the names that exist in its place."""
    holder: Any = data
    path: list[str] = []
    for part in key.split("."):
        names = list(holder.keys()) if hasattr(holder, "keys") else []
        if part not in names:
            return ".".join([*path, part]), sorted(".".join([*path, name]) for name in names) or [".".join(path)]
        path.append(part)
        holder = getattr(holder, part)
    return key, [key]
