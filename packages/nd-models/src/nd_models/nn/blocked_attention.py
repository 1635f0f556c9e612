"""Attention of one CPU in single precision, block by block, with its gradient.

Shapes: S stacks (heads of windows), N queries, M keys, D_h head width.
"""

from typing import Any

import torch
from torch import Tensor

from nd_models.nn.products import product

_BLOCK = 320
# With fewer scores than this, PyTorch's own kernel for CPU is quicker than several calls.
_LEAST_SCORES = 256 * 256

# Private, because nothing public gives its memory; without them all attention goes in blocks.
_flash: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
_flash_backward: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward", None)


def attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(q·k / √D_h)·v, and what `attend_backward` wants to know of it.

    Args:
        query: Shape: (S, N, D_h), contiguous float32.
        key: Shape: (S, M, D_h), M at least 1.
        value: Shape: (S, M, D_h).

    Returns:
        What was attended, shape (S, N, D_h); and the logarithms of the softmax's denominators, shape (S, N), empty
        where the softmax is rather computed again.
    """
    stacks, queries, width = query.shape
    if _is_small(queries, key.shape[1]):
        read, denominators = _flash(query[None], key[None], value[None])
        return read[0], denominators[0]
    attended = torch.empty_like(query)
    scaled = query * width**-0.5
    for stack in range(stacks):
        across = value[stack].t()
        for first in range(0, queries, _BLOCK):
            block = slice(first, first + _BLOCK)
            weights = torch.softmax(product(scaled[stack, block], key[stack]), dim=1)
            attended[stack, block] = product(weights, across)
    return attended, query.new_empty(0)


def attend_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attended: Tensor,
    denominators: Tensor,
    overlaps: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `attend` in query, key and value.

    Args:
        gradient: Of what was attended. Shape: (S, N, D_h), contiguous.
        query: As `attend` took it.
        key: As `attend` took it.
        value: As `attend` took it.
        attended: What `attend` gave; read in small attentions only.
        denominators: What `attend` gave.
        overlaps: Scalar products of `gradient` and `attended`, query by query. Shape: (S, N).

    Returns:
        In the shapes of query, key and value.
    """
    stacks, queries, width = query.shape
    if _is_small(queries, key.shape[1]):
        gradients = _flash_backward(
            gradient[None], query[None], key[None], value[None], attended[None], denominators[None], 0.0, False
        )
        return gradients[0][0], gradients[1][0], gradients[2][0]
    of_query = torch.empty_like(query)
    # Across, because the first factor of a product is copied in another order, and the block is the smaller one.
    of_key = torch.zeros((stacks, width, key.shape[1]), dtype=key.dtype, device=key.device)
    of_value = torch.zeros_like(of_key)
    scale = width**-0.5
    scaled = query * scale
    for stack in range(stacks):
        for first in range(0, queries, _BLOCK):
            block = slice(first, first + _BLOCK)
            asked, wanted = scaled[stack, block], gradient[stack, block]
            weights = torch.softmax(product(asked, key[stack]), dim=1)
            of_value[stack] += product(wanted.t(), weights.t())
            of_scores = product(wanted, value[stack]).sub_(overlaps[stack, block, None]).mul_(weights)
            torch.mul(product(of_scores, key[stack].t()), scale, out=of_query[stack, block])
            of_key[stack] += product(asked.t(), of_scores.t())
    return of_query, of_key.transpose(1, 2).contiguous(), of_value.transpose(1, 2).contiguous()


def _is_small(queries: int, keys: int) -> bool:
    return _flash is not None and _flash_backward is not None and queries * keys < _LEAST_SCORES
