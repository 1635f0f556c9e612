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
from torch.nn import functional

from nd_models.nn.dropout import kept, kept_scale
from nd_models.nn.fused import differentiable_once
from nd_models.nn.head_products import along, has_head_products, through
from nd_models.nn.products import OuterSum, product

_norm_backward = torch.ops.aten.native_layer_norm_backward

# Scores of the windows that go together: 4 MB, of which there are two at a time.
_SCORES = 1 << 20
# Sums of powers between these have lost nothing, and weighted sums of values do not overflow.
_LEAST_SUM, _MOST_SUM = 2.0**-60, 2.0**60

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
        to_out_scaled, bias_scaled = to_out * kept_scale(settings.dropout), out_bias * kept_scale(settings.dropout)
        kept_channels = kept(x.shape, settings.dropout) if settings.dropout else None
        order = _Order.of(x, settings)
        normed = torch.native_layer_norm(order.by_token(x), norm_weight.shape, norm_weight, norm_bias, settings.eps)[0]
        attended, denominators = x.new_empty((x.shape[0], inner)), x.new_empty((x.shape[0], settings.heads))
        added = torch.empty_like(normed)
        for part in order.parts(settings.turns, inner):
            rows = part.rows
            query = part.turned(product(normed[rows], to_q))
            key, value = part.stacked(product(normed[rows], to_kv), 2, turning=1 + settings.rotate_value)
            weights, sums = _softmax(query, key, out=denominators[rows].view(-1, part.tokens))
            read = torch.div(through(weights, value), sums, out=attended[rows].view(query.shape))
            if settings.rotate_value:
                part.turned(read, back=True)
            added[rows] = product(attended[rows], to_out_scaled, bias_scaled)
        result = order.by_window(added)
        if kept_channels is not None:
            result.mul_(kept_channels)
        if settings.residual:
            result += x
        context.save_for_backward(x, norm_weight, norm_bias, to_qkv, to_out, attended, denominators, kept_channels)
        context.settings = settings
        return result

    @staticmethod
    @differentiable_once
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, norm_weight, norm_bias, to_qkv, to_out, attended, denominators, kept_channels = context.saved_tensors
        settings: Settings = context.settings
        gradient = gradient.contiguous()
        wanted = context.needs_input_grad
        inner = to_out.shape[1]
        scale = _scale(settings, inner)
        to_q, to_k, to_v = to_qkv.chunk(3)
        # Gradients are of scores in base 2.
        scaled_to_q, scaled_to_v = to_q * scale, to_v * math.log(2)
        order = _Order.of(x, settings)
        ordered = order.by_token(x)
        normed, *statistics = torch.native_layer_norm(ordered, norm_weight.shape, norm_weight, norm_bias, settings.eps)
        of_result = gradient
        if kept_channels is not None:
            of_result = (gradient * kept_scale(settings.dropout)).mul_(kept_channels)
        of_bias, of_result = of_result.sum(0), order.by_token(of_result)
        of_normed = torch.empty_like(normed)
        of_qkv, of_out = OuterSum(to_qkv), OuterSum(to_out)
        scaled_to_qkv = torch.cat([scaled_to_q, to_k, to_v])
        all_of_projected = x.new_empty((order.most_rows, 3 * inner))
        for part in order.parts(settings.turns, inner):
            rows = part.rows
            if wanted[4]:
                of_out.add(of_result[rows], attended[rows])
            of_read = product(of_result[rows], to_out.t())
            overlaps = part.by_head(of_read * attended[rows]).sum(-1).t().contiguous().mul_(-math.log(2))
            (of_read,) = part.stacked(of_read, 1, turning=settings.rotate_value)
            (query,) = part.stacked(product(normed[rows], scaled_to_q), 1, turning=1)
            key = part.turned(product(normed[rows], to_k))
            value = part.by_head(product(normed[rows], scaled_to_v))
            if settings.rotate_value:
                part.turned(value)
            weights = along(key, query, denominators[rows].view(-1, part.tokens).neg())
            torch.exp2(weights, out=weights)
            of_value = through(weights, of_read)
            of_scores = weights.mul_(along(value, of_read, overlaps))
            of_projected = all_of_projected[: rows.stop - rows.start]
            of_query, of_key_rows, of_value_rows = part.side_by_side(of_projected, 3)
            by_stack = torch.bmm(of_scores.permute(1, 2, 0), key.transpose(0, 1))
            part.turn_back(by_stack.transpose(0, 1), of_query)
            part.turn_back(through(of_scores, query), of_key_rows)
            part.turn_back(of_value, of_value_rows, turning=settings.rotate_value)
            if wanted[3]:
                of_qkv.add(of_projected, normed[rows])
            of_normed[rows] = product(of_projected, scaled_to_qkv.t())
        of_rows, *of_norm = _norm_backward(
            of_normed, ordered, norm_weight.shape, *statistics, norm_weight, norm_bias, [True, True, True]
        )
        of_x = order.by_window(of_rows)
        if settings.residual:
            of_x += gradient
        of_weight = of_qkv.total
        of_weight[:inner] *= scale
        gradients = (of_x, *of_norm, of_weight, of_out.total, of_bias)
        return (*(value if asked else None for value, asked in zip(gradients, wanted, strict=False)), None)


