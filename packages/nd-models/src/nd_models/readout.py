"""Targets of a window for its readouts, as the recording's configuration asks for them.

Shapes: n time points of one readout, N time points of all readouts together, C channels.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nd_data import isin_interval
from nd_data.configuration import READOUT_KEYS
from nd_data.interval_membership import covered, weigh
from nd_data.interval_paths import interval_at
from nd_data.nearest_names import name_hint
from nd_data.window_values import peek
from nd_models.filled import filled
from nd_models.modality import MODALITY_REGISTRY, DataType, ModalitySpec

if TYPE_CHECKING:
    from nd_data import Data

#: Configurations whose paths are kept.
_KEPT_PATHS = 4096

# The usual case first: asking whether something is a Mapping takes long.
_MAPPING = (dict, Mapping)

_KNOWN_KEYS = frozenset(READOUT_KEYS)

#: Name, what the configuration says about it, and the model's specification.
Readout = tuple[str, Mapping[str, Any], ModalitySpec]

Targets = tuple[NDArray[np.float64], NDArray[Any], NDArray[np.float32], NDArray[np.bool_]]


def prepare_for_readout(data: "Data", readout_spec: ModalitySpec, *, known: Mapping[str, Any] | None = None) -> Targets:
    """Times, targets, weights and evaluation mask of a window's single readout, from `data.config["readout"]`.

    Args:
        data: A window of a recording, with its configuration.
        readout_spec: What the model predicts.
        known: What of it was read before (`nd_data.window_values.read_values`).

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
    return targets(data, name, entry, readout_spec, known or {})


