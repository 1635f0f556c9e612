"""Readout specifications as plain values, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

from nd_data.nearest_names import name_hint
from nd_models.loss import LOSSES, Loss
from nd_models.modality import DEFAULT_LOSSES, MODALITY_REGISTRY, DataType, ModalitySpec, check_readout_specs

Readouts = Mapping[str, ModalitySpec] | Sequence[str]
"""Readouts by name, or the names of registered ones."""

_FIELDS = ("id", "dim", "type", "loss_fn", "timestamp_key", "value_key")


def readout_to_config(spec: ModalitySpec) -> dict[str, Any]:
    """Describe a readout by plain values.

    Raises:
        ValueError: its loss is not in `nd_models.loss.LOSSES`, so it could not be built back.

    >>> readout_to_config(MODALITY_REGISTRY["running_speed"])["loss_fn"]
    {'name': 'MSELoss'}
    """
    loss = spec.loss_fn
    name = next((name for name, kind in LOSSES.items() if type(loss) is kind), None)
    if name is None or not isinstance(loss, Loss):
        raise ValueError(
            f"the loss {type(loss).__name__} has no name that a configuration could hold "
            f"({name_hint(type(loss).__name__, LOSSES, noun='known')}); derive it from nd_models.loss.Loss and add it: "
            f"nd_models.loss.LOSSES[{type(loss).__name__!r}] = {type(loss).__name__}"
        )
    return {
        "id": spec.id,
        "dim": spec.dim,
        "type": spec.type.name,
        "loss_fn": {"name": name, **loss.arguments()},
        "timestamp_key": spec.timestamp_key,
        "value_key": spec.value_key,
    }


def readout_from_config(description: Any) -> ModalitySpec:
    """Build a readout from its description, or from the name of a registered one.

    Args:
        description: A `ModalitySpec` (returned as it is), a registered name, or a mapping as `readout_to_config` gives
            it; in the mapping, `loss_fn` may be just the loss's name, or absent for the type's usual loss.

    Raises:
        KeyError: no readout or loss of this name.
        ValueError: a field is missing, unknown or unfit.
    """
    if isinstance(description, ModalitySpec):
        return description
    if isinstance(description, str):
        if description not in MODALITY_REGISTRY:
            raise KeyError(
                f"readout {description!r} does not exist; {name_hint(description, MODALITY_REGISTRY, noun='known')}"
            )
        return MODALITY_REGISTRY[description]
    if not isinstance(description, Mapping):
        raise ValueError(f"a readout is described by a registered name or a mapping, got {description!r}")
    for key in description:
        if key not in _FIELDS:
            raise ValueError(f"unknown field {key!r} of a readout; {name_hint(str(key), _FIELDS, noun='known')}")
    absent = [field for field in _FIELDS if field not in description and field != "loss_fn"]
    if absent:
        raise ValueError(f"a readout's description lacks {', '.join(map(repr, absent))}: {dict(description)!r}")
    kind = description["type"]
    if not isinstance(kind, DataType):
        if kind not in DataType.__members__:
            raise ValueError(
                f"readout type {kind!r} does not exist; {name_hint(str(kind), DataType.__members__, noun='known')}"
            )
        kind = DataType[kind]
    loss = _loss_from_config(description["loss_fn"]) if "loss_fn" in description else DEFAULT_LOSSES[kind]()
    return ModalitySpec(**{**description, "type": kind, "loss_fn": loss})


def readouts_from_config(description: Any) -> dict[str, ModalitySpec]:
    """Build several readouts: from a list of registered names, or a mapping from name to description.

    Raises:
        KeyError: no readout or loss of a name.
        ValueError: a description is unfit.
    """
    if isinstance(description, Mapping):
        return {str(name): readout_from_config(name if spec is None else spec) for name, spec in description.items()}
    if isinstance(description, str) or not hasattr(description, "__iter__"):
        raise ValueError(
            f"readouts are a list of registered names or a mapping from name to description: {description!r}"
        )
    return {str(name): readout_from_config(str(name)) for name in description}


def checked_readouts(readout_specs: Readouts) -> dict[str, ModalitySpec]:
    """The readouts of a model, from specifications or names of registered ones: a copy.

    Raises:
        KeyError: no readout of a name.
        TypeError: a value is not a `ModalitySpec`.
        ValueError: there are none, or two share an id.
    """
    # What is registered later is not part of the model.
    specs = readouts_from_config(readout_specs)
    check_readout_specs(specs)
    if not specs:
        raise ValueError(
            f"readout_specs is empty: name at least one task; registered are {', '.join(map(repr, MODALITY_REGISTRY))}"
        )
    return specs


def _loss_from_config(description: Any) -> Any:
    if isinstance(description, str):
        description = {"name": description}
    if not isinstance(description, Mapping) or "name" not in description:
        return description  # ModalitySpec says what it wants.
    arguments = {key: value for key, value in description.items() if key != "name"}
    name = description["name"]
    if name not in LOSSES:
        raise KeyError(f"loss {name!r} does not exist; {name_hint(str(name), LOSSES, noun='known')}")
    return LOSSES[name](**arguments)