def _softmax(query: Tensor, key: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """Powers of two of the scores, (N, S, N), and their sums, (N, S, 1), of which `out` (S, N) takes the logarithms.

    Powers of scores as they are, mostly: only where a sum is too large or too small for a float, the highest of its
    scores is taken away first, which costs as much as the powers.
    """
    weights = along(query, key)
    torch.exp2(weights, out=weights)
    sums = weights.sum(-1, keepdim=True)
    least, most = torch.aminmax(sums)
    if least.item() > _LEAST_SUM and most.item() < _MOST_SUM:
        torch.log2(sums[..., 0].t(), out=out)
        return weights, sums
    weights = along(query, key)
    highest = weights.amax(-1, keepdim=True)
    torch.exp2(weights.sub_(highest), out=weights)
    sums = weights.sum(-1, keepdim=True)
    torch.add(highest[..., 0].t(), sums[..., 0].t().log2(), out=out)
    return weights, sums


class _Order(NamedTuple):
    """Windows in groups of some that go together; within a group token by token."""

    segments: list[tuple[slice, int, int]]
    """Rows, number of groups, and windows of each; a last group may be smaller."""
    tokens: int
    heads: int

    @classmethod
    def of(cls, x: Tensor, settings: Settings) -> "_Order":
        tokens = x.shape[0] // settings.windows
        together = min(max(_SCORES // (settings.heads * tokens * tokens), 1), settings.windows)
        groups, rest = divmod(settings.windows, together)
        end = groups * together * tokens
        segments = [(slice(0, end), groups, together)]
        if rest:
            segments.append((slice(end, x.shape[0]), 1, rest))
        return cls(segments, tokens, settings.heads)

    def by_token(self, x: Tensor) -> Tensor:
        """(T, D), window by window, in this order."""
        rows = torch.empty_like(x, memory_format=torch.contiguous_format)
        for segment, groups, windows in self.segments:
            by_window = x[segment].view(groups, windows, self.tokens, -1)
            rows[segment].view(groups, self.tokens, windows, -1).copy_(by_window.transpose(1, 2))
        return rows

    def by_window(self, rows: Tensor) -> Tensor:
        """The opposite of `by_token`."""
        x = torch.empty_like(rows)
        for segment, groups, windows in self.segments:
            by_token = rows[segment].view(groups, self.tokens, windows, -1)
            x[segment].view(groups, windows, self.tokens, -1).copy_(by_token.transpose(1, 2))
        return x

    @property
    def most_rows(self) -> int:
        """Rows of the largest group."""
        return self.segments[0][2] * self.tokens

    def parts(self, turns: Tensor, inner: int) -> "Iterator[_Part]":
        """The groups.

        Args:
            turns: Shape: (T, R), complex, window by window.
            inner: Width of all heads together, H·D_h.
        """
        # Pairs that do not turn are multiplied by one: a pass over whole rows takes less than two over half of each.
        turns = self.by_token(functional.pad(turns, (0, inner // (2 * self.heads) - turns.shape[1]), value=1))
        back = turns.conj().resolve_conj()
        for segment, _, windows in self.segments:
            size = windows * self.tokens
            for first in range(segment.start, segment.stop, size):
                rows = slice(first, first + size)
                shape = self.tokens, windows, 1, turns.shape[1]
                yield _Part(rows, windows, self.tokens, self.heads, turns[rows].view(shape), back[rows].view(shape))


class _Part(NamedTuple):
    """Windows that go together."""

    rows: slice
    windows: int
    tokens: int
    heads: int
    turns: Tensor
    """Shape: (N, G, 1, D_h / 2), complex."""
    back: Tensor
    """The opposite turns."""

    def by_head(self, rows: Tensor) -> Tensor:
        """(N·G, H·D_h) to (N, S, D_h); a view."""
        return rows.view(self.tokens, self.windows * self.heads, -1)

    def side_by_side(self, rows: Tensor, projections: int) -> tuple[Tensor, ...]:
        """(N·G, P·H·D_h) to (N, G, H, D_h) of each projection; views."""
        return rows.view(self.tokens, self.windows, projections, self.heads, -1).unbind(2)

    def turned(self, rows: Tensor, *, back: bool = False) -> Tensor:
        """Rows turned in place, as (N, S, D_h)."""
        pairs = rows.view(torch.complex64).view(self.tokens, self.windows, self.heads, -1)
        pairs.mul_(self.back if back else self.turns)
        return self.by_head(rows)

    def stacked(self, rows: Tensor, projections: int, *, turning: int) -> tuple[Tensor, ...]:
        """Rows of some projections side by side as (S, N, D_h) of each; the first ones are turned."""
        pairs = rows.view(torch.complex64).view(self.tokens, self.windows, projections, self.heads, -1)
        pairs = pairs.permute(2, 1, 3, 0, 4)
        stacks = torch.empty(pairs.shape, dtype=torch.complex64)
        torch.mul(pairs[:turning], self.turns.permute(1, 2, 0, 3), out=stacks[:turning])
        if turning < projections:
            stacks[turning:] = pairs[turning:]
        return stacks.view(torch.float32).view(projections, self.windows * self.heads, self.tokens, -1).unbind()

    def turn_back(self, by_head: Tensor, out: Tensor, *, turning: bool = True) -> None:
        """Write (N, S, D_h), turned back, to `out` (N, G, H, D_h)."""
        by_head = by_head.view(out.shape)
        if turning:
            torch.mul(by_head.view(torch.complex64), self.back, out=out.view(torch.complex64))
        else:
            out.copy_(by_head)


def _scale(settings: Settings, inner: int) -> float:
    return 1 / (math.sqrt(inner // settings.heads) * math.log(2))
