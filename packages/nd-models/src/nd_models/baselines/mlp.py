"""A multilayer perceptron on the bins around each time.

Shapes: B windows, T bins, L lags, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nd_models.baselines.binned_decoder import BinnedDecoder
from nd_models.baselines.bins import Interpolation, check_share, check_sizes, lag_list, shifted
from nd_models.modality import MODALITY_REGISTRY
from nd_models.nn import Dropout
from nd_models.readout_configuration import Readouts


class MLPDecoder(BinnedDecoder):
    """What was read in of several bins, side by side, through layers of linear, normalisation, GELU and dropout.

    Args:
        sequence_length: Length of a window in seconds.
        readout_specs: The tasks by name, or names of registered ones; by default all registered.
        bin_size: Seconds of a bin; bins fill the window.
        lags: How many bins back each input looks: a sequence (negative = ahead), or a number n for 0, 1, …, n − 1.
            Bins beyond the window count as silent.
        dim: Width D of all layers.
        depth: Number of layers.
        dropout: Dropout after each layer.
        emb_init_scale: Standard deviation of the first vectors of units and sessions.
        interpolation: Between bins, "linear" or "nearest".

    Raises:
        ValueError: a size or time that cannot be, no task, or tasks that share an id.

    >>> model = MLPDecoder(sequence_length=1.0, bin_size=0.1, readout_specs=["running_speed"], lags=range(-2, 3), dim=8)
    >>> model.layers[0][0].in_features
    40
    """

    def __init__(
        self,
        *,
        sequence_length: float,
        readout_specs: Readouts = MODALITY_REGISTRY,
        bin_size: float = 0.02,
        lags: int | Sequence[int] = 10,
        dim: int = 128,
        depth: int = 2,
        dropout: float = 0.2,
        emb_init_scale: float = 0.1,
        interpolation: Interpolation = "linear",
    ) -> None:
        check_sizes(dim=dim, depth=depth)
        check_share(dropout=dropout)
        self_lags = lag_list(lags)
        super().__init__(
            sequence_length=sequence_length,
            bin_size=bin_size,
            readout_specs=readout_specs,
            embedding_dim=dim,
            readout_dim=dim,
            emb_init_scale=emb_init_scale,
            interpolation=interpolation,
            arguments={"lags": self_lags, "dim": dim, "depth": depth, "dropout": float(dropout)},
        )
        self.lags = self_lags
        widths = [dim * len(self_lags), *[dim] * (depth - 1)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, dim), nn.LayerNorm(dim), nn.GELU(), Dropout(dropout)) for width in widths
        )

    @property
    def backbone_parts(self) -> tuple[str, ...]:
        """The layers, the last first."""
        return tuple(f"layers.{number}" for number in reversed(range(len(self.layers))))

    def bin_features(self, bins: Tensor) -> Tensor:
        """Look at several bins. Shape: (B, T, D) to (B, T, D)."""
        features = torch.cat([shifted(bins, lag) for lag in self.lags], dim=-1)
        for layer in self.layers:
            features = layer(features)
        return features
