"""Readout specifications as plain values, and back."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from nd_data.nearest_names import name_hint
from nd_models.loss import LOSSES, Loss
from nd_models.modality import DEFAULT_LOSSES, MODALITY_REGISTRY, DataType, ModalitySpec, check_readout_specs

Readouts = Mapping[str, ModalitySpec] | Sequence[str]
"""Readouts by name, or the names of registered ones."""

_OPTIONAL = ("loss_fn", "unit", "class_names")
_FIELDS = ("id", "dim", "type", "timestamp_key", "value_key", *_OPTIONAL)

# In a description: the registered readout whose fields are those that the description leaves out.
_REGISTERED = "readout_id"


def readout_to_config(spec: ModalitySpec) -> dict[str, Any]:
    """Describe a readout by plain values. `unit` and `class_names` are left out where nobody said them.

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
    described = {
        "id": spec.id,
        "dim": spec.dim,
        "type": spec.type.name,
        "loss_fn": {"name": name, **loss.arguments()},
        "timestamp_key": spec.timestamp_key,
        "value_key": spec.value_key,
    }
    if spec.unit is not None:
        described["unit"] = spec.unit
    if spec.class_names is not None:
        described["class_names"] = list(spec.class_names)
    return described


def readout_from_config(description: Any) -> ModalitySpec:
    """Build a readout from its description, or from the name of a registered one.

    Args:
        description: A `ModalitySpec` (returned as it is), a registered name, or a mapping as `readout_to_config` gives
            it; in the mapping, `loss_fn` may be just the loss's name, or absent for the type's usual loss, and `unit`
            and `class_names` may be absent. With `readout_id`, the name of a registered readout, what else is absent
            is as there: `{"readout_id": "cursor_velocity_2d", "unit": "cm/s"}`.

    Raises:
        KeyError: no readout or loss of this name.
        TypeError: a field is of the wrong type.
        ValueError: a field is missing, unknown or unfit.

    >>> readout_from_config({"readout_id": "running_speed", "unit": "cm/s"}).unit
    'cm/s'
    """
    if isinstance(description, ModalitySpec):
        return description
    if isinstance(description, str):
        return _known(description)
    if not isinstance(description, Mapping):
        raise ValueError(f"a readout is described by a registered name or a mapping, got {description!r}")
    for key in description:
        if key not in (*_FIELDS, _REGISTERED):
            raise ValueError(f"unknown field {key!r} of a readout; {name_hint(str(key), _FIELDS, noun='known')}")
    if _REGISTERED in description:
        own = {key: value for key, value in description.items() if key != _REGISTERED}
        return readout_from_config({**_registered(str(description[_REGISTERED]), own), **own})
    absent = [field for field in _FIELDS if field not in description and field not in _OPTIONAL]
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

    A description under the name of a registered readout may leave out what is as there:
    `{"cursor_velocity_2d": {"unit": "cm/s"}}`.

    Raises:
        KeyError: no readout or loss of a name.
        ValueError: a description is unfit.
    """
    if isinstance(description, Mapping):
        return {str(name): _one_of_several(str(name), spec) for name, spec in description.items()}
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


def _one_of_several(name: str, description: Any) -> ModalitySpec:
    if description is None:
        return _known(name)
    leaves_out = isinstance(description, Mapping) and not {"id", _REGISTERED} & set(description)
    if leaves_out and name in MODALITY_REGISTRY:
        description = {_REGISTERED: name, **description}
    try:
        return readout_from_config(description)
    except (TypeError, ValueError) as error:
        error.add_note(f"in the description of readout {name!r}")
        raise


def _known(name: str) -> ModalitySpec:
    if name not in MODALITY_REGISTRY:
        raise KeyError(f"readout {name!r} does not exist; {name_hint(name, MODALITY_REGISTRY, noun='known')}")
    return MODALITY_REGISTRY[name]


def _registered(name: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a registered readout, but for what is not fit any more beside the description's own."""
    fields = {field.name: getattr(_known(name), field.name) for field in dataclasses.fields(ModalitySpec)}
    if "type" in own:
        del fields["loss_fn"]  # The type's usual one.
    if {"type", "dim"} & set(own):
        del fields["class_names"]
    return fields


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
