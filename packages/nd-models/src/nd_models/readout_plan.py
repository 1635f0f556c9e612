"""What the configuration of a window asks of a model, checked and made ready once for all windows that share it."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from nd_data.configuration import READOUT_KEYS
from nd_data.nearest_names import name_hint
from nd_data.window_values import peek
from nd_models.modality import MODALITY_REGISTRY, DataType, ModalitySpec

if TYPE_CHECKING:
    from nd_data import Data

#: Configurations whose plans are kept.
_KEPT_PLANS = 4096

_KNOWN_KEYS = frozenset(READOUT_KEYS)


class ReadoutRequest(NamedTuple):
    """One readout that a configuration asks for.

    Attributes:
        name: The readout's name.
        spec: The model's readout.
        entry: What the configuration says about it.
        timestamp_key: Path of the times.
        value_key: Path of the values.
        find_timestamps: Looks up the times in a window.
        find_values: Looks up the values.
        weights: Paths of intervals and their weights.
        eval_interval: Path of the intervals that count in evaluation; None for all.
        is_scaled: Whether the values are normalised.
        is_continuous: Whether any value will do.
        shape: Of the values of one time point, (C,).
    """

    name: str
    spec: ModalitySpec
    entry: Mapping[str, Any]
    timestamp_key: str
    value_key: str
    find_timestamps: Callable[[object], Any]
    find_values: Callable[[object], Any]
    weights: tuple[tuple[str, float], ...]
    eval_interval: str | None
    is_scaled: bool
    is_continuous: bool
    shape: tuple[int]


class ReadoutPlan(NamedTuple):
    """All that a configuration asks for.

    Attributes:
        requests: In the configuration's order.
        paths: All that is read of a window for them, to read it in one go; hints only.
    """

    requests: tuple[ReadoutRequest, ...]
    paths: tuple[str, ...]


class ReadoutPlans:
    """Finds the plan of a window; plans are kept for each configuration, as long as nobody changes it.

    Args:
        readout_specs: The readouts that the model has, by name, or its single one.
        always: Paths of what is read of every window.
    """

    def __init__(self, readout_specs: Mapping[str, ModalitySpec] | ModalitySpec, always: tuple[str, ...] = ()) -> None:
        self._readout_specs = readout_specs
        self._always = always
        self._key = "readout" if isinstance(readout_specs, ModalitySpec) else "multitask_readout"
        self._known: dict[int, tuple[object, object, ReadoutPlan]] = {}

    def __call__(self, data: "Data") -> ReadoutPlan:
        """The plan of a window.

        Raises:
            KeyError: the model has no such readout.
            ValueError: there is no such configuration, or it makes no sense.
        """
        asked = configuration_of(data, self._key)
        known = self._known.get(id(asked))
        # A configuration can be changed in place: what it was like is kept beside it.
        if known is not None and known[0] is asked and known[1] == asked:
            return known[2]
        specs = self._readout_specs
        if isinstance(specs, ModalitySpec):
            requests: tuple[ReadoutRequest, ...] = (planned_readout(data, asked, specs),)
        else:
            requests = planned_readouts(data, asked, specs)
        plan = ReadoutPlan(requests, (*self._always, *(path for request in requests for path in _paths(request))))
        if type(asked) in (dict, list):  # of anything else a later change might not show
            if len(self._known) >= _KEPT_PLANS:
                self._known.clear()
            self._known[id(asked)] = asked, _containers_copied(asked), plan
        return plan

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._readout_specs, self._always)  # what is kept is of no use in another process


def planned_readouts(
    data: "Data", entries: object, readout_specs: Mapping[str, ModalitySpec]
) -> tuple[ReadoutRequest, ...]:
    """What `config["multitask_readout"]` asks for, checked.

    Args:
        data: A window with this configuration, for errors.
        entries: What stands there.
        readout_specs: The readouts that the model has, by name.

    Raises:
        KeyError: a readout is unknown.
        ValueError: the configuration makes no sense, or a readout comes twice.
    """
    if not isinstance(entries, (list, tuple)):
        raise ValueError(f"{recording_of(data)}: 'multitask_readout' must be a list of mappings, got {entries!r}")
    requests: dict[str, ReadoutRequest] = {}
    for entry in entries:
        name = _readout_id(data, entry)
        if name not in readout_specs:
            raise KeyError(
                f"{recording_of(data)}: the model has no readout {name!r}; "
                f"{name_hint(name, readout_specs, noun='known')}"
            )
        if name in requests:
            raise ValueError(f"{recording_of(data)}: readout {name!r} comes twice in 'multitask_readout'")
        requests[name] = _request(name, readout_specs[name], entry)
    return tuple(requests.values())


def planned_readout(data: "Data", entry: object, readout_spec: ModalitySpec) -> ReadoutRequest:
    """What `config["readout"]` asks for, checked.

    Args:
        data: A window with this configuration, for errors.
        entry: What stands there.
        readout_spec: What the model predicts.

    Raises:
        KeyError: the readout is unknown.
        ValueError: the configuration makes no sense.
    """
    if not isinstance(entry, Mapping):
        raise ValueError(f"{recording_of(data)}: 'readout' must be one mapping, got {entry!r}")
    name = _readout_id(data, entry)
    # A specification of one's own needs no name in the registry; a registered one does, and a misspelt name shows here.
    if name not in MODALITY_REGISTRY and any(spec is readout_spec for spec in MODALITY_REGISTRY.values()):
        raise KeyError(
            f"{recording_of(data)}: readout {name!r} does not exist; {name_hint(name, MODALITY_REGISTRY, noun='known')}"
        )
    return _request(name, readout_spec, entry)


def configuration_of(data: "Data", key: str) -> Any:
    """What a window's configuration has under a key.

    Raises:
        ValueError: the window has no configuration, or that has no such key.
    """
    try:
        config = peek(data, "config")
    except AttributeError:
        config = None
    if type(config) is not dict and not isinstance(config, Mapping):  # asking for a Mapping takes long
        raise ValueError(
            f"{recording_of(data)}: no configuration says what to read out; build the Dataset with config=…"
        )
    try:
        return config[key]
    except KeyError:
        raise ValueError(
            f"{recording_of(data)}: its configuration has no {key!r} (a POYO model wants 'readout', a POYO+ model "
            f"'multitask_readout'); found: {', '.join(map(repr, config)) or 'nothing'}"
        ) from None


def recording_of(data: "Data") -> str:
    """A window's recording, for errors."""
    try:
        return f"recording {data.session.id!r}"
    except AttributeError:
        return "recording (without session.id)"


