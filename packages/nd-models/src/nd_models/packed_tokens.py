"""Tokens of windows for batches without padding.

Shapes: B windows, T tokens of all windows together.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nd_data import chain
from nd_data.collate_marks import Padded


def packed_tokens(tokens: Mapping[str, Any]) -> dict[str, Any]:
    """What `tokenize` gives for a window, marked for chaining in place of padding.

    Args:
        tokens: The nested dictionary, with what varies in length in `nd_data.pad8` or `nd_data.pad`.

    Returns:
        The same with all of that in `nd_data.chain`; `model_inputs` loses its masks and gains `input_seqlen` and
        `output_seqlen`, which collate to shape (B,).
    """
    inputs: dict[str, Any] = {}
    for name, value in tokens["model_inputs"].items():
        if isinstance(value, Padded) and name.endswith("_mask"):
            continue
        inputs[name] = _chained(value)
        length_name = f"{name.partition('_')[0]}_seqlen"
        if isinstance(value, Padded) and length_name not in inputs:
            inputs[length_name] = np.int64(len(value.obj))
    others = {name: _chained(value) for name, value in tokens.items() if name != "model_inputs"}
    return {"model_inputs": inputs, **others}


def _chained(value: Any) -> Any:
    return chain(value.obj) if isinstance(value, Padded) else value
