"""Matrix products of single-precision layers on CPU, by the quicker of the two libraries that PyTorch brings.

PyTorch's `linear` calls MKL, which holds back its wide vector instructions on processors that Intel did not make;
oneDNN, which PyTorch ships too, uses what the processor has. See docs/explanation/performance.md.
"""

import platform
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Below this many multiplications the call itself is what takes time.
_LEAST_WORK = 1 << 16

IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
# Private, as `torch.compile` calls it; without it everything goes by PyTorch's `linear`.
_ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if IS_X86 else None


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``, without a gradient.

    Args:
        x: Shape: (N, K), float32 on CPU.
        weight: Shape: (M, K). Contiguous, or the transpose of what is: other strides are copied.
        bias: Shape: (M,).

    Returns:
        Shape (N, M).
    """
    is_small = x.shape[0] * weight.numel() < _LEAST_WORK
    if is_small or _ONEDNN is None or not torch._C._get_mkldnn_enabled():  # noqa: SLF001
        return functional.linear(x, weight, bias)
    if not weight.is_contiguous() and not weight.t().is_contiguous():
        weight = weight.contiguous()  # oneDNN would take its slow reference
    result: Tensor = _ONEDNN(x, weight, bias, "none", [], "")
    return result


def add_outer(total: Tensor, left: Tensor, right: Tensor) -> None:
    """``total += left.T @ right``: what a layer's weight learns from the rows of a batch.

    Args:
        total: Shape: (M, K).
        left: Shape: (N, M), contiguous.
        right: Shape: (N, K), contiguous.
    """
    # The first factor is copied in another order: let it be the smaller one.
    if left.shape[1] <= right.shape[1]:
        total += product(left.t(), right.t())
    else:
        total += product(right.t(), left.t()).t()
