"""A whole rotary attention layer on CPU, from the layer norms to the sum with the input.

It goes window by window (or some short windows of equal sizes at once), so that padding is never computed, what lies
between fits into the cache, and only input and result of the attention are kept for going back. Several windows are
projected together where there is one head.

Shapes: T_q and T_c rows (tokens of all windows, queries and context), D width, H heads, D_h head width, R pairs of
channels that turn; within a group of windows G windows of N_q queries and N_c context tokens; of the groups that are
projected together P_q and P_c rows.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nd_models.nn.blocked_attention import Gradients, attend, attend_backward
from nd_models.nn.dropout import kept, kept_scale
from nd_models.nn.fused import differentiable_once
from nd_models.nn.products import OuterSum, product
from nd_models.nn.window_groups import Part

_norm_backward = torch.ops.aten.native_layer_norm_backward


class Layout(NamedTuple):
    """What does not change with the numbers: heads, windows, turns and dropout of a layer."""

    heads: int
    rotate_value: bool
    parts: list[Part]
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
        turning = (True, True, layout.rotate_value)
        for part in layout.parts:
            projected = product(norm(x[part.queries]), to_qkv)
            query, key, value = _turned(projected, part.windows, layout, layout.query_turns[part.queries], turning)
            saved.attend(part, query, key, value, layout)
            _write_result(result, x, saved, part.queries, to_out, out_bias, layout)
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
        of_qkv, of_out, of_bias = OuterSum(to_qkv), OuterSum(to_out), gradient.new_zeros(x.shape[1])
        turning = (True, True, layout.rotate_value)
        for part in layout.parts:
            rows, windows = part.queries, part.windows
            normed, turns = norm(x[rows]), layout.query_turns[rows]
            query, key, value = _turned(product(normed, to_qkv), windows, layout, turns, turning)
            of_read = saved.backward_of_result(gradient, rows, to_out, of_out, of_bias, layout, wanted[4])
            of_stacks = saved.attend_backward(part, of_read, query, key, value, layout)
            of_projected = _turned_back(of_stacks, windows, layout, turns, turning)
            if wanted[3]:
                of_qkv.add(of_projected, normed)
            of_x[rows] = norm.backward(product(of_projected, to_qkv.t()))
            if layout.residual:
                of_x[rows] += gradient[rows]
        found = (of_x, norm.of_weight, norm.of_bias, of_qkv.total, of_out.total, of_bias)
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
        for part in layout.parts:
            projected = product(norm(x[part.queries]), to_q)
            (query,) = _turned(projected, part.windows, layout, layout.query_turns[part.queries], (True,))
            projected = product(source_norm(part.context_of(source)), to_kv)
            turns = part.context_of(layout.context_turns)
            key, value = _turned(projected, part.windows, layout, turns, (True, layout.rotate_value))
            saved.attend(part, query, key, value, layout)
            _write_result(result, x, saved, part.queries, to_out, out_bias, layout)
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
        of_q, of_kv, of_out = (OuterSum(weight) for weight in (to_q, to_kv, to_out))
        of_bias = gradient.new_zeros(x.shape[1])
        turning = (True, layout.rotate_value)
        for part in layout.parts:
            rows, windows = part.queries, part.windows
            normed, source_normed = norm(x[rows]), source_norm(part.context_of(source))
            turns, source_turns = layout.query_turns[rows], part.context_of(layout.context_turns)
            (query,) = _turned(product(normed, to_q), windows, layout, turns, (True,))
            key, value = _turned(product(source_normed, to_kv), windows, layout, source_turns, turning)
            of_read = saved.backward_of_result(gradient, rows, to_out, of_out, of_bias, layout, wanted[8])
            of_query, *of_stacks = saved.attend_backward(part, of_read, query, key, value, layout)
            of_projected = _turned_back([of_query], windows, layout, turns, (True,))
            of_key_value = _turned_back(of_stacks, windows, layout, source_turns, turning)
            if wanted[6]:
                of_q.add(of_projected, normed)
            if wanted[7]:
                of_kv.add(of_key_value, source_normed)
            of_x[rows] = norm.backward(product(of_projected, to_q.t()))
            part.put_context(source_norm.backward(product(of_key_value, to_kv.t())), of_source)
            if layout.residual:
                of_x[rows] += gradient[rows]
        of_norms = (norm.of_weight, norm.of_bias, source_norm.of_weight, source_norm.of_bias)
        found = (of_x, of_source, *of_norms, of_q.total, of_kv.total, of_out.total, of_bias)
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

    def backward(self, gradient: Tensor) -> Tensor:
        """The gradient of the rows of the last call. Adds up those of weight and bias."""
        found, of_weight, of_bias = _norm_backward(
            gradient, self._rows, self.weight.shape, *self._statistics, self.weight, self.bias, [True, True, True]
        )
        self.of_weight += of_weight
        self.of_bias += of_bias
        result: Tensor = found
        return result


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

    def attend(self, part: Part, query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> None:
        stacks = torch.empty_like(query)
        for _, (asked, read, keys, values) in part.spread([query, stacks], [key, value]):
            if asked.shape[1] == 0 or keys.shape[1] == 0:
                read.zero_()
                self.denominators.append(None)
            else:
                self.denominators.append(attend(asked, keys, values, out=read))
        # Back to rows of all heads, and back at the query's time.
        by_head = stacks.view(layout.heads, part.windows, *stacks.shape[1:]).permute(1, 2, 0, 3)
        rows = self.attended[part.queries].view(by_head.shape)
        turns = layout.query_turns[part.queries].conj()
        _turn(by_head, _of_windows(turns, part.windows), layout.rotate_value, rows)

    def backward_of_result(
        self,
        gradient: Tensor,
        rows: slice,
        to_out: Tensor,
        of_out: OuterSum,
        of_bias: Tensor,
        layout: Layout,
        asked: bool,
    ) -> Tensor:
        """The gradient of what the attention read, in rows of all heads. Adds up those of the last projection."""
        of_result = gradient[rows]
        if self.kept is not None:
            of_result = (of_result * kept_scale(layout.dropout)).mul_(self.kept[rows])
        if asked:
            of_out.add(of_result, self.attended[rows])
        of_bias += of_result.sum(0)
        return product(of_result, to_out.t())

    def attend_backward(
        self, part: Part, of_read: Tensor, query: Tensor, key: Tensor, value: Tensor, layout: Layout
    ) -> Gradients:
        """The gradients of the turned query, key and value, each (H·G, P / G, D_h)."""
        shape = (part.windows, -1, layout.heads, query.shape[-1])
        by_head = of_read.view(shape).permute(2, 0, 1, 3)
        attended = self.attended[part.queries].view(shape).permute(2, 0, 1, 3)
        # Turning leaves scalar products as they are.
        overlaps = (by_head * attended).sum(-1).view(query.shape[:2])
        turns = _of_windows(layout.query_turns[part.queries], part.windows).permute(2, 0, 1, 3)
        of_stacks, stacks = torch.empty_like(query), torch.empty_like(query)
        _turn(by_head, turns, layout.rotate_value, of_stacks.view(by_head.shape))
        _turn(attended, turns, layout.rotate_value, stacks.view(by_head.shape))
        found = Gradients(torch.empty_like(query), torch.empty_like(key), torch.empty_like(value))
        of_queries, of_context = [query, of_stacks, stacks, overlaps, found.query], [key, value, *found[1:]]
        for number, views in part.spread(of_queries, of_context):
            asked, wanted, read, overlap, of_query, keys, values, of_key, of_value = views
            denominators = self.denominators[number]
            out = Gradients(of_query, of_key, of_value)
            if denominators is None:
                for place in out:
                    place.zero_()
            else:
                attend_backward(wanted, asked, keys, values, read, denominators, overlap, out)
        return found


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


def _turned(
    projected: Tensor, windows: int, layout: Layout, turns: Tensor, turning: tuple[bool, ...]
) -> tuple[Tensor, ...]:
    """Projected rows as stacks (H·G, N, D_h) of each projection (query, key, value); the first ones are turned."""
    heads, parts = layout.heads, len(turning)
    tokens, width = projected.shape[0] // windows, projected.shape[1] // (parts * heads)
    by_head = projected.view(windows, tokens, parts * heads, width).permute(2, 0, 1, 3)
    stacks = by_head.clone(memory_format=torch.contiguous_format)
    _turn_in_place(stacks[: sum(turning) * heads], _of_windows(turns, windows).permute(2, 0, 1, 3))
    return tuple(part.view(heads * windows, tokens, width) for part in stacks.chunk(parts))


def _turned_back(
    of_stacks: Sequence[Tensor], windows: int, layout: Layout, turns: Tensor, turning: tuple[bool, ...]
) -> Tensor:
    """Gradients of stacks as the gradient of projected rows, turned back where the projection was turned."""
    heads, (_, tokens, width) = layout.heads, of_stacks[0].shape
    projected = of_stacks[0].new_empty((windows, tokens, len(of_stacks), heads, width))
    back = _of_windows(turns.conj(), windows)
    for number, (stacks, was_turned) in enumerate(zip(of_stacks, turning, strict=True)):
        by_head = stacks.view(heads, windows, tokens, width).permute(1, 2, 0, 3)
        _turn(by_head, back, was_turned, projected[:, :, number])
    return projected.view(windows * tokens, len(of_stacks) * heads * width)


def _of_windows(turns: Tensor, windows: int) -> Tensor:
    """(T, R) to (G, N, 1, R)."""
    return turns.view(windows, turns.shape[0] // windows, 1, turns.shape[1])


def _turn(x: Tensor, turns: Tensor, is_turned: bool, out: Tensor) -> None:
    # All in one copy, then what turns where it lies: each half of every row by itself would take half as long again.
    out.copy_(x)
    if is_turned:
        _turn_in_place(out, turns)


def _turn_in_place(x: Tensor, turns: Tensor) -> None:
    _complex(x[..., : 2 * turns.shape[-1]]).mul_(turns)


def _complex(x: Tensor) -> Tensor:
    return torch.view_as_complex(torch.unflatten(x, -1, (x.shape[-1] // 2, 2)))
