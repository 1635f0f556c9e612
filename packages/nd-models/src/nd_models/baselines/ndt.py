"""A transformer over the bins of a window, in the manner of the Neural Data Transformer (Ye and Pandarinath 2021).

Shapes: B windows, T bins, D width.
"""

import torch
from torch import Tensor, nn

from nd_models.baselines.binned_decoder import BinnedDecoder
from nd_models.baselines.bins import Interpolation, check_share, check_sizes
from nd_models.modality import MODALITY_REGISTRY
from nd_models.nn import Dropout, FeedForward, NormedFeedForward, RotarySelfAttention, RotaryTimeEmbedding
from nd_models.readout_configuration import Readouts


class NDTDecoder(BinnedDecoder):
    """Each bin is a token; layers of self-attention over all bins of the window, normalised before each part.

    Unlike the original (arXiv 2108.01210), which learns a vector for each position and rebuilds masked counts, bins are
    placed by rotary embeddings of their times, and training is on the readouts alone: it is the supervised baseline for
    tokens of bins against tokens of spikes.

    Args:
        sequence_length: Length of a window in seconds.
        readout_specs: The tasks by name, or names of registered ones; by default all registered.
        bin_size: Seconds of a bin; bins fill the window.
        dim: Width D.
        depth: Number of layers.
        dim_head: Width of an attention head, a multiple of 4.
        heads: Number of attention heads.
        dropout: Dropout of the read-in, inside the feed-forward networks, and of what a layer adds.
        atn_dropout: Dropout of attention weights.
        emb_init_scale: Standard deviation of the first vectors of units and sessions.
        interpolation: Between bins, "linear" or "nearest".

    Raises:
        ValueError: a size or time that cannot be, no task, or tasks that share an id.

    >>> model = NDTDecoder(sequence_length=1.0, bin_size=0.1, readout_specs=["running_speed"], dim=8, dim_head=4)
    >>> model.num_bins, len(model.attentions)
    (10, 4)
    """

    def __init__(
        self,
        *,
        sequence_length: float,
        readout_specs: Readouts = MODALITY_REGISTRY,
        bin_size: float = 0.02,
        dim: int = 128,
        depth: int = 4,
        dim_head: int = 32,
        heads: int = 4,
        dropout: float = 0.2,
        atn_dropout: float = 0.0,
        emb_init_scale: float = 0.1,
        interpolation: Interpolation = "linear",
    ) -> None:
        check_sizes(dim=dim, depth=depth, dim_head=dim_head, heads=heads)
        check_share(dropout=dropout, atn_dropout=atn_dropout)
        if dim_head % 4:
            raise ValueError(
                f"dim_head must be a multiple of 4 (pairs of its first half turn with time), got {dim_head}"
            )
        super().__init__(
            sequence_length=sequence_length,
            bin_size=bin_size,
            readout_specs=readout_specs,
            embedding_dim=dim,
            readout_dim=dim,
            emb_init_scale=emb_init_scale,
            interpolation=interpolation,
            arguments={
                "dim": dim,
                "depth": depth,
                "dim_head": dim_head,
                "heads": heads,
                "dropout": float(dropout),
                "atn_dropout": float(atn_dropout),
            },
        )
        self.dropout = Dropout(dropout)
        # The fastest turn tells neighbouring bins apart, the slowest does not wrap around within a window.
        self.rotary_emb = RotaryTimeEmbedding(
            head_dim=dim_head, rotate_dim=dim_head // 2, t_min=2 * self.bin_size, t_max=4 * self.sequence_length
        )
        self.attentions = nn.ModuleList(
            RotarySelfAttention(dim=dim, heads=heads, dim_head=dim_head, dropout=atn_dropout) for _ in range(depth)
        )
        self.feed_forwards = nn.ModuleList(
            NormedFeedForward(nn.LayerNorm(dim), FeedForward(dim=dim, dropout=dropout)) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)

    @property
    def backbone_parts(self) -> tuple[str, ...]:
        """Normalisation and layers, the last first."""
        layers = reversed(range(len(self.attentions)))
        return ("norm", *(part for layer in layers for part in (f"feed_forwards.{layer}", f"attentions.{layer}")))

    def bin_features(self, bins: Tensor) -> Tensor:
        """Let every bin read from all. Shape: (B, T, D) to (B, T, D)."""
        times = (torch.arange(bins.shape[1], device=bins.device, dtype=torch.float32) + 0.5) * self.bin_size
        rotation = self.rotary_emb.rotation(times.expand(bins.shape[0], -1))
        dropout = self.dropout.probability
        features = self.dropout(bins)
        for attend, feed in zip(self.attentions, self.feed_forwards, strict=True):
            features = attend(features, rotation, residual_dropout=dropout)
            features = feed(features, residual_dropout=dropout)
        normalised: Tensor = self.norm(features)
        return normalised
