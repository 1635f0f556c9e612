"""Targets of a window for its readouts, as the recording's configuration asks for them.

Shapes: n time points of one readout, N time points of all readouts together, C channels.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nd_data import isin_interval, resolve_weights_based_on_interval_membership
from nd_data.configuration import READOUT_KEYS
from nd_data.nearest_names import name_hint
from nd_models.modality import MODALITY_REGISTRY, DataType, ModalitySpec

if TYPE_CHECKING:
    from nd_data import Data

Targets = tuple[NDArray[np.float64], NDArray[Any], NDArray[np.float32], NDArray[np.bool_]]


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
    entry = _configuration(data, "readout")
    if not isinstance(entry, Mapping):
        raise ValueError(f"{_where(data)}: 'readout' must be one mapping, got {entry!r}")
    name = _readout_id(data, entry)
    # A specification of one's own needs no name in the registry; a registered one does, and a misspelt name shows here.
    if name not in MODALITY_REGISTRY and any(spec is readout_spec for spec in MODALITY_REGISTRY.values()):
        raise KeyError(
            f"{_where(data)}: readout {name!r} does not exist; {name_hint(name, MODALITY_REGISTRY, noun='known')}"
        )
    return _targets(data, name, entry, readout_spec)


def prepare_for_multitask_readout(
    data: "Data", readout_specs: Mapping[str, ModalitySpec]
) -> tuple[
    NDArray[np.float64],
    dict[str, NDArray[Any]],
    NDArray[np.int64],
    dict[str, NDArray[np.float32]],
    dict[str, NDArray[np.bool_]],
]:
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
    entries = _configuration(data, "multitask_readout")
    if isinstance(entries, (str, Mapping)) or not isinstance(entries, Sequence):
        raise ValueError(f"{_where(data)}: 'multitask_readout' must be a list of mappings, got {entries!r}")
    times: list[NDArray[np.float64]] = []
    ids: list[NDArray[np.int64]] = []
    values: dict[str, NDArray[Any]] = {}
    weights: dict[str, NDArray[np.float32]] = {}
    masks: dict[str, NDArray[np.bool_]] = {}
    for entry in entries:
        name = _readout_id(data, entry)
        if name not in readout_specs:
            raise KeyError(
                f"{_where(data)}: the model has no readout {name!r}; {name_hint(name, readout_specs, noun='known')}"
            )
        if name in values:
            raise ValueError(f"{_where(data)}: readout {name!r} comes twice in 'multitask_readout'")
        spec = readout_specs[name]
        timestamps, values[name], weights[name], masks[name] = _targets(data, name, entry, spec)
        times.append(timestamps)
        ids.append(np.full(len(timestamps), spec.id, dtype=np.int64))
    if not times:
        return np.zeros(0), values, np.zeros(0, dtype=np.int64), weights, masks
    return np.concatenate(times), values, np.concatenate(ids), weights, masks


def _targets(data: "Data", name: str, entry: Mapping[str, Any], spec: ModalitySpec) -> Targets:
    timestamps = _attribute(data, name, "timestamp_key", entry.get("timestamp_key", spec.timestamp_key))
    value_key = entry.get("value_key", spec.value_key)
    values = _attribute(data, name, "value_key", value_key)
    if len(values) != len(timestamps):
        raise ValueError(f"{_where(data)}: readout {name!r} has {len(values)} values but {len(timestamps)} timestamps")
    if "normalize_mean" in entry:
        values = values - _statistic(data, name, entry, "normalize_mean", values)
    if "normalize_std" in entry:
        deviation = _statistic(data, name, entry, "normalize_std", values)
        if not np.all(np.asarray(deviation) > 0):
            raise ValueError(f"{_where(data)}: readout {name!r}: normalize_std must be above 0, got {deviation!r}")
        values = values / deviation
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    _check_values(data, name, value_key, values, spec)

    weights = resolve_weights_based_on_interval_membership(timestamps, data, entry.get("weights"))
    mask = np.ones(len(timestamps), dtype=np.bool_)
    if entry.get("eval_interval") is not None:
        interval = _attribute(data, name, "eval_interval", entry["eval_interval"])
        mask = isin_interval(timestamps, interval)
    return timestamps, values, weights, mask


def _statistic(data: "Data", name: str, entry: Mapping[str, Any], key: str, values: NDArray[Any]) -> Any:
    statistic = entry[key]
    if isinstance(statistic, (int, float)):
        return statistic
    channels = np.array(statistic, dtype=np.float64)
    if channels.shape != values.shape[1:]:
        raise ValueError(
            f"{_where(data)}: readout {name!r}: {key} must be one number or {values.shape[1:]} numbers, one a channel, "
            f"got {statistic!r}"
        )
    return channels


def _check_values(data: "Data", name: str, value_key: str, values: NDArray[Any], spec: ModalitySpec) -> None:
    where = f"{_where(data)}: readout {name!r} ({value_key})"
    if spec.type is DataType.MULTINOMIAL:
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise ValueError(
                f"{where}: class indices must be integers of shape (n,), got {values.dtype} {values.shape}"
            )
        if values.size and not (values.min() >= 0 and values.max() < spec.dim):
            raise ValueError(
                f"{where}: classes must be 0 to {spec.dim - 1}, found {values.min()} to {values.max()}; "
                "give the ModalitySpec a larger dim or renumber the classes"
            )
    elif values.shape[1:] != (spec.dim,) and not (values.ndim == 1 and spec.dim == 1):
        raise ValueError(f"{where}: values must have shape (n, {spec.dim}), got {values.shape}")


def _attribute(data: "Data", name: str, role: str, key: str) -> Any:
    try:
        return data.get_nested_attribute(key)
    except (AttributeError, KeyError):
        wrong, existing = _where_the_path_ends(data, key)
        raise KeyError(
            f"{_where(data)}: readout {name!r} wants {role} {key!r}, which the recording does not have; "
            f"{name_hint(wrong, existing, noun='known')}"
        ) from None


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


def _configuration(data: "Data", key: str) -> Any:
    config = getattr(data, "config", None)
    if not isinstance(config, Mapping):
        raise ValueError(f"{_where(data)}: no configuration says what to read out; build the Dataset with config=…")
    if key not in config:
        raise ValueError(
            f"{_where(data)}: its configuration has no {key!r} (a POYO model wants 'readout', a POYO+ model "
            f"'multitask_readout'); found: {', '.join(map(repr, config)) or 'nothing'}"
        )
    return config[key]


def _readout_id(data: "Data", entry: Any) -> str:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{_where(data)}: a readout's entry must be a mapping with a 'readout_id', got {entry!r}")
    for key in entry:
        if key not in READOUT_KEYS:
            raise ValueError(
                f"{_where(data)}: unknown key {key!r} of a readout; {name_hint(str(key), READOUT_KEYS, noun='known')}"
            )
    if "readout_id" not in entry:
        raise ValueError(f"{_where(data)}: a readout's entry lacks 'readout_id': {dict(entry)!r}")
    return str(entry["readout_id"])


def _where(data: "Data") -> str:
    try:
        return f"recording {data.session.id!r}"
    except AttributeError:
        return "recording (without session.id)"
