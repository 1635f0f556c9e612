"""The Wiener filter: every unit's lagged counts, weighted and summed, with weights for each session.

Shapes: B windows, U units, T bins, L lags, C channels of all tasks together.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nd_models.baselines.binned_decoder import BinnedDecoder
from nd_models.baselines.bins import Interpolation, lag_list, shifted
from nd_models.baselines.wiener_fit import WienerFit, fit_wiener
from nd_models.modality import MODALITY_REGISTRY
from nd_models.nn import MultitaskReadout
from nd_models.readout_configuration import Readouts
from nd_models.ridge import DEFAULT_PENALTIES


class WienerDecoder(BinnedDecoder):
    """A linear decoder: y(t) = b + Σ over units u and lags l of w(u, l) · counts(u, t − l).

    A unit's vector is its weights, L lags of C channels; a session's vector is its intercepts. Sessions share nothing
    but the program that trains them, so that this is one lagged ridge regression a session. `fit` finds the weights in
    closed form; training by gradients as any other model goes as well.

    Args:
        sequence_length: Length of a window in seconds. Lags that reach beyond a window see silence: take windows much
            longer than the lags.
        readout_specs: The tasks by name, or names of registered ones; by default all registered.
        bin_size: Seconds of a bin; bins fill the window.
        lags: How many bins back the weights reach: a sequence (negative = ahead), or a number n for 0, 1, …, n − 1.
        emb_init_scale: Standard deviation of the first weights.
        interpolation: Between bins, "linear" or "nearest".

    Raises:
        ValueError: a time or lag that cannot be, no task, or tasks that share an id.

    >>> model = WienerDecoder(sequence_length=5.0, bin_size=0.1, readout_specs=["cursor_velocity_2d"], lags=10)
    >>> model.unit_emb.embedding_dim, model.session_emb.embedding_dim
    (20, 2)
    """

    readout: MultitaskReadout

    def __init__(
        self,
        *,
        sequence_length: float,
        readout_specs: Readouts = MODALITY_REGISTRY,
        bin_size: float = 0.02,
        lags: int | Sequence[int] = 10,
        emb_init_scale: float = 0.01,
        interpolation: Interpolation = "linear",
    ) -> None:
        from nd_models.readout_configuration import readouts_from_config

        self_lags = lag_list(lags)
        specs = readouts_from_config(readout_specs)
        channels = sum(spec.dim for spec in specs.values())
        super().__init__(
            sequence_length=sequence_length,
            bin_size=bin_size,
            readout_specs=specs,
            embedding_dim=len(self_lags) * channels,
            session_dim=channels,
            readout_dim=channels,
            emb_init_scale=emb_init_scale,
            interpolation=interpolation,
            arguments={"lags": self_lags},
        )
        self.lags = self_lags

    @property
    def channels(self) -> dict[str, slice]:
        """Which of the C channels belong to each task."""
        ends = torch.tensor([spec.dim for spec in self.readout_specs.values()]).cumsum(0).tolist()
        return {
            name: slice(end - spec.dim, end) for (name, spec), end in zip(self.readout_specs.items(), ends, strict=True)
        }

    @property
    def backbone_parts(self) -> tuple[str, ...]:
        """None: units' weights and sessions' intercepts are all there is."""
        return ()

    def make_readout(self, readout_dim: int) -> MultitaskReadout:
        """Hand each query the channels of its task."""
        # No weights of its own: the layers that MultitaskReadout makes give way to slices.
        readout = super().make_readout(readout_dim)
        readout.projections = nn.ModuleDict({name: _Channels(part) for name, part in self.channels.items()})
        return readout

    def read_in(self, counts: Tensor, unit_index: Tensor, session_index: Tensor) -> Tensor:
        """The prediction of all tasks at each bin. Shape: (B, T, C)."""
        weights: Tensor = self.unit_emb(unit_index)
        # What the counts of each bin will add at each lag, before it is moved there.
        added = torch.bmm(counts.to(weights.dtype).mT, weights)
        added = added.view(*added.shape[:2], len(self.lags), -1)
        prediction: Tensor = self.session_emb(session_index).unsqueeze(1)
        for number, lag in enumerate(self.lags):
            prediction = prediction + shifted(added[:, :, number], lag)
        return prediction

    def bin_features(self, bins: Tensor) -> Tensor:
        """The predictions as they are."""
        return bins

    def fit(
        self,
        batches: Iterable[Mapping[str, Any]],
        validation: Iterable[Mapping[str, Any]] | None = None,
        *,
        penalties: Sequence[float] = DEFAULT_PENALTIES,
    ) -> WienerFit:
        """Find all weights in closed form, in float64: for each session and task, ridge regression on lagged counts.

        The weights W minimise Σ w_i·‖y_i − x_i·W‖² + λ‖W‖² over the time points i of all windows, with features
        standardised and the intercept free, as `nd_models.RidgeDecoder` does; w are the batches' `target_weights`.
        Classes are regressed one against the rest, and yes or no as 1 and −1: the largest or the sign decides; they are
        no calibrated probabilities. Memory grows with the square of the units times the lags of a session.

        Args:
            batches: Collated batches of tokens, a `DataLoader` for example; they are gone through once. All units of a
                session must be in its windows: leave out `UnitDropout`.
            validation: Batches to choose λ on, by the mean over channels of R² where `eval_mask` holds; needed where
                there are several penalties.
            penalties: Values of λ to try.

        Returns:
            λ, and R² on the validation batches, of each session and task.

        Raises:
            ValueError: a vocabulary is not initialised, there is nothing to learn from, a target is not finite, windows
                of a session have different units, or sessions share a unit.
        """
        return fit_wiener(self, batches, validation, penalties)


class _Channels(nn.Module):
    """Some of the channels, as they are."""

    def __init__(self, part: slice) -> None:
        super().__init__()
        self.part = part

    def forward(self, channels: Tensor) -> Tensor:
        return channels[:, self.part]
