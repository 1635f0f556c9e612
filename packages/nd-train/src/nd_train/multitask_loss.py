"""The loss of a decoder that reads out several tasks at once.

B windows, N_out queries (padded), D_task output width of one task.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nd_models import ModalitySpec


def multitask_loss(
    output_values: Mapping[str, Tensor],
    target_values: Mapping[str, Tensor],
    target_weights: Mapping[str, Tensor],
    *,
    output_decoder_index: Tensor,
    readout_specs: Mapping[str, ModalitySpec],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum each task's loss, in proportion to the windows that hold the task.

    ``loss = Σ_task loss_fn(pred, target, weight) · n_windows_with_task / B``

    Args:
        output_values: Predictions by task, chained over the batch. Shape of each: (N_task, D_task).
        target_values: Targets by task, in the same order. Shape of each: (N_task, D_task) or (N_task,).
        target_weights: Weight of every target time, by task. Shape of each: (N_task,). A task may be absent.
        output_decoder_index: Modality id of every query, 0 for padding, int64. Shape: (B, N_out).
        readout_specs: The tasks' modalities: their ids and loss functions.

    Returns:
        The loss, a scalar that carries gradients, and each task's own loss, detached, by name. A batch whose windows
        hold no target time at all, as sparse tasks have, teaches nothing: its loss is 0 and no parameter gets a
        gradient.

    Raises:
        ValueError: a task has predictions and no targets.
    """
    losses: dict[str, Tensor] = {}
    total: Tensor | None = None
    batch_size = output_decoder_index.shape[0]
    for task, predictions in output_values.items():
        if task not in target_values:
            raise ValueError(f"task '{task}' has predictions but no targets; targets: {sorted(target_values)}")
        spec = readout_specs[task]
        targets, weights = in_precision_of(predictions, target_values[task], target_weights.get(task))
        task_loss = spec.loss_fn(predictions, targets, weights)
        losses[task] = task_loss.detach()
        windows = torch.any(output_decoder_index == spec.id, dim=1).sum()
        share = task_loss * windows / batch_size
        total = share if total is None else total + share
    if total is None:
        return torch.zeros((), device=output_decoder_index.device, requires_grad=True), {}
    return total, losses


def in_precision_of(predictions: Tensor, targets: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Targets and weights in the precision of the loss: that of the predictions, or float32 where theirs is a half one.

    They arrive in the recording's precision. Class indices stay integers.
    """
    precision = torch.promote_types(predictions.dtype, torch.float32)
    if targets.is_floating_point():
        targets = targets.to(precision)
    return targets, None if weights is None else weights.to(precision)
