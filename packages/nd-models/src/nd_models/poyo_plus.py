"""POYO+: one model over many recordings and many readouts (Azabou et al. 2025, openreview IuU0wcO0mo).

Shapes: B windows, N_in input tokens, N_lat latents, N_out queries, n queries of one task, D width.
"""

from collections.abc import Mapping

from torch import Tensor

from nd_models.modality import MODALITY_REGISTRY
from nd_models.multitask_poyo_backbone import MultitaskPoyoBackbone
from nd_models.readout_configuration import Readouts


class POYOPlus(MultitaskPoyoBackbone):
    """Spikes in, several behaviours or stimuli out, each query asking for one of them.

    As `POYO`, with queries made of session, time and task, and a linear readout for each task.

    Args:
        sequence_length: Length of a window in seconds.
        readout_specs: The tasks by name, or names of registered ones; by default all that are registered when the
            model is built.
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

    def __init__(
        self,
        *,
        sequence_length: float,
        readout_specs: Readouts = MODALITY_REGISTRY,
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
        super().__init__(
            sequence_length=sequence_length,
            readout_specs=readout_specs,
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
        output_decoder_index: Tensor,
        output_seqlen: Tensor | None = None,
        output_counts: Mapping[str, int] | None = None,
        unpack_output: bool = False,
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Predict, at every output time, the task that its query asks for.

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
            output_decoder_index: Id of the task; 0 = padding. Shape: (B, N_out), int64.
            output_seqlen: Queries of each window, for a packed batch, whose queries have shape (T_out,). Shape: (B,).
            output_counts: Queries of each task in the batch, where the caller knows (`nd_models.nn.MultitaskReadout`).
            unpack_output: One dictionary a window in place of one for the batch.

        Returns:
            Task name to predictions of shape (n, dim of the task), windows one after the other; or, with
            `unpack_output`, a list of B such dictionaries. Tasks that nobody asks for have no entry.

        Raises:
            ValueError: a vocabulary is not initialised.
        """
        decoded = self.decode(
            inputs=self.embed_inputs(input_unit_index, input_token_type),
            input_timestamps=input_timestamps,
            input_mask=input_mask,
            input_seqlen=input_seqlen,
            latent_index=latent_index,
            latent_timestamps=latent_timestamps,
            output_queries=self.session_emb(output_session_index) + self.task_emb(output_decoder_index),
            output_timestamps=output_timestamps,
            output_seqlen=output_seqlen,
        )
        return self.read_out(decoded, output_decoder_index, output_seqlen, unpack_output, output_counts)
