"""Steps 2 and 4, shift and reshift: learn changes, judge levels.

B sequences, T steps, K outcomes. Nothing here changes what it is given.
"""

from typing import Literal

import torch
from torch import Tensor


def shift_labels(labels: Tensor, *, do_shift: bool = True) -> Tensor:
    """Changes since the step before: ``d_t = y_t - y_{t-1}``, ``d_0 = y_0``.

    Args:
        labels: Levels, unobserved ones filled with the last observed. Shape: (B, T, K).
        do_shift: False returns the labels as they are.

    Example:
        >>> shift_labels(torch.tensor([[[10.0], [12.0], [11.0]]])).flatten().tolist()
        [10.0, 2.0, -1.0]
    """
    return labels - previous_levels(labels) if do_shift else labels


def previous_levels(labels: Tensor) -> Tensor:
    """``y_{t-1}``, and 0 at the first step. Shape: (B, T, K), as `labels`."""
    return torch.cat([torch.zeros_like(labels[:, :1]), labels[:, :-1]], dim=1)


def reshift_output(
    output: Tensor, labels: Tensor, observed: Tensor, *, do_shift: bool = True, interpolated: bool = False
) -> Tensor:
    """Levels from predicted changes.

    Teacher forced, ``ŷ_t = d̂_t + y_{t-1}``. Interpolated, the last prediction stands in for a level that was not
    observed: ``ŷ_t = d̂_t + (y_{t-1} if observed_{t-1} else ŷ_{t-1})``, which is a sum over the run of steps since the
    last observation. ``ŷ_0 = d̂_0`` in both.

    Args:
        output: Predicted changes. Shape: (B, T, K).
        labels: Levels. Shape: (B, T, K).
        observed: True where a level was observed. Shape: (B, T, K).
        do_shift: False returns the output as it is.
        interpolated: Whether to add up predictions over unobserved steps.

    Example:
        >>> changes = torch.tensor([[[4.0], [1.0], [1.0], [1.0]]])
        >>> levels = torch.tensor([[[5.0], [7.0], [7.0], [7.0]]])
        >>> seen = torch.tensor([[[True], [False], [False], [True]]])
        >>> reshift_output(changes, levels, seen, interpolated=True).flatten().tolist()
        [4.0, 6.0, 7.0, 8.0]
    """
    if not do_shift:
        return output
    before = previous_levels(labels)
    if not interpolated:
        return output + before.to(output.dtype)
    batch_size, steps, outcomes = output.shape
    seen_before = torch.cat([torch.zeros_like(observed[:, :1]), observed[:, :-1]], dim=1)
    positions = torch.arange(steps, device=output.device).view(1, steps, 1).expand(batch_size, steps, outcomes)
    # The step that each run of additions began at: the latest with an observed level just before it, or the first.
    began = torch.where(seen_before, positions, 0).cummax(dim=1).values
    # Differences of one long sum lose digits; float64 keeps those of float32.
    total = output.to(torch.float64).cumsum(dim=1)
    before_step = torch.cat([torch.zeros_like(total[:, :1]), total[:, :-1]], dim=1)
    run = total - before_step.gather(1, began)
    return (run + before.gather(1, began)).to(output.dtype)


def shifted_loss_mask(observed: Tensor, mode: Literal["compat", "baseline", "lag1"]) -> Tensor:
    """Steps whose change a loss may learn.

    Args:
        observed: True where an outcome was observed. Shape: (B, T, K).
        mode: ``compat`` keeps them all, so the first step teaches a level; ``baseline`` keeps those with any
            observation before them; ``lag1`` those whose step before was observed.
    """
    if mode == "compat":
        return observed
    before = torch.cat([torch.zeros_like(observed[:, :1]), observed[:, :-1]], dim=1)
    if mode == "baseline":
        before = before.cummax(dim=1).values if before.shape[1] else before
    return observed & before


def filled_labels(labels: Tensor, observed: Tensor) -> Tensor:
    """Labels with the last observed level (0 before any) wherever an unobserved one is not finite. Shape: (B, T, K)."""
    positions = torch.arange(1, labels.shape[1] + 1, device=labels.device).view(1, -1, 1)
    last = torch.where(observed, positions, 0).cummax(dim=1).values
    padded = torch.cat([torch.zeros_like(labels[:, :1]), torch.where(observed, labels, 0.0)], dim=1)
    return torch.where(observed | torch.isfinite(labels), labels, padded.gather(1, last))
