"""Step 1, unpacking: a batch into model inputs, labels, sequence ids and masks that all mean "usable where True".

B sequences, T steps, K outcomes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nd_data.nearest_names import name_hint

IDENTITIES = ("seq_id", "seq_idx")


class UnpackedBatch(NamedTuple):
    """What step 1 makes of a batch: what the model is called with; targets (B, T, K) or None; ids (B,) or None."""

    inputs: dict[str, Any]
    labels: Tensor | None
    sequence_ids: Tensor | None


@dataclass(frozen=True)
class BatchMasks:
    """The masks of a batch, each True where it says.

    Attributes:
        real: Steps that are no padding, (B, T).
        observed: Outcomes that were observed at real steps, (B, T, K).
        out_of_time: Steps held out within their sequence, (B, T).
        out_of_sequence: Sequences held out, (B,).
    """

    real: Tensor
    observed: Tensor
    out_of_time: Tensor
    out_of_sequence: Tensor

    @property
    def in_time(self) -> Tensor:
        """Observed outcomes at steps that are not held out, (B, T, K): what training may learn from."""
        return self.observed & ~self.out_of_time.unsqueeze(-1)


def unpack_batch(batch: Mapping[str, Any]) -> UnpackedBatch:
    """Split a batch into model inputs, labels and sequence ids; the batch itself stays as it was.

    `outcomes` (or the older `labels`), `query_ids` and `seq_id` or `seq_idx` are no inputs; `infill_lang_mask`, where
    there is one, is the model's `mask`; everything else goes to the model.

    Raises:
        TypeError: the batch is no mapping.
        ValueError: both `outcomes` and `labels`, or labels that are neither (B, T, K) nor (B, T).
    """
    if not isinstance(batch, Mapping):
        raise TypeError(
            f"batch: expected a mapping of tensors, as collate_sequences makes it, found {type(batch).__name__}"
        )
    if "outcomes" in batch and "labels" in batch:
        raise ValueError("batch: holds both 'outcomes' and 'labels' (its older name): keep one")
    labels = batch.get("outcomes", batch.get("labels"))
    if labels is not None:
        if labels.ndim == 2:
            labels = labels.unsqueeze(-1)
        if labels.ndim != 3:
            raise ValueError(f"batch['outcomes']: expected shape (B, T, K), found {tuple(labels.shape)}")
    identity = next((batch[name] for name in IDENTITIES if name in batch), None)
    taken = {"outcomes", "labels", "query_ids", *IDENTITIES, "infill_lang_mask"}
    inputs = {name: value for name, value in batch.items() if name not in taken}
    if "infill_lang_mask" in batch:
        inputs["mask"] = batch["infill_lang_mask"]
    return UnpackedBatch(inputs, labels, None if identity is None else identity.reshape(-1))


def batch_masks(batch: Mapping[str, Any], labels: Tensor | None, *, required: bool = True) -> BatchMasks:
    """Derive the masks once, from bool, int or float ones alike.

    Args:
        batch: The batch.
        labels: Its targets, (B, T, K), or None.
        required: Whether `ooss_mask` and `time_ids` must be there, as in training and validation. Otherwise every
            sequence is taken as held out.

    Raises:
        KeyError: a key is missing.
        ValueError: a mask does not fit.
    """
    wanted = ["outcomes_mask", "oots_mask"] if labels is not None else []
    wanted += ["ooss_mask", "time_ids"] if required else []
    for name in wanted:
        if name not in batch:
            raise KeyError(
                f"batch: lacks {name!r}, which nd_data.longitudinal.collate_sequences writes; "
                f"{name_hint(name, map(str, batch), noun='the batch has')}"
            )
    steps = _steps(batch, labels)
    device = next(value.device for value in batch.values() if isinstance(value, Tensor))
    if "pad_mask" in batch:
        real = ~_flags(batch, "pad_mask", steps)
    elif "time_ids" in batch:
        real = batch["time_ids"].reshape(steps) >= 0
    else:
        real = torch.ones(steps, dtype=torch.bool, device=device)
    if "oots_mask" in batch:
        # Padding counts as out of time in the batch; it is neither.
        out_of_time = _flags(batch, "oots_mask", steps) & real
    else:
        out_of_time = torch.zeros(steps, dtype=torch.bool, device=device)
    if "ooss_mask" in batch:
        out_of_sequence = _flags(batch, "ooss_mask", steps[:1])
    else:
        out_of_sequence = torch.ones(steps[0], dtype=torch.bool, device=device)
    if labels is None:
        observed = torch.zeros((*steps, 1), dtype=torch.bool, device=device)
    else:
        observed = _observed(batch["outcomes_mask"], labels) & real.unsqueeze(-1)
    return BatchMasks(real, observed, out_of_time, out_of_sequence)


def time_ids(batch: Mapping[str, Any], masks: BatchMasks) -> Tensor:
    """Step numbers of a batch, (B, T) int64; 0 to T-1 where it has none."""
    if "time_ids" in batch:
        return torch.as_tensor(batch["time_ids"]).reshape(masks.real.shape)
    batch_size, steps = masks.real.shape
    return torch.arange(steps, device=masks.real.device).expand(batch_size, steps)


def check_labels(labels: Tensor, observed: Tensor, *, num_outcomes: int, num_classes: int) -> None:
    """Refuse labels that no loss can be computed from, before they become a NaN or an error of the device.

    Args:
        labels: (B, T, K).
        observed: (B, T, K) bool.
        num_outcomes: K.
        num_classes: 1 for numbers.

    Raises:
        ValueError: another number of outcomes, an observed outcome that is not finite, or no class index.
    """
    if labels.shape[2] != num_outcomes:
        raise ValueError(
            f"batch['outcomes']: expected {num_outcomes} outcomes (num_outcomes), found {labels.shape[2]} "
            f"in shape {tuple(labels.shape)}"
        )
    wrong = ~torch.isfinite(labels)
    if num_classes > 1:
        wrong = wrong | (labels != labels.round()) | (labels < 0) | (labels >= num_classes)
    wrong = wrong & observed
    if wrong.any():
        row, step, outcome = (int(index) for index in wrong.nonzero()[0])
        expected = f"a class index from 0 to {num_classes - 1}" if num_classes > 1 else "a finite number"
        raise ValueError(
            f"batch['outcomes'][{row}, {step}, {outcome}] is marked as observed: expected {expected}, "
            f"found {float(labels[row, step, outcome])}"
        )


def _steps(batch: Mapping[str, Any], labels: Tensor | None) -> tuple[int, int]:
    if labels is not None:
        return int(labels.shape[0]), int(labels.shape[1])
    for name in ("time_ids", "pad_mask", "mask", "oots_mask", "embeddings"):
        if name in batch:
            return int(batch[name].shape[0]), int(batch[name].shape[1])
    for name, value in batch.items():
        if str(name).startswith("embeddings_"):
            return int(value.shape[0]), int(value.shape[1])
    raise KeyError(
        f"batch: holds neither outcomes, time_ids nor embeddings, but {', '.join(map(repr, batch)) or 'nothing'}"
    )


def _flags(batch: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> Tensor:
    mask = torch.as_tensor(batch[name])
    count = 1
    for size in shape:
        count *= size
    # (B,) and (B, 1), (B, T) and (B, T, 1) mean the same.
    if mask.numel() != count or mask.shape[0] != shape[0]:
        raise ValueError(f"batch[{name!r}]: expected shape {shape}, found {tuple(mask.shape)}")
    return mask.reshape(shape) != 0


def _observed(mask: Tensor, labels: Tensor) -> Tensor:
    spread = mask.unsqueeze(-1) if mask.ndim == 2 else mask
    if spread.ndim != 3 or spread.shape[:2] != labels.shape[:2] or spread.shape[2] not in (1, labels.shape[2]):
        raise ValueError(
            f"batch['outcomes_mask']: shape {tuple(mask.shape)} does not fit outcomes (B, T, K) = {tuple(labels.shape)}"
        )
    return (spread != 0).expand_as(labels)
