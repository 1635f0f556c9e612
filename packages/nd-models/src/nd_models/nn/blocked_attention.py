"""Attention of one CPU in single precision, block by block, with its gradient.

Shapes: S stacks (heads of windows), N queries, M keys, D_h head width.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nd_models.nn.products import product

_BLOCK = 320
# With fewer scores than this, PyTorch's own kernel for CPU is quicker than several calls.
_LEAST_SCORES = 256 * 256

# Private, because nothing public gives its memory; without them all attention goes in blocks.
_flash: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
_flash_backward: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward", None)


def attend(query: Tensor, key: Tensor, value: Tensor, out: Tensor) -> Tensor:
    """Write softmax(q·k / √D_h)·v, and give what `attend_backward` wants to know of it.

    Args:
        query: Shape: (S, N, D_h), contiguous float32.
        key: Shape: (S, M, D_h), M at least 1, contiguous.
        value: Shape: (S, M, D_h), contiguous.
        out: Where to write what was attended. Shape: (S, N, D_h).

    Returns:
        The logarithms of the softmax's denominators, shape (S, N): of base 2, but of base e in small attentions.
    """
    stacks, queries, width = query.shape
    if _is_small(queries, key.shape[1]):
        read, small_denominators = _flash(query[None], key[None], value[None])
        out.copy_(read[0])
        result: Tensor = small_denominators[0]
        return result
    denominators = query.new_empty((stacks, queries))
    scaled = query * (width**-0.5 / math.log(2))
    for stack in range(stacks):
        across = value[stack].t()
        for first in range(0, queries, _BLOCK):
            block = slice(first, first + _BLOCK)
            powers = product(scaled[stack, block], key[stack])
            highest = powers.amax(1, keepdim=True)
            torch.exp2(powers.sub_(highest), out=powers)
            sums = powers.sum(1, keepdim=True)
            torch.div(product(powers, across), sums, out=out[stack, block])
            torch.add(highest[:, 0], sums[:, 0].log2(), out=denominators[stack, block])
    return denominators


class Gradients(NamedTuple):
    """Where `attend_backward` writes, in the shapes of query, key and value; all contiguous stack by stack."""

    query: Tensor
    key: Tensor
    value: Tensor


def attend_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attended: Tensor,
    denominators: Tensor,
    overlaps: Tensor,
    out: Gradients,
) -> None:
    """Write the gradients of `attend` in query, key and value.

    Keys ask queries here, so that denominators and overlaps, which belong to queries, are biases of the products, and
    the gradients of keys and values come out in rows.

    Args:
        gradient: Of what was attended. Shape: (S, N, D_h), contiguous.
        query: As `attend` took it.
        key: As `attend` took it.
        value: As `attend` took it.
        attended: What `attend` wrote; read in small attentions only.
        denominators: What `attend` gave.
        overlaps: Scalar products of `gradient` and what was attended, query by query. Shape: (S, N).
        out: Where to write.
    """
    stacks, queries, width = query.shape
    if _is_small(queries, key.shape[1]):
        forward = query[None], key[None], value[None], attended[None], denominators[None]
        for found, place in zip(_flash_backward(gradient[None], *forward, 0.0, False), out, strict=True):
            place.copy_(found[0])
        return
    scale = width**-0.5
    scaled, asked = query * scale, query * (scale / math.log(2))
    less_denominators, less_overlaps = -denominators, -overlaps
    for stack in range(stacks):
        keys, values = key[stack], value[stack]
        for first in range(0, queries, _BLOCK):
            block = slice(first, first + _BLOCK)
            wanted = gradient[stack, block]
            weights = product(keys, asked[stack, block], less_denominators[stack, block])
            torch.exp2(weights, out=weights)
            of_value = product(weights, wanted.t())
            of_scores = weights.mul_(product(values, wanted, less_overlaps[stack, block]))
            # Across, because the first factor of a product is copied in another order, and keys are the smaller one.
            torch.mul(product(keys.t(), of_scores.t()).t(), scale, out=out.query[stack, block])
            of_key = product(of_scores, scaled[stack, block].t())
            if first == 0:
                out.key[stack], out.value[stack] = of_key, of_value
            else:
                out.key[stack] += of_key
                out.value[stack] += of_value


def _is_small(queries: int, keys: int) -> bool:
    return _flash is not None and _flash_backward is not None and queries * keys < _LEAST_SCORES
