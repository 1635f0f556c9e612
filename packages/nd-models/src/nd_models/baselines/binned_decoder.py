"""What the baselines share: counts in bins as tokens, units of any session read into one space, outputs as POYO+.

Shapes: B windows, U units (padded), T bins, N_out queries, D width, H features of a bin that are read out.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from nd_data import pad8
from nd_models.baselines.bins import Interpolation, checked_interpolation, number_of_bins, read_bins, spike_counts
from nd_models.baselines.calcium_bins import mean_values
from nd_models.decoder_model import MultitaskDecoderModel
from nd_models.multitask_tokens import multitask_tokens
from nd_models.nn import InfiniteVocabEmbedding, MultitaskReadout
from nd_models.readout_configuration import Readouts, checked_readouts
from nd_models.readout_plan import ReadoutPlans

if TYPE_CHECKING:
    from nd_data import Data


class BinnedDecoder(MultitaskDecoderModel):
    """A decoder of spike counts in bins. Subclasses make features of each bin; queries read them at their times.

    Sessions have different units. Each unit has a vector of width D, and a bin's counts become the sum of the units'
    vectors, each as often as it spiked, plus the session's vector: an affine read-in for each session, into a space
    that all sessions share. A window's bins start at its start and fill it; a spike on a border counts in the later
    bin. Of a recording that has `calcium_traces` in place of spikes, a bin holds each cell's mean ΔF/F. What is asked
    for between the middles of two bins is interpolated (see `nd_models.baselines.bins.read_bins`).

    Args:
        sequence_length: Length of a window in seconds.
        bin_size: Seconds of a bin; bins fill the window.
        readout_specs: The tasks by name, or names of registered ones.
        embedding_dim: Width D of a unit's vector.
        session_dim: Width of a session's vector; D where None.
        readout_dim: H.
        emb_init_scale: Standard deviation of the first vectors of units and sessions.
        interpolation: "linear" or "nearest".
        arguments: Further constructor arguments, for `to_config`.

    Raises:
        ValueError: times that cannot be, no task, or tasks that share an id.
    """

    def __init__(
        self,
        *,
        sequence_length: float,
        bin_size: float,
        readout_specs: Readouts,
        embedding_dim: int,
        session_dim: int | None = None,
        readout_dim: int,
        emb_init_scale: float,
        interpolation: Interpolation,
        arguments: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.num_bins = number_of_bins(sequence_length, bin_size)
        self.sequence_length = float(sequence_length)
        self.bin_size = float(bin_size)
        self.interpolation = checked_interpolation(interpolation)
        self.readout_specs = checked_readouts(readout_specs)
        self._readout_plans = ReadoutPlans(self.readout_specs)
        self._arguments: dict[str, Any] = {
            "sequence_length": self.sequence_length,
            "bin_size": self.bin_size,
            **arguments,
            "emb_init_scale": float(emb_init_scale),
            "interpolation": self.interpolation,
        }
        self.unit_emb = InfiniteVocabEmbedding(embedding_dim, init_scale=emb_init_scale, kind="unit")
        session_dim = embedding_dim if session_dim is None else session_dim
        self.session_emb = InfiniteVocabEmbedding(session_dim, init_scale=emb_init_scale, kind="session")
        self.readout = self.make_readout(readout_dim)

    def make_readout(self, readout_dim: int) -> MultitaskReadout:
        """What turns features at the queries' times, of width `readout_dim`, into predictions."""
        return MultitaskReadout(dim=readout_dim, readout_specs=self.readout_specs)

    @abstractmethod
    def bin_features(self, bins: Tensor) -> Tensor:
        """Features of each bin from what was read in. Shape: (B, T, D) to (B, T, H)."""

    def read_in(self, counts: Tensor, unit_index: Tensor, session_index: Tensor) -> Tensor:
        """The bins of any session in the space of all sessions. Shape: (B, T, D)."""
        units: Tensor = self.unit_emb(unit_index)
        return torch.baddbmm(self.session_emb(session_index).unsqueeze(1), counts.to(units.dtype).mT, units)

    def forward(
        self,
        *,
        input_counts: Tensor,
        input_unit_index: Tensor,
        input_session_index: Tensor,
        output_timestamps: Tensor,
        output_decoder_index: Tensor,
        unpack_output: bool = False,
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Predict, at every output time, the task that its query asks for.

        Args:
            input_counts: Spikes of each unit in each bin. Shape: (B, U, T), float.
            input_unit_index: Row of the unit vocabulary; 0 = padding. Shape: (B, U), int64.
            input_session_index: Row of the session vocabulary. Shape: (B,), int64.
            output_timestamps: Seconds from the window's start. Shape: (B, N_out), float.
            output_decoder_index: Id of the task; 0 = padding. Shape: (B, N_out), int64.
            unpack_output: One dictionary a window in place of one for the batch.

        Returns:
            Task name to predictions of shape (n, dim of the task), windows one after the other; or, with
            `unpack_output`, a list of B such dictionaries. Tasks that nobody asks for have no entry.

        Raises:
            ValueError: a vocabulary is not initialised.
        """
        bins = self.read_in(input_counts, input_unit_index, input_session_index)
        features = read_bins(self.bin_features(bins), output_timestamps, self.bin_size, self.interpolation)
        predictions: dict[str, Tensor] | list[dict[str, Tensor]] = self.readout(
            output_embs=features, output_readout_index=output_decoder_index, unpack_output=unpack_output
        )
        return predictions

    def tokenize(self, data: "Data") -> dict[str, Any]:
        """Turn a window into tokens; the last transform of a dataset.

        Args:
            data: A window with `units.id`, `spikes.timestamps` and `spikes.unit_index` (or `calcium_traces.df_over_f`),
                `session.id`, `absolute_start`, what its readouts need, and `config["multitask_readout"]`. Shorter
                windows than the model's are silent at their end.

        Returns:
            The nested dictionary that `nd_data.collate` batches: `model_inputs`, and `target_values`, `target_weights`,
            `eval_mask` by task, `session_id`, `absolute_start`.

        Raises:
            KeyError: a unit or session is not in the vocabulary, the model lacks a readout, or the recording lacks what
                a readout needs.
            ValueError: a vocabulary is not initialised, the window is longer than the model's, or configuration and
                values do not fit.
        """
        timestamps, task_index, fields = multitask_tokens(data, self._readout_plans(data).requests, {})
        session_id = data.session.id
        if len(timestamps) and timestamps.max() > self.sequence_length + self.bin_size:
            raise ValueError(
                f"recording {session_id!r}: a window has targets up to {timestamps.max():.6g} s from its start, the "
                f"model sees {self.sequence_length:.6g} s; cut windows of that length"
            )
        unit_index = np.asarray(self.unit_emb.tokenizer(np.asarray(data.units.id)), dtype=np.int64)
        count = spike_counts if "spikes" in data or "calcium_traces" not in data else mean_values
        counts = count(data, sequence_length=self.sequence_length, bin_size=self.bin_size)
        return {
            "model_inputs": {
                "input_counts": pad8(counts),
                "input_unit_index": pad8(unit_index),
                "input_session_index": self.session_emb.tokenizer(session_id),
                "output_timestamps": pad8(timestamps),
                "output_decoder_index": pad8(task_index),
            },
            **fields,
        }
