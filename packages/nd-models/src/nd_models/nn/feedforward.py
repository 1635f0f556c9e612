"""The position-wise network of a transformer layer, with a gated GELU."""

from torch import Tensor, nn
from torch.nn import functional

from nd_models.nn.dropout import Dropout


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
