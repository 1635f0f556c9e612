"""Steps 1 to 4 in a row: a batch becomes predictions beside their targets, with every mask that later steps need.

B sequences, T steps (1 where only the last valid step is predicted), K outcomes, C classes.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nd_models.longitudinal import gather_last_valid, last_valid_index, selectable_steps
from nd_train.longitudinal.batch import BatchMasks, batch_masks, check_labels, time_ids, unpack_batch
from nd_train.longitudinal.forward import forward_model
from nd_train.longitudinal.sequence_length import trim_mask
from nd_train.longitudinal.settings import LongitudinalSettings
from nd_train.longitudinal.shift import (
    filled_labels,
    previous_levels,
    reshift_output,
    shift_labels,
    shifted_loss_mask,
)


@dataclass(frozen=True)
class Forecast:
    """Predictions of one batch beside their targets.

    Attributes:
        output: What the model returned, in the space of the loss: changes, levels or logits. (B, T, K[, C]).
        levels: Predictions in the space of the metrics: levels, or logits. (B, T, K[, C]).
        targets: What the loss compares `output` with, (B, T, K); None without labels.
        labels: What metrics compare `levels` with, (B, T, K); None without labels.
        observed: Outcomes that metrics count, (B, T, K) bool; in training those that may be learned from.
        loss_mask: Outcomes that the loss counts, (B, T, K) bool.
        real: Steps that are no padding, (B, T) bool; of a last-step prediction, whether there is such a step.
        out_of_time: Steps held out within their sequence, (B, T) bool.
        out_of_sequence: Sequences held out, (B,) bool.
        time_ids: Step numbers, (B, T) int64.
        sequence_ids: (B,) int64; None where the batch has none.
        infilled: Steps whose features were missing, (B, T) bool; None where the batch does not say.
        query_ids: Message ids, (B, T) int64; None where the batch has none.
    """

    output: Tensor
    levels: Tensor
    targets: Tensor | None
    labels: Tensor | None
    observed: Tensor
    loss_mask: Tensor
    real: Tensor
    out_of_time: Tensor
    out_of_sequence: Tensor
    time_ids: Tensor
    sequence_ids: Tensor | None
    infilled: Tensor | None
    query_ids: Tensor | None


def forecast(
    model: nn.Module,
    batch: Mapping[str, Any],
    settings: LongitudinalSettings,
    *,
    training: bool = False,
    required: bool = True,
    seq_len: int | None = None,
) -> Forecast:
    """Unpack a batch, shift its labels, call the model, and bring its output back to levels; the batch is only read.

    Args:
        model: Called with the batch's inputs by keyword.
        batch: As `nd_data.longitudinal.collate_sequences` makes it.
        settings: What is predicted.
        training: Whether out-of-time steps are left out of `observed` and `loss_mask`.
        required: Whether `ooss_mask` and `time_ids` must be there.
        seq_len: In training, steps to learn from.
    """
    inputs, labels, sequence_ids = unpack_batch(batch)
    masks = batch_masks(batch, labels, required=required)
    observed, times = masks.observed, time_ids(batch, masks)
    if labels is None:
        observed = observed.expand(*masks.real.shape, settings.num_outcomes)
    else:
        check_labels(labels, observed, num_outcomes=settings.num_outcomes, num_classes=settings.num_classes)
        labels = filled_labels(labels, observed)
    learned = observed
    if training:
        learned = masks.in_time if seq_len is None else trim_mask(masks.in_time, seq_len)
    targets = None if labels is None else shift_labels(labels, do_shift=settings.do_shift)
    loss_mask = learned
    if settings.do_shift:
        loss_mask = learned & shifted_loss_mask(observed, settings.shift_loss_mask)

    valid = _selectable(batch, inputs, masks, settings, training=training, seq_len=seq_len)
    inputs["predict_last_valid_hidden_state"] = valid is not None
    if valid is not None:
        inputs["valid_steps"] = valid
    batch_size, length = masks.real.shape
    output = forward_model(
        model,
        inputs,
        steps=(batch_size, length),
        num_outcomes=settings.num_outcomes,
        num_classes=settings.num_classes,
    )
    # Without labels there is nothing to force a level with: changes add up from the first.
    known = torch.zeros_like(output) if labels is None else labels
    infilled = batch.get("infill_lang_mask", batch.get("mask"))
    result: dict[str, Any] = {
        "output": output,
        "targets": targets,
        "labels": labels,
        "observed": learned,
        "loss_mask": loss_mask,
        "real": masks.real,
        "out_of_time": masks.out_of_time,
        "time_ids": times,
        "infilled": None if infilled is None else infilled != 0,
        "query_ids": batch.get("query_ids"),
    }
    if valid is None:
        if output.shape[1] != length:
            raise ValueError(
                f"{type(model).__name__} predicted one step of {length}, but predict_last_valid_timestep is False"
            )
        result["levels"] = reshift_output(
            output,
            known,
            observed,
            do_shift=settings.do_shift,
            interpolated=settings.interpolated_output or labels is None,
        )
    else:
        index = last_valid_index(valid)
        before = None if labels is None or not settings.do_shift else previous_levels(labels)
        result = {name: None if value is None else _at(value, index, length) for name, value in result.items()}
        output = result["output"]
        result["levels"] = output if before is None else output + _at(before, index, length).to(output.dtype)
    return Forecast(**result, out_of_sequence=masks.out_of_sequence, sequence_ids=sequence_ids)


def in_own_units(result: Forecast, mean: Tensor, std: Tensor) -> Forecast:
    """Levels and labels of standardised outcomes in their own units; the loss's side stays standardised.

    Args:
        result: Predictions of numbers.
        mean: What was subtracted from every outcome, (K,).
        std: What they were divided by, (K,).
    """
    labels = None if result.labels is None else result.labels * std + mean
    return dataclasses.replace(result, levels=result.levels * std + mean, labels=labels)


def _selectable(
    batch: Mapping[str, Any],
    inputs: Mapping[str, Any],
    masks: BatchMasks,
    settings: LongitudinalSettings,
    *,
    training: bool,
    seq_len: int | None,
) -> Tensor | None:
    """Steps among which the last is predicted, (B, T) bool; None where every step is."""
    wanted = settings.predict_last_valid_timestep
    if bool(batch.get("predict_last_valid_hidden_state", wanted)) != wanted:
        raise ValueError(
            f"batch['predict_last_valid_hidden_state'] is {not wanted}, but predict_last_valid_timestep is {wanted}: "
            "give the collate function and the module the same"
        )
    if not wanted:
        return None
    missing = inputs.get("mask")
    valid = selectable_steps(None if missing is None else missing != 0, ~masks.real)
    if training:
        valid = valid & ~masks.out_of_time
        valid = valid if seq_len is None else trim_mask(valid, seq_len)
    return valid


def _at(values: Tensor, index: Tensor, length: int) -> Tensor:
    # A model that already predicted the last step alone has one step.
    return values if values.shape[1] == 1 and length != 1 else gather_last_valid(values, index).unsqueeze(1)
