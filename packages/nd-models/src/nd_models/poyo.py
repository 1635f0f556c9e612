"""POYO: one model over many recordings, one readout (Azabou et al. 2023, arXiv 2310.16046).

Shapes: B windows, N_in input tokens, N_lat latents, N_out queries, C channels of the readout, D width.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nd_data import collate, pad8, track_mask8
from nd_data.window_values import peek
from nd_models.checkpoint import load_pretrained_model
from nd_models.filled import filled
from nd_models.modality import ModalitySpec
from nd_models.poyo_backbone import PoyoBackbone
from nd_models.readout import targets
from nd_models.readout_configuration import readout_to_config
from nd_models.readout_plan import ReadoutPlan, ReadoutPlans

if TYPE_CHECKING:
    from nd_data import Data


class POYO(PoyoBackbone):
    """Spikes in, one behaviour out.

    Every spike is a token made of its unit and its time. A small grid of latents reads the spikes by cross-attention,
    the latents work on each other, and queries made of session and time read the result.

    Before use, give the vocabularies: `model.unit_emb.initialize_vocab(unit_ids)` and
    `model.session_emb.initialize_vocab(session_ids)`, or load weights, which bring theirs.

    Args:
        sequence_length: Length of a window in seconds.
        readout_spec: What to predict.
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
        ValueError: a size or time that cannot be.

    >>> from nd_models import MODALITY_REGISTRY
    >>> model = POYO(sequence_length=1.0, latent_step=0.125, readout_spec=MODALITY_REGISTRY["cursor_velocity_2d"],
    ...              dim=32, dim_head=16, num_latents_per_step=4)
    >>> model.unit_emb.initialize_vocab(["chewie/1/unit_0", "chewie/1/unit_1"])
    >>> model.session_emb.initialize_vocab(["chewie/1"])
    >>> model.readout.weight.shape
    torch.Size([2, 32])
    """

    def __init__(
        self,
        *,
        sequence_length: float,
        readout_spec: ModalitySpec,
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
        if not isinstance(readout_spec, ModalitySpec):
            raise TypeError(f"readout_spec must be a ModalitySpec, got {readout_spec!r}")
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
        )
        self.readout_spec = readout_spec
        self._readout_plans = ReadoutPlans(readout_spec, self._input_tokens.paths)
        self.readout = nn.Linear(dim, readout_spec.dim)

    def forward(
        self,
        *,
        input_unit_index: Tensor,
        input_timestamps: Tensor,
        input_token_type: Tensor,
        input_mask: Tensor | None = None,
        input_seqlen: Tensor | None = None,
        latent_index: Tensor,
        latent_timestamps: Tensor,
        output_session_index: Tensor,
        output_timestamps: Tensor,
        output_mask: Tensor | None = None,
        output_seqlen: Tensor | None = None,
        unpack_output: bool = False,
    ) -> Tensor | list[Tensor]:
        """Predict the behaviour at the output times.

        Args:
            input_unit_index: Row of the unit vocabulary; 0 = padding. Shape: (B, N_in), int64.
            input_timestamps: Seconds from the window's start. Shape: (B, N_in), float.
            input_token_type: 0 spike, 1 start of unit, 2 end of unit. Shape: (B, N_in), int64.
            input_mask: True = real token; None = all are. Shape: (B, N_in), bool.
            input_seqlen: Tokens of each window, for a packed batch, whose inputs have shape (T_in,). Shape: (B,), int.
            latent_index: Shape: (B, N_lat), int64.
            latent_timestamps: Seconds. Shape: (B, N_lat), float.
            output_session_index: Row of the session vocabulary. Shape: (B, N_out), int64.
            output_timestamps: Seconds. Shape: (B, N_out), float.
            output_mask: True = real query; needed with `unpack_output`. Shape: (B, N_out), bool.
            output_seqlen: Queries of each window, for a packed batch, whose queries have shape (T_out,). Shape: (B,).
            unpack_output: Return each window's real queries only.

        Returns:
            Shape (B, N_out, C), padding included, or (T_out, C) of a packed batch; or, with `unpack_output`, a list of
            B tensors of shape (n_i, C).

        Raises:
            ValueError: a vocabulary is not initialised, or `unpack_output` without `output_mask`.
        """
        decoded = self.decode(
            inputs=self.embed_inputs(input_unit_index, input_token_type),
            input_timestamps=input_timestamps,
            input_mask=input_mask,
            input_seqlen=input_seqlen,
            latent_index=latent_index,
            latent_timestamps=latent_timestamps,
            output_queries=self.session_emb(output_session_index),
            output_timestamps=output_timestamps,
            output_seqlen=output_seqlen,
        )
        output: Tensor = self.readout(decoded)
        if not unpack_output:
            return output
        if output_seqlen is not None:
            return list(torch.split(output, output_seqlen.tolist()))
        if output_mask is None:
            raise ValueError("unpack_output=True needs output_mask, which says which queries of a window are real")
        sizes: list[int] = output_mask.sum(dim=1).tolist()
        return list(torch.split(output[output_mask], sizes))

    def _output_batch(
        self, windows: "Sequence[Data]", plans: Sequence[ReadoutPlan], known: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        batch: dict[str, Any] = collate(list(map(self._output_tokens, windows, plans, known)))
        return batch

    def _output_tokens(self, data: "Data", plan: ReadoutPlan, known: Mapping[str, Any]) -> dict[str, Any]:
        timestamps, values, weights, eval_mask = targets(data, plan.requests[0], known)
        session_id = peek(data, "session.id")
        session_index = filled(len(timestamps), self.session_emb.tokenizer(session_id), "int64")
        return {
            "model_inputs": {
                "output_session_index": pad8(session_index),
                "output_timestamps": pad8(timestamps),
                "output_mask": track_mask8(session_index),
            },
            "target_values": pad8(values),
            "target_weights": pad8(weights),
            "session_id": session_id,
            "absolute_start": data.absolute_start,
            "eval_mask": pad8(eval_mask),
        }

    def to_config(self) -> dict[str, Any]:
        """Every constructor argument as plain values, for `nd_models.model_from_config` and for JSON."""
        readout = readout_to_config(self.readout_spec)
        return {"architecture": "POYO", **self._arguments, "readout_spec": readout, **self.extra_config()}

    @classmethod
    def load_pretrained(
        cls,
        checkpoint_path: str | PathLike[str],
        readout_spec: ModalitySpec | None = None,
        skip_readout: bool = False,
    ) -> "POYO":
        """Build the model that a checkpoint describes, with its weights and vocabularies. Runs no code from the file.

        Args:
            checkpoint_path: A Lightning checkpoint with `hyper_parameters["model"]`.
            readout_spec: What to predict; None takes the checkpoint's own.
            skip_readout: Start the readout layer anew in place of loading it.

        Returns:
            The model on CPU, in training mode.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a checkpoint of this architecture, or its readout does not fit `readout_spec`.
        """
        changes: dict[str, Any] = {} if readout_spec is None else {"readout_spec": readout_spec}
        return load_pretrained_model(cls, checkpoint_path, changes, fresh=("readout.",) if skip_readout else ())
