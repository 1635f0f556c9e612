"""What POYO and POYO+ share: spikes to latents, latents to latents, latents to output queries.

Shapes: B windows, N_in input tokens, N_lat latents, N_out queries, D width, H heads, D_h head width.
"""

import logging
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import get_worker_info

from nd_data import pad8, track_mask8
from nd_data.window_values import read_values
from nd_models.decoder_model import DecoderModel
from nd_models.input_tokens import InputTokens
from nd_models.nn import (
    Dropout,
    Embedding,
    FeedForward,
    InfiniteVocabEmbedding,
    RotaryCrossAttention,
    RotarySelfAttention,
    RotaryTimeEmbedding,
)
from nd_models.readout import ReadoutPaths
from nd_models.tokens import create_linspace_latent_tokens

if TYPE_CHECKING:
    from nd_data import Data

_logger = logging.getLogger(__name__)

# Row 3 is never used; published weights have it.
_TOKEN_TYPE_ROWS = 4


class PoyoBackbone(DecoderModel):
    """A perceiver over spikes: cross-attention into latents, self-attention among them, cross-attention out.

    Subclasses add what makes queries and what reads them out. The names of the parts are those of published weights.
    """

    _readout_paths: ReadoutPaths

    def __init__(
        self,
        *,
        sequence_length: float,
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
        task_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.sequence_length = _positive_seconds("sequence_length", sequence_length)
        self.latent_step = _positive_seconds("latent_step", latent_step)
        _warn_of_partial_step(self.sequence_length, self.latent_step)
        counts = {
            "num_latents_per_step": num_latents_per_step,
            "dim": dim,
            "depth": depth,
            "dim_head": dim_head,
            "cross_heads": cross_heads,
            "self_heads": self_heads,
        }
        for name, count in counts.items():
            lowest = 0 if name == "depth" else 1
            if type(count) is not int or count < lowest:
                raise ValueError(f"{name} must be a whole number of at least {lowest}, got {count!r}")
        if dim_head % 4:
            raise ValueError(
                f"dim_head must be a multiple of 4 (pairs of its first half turn with time), got {dim_head}"
            )
        self.num_latents_per_step = num_latents_per_step
        self.dim = dim
        self._arguments: dict[str, Any] = {
            "sequence_length": self.sequence_length,
            "latent_step": self.latent_step,
            **counts,
            "ffn_dropout": float(ffn_dropout),
            "lin_dropout": float(lin_dropout),
            "atn_dropout": float(atn_dropout),
            "emb_init_scale": float(emb_init_scale),
            "t_min": float(t_min),
            "t_max": float(t_max),
        }

        self.unit_emb = InfiniteVocabEmbedding(dim, init_scale=emb_init_scale, kind="unit")
        self.session_emb = InfiniteVocabEmbedding(dim, init_scale=emb_init_scale, kind="session")
        self.token_type_emb = Embedding(_TOKEN_TYPE_ROWS, dim, init_scale=emb_init_scale)
        if task_rows is not None:
            # Among the others, because saved optimizer states number the parameters in this order.
            self.task_emb = Embedding(task_rows, dim, init_scale=emb_init_scale)
        self.latent_emb = Embedding(num_latents_per_step, dim, init_scale=emb_init_scale)
        self.rotary_emb = RotaryTimeEmbedding(head_dim=dim_head, rotate_dim=dim_head // 2, t_min=t_min, t_max=t_max)
        self.dropout = Dropout(p=lin_dropout)

        def feed_forward() -> nn.Sequential:
            return nn.Sequential(nn.LayerNorm(dim), FeedForward(dim=dim, dropout=ffn_dropout))

        self.enc_atn = RotaryCrossAttention(
            dim=dim, heads=cross_heads, dim_head=dim_head, dropout=atn_dropout, rotate_value=True
        )
        self.enc_ffn = feed_forward()
        self.proc_layers = nn.ModuleList()
        for _ in range(depth):
            attention = RotarySelfAttention(
                dim=dim, heads=self_heads, dim_head=dim_head, dropout=atn_dropout, rotate_value=True
            )
            self.proc_layers.append(nn.Sequential(attention, feed_forward()))
        self.dec_atn = RotaryCrossAttention(
            dim=dim, heads=cross_heads, dim_head=dim_head, dropout=atn_dropout, rotate_value=False
        )
        self.dec_ffn = feed_forward()

        self._input_tokens = InputTokens(self.sequence_length)
        self._latent_tokens = create_linspace_latent_tokens(
            0.0, self.sequence_length, step=self.latent_step, num_latents_per_step=num_latents_per_step
        )

    @property
    def backbone_parts(self) -> tuple[str, ...]:
        """All but embeddings of units and sessions and the readout, from the readout back to the spikes."""
        layers = (f"proc_layers.{number}" for number in reversed(range(len(self.proc_layers))))
        return ("dec_ffn", "dec_atn", *layers, "enc_ffn", "enc_atn", "latent_emb", "token_type_emb")

    def decode(
        self,
        *,
        input_unit_index: Tensor,
        input_timestamps: Tensor,
        input_token_type: Tensor,
        input_mask: Tensor | None,
        latent_index: Tensor,
        latent_timestamps: Tensor,
        output_queries: Tensor,
        output_timestamps: Tensor,
    ) -> Tensor:
        """Let the output queries read what the latents made of the spikes. Returns shape (B, N_out, D)."""
        inputs = self.unit_emb(input_unit_index) + self.token_type_emb(input_token_type)
        input_rotation = self.rotary_emb.rotation(input_timestamps)
        latents: Tensor = self.latent_emb(latent_index)
        latent_rotation = self.rotary_emb.rotation(latent_timestamps)
        output_rotation = self.rotary_emb.rotation(output_timestamps)

        latents = latents + self.enc_atn(latents, inputs, latent_rotation, input_rotation, input_mask)
        latents = latents + self.enc_ffn(latents)
        for layer in self.proc_layers:
            attend, feed = layer[0], layer[1]  # type: ignore[index]
            latents = latents + self.dropout(attend(latents, latent_rotation))
            latents = latents + self.dropout(feed(latents))
        output_queries = output_queries + self.dec_atn(output_queries, latents, output_rotation, latent_rotation)
        decoded: Tensor = output_queries + self.dec_ffn(output_queries)
        return decoded

    def tokenize_batch(self, windows: "Sequence[Data]") -> dict[str, Any] | None:
        """Tokenize many windows at once, straight into the padded tensors of a batch.

        Args:
            windows: B windows, each as `tokenize` takes it.

        Returns:
            What ``nd_data.collate([model.tokenize(window) for window in windows])`` gives, or None where a subclass
            makes input tokens of its own, and there is no quicker way than that.

        Raises:
            KeyError, ValueError: as `tokenize`.
        """
        known = [read_values(window, self._readout_paths(window)) for window in windows]
        inputs = self.input_and_latent_batch(windows, known)
        if inputs is None:
            return None
        batch = self._output_batch(windows, known)
        batch["model_inputs"] = {**inputs, **batch["model_inputs"]}
        return batch

    @abstractmethod
    def _output_batch(self, windows: "Sequence[Data]", known: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The part of `tokenize_batch` that depends on the readout."""

    def input_and_latent_tokens(self, data: "Data", known: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The part of `tokenize` that does not depend on the readout: spikes, unit tokens and latents.

        Args:
            data: A window.
            known: What of it was read before (`nd_data.window_values.read_values`).
        """
        unit_index, timestamps, token_type = self._input_tokens(data, self.unit_emb, known or {})
        latent_index, latent_times = self._latent_tokens
        return {
            "input_unit_index": pad8(unit_index),
            "input_timestamps": pad8(timestamps),
            "input_token_type": pad8(token_type),
            "input_mask": track_mask8(unit_index),
            # Copies, so that no later transform writes into the grid of all windows.
            "latent_index": latent_index.copy(),
            "latent_timestamps": latent_times.copy(),
        }

    def input_and_latent_batch(
        self, windows: "Sequence[Data]", known: Sequence[Mapping[str, Any]]
    ) -> dict[str, Tensor] | None:
        """The same for many windows, as `nd_data.collate` makes it of their tokens.

        None where a subclass has its own `input_and_latent_tokens`, which then has the say.
        """
        own = getattr(self.input_and_latent_tokens, "__func__", None)
        if own is not PoyoBackbone.input_and_latent_tokens:
            return None
        batch = self._input_tokens.batch(windows, self.unit_emb, known)
        for name, tokens in zip(("latent_index", "latent_timestamps"), self._latent_tokens, strict=True):
            row = torch.from_numpy(tokens)
            # A worker sends the row once and the main process repeats it: there is no need to do so here. What is
            # expanded cannot be written to by mistake, but for a single row, which shares its memory with the grid.
            is_sent = get_worker_info() is not None and len(windows) > 1
            batch[name] = row.expand(len(windows), -1) if is_sent else row.repeat(len(windows), 1)
        return batch


def _positive_seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 < value < math.inf):
        raise ValueError(f"{name} must be a positive number of seconds, got {value!r}")
    return float(value)


def _warn_of_partial_step(sequence_length: float, latent_step: float) -> None:
    steps = sequence_length / latent_step
    if abs(steps - round(steps)) > 1e-9 * max(steps, 1.0):
        _logger.warning(
            "sequence_length (%s s) is not a multiple of latent_step (%s s): the last step of the latent grid "
            "reaches past the window's end",
            sequence_length,
            latent_step,
        )
