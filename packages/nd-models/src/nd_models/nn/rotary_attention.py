"""Attention whose queries, keys and (optionally) values are turned by their times.

Shapes: B windows, N_q queries, N_c context tokens, T_q and T_c tokens of all windows of a packed batch, D width, D_c
context width, H heads, D_h head width.
"""

from contextlib import suppress
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nd_models.nn.dropout import dropped
from nd_models.nn.fused import is_fusible
from nd_models.nn.fused_attention import Layout, cross_attention, self_attention
from nd_models.nn.fused_short_attention import Settings, are_short, short_self_attention
from nd_models.nn.packing import Packing, bounds_of, packing, prefix_lengths
from nd_models.nn.time_embedding import Rotation, as_rotation, rotate_heads, rotate_pairs
from nd_models.nn.window_groups import groups_of_windows, parts_of

_varlen_attention: Any = None
if torch.cuda.is_available():  # where it is of use: it takes longer to import than all of this package
    with suppress(ImportError):  # an older PyTorch has none
        from torch.nn.attention.varlen import varlen_attn as _varlen_attention


class RotaryCrossAttention(nn.Module):
    """Queries attend to a context, with rotary time embeddings.

    Both sides are layer-normalised and projected; queries, keys and, with `rotate_value`, values are turned by their
    times. Turned values are turned back at the query's time, so that what a query reads depends only on time
    differences. A window whose context holds no valid token attends to nothing: it reads zeros, never NaN.

    Args:
        dim: Width D of the queries and of the result.
        context_dim: Width D_c of the context; the same as `dim` where None.
        heads: Number of heads H.
        dim_head: Width D_h of a head.
        dropout: Probability of dropping an attention weight while training.
        rotate_value: Turn the values too.
    """

    def __init__(
        self,
        *,
        dim: int,
        context_dim: int | None = None,
        heads: int = 8,
        dim_head: int = 64,
        dropout: float = 0.0,
        rotate_value: bool = False,
    ) -> None:
        super().__init__()
        inner_dim = dim_head * heads
        context_dim = dim if context_dim is None else context_dim
        self.heads = heads
        self.dropout = dropout
        self.rotate_value = rotate_value

        self.norm = nn.LayerNorm(dim)
        self.norm_context = nn.LayerNorm(context_dim)
        self.to_q = nn.Linear(dim, inner_dim, bias=False)
        self.to_kv = nn.Linear(context_dim, inner_dim * 2, bias=False)
        self.to_out = nn.Linear(inner_dim, dim)

    def forward(
        self,
        x_query: Tensor,
        x_context: Tensor,
        query_pos_emb: Tensor | Rotation,
        context_pos_emb: Tensor | Rotation,
        context_mask: Tensor | None = None,
        *,
        residual_dropout: float | None = None,
    ) -> Tensor:
        """Let every query read from the context.

        Args:
            x_query: Shape: (B, N_q, D).
            x_context: Shape: (B, N_c, D_c).
            query_pos_emb: What `RotaryTimeEmbedding` gave for the queries' times, in either form.
            context_pos_emb: The same for the context's times.
            context_mask: True = real token; None = all are. Shape: (B, N_c), bool.
            residual_dropout: Add what was read to the queries, after a dropout of this probability; None: do not add.

        Returns:
            Shape (B, N_q, D).
        """
        turns = as_rotation(query_pos_emb), as_rotation(context_pos_emb)
        if self._is_fusible(x_query, x_context):
            windows, queries, _ = x_query.shape
            tokens = x_context.shape[1]
            lengths = [tokens] * windows if context_mask is None else prefix_lengths(context_mask)
            if lengths is not None:
                context_bounds = [(row * tokens, row * tokens + length) for row, length in enumerate(lengths)]
                bounds = bounds_of([queries] * windows), context_bounds
                return self._fused(x_query, x_context, *turns, *bounds, residual_dropout)
        query, key, value = self._projected(x_query, x_context, *turns)
        attended = _attend(query, key, value, context_mask, self.dropout if self.training else 0.0)
        return self._result(x_query, attended, turns[0], residual_dropout)

    def forward_varlen(
        self,
        x_query: Tensor,
        x_context: Tensor,
        query_pos_emb: Tensor | Rotation,
        context_pos_emb: Tensor | Rotation,
        query_seqlen: Tensor | Packing,
        context_seqlen: Tensor | Packing,
        *,
        residual_dropout: float | None = None,
    ) -> Tensor:
        """The same for windows of different lengths that follow each other without padding.

        Args:
            x_query: Shape: (T_q, D).
            x_context: Shape: (T_c, D_c).
            query_pos_emb: What `RotaryTimeEmbedding` gave for the queries' times, in either form.
            context_pos_emb: The same for the context's times.
            query_seqlen: Queries of each window, shape (B,), integer; or its `packing`, which spares CUDA a
                synchronisation.
            context_seqlen: The same for the context.
            residual_dropout: As in `forward`.

        Returns:
            Shape (T_q, D).

        Raises:
            ValueError: the lengths do not fit the tokens, or each other.
        """
        turns = as_rotation(query_pos_emb), as_rotation(context_pos_emb)
        packings = _packing_of(query_seqlen, x_query), _packing_of(context_seqlen, x_context)
        if len(packings[0].lengths) != len(packings[1].lengths):
            raise ValueError(
                f"query_seqlen is of {len(packings[0].lengths)} windows, context_seqlen of {len(packings[1].lengths)}"
            )
        if self._is_fusible(x_query, x_context):
            bounds = packings[0].bounds(), packings[1].bounds()
            return self._fused(x_query, x_context, *turns, *bounds, residual_dropout)
        query, key, value = self._projected(x_query, x_context, *turns)
        attended = _attend_packed(query, key, value, *packings, self.dropout if self.training else 0.0)
        return self._result(x_query, attended, turns[0], residual_dropout)

    def _is_fusible(self, x_query: Tensor, x_context: Tensor) -> bool:
        return (
            not (self.dropout and self.training)
            and _has_even_heads(self.to_out, self.heads)
            and is_fusible(x_query, self.norm, self.norm_context, self.to_out, unbiased=(self.to_q, self.to_kv))
            and is_fusible(x_context)
        )

    def _fused(
        self,
        x_query: Tensor,
        x_context: Tensor,
        query_turns: Rotation,
        context_turns: Rotation,
        query_bounds: list[tuple[int, int]],
        context_bounds: list[tuple[int, int]],
        residual_dropout: float | None,
    ) -> Tensor:
        widest = max(self.to_q.out_features, self.to_kv.out_features)
        layout = Layout(
            self.heads,
            self.rotate_value,
            parts_of(groups_of_windows(query_bounds, context_bounds, width=widest), self.heads, width=widest),
            query_turns.of_rows(x_query.shape[:-1]),
            context_turns.of_rows(x_context.shape[:-1]),
            residual_dropout or 0.0,
            residual_dropout is not None,
        )
        rows, source = x_query.reshape(-1, x_query.shape[-1]), x_context.reshape(-1, x_context.shape[-1])
        result = cross_attention(rows, source, self.norm, self.norm_context, self.to_q, self.to_kv, self.to_out, layout)
        return result.view(x_query.shape)

    def _projected(
        self, x_query: Tensor, x_context: Tensor, query_turns: Rotation, context_turns: Rotation
    ) -> tuple[Tensor, Tensor, Tensor]:
        heads = self.heads
        query = rotate_heads(self.to_q(self.norm(x_query)), query_turns.cosine_sine, heads, heads)
        # Keys and values lie side by side, as twice as many heads, and turn by the same times.
        key_value = self.to_kv(self.norm_context(x_context))
        turning_heads = 2 * heads if self.rotate_value else heads
        key_value = rotate_heads(key_value, context_turns.cosine_sine, 2 * heads, turning_heads)
        key, value = key_value.chunk(2, dim=-2)
        return query, key, value

    def _result(self, x: Tensor, attended: Tensor, turns: Rotation, residual_dropout: float | None) -> Tensor:
        return _result(self, x, attended, turns, residual_dropout)


