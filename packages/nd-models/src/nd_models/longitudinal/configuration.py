"""Longitudinal models from plain configurations, through a fixed table."""

from collections.abc import Mapping
from typing import Any

from nd_data.nearest_names import name_hint
from nd_models.constructor_arguments import constructor_arguments, named_architecture
from nd_models.longitudinal.baselines import LastValue, MeanValue
from nd_models.longitudinal.forecaster import LongitudinalForecaster
from nd_models.longitudinal.recurrent import Recurrent
from nd_models.longitudinal.transformer import AutoRegressiveTransformer
from nd_models.longitudinal.windows import AutoRegressiveLinear, WindowedMeanLinear

ARCHITECTURES: dict[str, type[LongitudinalForecaster]] = {
    "Recurrent": Recurrent,
    "AutoRegressiveTransformer": AutoRegressiveTransformer,
    "AutoRegressiveLinear": AutoRegressiveLinear,
    "WindowedMeanLinear": WindowedMeanLinear,
    "LastValue": LastValue,
    "MeanValue": MeanValue,
}
"""The longitudinal architectures that a configuration can name."""


def model_from_config(config: Mapping[str, Any]) -> LongitudinalForecaster:
    """Build the model that a configuration describes; nothing is imported by name.

    Args:
        config: `architecture` and the constructor's arguments, as `model.to_config()` gives them.

    Returns:
        A fresh model.

    Raises:
        TypeError: no mapping.
        KeyError: an architecture that does not exist.
        ValueError: no architecture, or an argument that is missing, unknown or unfit.

    >>> model = model_from_config({"architecture": "Recurrent", "num_features": 3, "hidden_size": 8})
    >>> model_from_config(model.to_config()).hidden_size
    8
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"a model's configuration is a mapping, got {config!r}")
    name = named_architecture(config)
    if name is None:
        raise ValueError(f"the configuration names no architecture; known: {', '.join(sorted(ARCHITECTURES))}")
    if name not in ARCHITECTURES:
        raise KeyError(f"architecture {name!r} does not exist; {name_hint(name, ARCHITECTURES, noun='known')}")
    architecture = ARCHITECTURES[name]
    return architecture(**constructor_arguments(architecture, config))