def prepare_for_multitask_readout(
    data: "Data", readout_specs: Mapping[str, ModalitySpec], *, known: Mapping[str, Any] | None = None
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
        known: What of it was read before (`nd_data.window_values.read_values`).

    Returns:
        Times, float64, shape (N,), one readout after the other; name to values, shape (n, C) or (n,); the readouts'
        ids, int64, shape (N,); name to weights, float32, shape (n,); name to evaluation mask, shape (n,).

    Raises:
        KeyError: a readout is unknown, or the recording has no such times or values.
        ValueError: the configuration or the values do not fit the readout, or a readout comes twice.
    """
    times: list[NDArray[np.float64]] = []
    ids: list[NDArray[np.int64]] = []
    values: dict[str, NDArray[Any]] = {}
    weights: dict[str, NDArray[np.float32]] = {}
    masks: dict[str, NDArray[np.bool_]] = {}
    for name, entry, spec in multitask_readouts(data, readout_specs, {}):
        timestamps, values[name], weights[name], masks[name] = targets(data, name, entry, spec, known or {})
        times.append(timestamps)
        ids.append(filled(len(timestamps), spec.id, np.int64))
    if len(times) == 1:
        return times[0], values, ids[0], weights, masks
    if not times:
        return np.zeros(0), values, np.zeros(0, dtype=np.int64), weights, masks
    return np.concatenate(times), values, np.concatenate(ids), weights, masks


def multitask_readouts(
    data: "Data", readout_specs: Mapping[str, ModalitySpec], valid: dict[int, list[Readout]]
) -> list[Readout]:
    """The readouts that a window's configuration asks for, checked.

    Args:
        data: A window of a recording, with its configuration.
        readout_specs: The readouts that the model has, by name.
        valid: Configurations that were checked before, by their id, and still exist unchanged; this one is added.

    Raises:
        KeyError: a readout is unknown.
        ValueError: there is no such configuration, or it makes no sense.
    """
    entries = _configuration(data, "multitask_readout")
    known = valid.get(id(entries))
    if known is not None:
        return known
    if not isinstance(entries, (list, tuple)):
        raise ValueError(f"{_where(data)}: 'multitask_readout' must be a list of mappings, got {entries!r}")
    readouts: dict[str, Readout] = {}
    for entry in entries:
        name = _readout_id(data, entry)
        if name not in readout_specs:
            raise KeyError(
                f"{_where(data)}: the model has no readout {name!r}; {name_hint(name, readout_specs, noun='known')}"
            )
        if name in readouts:
            raise ValueError(f"{_where(data)}: readout {name!r} comes twice in 'multitask_readout'")
        readouts[name] = name, entry, readout_specs[name]
    found = valid[id(entries)] = list(readouts.values())
    return found


class ReadoutPaths:
    """The paths of all that the readouts of a window need, to read them in one go.

    They are kept for each configuration, which windows share. They are hints: what a configuration that was changed
    meanwhile needs besides is read one by one.

    Args:
        readout_specs: The readouts that the model has, by name, or its single one.
        always: What every window needs.
    """

    def __init__(self, readout_specs: Mapping[str, ModalitySpec] | ModalitySpec, always: tuple[str, ...]) -> None:
        self._readout_specs = readout_specs
        self._always = always
        self._known: dict[int, tuple[object, tuple[str, ...]]] = {}

    def __call__(self, data: "Data") -> tuple[str, ...]:
        """The paths for a window; nothing is checked here, and what makes no sense is passed over."""
        config = _config(data)
        if not isinstance(config, _MAPPING):
            return self._always
        entries = config.get("readout" if isinstance(self._readout_specs, ModalitySpec) else "multitask_readout")
        known = self._known.get(id(entries))
        if known is None or known[0] is not entries:
            if len(self._known) >= _KEPT_PATHS:
                self._known.clear()
            known = self._known[id(entries)] = entries, (*self._always, *self._paths(entries))
        return known[1]

    def _paths(self, entries: object) -> list[str]:
        specs = self._readout_specs
        paths: list[object] = []
        for entry in entries if isinstance(entries, (list, tuple)) else [entries]:
            if not isinstance(entry, Mapping):
                continue
            spec = specs if isinstance(specs, ModalitySpec) else specs.get(str(entry.get("readout_id")))
            if spec is not None:
                paths += (entry.get("timestamp_key", spec.timestamp_key), entry.get("value_key", spec.value_key))
            weights = entry.get("weights")
            paths += (entry.get("eval_interval"), *(weights if isinstance(weights, Mapping) else ()))
        return [path for path in paths if isinstance(path, str)]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._readout_specs, self._always)  # what is kept is of no use in another process


def targets(data: "Data", name: str, entry: Mapping[str, Any], spec: ModalitySpec, known: Mapping[str, Any]) -> Targets:
    """Times, targets, weights and evaluation mask of one readout of a window.

    Args:
        data: A window of a recording.
        name: The readout's name.
        entry: What the configuration says about it.
        spec: The model's readout.
        known: What of the window was read before (`nd_data.window_values.read_values`).

    Raises:
        KeyError, ValueError: as `prepare_for_readout`.
    """
    timestamp_key = entry.get("timestamp_key", spec.timestamp_key)
    timestamps = _attribute(data, name, "timestamp_key", timestamp_key, known)
    value_key = entry.get("value_key", spec.value_key)
    values = _attribute(data, name, "value_key", value_key, known)
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

    weighted = (entry.get("weights") or {}).items()
    # The timestamps of a series were read in order; any other array may be in none.
    in_order = True if timestamp_key in known and timestamp_key.endswith(".timestamps") else None
    bounds = [(_bounds(data, path, known), weight) for path, weight in weighted]
    weights = weigh(timestamps, bounds, in_order=in_order)
    where = entry.get("eval_interval")
    if where is None:
        return timestamps, values, weights, filled(len(timestamps), True, np.bool_)
    if isinstance(known.get(where), tuple):
        return timestamps, values, weights, covered(timestamps, *known[where])
    return timestamps, values, weights, isin_interval(timestamps, _attribute(data, name, "eval_interval", where, {}))


def _bounds(data: "Data", path: str, known: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bounds = known.get(path)
    if isinstance(bounds, tuple):
        return bounds
    interval = interval_at(data, path)
    return interval.start, interval.end


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
    raise ValueError(f"{_where(data)}: readout {name!r} ({value_key}): {found}")


def _are_yes_or_no(values: NDArray[Any], spec: ModalitySpec) -> bool:
    fine = (values >= 0) & (values <= 1)
    return bool(np.all(fine | np.isnan(values) if spec.type is DataType.MULTILABEL else fine))


def _attribute(data: "Data", name: str, role: str, key: str, known: Mapping[str, Any]) -> Any:
    value = known.get(key)
    if isinstance(value, np.ndarray):
        return value
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
    config = _config(data)
    if not isinstance(config, _MAPPING):
        raise ValueError(f"{_where(data)}: no configuration says what to read out; build the Dataset with config=…")
    if key not in config:
        raise ValueError(
            f"{_where(data)}: its configuration has no {key!r} (a POYO model wants 'readout', a POYO+ model "
            f"'multitask_readout'); found: {', '.join(map(repr, config)) or 'nothing'}"
        )
    return config[key]


def _config(data: "Data") -> Any:
    try:
        return peek(data, "config")
    except AttributeError:
        return None


def _readout_id(data: "Data", entry: Any) -> str:
    if not isinstance(entry, _MAPPING):
        raise ValueError(f"{_where(data)}: a readout's entry must be a mapping with a 'readout_id', got {entry!r}")
    if not entry.keys() <= _KNOWN_KEYS:
        key = next(key for key in entry if key not in _KNOWN_KEYS)
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
