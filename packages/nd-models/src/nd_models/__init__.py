"""Neural decoding architectures: POYO, POYO+, modality registry, losses, tokenizers."""

from nd_models.__about__ import __version__
from nd_models.checkpoint import read_checkpoint
from nd_models.configuration import ARCHITECTURES, model_from_config
from nd_models.modality import (
    MODALITY_REGISTRY,
    DataType,
    ModalitySpec,
    get_modality_by_id,
    register_modality,
)
from nd_models.poyo import POYO
from nd_models.poyo_plus import POYOPlus
from nd_models.readout import prepare_for_multitask_readout, prepare_for_readout
from nd_models.ridge import RidgeDecoder, lagged

__all__ = [
    "ARCHITECTURES",
    "MODALITY_REGISTRY",
    "POYO",
    "DataType",
    "ModalitySpec",
    "POYOPlus",
    "RidgeDecoder",
    "__version__",
    "get_modality_by_id",
    "lagged",
    "model_from_config",
    "prepare_for_multitask_readout",
    "prepare_for_readout",
    "read_checkpoint",
    "register_modality",
]
