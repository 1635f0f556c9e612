"""POYO+ for calcium imaging: each cell's value is part of its token (Azabou et al. 2025, openreview IuU0wcO0mo).

Shapes: B windows, N_in input tokens, N_lat latents, N_out queries, n queries of one task, D width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nd_models.calcium_tokens import CalciumTokens
from nd_models.input_tokens import InputTokenMaker
from nd_models.modality import MODALITY_REGISTRY
from nd_models.multitask_poyo_backbone import MultitaskPoyoBackbone
from nd_models.nn import InfiniteVocabEmbedding
from nd_models.readout_configuration import Readouts


class CalciumPOYOPlus(MultitaskPoyoBackbone):
    """Calcium traces in, several behaviours or stimuli out, each query asking for one of them.

    As `POYOPlus`, with a token for each cell and frame in place of one for each spike: one half of it is a linear map
    of the cell's ΔF/F, the other half says which cell it is.

    Before use, give the vocabularies, as for `POYO`.

    Args:
        sequence_length: Length of a window in seconds.
        readout_specs: The tasks by name, or names of registered ones; by default all that are registered when the
            model is built.
        latent_step: Time between steps of the latent grid, in seconds.
        num_latents_per_step: Latents at each step.
        dim: Width D of all embeddings, an even number.
        depth: Number of self-attention layers.
        dim_head: Width of an attention head, a multiple of 4.
        cross_heads: Heads of the cross-attentions.
        self_heads: Heads of the self-attentions.
        ffn_dropout: Dropout inside the feed-forward networks.
        lin_dropout: Dropout of what a layer adds to the latents.
        atn_dropout: Dropout of attention weights.
        emb_init_scale: Standard deviation of the first embeddings, and of the first map of values.
        t_min: Shortest period of the rotary time embedding, in seconds.
        t_max: Longest period, in seconds.

    Raises:
        ValueError: a size or time that cannot be, no task, or tasks that share an id.

    >>> from nd_models import MODALITY_REGISTRY
    >>> tasks = {"running_speed": MODALITY_REGISTRY["running_speed"]}
    >>> model = CalciumPOYOPlus(sequence_length=1.0, latent_step=0.25, readout_specs=tasks, dim=32, dim_head=16)
    >>> model.unit_emb.initialize_vocab(["mouse/1/cell_0", "mouse/1/cell_1"])
    >>> model.unit_emb.weight.shape, model.input_value_map.weight.shape
    (torch.Size([3, 16]), torch.Size([16, 1]))
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
        # Published weights have a table of token types, although there is only one type and nobody reads it.
        self.token_type_emb = _UnreadTable(self.token_type_emb)

    def _add_input_embeddings(self, init_scale: float) -> None:
        if self.dim % 2:
            raise ValueError(f"dim must be even, one half for the value and one for the cell, got {self.dim}")
        self.input_value_map = nn.Linear(1, self.dim // 2)
        nn.init.trunc_normal_(self.input_value_map.weight, std=init_scale)
        nn.init.zeros_(self.input_value_map.bias)
        self.unit_emb = InfiniteVocabEmbedding(self.dim // 2, init_scale=init_scale, kind="unit")

    def _make_input_tokens(self) -> InputTokenMaker:
        return CalciumTokens()

    @property
    def backbone_parts(self) -> tuple[str, ...]:
        """All but embeddings of units and sessions and the readout, from the readout back to the values."""
        *parts, _ = super().backbone_parts
        return (*parts, "input_value_map")

    def embed_inputs(self, input_unit_index: Tensor, input_values: Tensor) -> Tensor:
        """The input tokens that `decode` takes: value and cell of each.

        Args:
            input_unit_index: Row of the unit vocabulary. Shape: (B, N_in), int64.
            input_values: ΔF/F of the cell. Shape: (B, N_in, 1), float.

        Returns:
            Shape (B, N_in, D).
        """
        cells = self.unit_emb(input_unit_index)
        # Recordings may be in double precision where the model is not.
        values = self.input_value_map(input_values.to(self.input_value_map.weight.dtype))
        return torch.cat((values, cells.to(values.dtype)), dim=-1)

    def forward(
        self,
        *,
        input_unit_index: Tensor,
        input_timestamps: Tensor,
        input_values: Tensor,
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
            input_values: ΔF/F of the cell at that time. Shape: (B, N_in, 1), float.
            input_mask: True = real token; None = all are. Shape: (B, N_in), bool.
            input_seqlen: Tokens of each window, for a packed batch, whose inputs have shape (T_in,). Shape: (B,), int.
            latent_index: Shape: (B, N_lat), int64.
            latent_timestamps: Seconds. Shape: (B, N_lat), float.
            output_session_index: Row of the session vocabulary. Shape: (B, N_out), int64.
            output_timestamps: Seconds. Shape: (B, N_out), float.
            output_decoder_index: Id of the task; 0 = padding. Shape: (B, N_out), int64.
            output_seqlen: Queries of each window, for a packed batch, whose queries have shape (T_out,). Shape: (B,),
                int.
            output_counts: Queries of each task in the batch, where the caller knows (`nd_models.nn.MultitaskReadout`).
            unpack_output: One dictionary a window in place of one for the batch.

        Returns:
            Task name to predictions of shape (n, dim of the task), windows one after the other; or, with
            `unpack_output`, a list of B such dictionaries. Tasks that nobody asks for have no entry.

        Raises:
            ValueError: a vocabulary is not initialised.
        """
        decoded = self.decode(
            inputs=self.embed_inputs(input_unit_index, input_values),
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


class _UnreadTable(nn.Module):
    """Keeps the place of a table in the state, without a parameter that no gradient would ever reach."""

    weight: Tensor

    def __init__(self, table: nn.Module) -> None:
        super().__init__()
        self.register_buffer("weight", table.get_parameter("weight").detach().clone())
