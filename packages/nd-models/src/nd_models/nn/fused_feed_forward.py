"""Layer norm, linear, GEGLU, dropout, linear, and dropout and the sum with the input if asked; blocks of rows, on CPU.

Shapes: T rows (tokens of all windows), D width, M hidden width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from nd_models.nn.dropout import kept, kept_scale
from nd_models.nn.fused import differentiable_once
from nd_models.nn.products import OuterSum, product

_norm_backward = torch.ops.aten.native_layer_norm_backward
_gelu_backward = torch.ops.aten.gelu_backward

# Numbers of a block's hidden layer: 4 MB, so that it stays in the cache. Narrow layers gain from still smaller blocks.
_BLOCK = 1 << 20
_MOST_ROWS = 1024


def feed_forward(
    x: Tensor,
    norm: nn.LayerNorm,
    widen: nn.Linear,
    narrow: nn.Linear,
    *,
    hidden_dropout: float,
    dropout: float,
    residual: bool,
) -> Tensor:
    """``x + dropout(narrow(dropout(geglu(widen(norm(x))))))``.

    Args:
        x: Shape: (..., D), float32 on CPU.
        norm: The layer norm.
        widen: From D to 2·M.
        narrow: From M to D.
        hidden_dropout: Probability of zeroing a hidden channel.
        dropout: Probability of zeroing a channel of what is added to `x`.
        residual: Whether it is added to `x`, or given by itself.

    Returns:
        Shape of `x`.
    """
    arguments = (norm.weight, norm.bias, widen.weight, widen.bias, narrow.weight, narrow.bias)
    result: Tensor = _FeedForward.apply(  # type: ignore[no-untyped-call]
        x.reshape(-1, x.shape[-1]), *arguments, norm.eps, hidden_dropout, dropout, residual
    )
    return result.view(x.shape)


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        x: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        widen: Tensor,
        widen_bias: Tensor,
        narrow: Tensor,
        narrow_bias: Tensor,
        eps: float,
        hidden_dropout: float,
        dropout: float,
        residual: bool,
    ) -> Tensor:
        rows, width = x.shape
        hidden = narrow.shape[1]
        hidden_kept = kept((rows, hidden), hidden_dropout) if hidden_dropout else None
        added_kept = kept((rows, width), dropout) if dropout else None
        narrow_scaled = narrow * (kept_scale(hidden_dropout) * kept_scale(dropout))
        bias_scaled = narrow_bias * kept_scale(dropout)
        # Each half by itself: GELU copies what has gaps between its rows.
        (to_values, to_gates), (values_bias, gates_bias) = widen.chunk(2), widen_bias.chunk(2)
        result = torch.empty_like(x, memory_format=torch.contiguous_format)
        for block in _blocks(rows, hidden):
            normed = torch.native_layer_norm(x[block], [width], norm_weight, norm_bias, eps)[0]
            activity = torch.nn.functional.gelu(product(normed, to_gates, gates_bias))
            activity.mul_(product(normed, to_values, values_bias))
            if hidden_kept is not None:
                activity.mul_(hidden_kept[block])
            added = product(activity, narrow_scaled, bias_scaled)
            if added_kept is not None:
                added.mul_(added_kept[block])
            if residual:
                torch.add(x[block], added, out=result[block])
            else:
                result[block] = added
        context.save_for_backward(x, norm_weight, norm_bias, widen, widen_bias, narrow_scaled, hidden_kept, added_kept)
        context.settings = eps, hidden_dropout, dropout, residual
        return result

    @staticmethod
    @differentiable_once
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, norm_weight, norm_bias, widen, widen_bias, narrow, hidden_kept, added_kept = context.saved_tensors
        eps, hidden_dropout, dropout, residual = context.settings
        rows, width = x.shape
        hidden = narrow.shape[1]
        gradient = gradient.contiguous()
        wanted = dict(zip(_INPUTS, context.needs_input_grad, strict=False))
        (to_values, to_gates), (values_bias, gates_bias) = widen.chunk(2), widen_bias.chunk(2)
        of_x = torch.empty_like(gradient)
        of_norm = [torch.zeros_like(norm_weight), torch.zeros_like(norm_bias)]
        of_widen = OuterSum(to_values), OuterSum(to_gates)
        of_widen_bias = torch.zeros_like(widen_bias)
        of_narrow, of_narrow_bias = OuterSum(narrow), gradient.new_zeros(width)
        for block in _blocks(rows, hidden):
            normed, mean, deviation = torch.native_layer_norm(x[block], [width], norm_weight, norm_bias, eps)
            gates = product(normed, to_gates, gates_bias)
            values = product(normed, to_values, values_bias)
            gated = torch.nn.functional.gelu(gates)
            of_added = gradient[block] if added_kept is None else gradient[block] * added_kept[block]
            of_activity = product(of_added, narrow.t())
            if hidden_kept is not None:
                of_activity.mul_(hidden_kept[block])
            of_values = of_activity * gated
            of_gates = _gelu_backward(of_activity.mul_(values), gates)
            if wanted["narrow"]:
                activity = gated.mul_(values)
                if hidden_kept is not None:
                    activity.mul_(hidden_kept[block])
                of_narrow.add(of_added, activity)
            of_narrow_bias += of_added.sum(0)
            if wanted["widen"]:
                normed_once = normed.t().contiguous().t()
                of_widen[0].add(of_values, normed_once)
                of_widen[1].add(of_gates, normed_once)
            of_widen_bias[:hidden] += of_values.sum(0)
            of_widen_bias[hidden:] += of_gates.sum(0)
            of_normed = product(of_values, to_values.t())
            of_normed += product(of_gates, to_gates.t())
            of_rows, *parts = _norm_backward(
                of_normed, x[block], [width], mean, deviation, norm_weight, norm_bias, [True, True, True]
            )
            if residual:
                torch.add(gradient[block], of_rows, out=of_x[block])
            else:
                of_x[block] = of_rows
            for total, part in zip(of_norm, parts, strict=True):
                total += part
        of_narrow_total = of_narrow.total * (kept_scale(hidden_dropout) * kept_scale(dropout))
        of_widen_total = torch.cat([half.total for half in of_widen])
        found = (of_x, *of_norm, of_widen_total, of_widen_bias, of_narrow_total, of_narrow_bias * kept_scale(dropout))
        return (
            *(value if wanted[name] else None for name, value in zip(_INPUTS, found, strict=True)),
            None,
            None,
            None,
            None,
        )


_INPUTS = ("x", "norm_weight", "norm_bias", "widen", "widen_bias", "narrow", "narrow_bias")


def _blocks(rows: int, hidden: int) -> list[slice]:
    size = min(max(_BLOCK // (2 * hidden), 64), _MOST_ROWS)
    return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]
