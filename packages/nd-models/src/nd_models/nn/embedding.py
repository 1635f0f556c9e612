"""Embedding table with a chosen scale of its first weights."""

import torch
from torch import nn


class Embedding(nn.Embedding):
    """`torch.nn.Embedding` whose weights start from a normal distribution of standard deviation `init_scale`.

    Args:
        num_embeddings: Number of rows.
        embedding_dim: Width D of a row.
        init_scale: Standard deviation of the first weights.
        padding_idx: A row that starts at zero and receives no gradient.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        init_scale: float = 0.02,
        padding_idx: int | None = None,
    ) -> None:
        # Before the parent's constructor, which calls reset_parameters.
        self.init_scale = init_scale
        super().__init__(num_embeddings, embedding_dim, padding_idx=padding_idx)

    def reset_parameters(self) -> None:
        """Draw every row anew; the padding row becomes zero."""
        with torch.no_grad():
            self.weight.normal_(mean=0.0, std=self.init_scale)
            if self.padding_idx is not None:
                self.weight[self.padding_idx].zero_()
