"""What a model reads of a batch: features joined, missing steps treated, padding known.

Shapes: B sequences, T steps, D features, G groups of features (one a batch key), W width that the model works on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from nd_data.nearest_names import name_hint

MissingSteps = Literal["zero", "carry", "flag"]
InputNorm = Literal["auto", "layer", "none"]


@dataclass(frozen=True, slots=True)
class StepInputs:
    """One batch, as the models see it.

    Attributes:
        values: Features. Shape: (B, T, D).
        missing: True = no group of features was observed. Shape: (B, T), bool.
        missing_groups: True = this group of features was not observed. Shape: (B, T, G), bool.
        group_sizes: Number of features of each group.
        padding: True = behind the end; None = all sequences fill the batch. Shape: (B, T), bool.
        time_ids: Step numbers, where the batch has them. Shape: (B, T), int64.
    """

    values: Tensor
    missing: Tensor
    missing_groups: Tensor
    group_sizes: tuple[int, ...]
    padding: Tensor | None
    time_ids: Tensor | None

    def missing_channels(self) -> Tensor:
        """For each feature whether it is missing. Shape: (B, T, D), bool."""
        columns = [
            self.missing_groups[..., group : group + 1].expand(-1, -1, size)
            for group, size in enumerate(self.group_sizes)
        ]
        return torch.cat(columns, dim=-1)


def check_inputs(inputs: str | Sequence[str]) -> tuple[str, ...]:
    """The batch keys that a model reads.

    Raises:
        ValueError: none, one twice, one that holds no features, or none with a value a step.
    """
    keys = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    if not keys or len(set(keys)) < len(keys):
        raise ValueError(f"inputs must name at least one batch key, each once; got {inputs!r}")
    for key in keys:
        if not (_is_stepwise(key) or key == "seq_embeddings" or key.startswith("seq_embeddings_")):
            raise ValueError(f"inputs: {key!r} is none of embeddings, embeddings_<name>, seq_embeddings_<name>")
    if not any(_is_stepwise(key) for key in keys):
        raise ValueError(f"inputs must name features of every step, such as 'embeddings'; got {inputs!r}")
    return keys


def gather_inputs(keys: Sequence[str], batch: Mapping[str, Any], *, num_features: int) -> StepInputs:
    """Join the features that a model reads.

    Args:
        keys: Batch keys; `seq_embeddings…` are repeated for every step.
        batch: Tensors by key; `mask` and `mask_<name>` (True = missing), `pad_mask`, `time_ids` where there are any.
        num_features: The width that the model was built for.

    Raises:
        KeyError: the batch lacks a key.
        ValueError: shapes that do not fit, or padding that is not at the end.
    """
    stepwise = [key for key in keys if _is_stepwise(key)]
    for key in keys:
        if batch.get(key) is None:
            raise KeyError(f"the batch has no '{key}'; {name_hint(key, _feature_keys(batch), noun='features')}")
    first: Tensor = batch[stepwise[0]]
    if first.ndim != 3:
        raise ValueError(f"'{stepwise[0]}' has shape {tuple(first.shape)}, expected (sequences, steps, features)")
    sequences, steps = first.shape[:2]
    columns, missing = [], []
    for key in keys:
        values: Tensor = batch[key]
        if key in stepwise:
            missing.append(_step_mask(_mask_name(key, batch), batch, first))
        else:
            values = values[:, None].expand(-1, steps, -1)
            missing.append(torch.zeros(sequences, steps, dtype=torch.bool, device=first.device))
        if values.shape[:2] != (sequences, steps):
            raise ValueError(f"'{key}' has shape {tuple(values.shape)}, expected ({sequences}, {steps}, features)")
        columns.append(values.to(first.dtype))
    joined = columns[0] if len(columns) == 1 else torch.cat(columns, dim=-1)
    if joined.shape[-1] != num_features:
        raise ValueError(f"{', '.join(keys)}: {joined.shape[-1]} features, the model was built for {num_features}")
    padding = _padding(batch, first)
    nowhere = torch.stack([one for key, one in zip(keys, missing, strict=True) if key in stepwise]).all(dim=0)
    sizes = tuple(column.shape[-1] for column in columns)
    return StepInputs(joined, nowhere, torch.stack(missing, dim=-1), sizes, padding, batch.get("time_ids"))


class FeatureInput(nn.Module):
    """Normalises features and treats the missing ones.

    Args:
        num_features: D.
        num_groups: G, the number of batch keys that the features come from.
        missing_steps: `"zero"`: missing features are 0; `"carry"`: they stay what was observed last; `"flag"`: the
            same, and a channel for each group says that they are missing.
        input_norm: `"layer"`: layer normalisation over the features of a step; `"none"`; `"auto"`: `"layer"` with more
            than one feature, of which it would leave nothing but a constant.
    """

    def __init__(
        self, num_features: int, num_groups: int, *, missing_steps: MissingSteps, input_norm: InputNorm = "none"
    ) -> None:
        super().__init__()
        if missing_steps not in get_args(MissingSteps):
            raise ValueError(f"missing_steps must be 'zero', 'carry' or 'flag', got {missing_steps!r}")
        if input_norm not in get_args(InputNorm):
            raise ValueError(f"input_norm must be 'auto', 'layer' or 'none', got {input_norm!r}")
        normalize = input_norm == "layer" or (input_norm == "auto" and num_features > 1)
        self.norm = nn.LayerNorm(num_features) if normalize else nn.Identity()
        self.missing_steps = missing_steps
        self.width = num_features + (num_groups if missing_steps == "flag" else 0)

    def forward(self, steps: StepInputs) -> Tensor:
        """Shape: (B, T, W)."""
        values: Tensor = self.norm(steps.values)
        if self.missing_steps == "zero":
            return values.masked_fill(steps.missing_channels(), 0.0)
        if self.missing_steps == "flag":
            return torch.cat((values, steps.missing_groups.to(values.dtype)), dim=-1)
        return values


def _is_stepwise(key: str) -> bool:
    return key == "embeddings" or key.startswith("embeddings_")


def _feature_keys(batch: Mapping[str, Any]) -> list[str]:
    return [key for key, value in batch.items() if "embeddings" in key and value is not None]


def _mask_name(key: str, batch: Mapping[str, Any]) -> str:
    own = "mask" + key.removeprefix("embeddings")
    return own if batch.get(own) is not None else "mask"


def _step_mask(name: str, batch: Mapping[str, Any], like: Tensor) -> Tensor:
    mask = batch.get(name)
    if mask is None:
        return torch.zeros(like.shape[:2], dtype=torch.bool, device=like.device)
    if mask.shape != like.shape[:2]:
        raise ValueError(f"'{name}' has shape {tuple(mask.shape)}, expected {tuple(like.shape[:2])}")
    flags: Tensor = mask.to(torch.bool)
    return flags


def _padding(batch: Mapping[str, Any], like: Tensor) -> Tensor | None:
    if batch.get("pad_mask") is None:
        return None
    padding = _step_mask("pad_mask", batch, like)
    # On an accelerator the look would wait for the device.
    if padding.device.type == "cpu" and not torch.compiler.is_compiling() and (padding[:, :-1] & ~padding[:, 1:]).any():
        raise ValueError(
            "pad_mask: padding before a step of the sequence; sequences start at 0 and are padded at the end"
        )
    return padding
