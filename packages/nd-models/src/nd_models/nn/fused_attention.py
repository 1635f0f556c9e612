"""A whole rotary attention layer on CPU, from the layer norms to the sum with the input.

It goes window by window (or some short windows of equal sizes at once), so that padding is never computed, what lies
between fits into the cache, and only input and result of the attention are kept for going back.

Shapes: T_q and T_c rows (tokens of all windows, queries and context), D width, H heads, D_h head width, R pairs of
channels that turn; within a group of windows G windows of N_q queries and N_c context tokens.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nd_models.nn.blocked_attention import attend, attend_backward
from nd_models.nn.dropout import kept, kept_scale
from nd_models.nn.fused import differentiable_once
from nd_models.nn.products import add_outer, product

_norm_backward = torch.ops.aten.native_layer_norm_backward

# Windows are taken together up to so many numbers of their projections: 8 MB.
_GROUP = 1 << 21


class Group(NamedTuple):
    """Windows of equal sizes that follow each other.

    Attributes:
        windows: How many, G.
        queries: Rows of their queries.
        context: Rows of their context.
    """

    windows: int
    queries: slice
    context: slice


def groups_of_windows(
    query_bounds: Sequence[tuple[int, int]], context_bounds: Sequence[tuple[int, int]], *, width: int
) -> list[Group]:
    """Put windows together that have as many queries and context tokens as the window before, without a gap.

    Args:
        query_bounds: First row of each window's queries, and the row behind the last.
        context_bounds: The same for its context.
        width: Numbers that the projections of one row have.
    """
    groups: list[Group] = []
    for (first_query, end_query), (first, end) in zip(query_bounds, context_bounds, strict=True):
        if groups:
            windows, queries, context = groups[-1]
            sizes = ((queries.stop - queries.start) // windows, (context.stop - context.start) // windows)
            follows = (queries.stop, context.stop) == (first_query, first)
            rows = max(end_query - queries.start, end - context.start)
            if follows and sizes == (end_query - first_query, end - first) and rows * width <= _GROUP:
                groups[-1] = Group(windows + 1, slice(queries.start, end_query), slice(context.start, end))
                continue
        groups.append(Group(1, slice(first_query, end_query), slice(first, end)))
    return groups


class Layout(NamedTuple):
    """What does not change with the numbers: heads, windows, turns and dropout of a layer."""

    heads: int
    rotate_value: bool
    groups: list[Group]
    query_turns: Tensor
    """Shape: (T_q, R), complex."""
    context_turns: Tensor
    """Shape: (T_c, R), complex."""
    dropout: float
    """Of what is added to the queries."""
    residual: bool
    """Whether the queries are added to the result."""


def self_attention(x: Tensor, norm: nn.LayerNorm, to_qkv: nn.Linear, to_out: nn.Linear, layout: Layout) -> Tensor:
    """The layer for tokens that attend to each other. Shape of `x`: (T_q, D), as of the result."""
    weights = (norm.weight, norm.bias, to_qkv.weight, to_out.weight, to_out.bias)
    result: Tensor = _SelfAttention.apply(x, *weights, norm.eps, layout)  # type: ignore[no-untyped-call]
    return result


def cross_attention(
    x: Tensor,
    context: Tensor,
    norm: nn.LayerNorm,
    norm_context: nn.LayerNorm,
    to_q: nn.Linear,
    to_kv: nn.Linear,
    to_out: nn.Linear,
    layout: Layout,
) -> Tensor:
    """The layer for queries `x` (T_q, D) that attend to a `context` (T_c, D_c). Shape of the result: (T_q, D)."""
    weights = (norm.weight, norm.bias, norm_context.weight, norm_context.bias)
    projections = (to_q.weight, to_kv.weight, to_out.weight, to_out.bias)
    result: Tensor = _CrossAttention.apply(  # type: ignore[no-untyped-call]
        x, context, *weights, *projections, norm.eps, norm_context.eps, layout
    )
    return result


class _SelfAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        x: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        to_qkv: Tensor,
        to_out: Tensor,
        out_bias: Tensor,
        eps: float,
        layout: Layout,
    ) -> Tensor:
        norm = _Norm(norm_weight, norm_bias, eps)
        saved = _Saved.empty(x, to_out, layout)
        result = torch.zeros_like(x, memory_format=torch.contiguous_format)
        for group in layout.groups:
            projected = product(norm(x[group.queries]), to_qkv)
            query, key, value = _turned(projected, group.windows, layout, group.queries, 3)
            saved.attend(group, query, key, value, layout)
            _write_result(result, x, saved, group.queries, to_out, out_bias, layout)
        context.save_for_backward(x, norm_weight, norm_bias, to_qkv, to_out, saved.attended, saved.kept)
        context.denominators = saved.denominators
        context.settings = eps, layout
        return result

    @staticmethod
    @differentiable_once
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, norm_weight, norm_bias, to_qkv, to_out, attended, kept_channels = context.saved_tensors
        eps, layout = context.settings
        saved = _Saved(attended, context.denominators, kept_channels)
        norm = _Norm(norm_weight, norm_bias, eps)
        gradient = gradient.contiguous()
        wanted = context.needs_input_grad
        of_x = torch.zeros_like(gradient)
        of_qkv, of_out, of_bias = torch.zeros_like(to_qkv), torch.zeros_like(to_out), gradient.new_zeros(x.shape[1])
        for number, group in enumerate(layout.groups):
            rows = group.queries
            normed = norm(x[rows])
            query, key, value = _turned(product(normed, to_qkv), group.windows, layout, rows, 3)
            of_read = saved.backward_of_result(gradient, rows, to_out, of_out, of_bias, layout, wanted[4])
            parts = saved.attend_backward(number, group, of_read, query, key, value, layout)
            of_projected = _turned_back(parts, group.windows, layout, rows, 3 if layout.rotate_value else 2)
            if wanted[3]:
                add_outer(of_qkv, of_projected, normed)
            norm.backward(product(of_projected, to_qkv.t()), of_x[rows])
            if layout.residual:
                of_x[rows] += gradient[rows]
        found = (of_x, norm.of_weight, norm.of_bias, of_qkv, of_out, of_bias)
        return (*(value if asked else None for value, asked in zip(found, wanted, strict=False)), None, None)


class _CrossAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        x: Tensor,
        source: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        source_norm_weight: Tensor,
        source_norm_bias: Tensor,
        to_q: Tensor,
        to_kv: Tensor,
        to_out: Tensor,
        out_bias: Tensor,
        eps: float,
        source_eps: float,
        layout: Layout,
    ) -> Tensor:
        norm, source_norm = _Norm(norm_weight, norm_bias, eps), _Norm(source_norm_weight, source_norm_bias, source_eps)
        saved = _Saved.empty(x, to_out, layout)
        result = torch.zeros_like(x, memory_format=torch.contiguous_format)
        for group in layout.groups:
            projected = product(norm(x[group.queries]), to_q)
            (query,) = _turned(projected, group.windows, layout, group.queries, 1)
            key_value = product(source_norm(source[group.context]), to_kv)
            key, value = _turned(key_value, group.windows, layout, group.context, 2)
            saved.attend(group, query, key, value, layout)
            _write_result(result, x, saved, group.queries, to_out, out_bias, layout)
        context.save_for_backward(
            x,
            source,
            norm_weight,
            norm_bias,
            source_norm_weight,
            source_norm_bias,
            to_q,
            to_kv,
            to_out,
            saved.attended,
            saved.kept,
        )
        context.denominators = saved.denominators
        context.settings = eps, source_eps, layout
        return result

    @staticmethod
    @differentiable_once
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, source, *norms, to_q, to_kv, to_out, attended, kept_channels = context.saved_tensors
        eps, source_eps, layout = context.settings
        saved = _Saved(attended, context.denominators, kept_channels)
        norm, source_norm = _Norm(norms[0], norms[1], eps), _Norm(norms[2], norms[3], source_eps)
        gradient = gradient.contiguous()
        wanted = context.needs_input_grad
        of_x, of_source = torch.zeros_like(gradient), torch.zeros_like(source, memory_format=torch.contiguous_format)
        of_q, of_kv, of_out = (torch.zeros_like(weight) for weight in (to_q, to_kv, to_out))
        of_bias = gradient.new_zeros(x.shape[1])
        for number, group in enumerate(layout.groups):
            normed, source_normed = norm(x[group.queries]), source_norm(source[group.context])
            (query,) = _turned(product(normed, to_q), group.windows, layout, group.queries, 1)
            key, value = _turned(product(source_normed, to_kv), group.windows, layout, group.context, 2)
            of_read = saved.backward_of_result(gradient, group.queries, to_out, of_out, of_bias, layout, wanted[8])
            of_query, *parts = saved.attend_backward(number, group, of_read, query, key, value, layout)
            turning = 2 if layout.rotate_value else 1
            of_key_value = _turned_back(parts, group.windows, layout, group.context, turning, of_context=True)
            of_projected = _turned_back([of_query], group.windows, layout, group.queries, 1)
            if wanted[6]:
                add_outer(of_q, of_projected, normed)
            if wanted[7]:
                add_outer(of_kv, of_key_value, source_normed)
            norm.backward(product(of_projected, to_q.t()), of_x[group.queries])
            source_norm.backward(product(of_key_value, to_kv.t()), of_source[group.context])
            if layout.residual:
                of_x[group.queries] += gradient[group.queries]
        of_norms = (norm.of_weight, norm.of_bias, source_norm.of_weight, source_norm.of_bias)
        found = (of_x, of_source, *of_norms, of_q, of_kv, of_out, of_bias)
        return (*(value if asked else None for value, asked in zip(found, wanted, strict=False)), None, None, None)


class _Norm:
    """A layer norm, and the sums of its gradients over the groups."""

    def __init__(self, weight: Tensor, bias: Tensor, eps: float) -> None:
        self.weight, self.bias, self.eps = weight, bias, eps
        self.of_weight, self.of_bias = torch.zeros_like(weight), torch.zeros_like(bias)

    def __call__(self, rows: Tensor) -> Tensor:
        self._rows = rows
        normed, *self._statistics = torch.native_layer_norm(rows, self.weight.shape, self.weight, self.bias, self.eps)
        return normed

    def backward(self, gradient: Tensor, of_rows: Tensor) -> None:
        """Write the gradient of the rows of the last call, and add up those of weight and bias."""
        found, of_weight, of_bias = _norm_backward(
            gradient, self._rows, self.weight.shape, *self._statistics, self.weight, self.bias, [True, True, True]
        )
        of_rows.copy_(found)
        self.of_weight += of_weight
        self.of_bias += of_bias


class _Saved:
    """What the attention read, the denominators of its softmax, and which channels of the result were kept."""

    def __init__(self, attended: Tensor, denominators: list[Tensor | None], kept_channels: Tensor | None) -> None:
        self.attended = attended
        self.denominators = denominators
        self.kept = kept_channels

    @classmethod
    def empty(cls, x: Tensor, to_out: Tensor, layout: Layout) -> "_Saved":
        kept_channels = kept(x.shape, layout.dropout) if layout.dropout else None
        return cls(x.new_empty((x.shape[0], to_out.shape[1])), [], kept_channels)

    def attend(self, group: Group, query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> None:
        if key.shape[1] == 0 or query.shape[1] == 0:
            self.attended[group.queries] = 0.0
            self.denominators.append(None)
            return
        read, denominators = attend(query, key, value)
        self.denominators.append(denominators)
        # Back to rows of all heads, and back at the query's time.
        by_head = read.view(layout.heads, group.windows, *read.shape[1:]).permute(1, 2, 0, 3)
        rows = self.attended[group.queries].view(by_head.shape)
        _turn(by_head, _of_windows(layout.query_turns[group.queries].conj(), group.windows), layout.rotate_value, rows)

    def backward_of_result(
        self,
        gradient: Tensor,
        rows: slice,
        to_out: Tensor,
        of_out: Tensor,
        of_bias: Tensor,
        layout: Layout,
        asked: bool,
    ) -> Tensor:
        """The gradient of what the attention read, in rows of all heads. Adds up those of the last projection."""
        of_result = gradient[rows]
        if self.kept is not None:
            of_result = (of_result * kept_scale(layout.dropout)).mul_(self.kept[rows])
        if asked:
            add_outer(of_out, of_result, self.attended[rows])
        of_bias += of_result.sum(0)
        return product(of_result, to_out.t())

    def attend_backward(
        self,
        number: int,
        group: Group,
        of_read: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: Layout,
    ) -> list[Tensor]:
        """The gradients of the turned query, key and value, each (H·G, N, D_h)."""
        denominators = self.denominators[number]
        if denominators is None:
            return [torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(value)]
        windows, heads, width = group.windows, layout.heads, query.shape[-1]
        by_head = of_read.view(windows, -1, heads, width).permute(2, 0, 1, 3)
        attended = self.attended[group.queries].view(windows, -1, heads, width).permute(2, 0, 1, 3)
        # Turning leaves scalar products as they are.
        overlaps = (by_head * attended).sum(-1).view(heads * windows, -1)
        turns = _of_windows(layout.query_turns[group.queries], windows).permute(2, 0, 1, 3)
        of_stacks, stacks = torch.empty_like(query), torch.empty_like(query)
        _turn(by_head, turns, layout.rotate_value, of_stacks.view(by_head.shape))
        _turn(attended, turns, layout.rotate_value, stacks.view(by_head.shape))
        return list(attend_backward(of_stacks, query, key, value, stacks, denominators, overlaps))


def _write_result(
    result: Tensor, x: Tensor, saved: _Saved, rows: slice, to_out: Tensor, bias: Tensor, layout: Layout
) -> None:
    added = product(saved.attended[rows], to_out, bias)
    if saved.kept is not None:
        added.mul_(saved.kept[rows]).mul_(kept_scale(layout.dropout))
    if layout.residual:
        torch.add(x[rows], added, out=result[rows])
    else:
        result[rows] = added


def _turned(projected: Tensor, windows: int, layout: Layout, rows: slice, parts: int) -> list[Tensor]:
    """Projected rows as stacks (H·G, N, D_h) of each part (query, key, value), turned by the times of the rows."""
    heads = layout.heads
    tokens, width = projected.shape[0] // windows, projected.shape[1] // (parts * heads)
    by_head = projected.view(windows, tokens, parts * heads, width).permute(2, 0, 1, 3)
    stacks = projected.new_empty(by_head.shape)
    turns = (layout.context_turns if parts == 2 else layout.query_turns)[rows]
    turning = parts * heads if layout.rotate_value or parts == 1 else (parts - 1) * heads
    across = _of_windows(turns, windows).permute(2, 0, 1, 3)
    _turn(by_head[:turning], across, True, stacks[:turning])
    if turning < len(stacks):
        stacks[turning:] = by_head[turning:]
    return [part.view(heads * windows, tokens, width) for part in stacks.chunk(parts)]


def _turned_back(
    parts: Sequence[Tensor],
    windows: int,
    layout: Layout,
    rows: slice,
    turning: int,
    *,
    of_context: bool = False,
) -> Tensor:
    """Gradients of stacks as the gradient of projected rows, turned back; the first `turning` parts were turned."""
    heads, (_, tokens, width) = layout.heads, parts[0].shape
    projected = parts[0].new_empty((windows, tokens, len(parts), heads, width))
    turns = _of_windows((layout.context_turns if of_context else layout.query_turns)[rows].conj(), windows)
    for number, part in enumerate(parts):
        by_head = part.reshape(heads, windows, tokens, width).permute(1, 2, 0, 3)
        _turn(by_head, turns, number < turning, projected[:, :, number])
    return projected.view(windows * tokens, len(parts) * heads * width)


def _of_windows(turns: Tensor, windows: int) -> Tensor:
    """(T, R) to (G, N, 1, R)."""
    return turns.view(windows, turns.shape[0] // windows, 1, turns.shape[1])


def _turn(x: Tensor, turns: Tensor, is_turned: bool, out: Tensor) -> None:
    if not is_turned:
        out.copy_(x)
        return
    channels = 2 * turns.shape[-1]
    torch.mul(_complex(x[..., :channels]), turns, out=_complex(out[..., :channels]))
    if channels < x.shape[-1]:
        out[..., channels:] = x[..., channels:]


def _complex(x: Tensor) -> Tensor:
    return torch.view_as_complex(torch.unflatten(x, -1, (x.shape[-1] // 2, 2)))
