"""Matrix products of many heads at once in single precision on CPU, for short attention.

A 1 × 1 convolution in groups is one matrix product a group. With tokens for pixels and heads for groups it takes rows
in which the heads lie side by side, as projections make and want them, and gives such rows: no head has to be laid out
by itself first. oneDNN computes it at about twice the speed of PyTorch's batched products (see
docs/explanation/performance.md).

Shapes: N rows, S stacks (heads, of several windows where these go together), K and M channels of one stack.
"""

from typing import Any

import torch
from torch import Tensor

from nd_models.nn.products import IS_X86

# Private, as `torch.compile` calls them.
_convolve: Any = getattr(torch.ops.mkldnn, "_convolution_pointwise", None) if IS_X86 else None
_convolve_back: Any = getattr(torch.ops.mkldnn, "_convolution_transpose_pointwise", None) if IS_X86 else None

_ALONE: tuple[Any, ...] = ("none", [], "")  # nothing is fused behind the product
_NO_PADDING, _STEP = [0, 0], [1, 1]


def has_head_products() -> bool:
    """Whether this machine and this PyTorch have them."""
    return _convolve is not None and _convolve_back is not None and torch._C._get_mkldnn_enabled()  # noqa: SLF001


def along(rows: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """``rows[:, s] @ weights[s].T + bias[s]`` of every stack s, without a gradient.

    Args:
        rows: Shape: (N, S, K), contiguous float32.
        weights: Shape: (S, M, K), contiguous.
        bias: Shape: (S, M), contiguous.

    Returns:
        Shape (N, S, M), contiguous.
    """
    stacks, channels, width = weights.shape
    kernels = weights.view(stacks * channels, width, 1, 1)
    biases = None if bias is None else bias.view(-1)
    found = _convolve(_as_picture(rows), kernels, biases, _NO_PADDING, _STEP, _STEP, stacks, *_ALONE)
    return _as_rows(found, stacks)


def through(rows: Tensor, weights: Tensor) -> Tensor:
    """``rows[:, s] @ weights[s]`` of every stack s, without a gradient.

    Args:
        rows: Shape: (N, S, M), contiguous float32.
        weights: Shape: (S, M, K), contiguous.

    Returns:
        Shape (N, S, K), contiguous.
    """
    stacks, channels, width = weights.shape
    kernels = weights.view(stacks * channels, width, 1, 1)
    found = _convolve_back(_as_picture(rows), kernels, None, _NO_PADDING, _NO_PADDING, _STEP, _STEP, stacks, *_ALONE)
    return _as_rows(found, stacks)


def _as_picture(rows: Tensor) -> Tensor:
    # One picture, one pixel high, its channels last.
    return rows.view(1, 1, rows.shape[0], -1).permute(0, 3, 1, 2)


def _as_rows(picture: Tensor, stacks: int) -> Tensor:
    return picture.permute(0, 2, 3, 1).contiguous().view(picture.shape[-1], stacks, -1)
