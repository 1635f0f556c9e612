"""POYO+: one model over many recordings and many readouts (Azabou et al. 2025, openreview IuU0wcO0mo).

Shapes: B windows, N_in input tokens, N_lat latents, N_out queries, n queries of one task, D width.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from torch import Tensor

from nd_data import chain, pad8
from nd_data.batch_form import has_batch_form
from nd_data.window_values import peek, read_values
from nd_models.checkpoint import load_pretrained_model
from nd_models.decoder_model import MultitaskDecoderModel
from nd_models.filled import filled
from nd_models.input_tokens import INPUT_PATHS
from nd_models.modality import MODALITY_REGISTRY, ModalitySpec, check_readout_specs
from nd_models.nn import MultitaskReadout
from nd_models.poyo_backbone import PoyoBackbone
from nd_models.readout import ReadoutPaths, prepare_for_multitask_readout
from nd_models.readout_batch import multitask_batch
from nd_models.readout_configuration import readout_to_config

if TYPE_CHECKING:
    from nd_data import Data


class POYOPlus(PoyoBackbone, MultitaskDecoderModel):
    """Spikes in, several behaviours or stimuli out, each query asking for one of them.

    As `POYO`, with queries made of session, time and task, and a linear readout for each task.

    Args:
        sequence_length: Length of a window in seconds.
        readout_specs: The tasks by name; by default all that are registered when the model is built.
        latent_step: Time between steps of the latent grid, in seconds.
        num_latents_per_step: Latents at each step.
        dim: Width D of all embeddings.
        depth: Number of self-attention layers.
        dim_head: Width of an attention head, a multiple of 4.
        cross_heads: Heads of the cross-attentions.
        self_heads: Heads of the self-attentions.
        ffn_dropout: Dropout inside the feed-forward networks.
        lin_dropout: Dropout of what a layer adds to the latents.
        atn_dropout: Dropout of attention weights.
        emb_init_scale: Standard deviation of the first embeddings.
        t_min: Shortest period of the rotary time embedding, in seconds.
        t_max: Longest period, in seconds.

    Raises:
        ValueError: a size or time that cannot be, no task, or tasks that share an id.

    >>> from nd_models import MODALITY_REGISTRY
    >>> tasks = {"cursor_velocity_2d": MODALITY_REGISTRY["cursor_velocity_2d"]}
    >>> model = POYOPlus(sequence_length=1.0, latent_step=0.125, readout_specs=tasks, dim=32, dim_head=16)
    >>> sorted(model.readout.projections)
    ['cursor_velocity_2d']
    """

    readout_parts = ("readout", "task_emb")

    def __init__(
        self,
        *,
        sequence_length: float,
        readout_specs: Mapping[str, ModalitySpec] = MODALITY_REGISTRY,
        latent_step: float,
        num_latents_per_step: int = 64,
        dim: int = 512,
        depth: int = 2,
        dim_head: int = 64,
        cross_heads: int = 1,
        self_heads: int = 8,
        ffn_dropout: float = 0.2,
        lin_dropout: float = 0.4,
        atn_dropout: float = 0.0,
        emb_init_scale: float = 0.02,
        t_min: float = 1e-4,
        t_max: float = 2.0627,
    ) -> None:
        check_readout_specs(readout_specs)
        if not readout_specs:
            raise ValueError("readout_specs is empty: name at least one task")
        super().__init__(
            sequence_length=sequence_length,
            latent_step=latent_step,
            num_latents_per_step=num_latents_per_step,
            dim=dim,
            depth=depth,
            dim_head=dim_head,
            cross_heads=cross_heads,
            self_heads=self_heads,
            ffn_dropout=ffn_dropout,
            lin_dropout=lin_dropout,
            atn_dropout=atn_dropout,
            emb_init_scale=emb_init_scale,
            t_min=t_min,
            t_max=t_max,
            # One row an id. Where ids run without gaps from 1 this is the shape of published weights, tasks plus one.
            task_rows=max(spec.id for spec in readout_specs.values()) + 1,
        )
        # A copy: what is registered later is not part of this model.
        self.readout_specs: dict[str, ModalitySpec] = dict(readout_specs)
        self._readout_paths = ReadoutPaths(self.readout_specs, INPUT_PATHS)
        self.readout = MultitaskReadout(dim=dim, readout_specs=self.readout_specs)

    def forward(
        self,
        *,
        input_unit_index: Tensor,
        input_timestamps: Tensor,
        input_token_type: Tensor,
        input_mask: Tensor | None = None,
        latent_index: Tensor,
        latent_timestamps: Tensor,
        output_session_index: Tensor,
        output_timestamps: Tensor,
        output_decoder_index: Tensor,
        unpack_output: bool = False,
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Predict, at every output time, the task that its query asks for.

        Args:
            input_unit_index: Row of the unit vocabulary; 0 = padding. Shape: (B, N_in), int64.
            input_timestamps: Seconds from the window's start. Shape: (B, N_in), float.
            input_token_type: 0 spike, 1 start of unit, 2 end of unit. Shape: (B, N_in), int64.
            input_mask: True = real token; None = all are. Shape: (B, N_in), bool.
            latent_index: Shape: (B, N_lat), int64.
            latent_timestamps: Seconds. Shape: (B, N_lat), float.
            output_session_index: Row of the session vocabulary. Shape: (B, N_out), int64.
            output_timestamps: Seconds. Shape: (B, N_out), float.
            output_decoder_index: Id of the task; 0 = padding. Shape: (B, N_out), int64.
            unpack_output: One dictionary a window in place of one for the batch.

        Returns:
            Task name to predictions of shape (n, dim of the task), windows one after the other; or, with
            `unpack_output`, a list of B such dictionaries. Tasks that nobody asks for have no entry.

        Raises:
            ValueError: a vocabulary is not initialised.
        """
        decoded = self.decode(
            input_unit_index=input_unit_index,
            input_timestamps=input_timestamps,
            input_token_type=input_token_type,
            input_mask=input_mask,
            latent_index=latent_index,
            latent_timestamps=latent_timestamps,
            output_queries=self.session_emb(output_session_index) + self.task_emb(output_decoder_index),
            output_timestamps=output_timestamps,
        )
        predictions: dict[str, Tensor] | list[dict[str, Tensor]] = self.readout(
            output_embs=decoded, output_readout_index=output_decoder_index, unpack_output=unpack_output
        )
        return predictions

    @has_batch_form("tokenize_batch")
    def tokenize(self, data: "Data") -> dict[str, Any]:
        """Turn a window into tokens; the last transform of a dataset.

        Args:
            data: A window with `units.id`, `spikes.timestamps`, `spikes.unit_index`, `session.id`, `absolute_start`,
                what its readouts need, and `config["multitask_readout"]`.

        Returns:
            The nested dictionary that `nd_data.collate` batches: `model_inputs`, and `target_values`, `target_weights`,
            `eval_mask` by task, `session_id`, `absolute_start`.

        Raises:
            KeyError: a unit or session is not in the vocabulary, the model lacks a readout, or the recording lacks what
                a readout needs.
            ValueError: a vocabulary is not initialised, or configuration and values do not fit.
        """
        known = read_values(data, self._readout_paths(data))
        inputs = self.input_and_latent_tokens(data, known)
        tokens = self._output_tokens(data, known)
        tokens["model_inputs"] = {**inputs, **tokens["model_inputs"]}
        return tokens

    def _output_batch(self, windows: "Sequence[Data]", known: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return multitask_batch(windows, known, self.readout_specs, self.session_emb)

    def _output_tokens(self, data: "Data", known: Mapping[str, Any]) -> dict[str, Any]:
        # The part of `tokenize` that depends on the readout.
        timestamps, values, task_index, weights, eval_mask = prepare_for_multitask_readout(
            data, self.readout_specs, known=known
        )
        session_id = peek(data, "session.id")
        session_index = filled(len(timestamps), self.session_emb.tokenizer(session_id), "int64")
        return {
            "model_inputs": {
                "output_session_index": pad8(session_index),
                "output_timestamps": pad8(timestamps),
                "output_decoder_index": pad8(task_index),
            },
            "target_values": chain(values, allow_missing_keys=True),
            "target_weights": chain(weights, allow_missing_keys=True),
            "session_id": session_id,
            "absolute_start": data.absolute_start,
            "eval_mask": chain(eval_mask, allow_missing_keys=True),
        }

    def to_config(self) -> dict[str, Any]:
        """Every constructor argument as plain values, for `nd_models.model_from_config` and for JSON."""
        specs = {name: readout_to_config(spec) for name, spec in self.readout_specs.items()}
        return {"architecture": "POYOPlus", **self._arguments, "readout_specs": specs, **self.extra_config()}

    @classmethod
    def load_pretrained(
        cls,
        checkpoint_path: str | PathLike[str],
        readout_specs: Mapping[str, ModalitySpec] | None = None,
        skip_readout: bool = False,
    ) -> "POYOPlus":
        """Build the model that a checkpoint describes, with its weights and vocabularies. Runs no code from the file.

        Args:
            checkpoint_path: A Lightning checkpoint with `hyper_parameters["model"]`.
            readout_specs: The tasks by name; None takes the checkpoint's own.
            skip_readout: Start the readout layers and the task embeddings anew in place of loading them.

        Returns:
            The model on CPU, in training mode.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a checkpoint of this architecture, or its readouts do not fit `readout_specs`.
        """
        changes: dict[str, Any] = {} if readout_specs is None else {"readout_specs": readout_specs}
        fresh = ("readout.", "task_emb.") if skip_readout else ()
        return load_pretrained_model(cls, checkpoint_path, changes, fresh=fresh)
