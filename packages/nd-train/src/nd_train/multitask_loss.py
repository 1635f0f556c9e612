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
        The loss, a scalar that carries gradients, and each task's own loss, detached, by name.

    Raises:
        ValueError: the batch has no task at all, or a task has predictions and no targets.
    """
    if not output_values:
        raise ValueError(
            "this batch has no output of any task: expected at least one window with target times, "
            f"found {output_decoder_index.shape[0]} windows without; widen the windows or the sampling intervals"
        )
    losses: dict[str, Tensor] = {}
    total: Tensor | None = None
    batch_size = output_decoder_index.shape[0]
    for task, predictions in output_values.items():
        if task not in target_values:
            raise ValueError(f"task '{task}' has predictions but no targets; targets: {sorted(target_values)}")
        spec = readout_specs[task]
        targets = target_values[task]
        if targets.is_floating_point():
            # Targets arrive in the recording's precision; the loss is the model's.
            targets = targets.to(predictions.dtype)
        weights = target_weights.get(task)
        if weights is not None:
            weights = weights.to(predictions.dtype)
        task_loss = spec.loss_fn(predictions, targets, weights)
        losses[task] = task_loss.detach()
        windows = torch.any(output_decoder_index == spec.id, dim=1).sum()
        share = task_loss * windows / batch_size
        total = share if total is None else total + share
    assert total is not None
    return total, losses
