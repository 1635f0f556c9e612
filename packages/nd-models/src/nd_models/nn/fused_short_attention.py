"""A whole rotary self-attention layer on CPU for short windows of one length, from the layer norm to the sum.

`nd_models.nn.fused_attention` computes the same for all sizes. Here some windows go together, token by token: first of
all windows the first token, then the second, so that every head of every window is one group of
`nd_models.nn.head_products`, and projections are read and written as they lie. What the softmax needs of the way there
and back is folded into those products: scores are in base 2, whose powers cost a quarter of those of e; on the way back
keys ask queries, so that the logarithms of the denominators, and the overlaps of gradient and result, are biases.

Shapes: T rows (tokens of all windows), D width, H heads, D_h head width, R pairs of channels that turn; of the windows
that go together G windows of N tokens, S = G·H stacks.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nd_models.nn.dropout import kept, kept_scale
from nd_models.nn.fused import differentiable_once
from nd_models.nn.head_products import along, has_head_products, through
from nd_models.nn.products import add_outer, product

_norm_backward = torch.ops.aten.native_layer_norm_backward

# Scores of the windows that go together: 4 MB, of which there are two at a time.
_SCORES = 1 << 20


# Longer windows go block by block.
_MOST_TOKENS = 384
# With fewer scores in all windows, or narrower heads, PyTorch's own kernel is as quick.
_LEAST_SCORES = 1 << 17
_LEAST_WIDTH = 32


def are_short(bounds: Sequence[tuple[int, int]], heads: int, inner: int) -> bool:
    """Whether this way suits windows.

    Args:
        bounds: First row of each window, and the row behind the last.
        heads: Number of heads H.
        inner: Width of all heads together, H·D_h.
    """
    if not bounds or inner < _LEAST_WIDTH * heads:
        return False
    tokens = bounds[0][1] - bounds[0][0]
    return (
        tokens <= _MOST_TOKENS
        and len(bounds) * heads * tokens * tokens >= _LEAST_SCORES
        and all(end - first == tokens for first, end in bounds)
        and has_head_products()
    )


class Settings(NamedTuple):
    """What does not change with the numbers."""

    heads: int
    windows: int
    rotate_value: bool
    turns: Tensor
    """Shape: (T, R), complex."""
    dropout: float
    """Of what is added to the input."""
    residual: bool
    """Whether the input is added to the result."""
    eps: float
    """Of the layer norm."""


def short_self_attention(
    x: Tensor, norm: nn.LayerNorm, to_qkv: nn.Linear, to_out: nn.Linear, settings: Settings
) -> Tensor:
    """The layer. Shape of `x`: (T, D), as of the result."""
    weights = (norm.weight, norm.bias, to_qkv.weight, to_out.weight, to_out.bias)
    result: Tensor = _ShortSelfAttention.apply(x, *weights, settings)  # type: ignore[no-untyped-call]
    return result


class _ShortSelfAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        x: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        to_qkv: Tensor,
        to_out: Tensor,
        out_bias: Tensor,
        settings: Settings,
    ) -> Tensor:
        inner = to_out.shape[1]
        to_q, to_kv = to_qkv[:inner] * _scale(settings, inner), to_qkv[inner:]
        kept_channels = kept(x.shape, settings.dropout) if settings.dropout else None
        attended, denominators = x.new_empty((x.shape[0], inner)), x.new_empty((x.shape[0], settings.heads))
        result = torch.empty_like(x, memory_format=torch.contiguous_format)
        for part in _parts(x, settings):
            normed = torch.native_layer_norm(part.of(x), norm_weight.shape, norm_weight, norm_bias, settings.eps)[0]
            query = part.turned(product(normed, to_q))
            key, value = part.stacked(product(normed, to_kv), [True, settings.rotate_value])
            powers = along(query, key)
            highest = powers.amax(-1, keepdim=True)
            torch.exp2(powers.sub_(highest), out=powers)
            sums = powers.sum(-1, keepdim=True)
            torch.add(highest[..., 0].t(), sums[..., 0].t().log2(), out=denominators[part.rows].view(-1, part.tokens))
            read = torch.div(through(powers, value), sums, out=attended[part.rows].view(query.shape))
            if settings.rotate_value:
                part.turned(read, back=True)
            added = product(attended[part.rows], to_out, out_bias)
            if kept_channels is not None:
                part.by_window(added).mul_(part.windows_of(kept_channels)).mul_(kept_scale(settings.dropout))
            if settings.residual:
                torch.add(part.windows_of(x), part.by_window(added), out=part.windows_of(result))
            else:
                part.windows_of(result).copy_(part.by_window(added))
        context.save_for_backward(x, norm_weight, norm_bias, to_qkv, to_out, attended, denominators, kept_channels)
        context.settings = settings
        return result

    @staticmethod
    @differentiable_once
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, norm_weight, norm_bias, to_qkv, to_out, attended, denominators, kept_channels = context.saved_tensors
        settings: Settings = context.settings
        inner = to_out.shape[1]
        scale = _scale(settings, inner)
        to_q, to_k, to_v = to_qkv.chunk(3)
        # Gradients are of scores in base 2.
        scaled_to_q, scaled_to_v = to_q * scale, to_v * math.log(2)
        gradient = gradient.contiguous()
        wanted = context.needs_input_grad
        of_x = torch.empty_like(gradient)
        of_norm = [torch.zeros_like(norm_weight), torch.zeros_like(norm_bias)]
        of_qkv, of_out, of_bias = torch.zeros_like(to_qkv), torch.zeros_like(to_out), gradient.new_zeros(x.shape[1])
        of_projections = of_qkv.chunk(3)
        for part in _parts(x, settings):
            rows = part.of(x)
            normed, *statistics = torch.native_layer_norm(rows, norm_weight.shape, norm_weight, norm_bias, settings.eps)
            of_result = part.of(gradient)
            if kept_channels is not None:
                of_result = of_result * kept_scale(settings.dropout)
                of_result.view(part.shape).mul_(part.windows_of(kept_channels).transpose(0, 1))
            if wanted[4]:
                add_outer(of_out, of_result, attended[part.rows])
            of_bias += of_result.sum(0)
            of_read = product(of_result, to_out.t())
            overlaps = part.by_head(of_read * attended[part.rows]).sum(-1).t().contiguous().mul_(-math.log(2))
            (of_read,) = part.stacked(of_read, [settings.rotate_value])
            (query,) = part.stacked(product(normed, scaled_to_q), [True])
            key = part.turned(product(normed, to_k))
            value = part.by_head(product(normed, scaled_to_v))
            if settings.rotate_value:
                part.turned(value)
            weights = along(key, query, denominators[part.rows].view(-1, part.tokens).neg())
            torch.exp2(weights, out=weights)
            of_value = through(weights, of_read)
            of_scores = weights.mul_(along(value, of_read, overlaps))
            of_query = part.turned_rows(torch.bmm(of_scores.permute(1, 2, 0), key.transpose(0, 1)))
            of_key = part.turned(through(of_scores, query), back=True)
            if settings.rotate_value:
                part.turned(of_value, back=True)
            found = [one.view(-1, inner) for one in (of_query, of_key, of_value)]
            if wanted[3]:
                for total, one in zip(of_projections, found, strict=True):
                    add_outer(total, one, normed)
            of_normed = product(found[0], scaled_to_q.t())
            of_normed += product(found[1], to_k.t())
            of_normed += product(found[2], to_v.t())
            of_rows, *of_parameters = _norm_backward(
                of_normed, rows, norm_weight.shape, *statistics, norm_weight, norm_bias, [True, True, True]
            )
            for total, one in zip(of_norm, of_parameters, strict=True):
                total += one
            if settings.residual:
                torch.add(part.windows_of(gradient), part.by_window(of_rows), out=part.windows_of(of_x))
            else:
                part.windows_of(of_x).copy_(part.by_window(of_rows))
        of_projections[0].mul_(scale)
        gradients = (of_x, *of_norm, of_qkv, of_out, of_bias)
        return (*(value if asked else None for value, asked in zip(gradients, wanted, strict=False)), None)


class _Part(NamedTuple):
    """Windows that go together, and where their numbers lie."""

    rows: slice
    windows: int
    tokens: int
    heads: int
    width: int
    turns: Tensor
    """Shape: (N, G, 1, R), complex."""

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.tokens, self.windows, self.width

    def windows_of(self, x: Tensor) -> Tensor:
        """These windows of all, (T, D) to (G, N, D); a view."""
        return x[self.rows].view(self.windows, self.tokens, -1)

    def by_window(self, rows: Tensor) -> Tensor:
        """Rows of these windows, token by token, as (G, N, D); a view."""
        return rows.view(self.tokens, self.windows, -1).transpose(0, 1)

    def of(self, x: Tensor) -> Tensor:
        """These windows of all, (T, D) to (N·G, D)."""
        return self.windows_of(x).transpose(0, 1).reshape(-1, x.shape[1])

    def by_head(self, rows: Tensor) -> Tensor:
        """(N·G, H·D_h) to (N, S, D_h); a view."""
        return rows.view(self.tokens, self.windows * self.heads, -1)

    def turned(self, rows: Tensor, *, back: bool = False) -> Tensor:
        """Rows turned in place, as (N, S, D_h)."""
        channels = self._turning(rows.view(self.tokens, self.windows, self.heads, -1))
        channels.mul_(self.turns.conj() if back else self.turns)
        return self.by_head(rows)

    def stacked(self, rows: Tensor, turning: list[bool]) -> list[Tensor]:
        """Rows of some projections side by side as (S, N, D_h) of each, those that shall be turned."""
        projections = rows.view(self.tokens, self.windows, len(turning), self.heads, -1)
        by_head = projections.permute(2, 1, 3, 0, 4)
        stacks = rows.new_empty(by_head.shape)
        turns = self.turns.permute(1, 2, 0, 3)
        channels = 2 * turns.shape[-1]
        count = sum(turning)
        torch.mul(self._turning(by_head[:count]), turns, out=self._turning(stacks[:count]))
        stacks[:count, ..., channels:] = by_head[:count, ..., channels:]
        stacks[count:] = by_head[count:]
        return [stack.view(-1, self.tokens, stack.shape[-1]) for stack in stacks]

    def turned_rows(self, stacks: Tensor) -> Tensor:
        """(S, N, D_h) to rows (N, S, D_h), turned back."""
        by_head = stacks.view(self.windows, self.heads, self.tokens, -1).permute(2, 0, 1, 3)
        rows = stacks.new_empty(by_head.shape)
        channels = 2 * self.turns.shape[-1]
        torch.mul(self._turning(by_head), self.turns.conj(), out=self._turning(rows))
        rows[..., channels:] = by_head[..., channels:]
        return rows

    def _turning(self, x: Tensor) -> Tensor:
        pairs = self.turns.shape[-1]
        return torch.view_as_complex(torch.unflatten(x[..., : 2 * pairs], -1, (pairs, 2)))


def _parts(x: Tensor, settings: Settings) -> Iterator[_Part]:
    tokens = x.shape[0] // settings.windows
    together = max(_SCORES // (settings.heads * tokens * tokens), 1)
    for first in range(0, settings.windows, together):
        windows = min(together, settings.windows - first)
        rows = slice(first * tokens, (first + windows) * tokens)
        turns = settings.turns[rows].view(windows, tokens, 1, -1).transpose(0, 1)
        yield _Part(rows, windows, tokens, settings.heads, x.shape[1], turns)


def _scale(settings: Settings, inner: int) -> float:
    return 1 / (math.sqrt(inner // settings.heads) * math.log(2))