class RotarySelfAttention(nn.Module):
    """Tokens attend to each other, with rotary time embeddings; otherwise as `RotaryCrossAttention`.

    Args:
        dim: Width D.
        heads: Number of heads H.
        dim_head: Width D_h of a head.
        dropout: Probability of dropping an attention weight while training.
        rotate_value: Turn the values too.
    """

    def __init__(
        self,
        *,
        dim: int,
        heads: int = 8,
        dim_head: int = 64,
        dropout: float = 0.0,
        rotate_value: bool = False,
    ) -> None:
        super().__init__()
        inner_dim = dim_head * heads
        self.heads = heads
        self.dropout = dropout
        self.rotate_value = rotate_value

        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, inner_dim * 3, bias=False)
        self.to_out = nn.Linear(inner_dim, dim)

    def forward(
        self,
        x: Tensor,
        rotary_time_emb: Tensor | Rotation,
        x_mask: Tensor | None = None,
        *,
        residual_dropout: float | None = None,
    ) -> Tensor:
        """Let every token read from all.

        Args:
            x: Shape: (B, N, D).
            rotary_time_emb: What `RotaryTimeEmbedding` gave for the tokens' times, in either form.
            x_mask: True = real token, which may be read; None = all are. Shape: (B, N), bool.
            residual_dropout: Add what was read to `x`, after a dropout of this probability; None: do not add.

        Returns:
            Shape (B, N, D).
        """
        turns = as_rotation(rotary_time_emb)
        if x_mask is None and self._is_fusible(x):
            return self._fused(x, turns, bounds_of([x.shape[1]] * x.shape[0]), residual_dropout)
        query, key, value = self._projected(x, turns)
        attended = _attend(query, key, value, x_mask, self.dropout if self.training else 0.0)
        return _result(self, x, attended, turns, residual_dropout)

    def forward_varlen(
        self,
        x: Tensor,
        rotary_time_emb: Tensor | Rotation,
        x_seqlen: Tensor | Packing,
        *,
        residual_dropout: float | None = None,
    ) -> Tensor:
        """The same for windows of different lengths that follow each other without padding.

        Args:
            x: Shape: (T, D), T tokens of all windows.
            rotary_time_emb: What `RotaryTimeEmbedding` gave for the tokens' times, in either form.
            x_seqlen: Tokens of each window, shape (B,), integer; or its `packing`.
            residual_dropout: As in `forward`.

        Returns:
            Shape (T, D).

        Raises:
            ValueError: the lengths do not fit the tokens.
        """
        turns, windows = as_rotation(rotary_time_emb), _packing_of(x_seqlen, x)
        if self._is_fusible(x):
            return self._fused(x, turns, windows.bounds(), residual_dropout)
        query, key, value = self._projected(x, turns)
        attended = _attend_packed(query, key, value, windows, windows, self.dropout if self.training else 0.0)
        return _result(self, x, attended, turns, residual_dropout)

    def _is_fusible(self, x: Tensor) -> bool:
        return (
            not (self.dropout and self.training)
            and _has_even_heads(self.to_out, self.heads)
            and is_fusible(x, self.norm, self.to_out, unbiased=(self.to_qkv,))
        )

    def _fused(
        self, x: Tensor, turns: Rotation, bounds: list[tuple[int, int]], residual_dropout: float | None
    ) -> Tensor:
        rows, of_times = x.reshape(-1, x.shape[-1]), turns.of_rows(x.shape[:-1])
        added = residual_dropout or 0.0, residual_dropout is not None
        parts = self.norm, self.to_qkv, self.to_out
        if are_short(bounds, self.heads, self.to_out.in_features):
            settings = Settings(self.heads, len(bounds), self.rotate_value, of_times, *added, self.norm.eps)
            return short_self_attention(rows, *parts, settings).view(x.shape)
        width = self.to_qkv.out_features
        windows = parts_of(groups_of_windows(bounds, bounds, width=width), self.heads, width=width)
        layout = Layout(self.heads, self.rotate_value, windows, of_times, of_times, *added)
        return self_attention(rows, *parts, layout).view(x.shape)

    def _projected(self, x: Tensor, turns: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        projected = self.to_qkv(self.norm(x))
        turning_heads = 3 * self.heads if self.rotate_value else 2 * self.heads
        turned = rotate_heads(projected, turns.cosine_sine, 3 * self.heads, turning_heads)
        query, key, value = turned.chunk(3, dim=-2)
        return query, key, value


def _result(
    layer: RotaryCrossAttention | RotarySelfAttention,
    x: Tensor,
    attended: Tensor,
    turns: Rotation,
    residual_dropout: float | None,
) -> Tensor:
    if layer.rotate_value:
        attended = rotate_pairs(attended, turns.inverse().cosine_sine.unsqueeze(-3))
    result: Tensor = layer.to_out(attended.flatten(-2))
    return result if residual_dropout is None else x + dropped(result, residual_dropout)


def _has_even_heads(to_out: nn.Module, heads: int) -> bool:
    # Complex numbers lie at even places.
    return isinstance(to_out, nn.Linear) and to_out.in_features % (2 * heads) == 0


def _packing_of(lengths: Tensor | Packing, tokens: Tensor) -> Packing:
    return lengths if isinstance(lengths, Packing) else packing(lengths, tokens)


def _attend_packed(
    query: Tensor, key: Tensor, value: Tensor, queries: Packing, context: Packing, dropout: float
) -> Tensor:
    """`_attend` for packed windows. Query (T_q, H, D_h), key and value (T_c, H, D_h)."""
    if key.shape[0] == 0 or query.shape[0] == 0:
        return torch.zeros_like(query)
    if query.device.type == "cpu" and not torch.compiler.is_compiling():
        parts = zip(queries.bounds(), context.bounds(), strict=True)
        read = [
            _attend(query[None, a:b], key[None, c:d], value[None, c:d], None, dropout)[0] for (a, b), (c, d) in parts
        ]
        return torch.cat(read)
    if _has_packed_kernel(query, dropout):
        starts = queries.starts(), context.starts()
        found: Any = _varlen_attention(query, key, value, *starts, queries.longest, context.longest)
        return cast("Tensor", found)
    padded = queries.padded(query), context.padded(key), context.padded(value)
    return queries.packed(_attend(*padded, context.mask(), dropout))


def _has_packed_kernel(query: Tensor, dropout: float) -> bool:
    return (
        _varlen_attention is not None
        and query.is_cuda
        and query.dtype in (torch.float16, torch.bfloat16)
        and dropout == 0.0
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """softmax(q·k / √D_h)·v over the tokens that `mask` (B, N_c) allows. All in (B, N, H, D_h)."""
    if key.shape[1] == 0:
        return torch.zeros_like(query)
    if mask is not None:
        # A softmax over nothing is NaN in some kernels: let such a window read everything, and forget what it read.
        readable = mask.any(dim=1, keepdim=True)
        mask = (mask | ~readable)[:, None, None, :]
    attended = functional.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask, dropout_p=dropout
    ).transpose(1, 2)
    if mask is not None:
        attended = torch.where(readable[:, :, None, None], attended, attended.new_zeros(()))
    return attended
