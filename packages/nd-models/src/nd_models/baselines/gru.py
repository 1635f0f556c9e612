"""A recurrent network over the bins of a window (gated recurrent units; Cho et al. 2014, arXiv 1406.1078).

Shapes: B windows, T bins, D width.
"""

from torch import Tensor, nn

from nd_models.baselines.binned_decoder import BinnedDecoder
from nd_models.baselines.bins import Interpolation, check_share, check_sizes
from nd_models.modality import MODALITY_REGISTRY
from nd_models.nn import Dropout
from nd_models.readout_configuration import Readouts


class GRUDecoder(BinnedDecoder):
    """Gated recurrent units over the bins, from a silent state at the window's start.

    Args:
        sequence_length: Length of a window in seconds.
        readout_specs: The tasks by name, or names of registered ones; by default all registered.
        bin_size: Seconds of a bin; bins fill the window.
        dim: Width D of the read-in, and of the state in each direction.
        depth: Number of layers.
        bidirectional: Run backwards too, so that every bin sees the whole window, as the other models do. False: bins
            see what came before, for decoding as it happens (with `interpolation="nearest"`; "linear" looks half a bin
            ahead).
        dropout: Dropout of the read-in and between layers.
        emb_init_scale: Standard deviation of the first vectors of units and sessions.
        interpolation: Between bins, "linear" or "nearest".

    Raises:
        ValueError: a size or time that cannot be, no task, or tasks that share an id.

    >>> model = GRUDecoder(sequence_length=1.0, bin_size=0.1, readout_specs=["running_speed"], dim=8)
    >>> model.readout.projections["running_speed"].in_features
    16
    """

    def __init__(
        self,
        *,
        sequence_length: float,
        readout_specs: Readouts = MODALITY_REGISTRY,
        bin_size: float = 0.02,
        dim: int = 128,
        depth: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.2,
        emb_init_scale: float = 0.1,
        interpolation: Interpolation = "linear",
    ) -> None:
        check_sizes(dim=dim, depth=depth)
        check_share(dropout=dropout)
        super().__init__(
            sequence_length=sequence_length,
            bin_size=bin_size,
            readout_specs=readout_specs,
            embedding_dim=dim,
            readout_dim=2 * dim if bidirectional else dim,
            emb_init_scale=emb_init_scale,
            interpolation=interpolation,
            arguments={"dim": dim, "depth": depth, "bidirectional": bool(bidirectional), "dropout": float(dropout)},
        )
        self.dropout = Dropout(dropout)
        # PyTorch warns of dropout between layers where there is one layer.
        between = dropout if depth > 1 else 0.0
        self.recurrent = nn.GRU(dim, dim, depth, batch_first=True, dropout=between, bidirectional=bidirectional)

    @property
    def backbone_parts(self) -> tuple[str, ...]:
        """The recurrent network."""
        return ("recurrent",)

    def bin_features(self, bins: Tensor) -> Tensor:
        """Run over the bins. Shape: (B, T, D) to (B, T, D), or (B, T, 2·D) in both directions."""
        states: Tensor = self.recurrent(self.dropout(bins))[0]
        return states
