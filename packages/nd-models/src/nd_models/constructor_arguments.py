"""From a configuration's plain values to the arguments of an architecture's constructor."""

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from nd_data.nearest_names import name_hint
from nd_models.lora import add_lora
from nd_models.readout_configuration import readout_from_config, readouts_from_config


def named_architecture(config: Mapping[str, Any]) -> str | None:
    """The architecture that a configuration names, by `architecture` or by the last part of `_target_`."""
    if config.get("architecture") is not None:
        return str(config["architecture"])
    target = config.get("_target_")
    return target.rsplit(".", 1)[-1] if isinstance(target, str) else None


Model = TypeVar("Model", bound=nn.Module)

# What names the architecture, and how hydra would have built it.
_NOT_ARGUMENTS = ("architecture", "_target_", "_convert_", "_partial_", "_recursive_")

_ADAPTATIONS = {"lora": ("rank", "alpha", "dropout", "targets", "also_train")}


def build_model(architecture: type[Model], config: Mapping[str, Any]) -> Model:
    """Build the model that a configuration describes, with the adaptations (`lora`) that it tells of.

    Raises:
        KeyError: a readout, loss or part that does not exist.
        ValueError: an argument is missing, unknown or unfit.
    """
    arguments = {key: value for key, value in config.items() if key != "lora"}
    model = architecture(**constructor_arguments(architecture, arguments))
    adaptation = config.get("lora")
    if adaptation is not None:
        known = _ADAPTATIONS["lora"]
        if not isinstance(adaptation, Mapping):
            raise ValueError(f"'lora' must be a mapping of {', '.join(known)}, got {adaptation!r}")
        for key in adaptation:
            if key not in known:
                raise ValueError(f"'lora' has no setting {key!r}; {name_hint(str(key), known, noun='known')}")
        add_lora(model, **adaptation)
    return model


def constructor_arguments(architecture: type, config: Mapping[str, Any]) -> dict[str, Any]:
    """Check a configuration against a constructor and build the readouts that it describes.

    Raises:
        KeyError: a readout or loss that does not exist.
        ValueError: an argument is missing or unknown, or a readout's description is unfit.
    """
    arguments = {key: value for key, value in config.items() if key not in _NOT_ARGUMENTS}
    parameters = inspect.signature(architecture).parameters
    name = architecture.__name__
    for key in arguments:
        if key not in parameters:
            raise ValueError(f"{name} has no argument {key!r}; {name_hint(str(key), parameters, noun='known')}")
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in arguments:
            raise ValueError(f"the configuration of {name} lacks {key!r}")
    if "readout_spec" in arguments:
        arguments["readout_spec"] = readout_from_config(arguments["readout_spec"])
    if "readout_specs" in arguments:
        arguments["readout_specs"] = readouts_from_config(arguments["readout_specs"])
    return arguments
