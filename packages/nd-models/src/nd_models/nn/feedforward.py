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


class NormedFeedForward(nn.Sequential):
    """A layer norm and a `FeedForward`, in this order; computed as one where nobody looks between them.

    >>> import torch
    >>> NormedFeedForward(nn.LayerNorm(8), FeedForward(8))(torch.zeros(2, 3, 8)).shape
    torch.Size([2, 3, 8])
    """

    def forward(self, x: Tensor, *, residual_dropout: float | None = None) -> Tensor:
        """Apply to every position.

        Args:
            x: Shape: (..., D).
            residual_dropout: Add the result to `x`, after a dropout of this probability; None: do not add.

        Returns:
            Shape of `x`.
        """
        if not is_followed() and self._is_plain():
            norm: Any = self[0]
            network: Any = self[1].net
            widen, gate, drop, narrow = network
            if is_fusible(x, norm, widen, narrow, watched=(self[1], network, gate, drop)):
                return feed_forward(
                    x,
                    norm,
                    widen,
                    narrow,
                    hidden_dropout=drop.probability,
                    dropout=residual_dropout or 0.0,
                    residual=residual_dropout is not None,
                )
        result: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return result if residual_dropout is None else x + dropped(result, residual_dropout)

    def _is_plain(self) -> bool:
        if len(self) != 2 or type(self[1]) is not FeedForward:
            return False
        kinds = [type(part) for part in self[1].net]
        return kinds == [nn.Linear, GEGLU, Dropout, nn.Linear]
