"""From a configuration's plain values to the arguments of an architecture's constructor."""

import inspect
from collections.abc import Mapping
from typing import Any

from nd_data.nearest_names import name_hint
from nd_models.readout_configuration import readout_from_config, readouts_from_config


def named_architecture(config: Mapping[str, Any]) -> str | None:
    """The architecture that a configuration names, by `architecture` or by the last part of `_target_`."""
    if config.get("architecture") is not None:
        return str(config["architecture"])
    target = config.get("_target_")
    return target.rsplit(".", 1)[-1] if isinstance(target, str) else None


def constructor_arguments(architecture: type, config: Mapping[str, Any]) -> dict[str, Any]:
    """Check a configuration against a constructor and build the readouts that it describes.

    Raises:
        KeyError: a readout or loss that does not exist.
        ValueError: an argument is missing or unknown, or a readout's description is unfit.
    """
    arguments = {key: value for key, value in config.items() if key not in ("architecture", "_target_")}
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
