"""What each key of a sequence holds: its dtype, and the value that stands where nothing was observed or behind the end.

Shapes: T steps of one sequence, D features, K outcomes.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Filling = Literal["carry", "padding", "true"]


@dataclass(frozen=True, slots=True)
class StepRule:
    """How the values of a key that has one a step are kept.

    Attributes:
        dtype: What they are stored as.
        padding: What stands behind a sequence's end.
        filling: What a step that has no row gets: the last value (`"carry"`), the padding, or True.
    """

    dtype: np.dtype[Any]
    padding: bool | int | float
    filling: Filling


_FEATURES = StepRule(np.dtype(np.float32), 0.0, "carry")
_IDS = StepRule(np.dtype(np.int64), -1, "padding")
_STEP_RULES = {
    "embeddings": _FEATURES,
    "outcomes": _FEATURES,
    "outcomes_mask": StepRule(np.dtype(np.bool_), False, "padding"),
    "mask": StepRule(np.dtype(np.bool_), True, "true"),
    "infill_lang_mask": StepRule(np.dtype(np.bool_), True, "true"),
    "infill_mask": StepRule(np.dtype(np.bool_), False, "true"),
    "pad_mask": StepRule(np.dtype(np.bool_), True, "padding"),
    "oots_mask": StepRule(np.dtype(np.bool_), True, "carry"),
    "time_ids": _IDS,
    "query_ids": _IDS,
}
_FLAGS = StepRule(np.dtype(np.bool_), False, "padding")

SEQUENCE_IDS = ("seq_id", "seq_idx")
"""The two names under which a sequence's identity is known."""

NUMBER_KEYS = (*SEQUENCE_IDS, "ooss_mask")
"""Keys that hold one integer a sequence."""


def is_feature_key(key: str) -> bool:
    """Whether a key holds features of every step: `embeddings`, `embeddings_<name>`."""
    return key == "embeddings" or key.startswith("embeddings_")


def is_sequence_feature_key(key: str) -> bool:
    """Whether a key holds features of a whole sequence: `seq_embeddings`, `seq_embeddings_<name>`."""
    return key == "seq_embeddings" or key.startswith("seq_embeddings_")


def mask_key_of(feature_key: str) -> str:
    """The key that says where features are missing.

    >>> mask_key_of("embeddings"), mask_key_of("embeddings_mood")
    ('mask', 'mask_mood')
    """
    return "mask" + feature_key.removeprefix("embeddings")


def named_step_rule(key: str) -> StepRule | None:
    """The rule of a key whose name fixes it; None where the values decide."""
    if key in _STEP_RULES:
        return _STEP_RULES[key]
    if is_feature_key(key):
        return _FEATURES
    if key.startswith("mask_"):
        return _STEP_RULES["mask"]
    return _IDS if key.endswith("_time_ids") else None


def step_rule(key: str, values: NDArray[Any]) -> StepRule:
    """The rule of a key; of an unknown one by its values: floats as features, integers as ids, booleans as flags.

    Raises:
        TypeError: values that are no numbers.
    """
    rule = named_step_rule(key)
    if rule is not None:
        return rule
    if values.dtype.kind == "f":
        return _FEATURES
    if values.dtype.kind in "iu":
        return _IDS
    if values.dtype.kind == "b":
        return _FLAGS
    raise TypeError(f"'{key}' holds {values.dtype}, expected numbers or booleans")
