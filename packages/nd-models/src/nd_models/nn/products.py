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


class OuterSum:
    """What the weight of a layer learns from a batch: the sum of ``left.T @ right`` over blocks of rows.

    Args:
        weight: The weight. Shape: (M, K), float32 on CPU.
    """

    def __init__(self, weight: Tensor) -> None:
        # The first factor of a product is copied in another order: let it be the smaller one.
        self._is_across = weight.shape[0] > weight.shape[1]
        self._sum = weight.new_zeros(weight.shape[::-1] if self._is_across else weight.shape)

    def add(self, left: Tensor, right: Tensor) -> None:
        """Add those of a block.

        Args:
            left: Gradients of the layer's result. Shape: (N, M), contiguous.
            right: What went in. Shape: (N, K), contiguous or, where it is added to several sums, the transpose of
                what is, so that it is not copied for each.
        """
        self._sum += product(right.t(), left.t()) if self._is_across else product(left.t(), right.t())

    @property
    def total(self) -> Tensor:
        """The sum. Shape: (M, K)."""
        return self._sum.t() if self._is_across else self._sum
