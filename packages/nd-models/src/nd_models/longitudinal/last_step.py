"""One prediction a sequence: at its last valid step.

Shapes: B sequences, T steps, K outcomes.
"""

import torch
from torch import Tensor


def selectable_steps(mask: Tensor | None = None, pad_mask: Tensor | None = None) -> Tensor:
    """Steps that count as valid: neither missing nor padding.

    Args:
        mask: True = missing; None = none is. Shape: (B, T), bool.
        pad_mask: True = padding; None = none is. Shape: (B, T), bool.

    Returns:
        Shape (B, T), bool; True = valid.

    Raises:
        ValueError: neither is given, so that the number of steps is not known.
    """
    if mask is None and pad_mask is None:
        raise ValueError("selectable_steps needs mask, pad_mask or both")
    if mask is None or pad_mask is None:
        return ~(mask if pad_mask is None else pad_mask).to(torch.bool)  # type: ignore[union-attr]
    return ~(mask.to(torch.bool) | pad_mask.to(torch.bool))


def last_valid_index(valid: Tensor) -> Tensor:
    """The largest index of a valid step, holes before it or not.

    Args:
        valid: True = valid. Shape: (B, T), bool or 0 and 1.

    Returns:
        Shape (B,), int64; -1 where no step is valid.

    >>> last_valid_index(torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0]]))
    tensor([ 2, -1])
    """
    steps = torch.arange(valid.shape[1], device=valid.device)
    return torch.where(valid.to(torch.bool), steps, -1).amax(dim=1)


def gather_last_valid(values: Tensor, index: Tensor, *, fill: float = 0) -> Tensor:
    """What stands at one step of each sequence: outputs, labels and masks alike.

    Args:
        values: Any dtype. Shape: (B, T, ...).
        index: As from `last_valid_index`. Shape: (B,), int64.
        fill: What a sequence without a valid step gets; False for masks, as 0 is.

    Returns:
        Shape (B, ...).

    >>> gather_last_valid(torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]), torch.tensor([1, -1]))
    tensor([[2.],
            [0.]])
    """
    rows = torch.arange(values.shape[0], device=values.device)
    chosen = values[rows, index.clamp(min=0)]
    return chosen.masked_fill((index < 0).reshape(-1, *(1,) * (chosen.ndim - 1)), fill)
