"""Models from plain configurations, through a fixed table of architectures."""

from collections.abc import Mapping
from typing import Any

from nd_data.nearest_names import name_hint
from nd_models.baselines import GRUDecoder, MLPDecoder, NDTDecoder, WienerDecoder
from nd_models.calcium_poyo_plus import CalciumPOYOPlus
from nd_models.constructor_arguments import build_model, named_architecture
from nd_models.decoder_model import DecoderModel
from nd_models.poyo import POYO
from nd_models.poyo_plus import POYOPlus

ARCHITECTURES: dict[str, type[DecoderModel]] = {
    "POYO": POYO,
    "POYOPlus": POYOPlus,
    "CalciumPOYOPlus": CalciumPOYOPlus,
    "WienerDecoder": WienerDecoder,
    "MLPDecoder": MLPDecoder,
    "GRUDecoder": GRUDecoder,
    "NDTDecoder": NDTDecoder,
}
"""The architectures that a configuration can name."""


def model_from_config(config: Mapping[str, Any]) -> DecoderModel:
    """Build the model that a configuration describes; nothing is imported by name.

    Args:
        config: `architecture` and the constructor's arguments, as `model.to_config()` gives them. Readouts may be
            registered names: `readout_spec: cursor_velocity_2d`, `readout_specs: [cursor_velocity_2d, running_speed]`.
            Without `architecture`, a configuration with `readout_spec` is a POYO, any other a POYOPlus. A `_target_`
            such as `torch_brain.models.POYOPlus` names the architecture too. `lora` says how `nd_models.add_lora`
            adapted it.

    Returns:
        A fresh model, with vocabularies not initialised.

    Raises:
        KeyError: an architecture, readout or loss that does not exist.
        ValueError: an argument is missing, unknown or unfit.

    >>> config = {"sequence_length": 1.0, "latent_step": 0.5, "dim": 16, "dim_head": 8, "readout_spec": "running_speed"}
    >>> model = model_from_config(config)
    >>> type(model).__name__, model_from_config(model.to_config()).dim
    ('POYO', 16)
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"a model's configuration is a mapping, got {config!r}")
    name = named_architecture(config) or ("POYO" if "readout_spec" in config else "POYOPlus")
    if name not in ARCHITECTURES:
        raise KeyError(f"architecture {name!r} does not exist; {name_hint(name, ARCHITECTURES, noun='known')}")
    return build_model(ARCHITECTURES[name], config)
