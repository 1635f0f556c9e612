"""Attention whose queries, keys and (optionally) values are turned by their times.

Shapes: B windows, N_q queries, N_c context tokens, D width, D_c context width, H heads, D_h head width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from nd_models.nn.time_embedding import Rotation, as_rotation, rotate_heads, rotate_pairs


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
    ) -> Tensor:
        """Let every query read from the context.

        Args:
            x_query: Shape: (B, N_q, D).
            x_context: Shape: (B, N_c, D_c).
            query_pos_emb: What `RotaryTimeEmbedding` gave for the queries' times, in either form.
            context_pos_emb: The same for the context's times.
            context_mask: True = real token; None = all are. Shape: (B, N_c), bool.

        Returns:
            Shape (B, N_q, D).
        """
        query_rotation, context_rotation = as_rotation(query_pos_emb), as_rotation(context_pos_emb)
        heads = self.heads

        query = self.to_q(self.norm(x_query))
        query = rotate_heads(query, query_rotation.cosine_sine, heads, heads)
        # Keys and values lie side by side, as twice as many heads, and turn by the same times.
        key_value = self.to_kv(self.norm_context(x_context))
        turning_heads = 2 * heads if self.rotate_value else heads
        key, value = rotate_heads(key_value, context_rotation.cosine_sine, 2 * heads, turning_heads).chunk(2, dim=2)

        attended = _attend(query, key, value, context_mask, self.dropout if self.training else 0.0)
        if self.rotate_value:
            attended = rotate_pairs(attended, query_rotation.inverse().cosine_sine.unsqueeze(2))
        result: Tensor = self.to_out(attended.flatten(2))
        return result


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

    def forward(self, x: Tensor, rotary_time_emb: Tensor | Rotation, x_mask: Tensor | None = None) -> Tensor:
        """Let every token read from all.

        Args:
            x: Shape: (B, N, D).
            rotary_time_emb: What `RotaryTimeEmbedding` gave for the tokens' times, in either form.
            x_mask: True = real token, which may be read; None = all are. Shape: (B, N), bool.

        Returns:
            Shape (B, N, D).
        """
        rotation = as_rotation(rotary_time_emb)

        projected = self.to_qkv(self.norm(x))
        turning_heads = 3 * self.heads if self.rotate_value else 2 * self.heads
        turned = rotate_heads(projected, rotation.cosine_sine, 3 * self.heads, turning_heads)
        query, key, value = turned.chunk(3, dim=2)

        attended = _attend(query, key, value, x_mask, self.dropout if self.training else 0.0)
        if self.rotate_value:
            attended = rotate_pairs(attended, rotation.inverse().cosine_sine.unsqueeze(2))
        result: Tensor = self.to_out(attended.flatten(2))
        return result


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
