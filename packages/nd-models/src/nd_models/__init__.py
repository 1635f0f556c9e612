"""Neural decoding architectures: POYO, POYO+, modality registry, losses, tokenizers."""

from nd_models.__about__ import __version__
from nd_models.baselines import GRUDecoder, MLPDecoder, NDTDecoder, WienerDecoder
from nd_models.calcium_poyo_plus import CalciumPOYOPlus
from nd_models.checkpoint import read_checkpoint, read_weights
from nd_models.configuration import ARCHITECTURES, model_from_config
from nd_models.decoder_model import DecoderModel, MultitaskDecoderModel
from nd_models.freezing import UnfreezingSchedule, gradual_unfreezing
from nd_models.hub import push_to_hub
from nd_models.lora import (
    LoRALinear,
    add_lora,
    load_lora_state_dict,
    lora_state_dict,
    merge_lora,
    remove_lora,
)
from nd_models.modality import (
    MODALITY_REGISTRY,
    DataType,
    ModalitySpec,
    get_modality_by_id,
    register_modality,
)
from nd_models.poyo import POYO
from nd_models.poyo_plus import POYOPlus
from nd_models.pretrained_folder import from_pretrained, save_pretrained
from nd_models.readout import prepare_for_multitask_readout, prepare_for_readout
from nd_models.ridge import RidgeDecoder, lagged
from nd_models.target_scale import in_data_units
from nd_models.trainable_parts import set_trainable
from nd_models.vocabulary_transfer import VocabularyReport, adapt_vocabularies, load_overlapping_state

__all__ = [
    "ARCHITECTURES",
    "MODALITY_REGISTRY",
    "POYO",
    "CalciumPOYOPlus",
    "DataType",
    "DecoderModel",
    "GRUDecoder",
    "LoRALinear",
    "MLPDecoder",
    "ModalitySpec",
    "MultitaskDecoderModel",
    "NDTDecoder",
    "POYOPlus",
    "RidgeDecoder",
    "UnfreezingSchedule",
    "VocabularyReport",
    "WienerDecoder",
    "__version__",
    "adapt_vocabularies",
    "add_lora",
    "from_pretrained",
    "get_modality_by_id",
    "gradual_unfreezing",
    "in_data_units",
    "lagged",
    "load_lora_state_dict",
    "load_overlapping_state",
    "lora_state_dict",
    "merge_lora",
    "model_from_config",
    "prepare_for_multitask_readout",
    "prepare_for_readout",
    "push_to_hub",
    "read_checkpoint",
    "read_weights",
    "register_modality",
    "remove_lora",
    "save_pretrained",
    "set_trainable",
]