def _readout_id(data: "Data", entry: Any) -> str:
    if not isinstance(entry, Mapping):
        raise ValueError(
            f"{recording_of(data)}: a readout's entry must be a mapping with a 'readout_id', got {entry!r}"
        )
    if not entry.keys() <= _KNOWN_KEYS:
        key = next(key for key in entry if key not in _KNOWN_KEYS)
        raise ValueError(
            f"{recording_of(data)}: unknown key {key!r} of a readout; {name_hint(str(key), READOUT_KEYS, noun='known')}"
        )
    if "readout_id" not in entry:
        raise ValueError(f"{recording_of(data)}: a readout's entry lacks 'readout_id': {dict(entry)!r}")
    return str(entry["readout_id"])


def _request(name: str, spec: ModalitySpec, entry: Mapping[str, Any]) -> ReadoutRequest:
    timestamp_key = entry.get("timestamp_key", spec.timestamp_key)
    value_key = entry.get("value_key", spec.value_key)
    return ReadoutRequest(
        name=name,
        spec=spec,
        entry=entry,
        timestamp_key=timestamp_key,
        value_key=value_key,
        find_timestamps=attrgetter(timestamp_key),
        find_values=attrgetter(value_key),
        weights=tuple((entry.get("weights") or {}).items()),
        eval_interval=entry.get("eval_interval"),
        is_scaled="normalize_mean" in entry or "normalize_std" in entry,
        is_continuous=spec.type is DataType.CONTINUOUS,
        shape=(spec.dim,),
    )


def _paths(request: ReadoutRequest) -> list[str]:
    intervals = [path for path, _ in request.weights]
    if request.eval_interval is not None:
        intervals.append(request.eval_interval)
    return [request.timestamp_key, request.value_key, *intervals]


def _containers_copied(value: Any) -> Any:
    # All that a change can be made in; what lies within is compared by itself.
    if type(value) is dict:
        return {key: _containers_copied(member) for key, member in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_containers_copied(member) for member in value)
    return value
