"""The position-wise network of a transformer layer, with a gated GELU."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from nd_models.nn.dropout import Dropout, dropped
from nd_models.nn.followers import is_followed
from nd_models.nn.fused import is_fusible
from nd_models.nn.fused_feed_forward import feed_forward


class GEGLU(nn.Module):
    """Gated GELU: the first half of the channels times the GELU of the second half (Shazeer 2020, arXiv 2002.05202)."""

    def forward(self, x: Tensor) -> Tensor:
        """Halve the last dimension. Shape: (..., 2·M) to (..., M)."""
        values, gates = x.chunk(2, dim=-1)
        return values * functional.gelu(gates)


class FeedForward(nn.Module):
    """Linear, GEGLU, dropout, linear.

    Args:
        dim: Width D of input and output.
        mult: The hidden width is `mult * dim`.
        dropout: Probability of zeroing a hidden channel while training.

    >>> import torch
    >>> FeedForward(8)(torch.zeros(2, 3, 8)).shape
    torch.Size([2, 3, 8])
    """

    def __init__(self, dim: int, mult: int = 4, dropout: float = 0.2) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, dim * mult * 2),
            GEGLU(),
            Dropout(p=dropout),
            nn.Linear(dim * mult, dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply to every position. Shape: (..., D) to (..., D)."""
        result: Tensor = self.net(x)
        return result


def normed_feed_forward(x: Tensor, layer: nn.Sequential, *, residual_dropout: float) -> Tensor:
    """``x`` plus what a layer norm and a `FeedForward` make of it, after a dropout.

    Args:
        x: Shape: (..., D).
        layer: The two in a row.
        residual_dropout: Probability of the dropout.

    Returns:
        Shape of `x`.
    """
    if not is_followed() and _is_plain(layer):
        norm: Any = layer[0]
        network: Any = layer[1].net
        widen, gate, drop, narrow = network
        if is_fusible(x, norm, widen, narrow, watched=(layer, layer[1], network, gate, drop)):
            hidden_dropout = drop.p if drop.training else 0.0
            return feed_forward(x, norm, widen, narrow, hidden_dropout=hidden_dropout, dropout=residual_dropout)
    return x + dropped(layer(x), residual_dropout)


def _is_plain(layer: nn.Sequential) -> bool:
    if len(layer) != 2 or type(layer[1]) is not FeedForward:
        return False
    kinds = [type(part) for part in layer[1].net]
    return kinds == [nn.Linear, GEGLU, Dropout, nn.Linear]
