"""What POYO and POYO+ share: spikes to latents, latents to latents, latents to output queries.

Shapes: B windows, N_in input tokens, N_lat latents, N_out queries, D width, H heads, D_h head width.
"""

import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import get_worker_info

from nd_data.batch_form import has_batch_form
from nd_data.window_values import read_values
from nd_models.decoder_model import DecoderModel
from nd_models.input_tokens import InputTokenMaker, InputTokens
from nd_models.nn import (
    Dropout,
    Embedding,
    FeedForward,
    InfiniteVocabEmbedding,
    NormedFeedForward,
    RotaryCrossAttention,
    RotarySelfAttention,
    RotaryTimeEmbedding,
)
from nd_models.nn.followers import is_followed
from nd_models.nn.fused import as_now
from nd_models.nn.packing import equal_windows, packing
from nd_models.packed_tokens import packed_tokens
from nd_models.readout_plan import ReadoutPlan, ReadoutPlans
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

    _readout_plans: ReadoutPlans

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

        self._add_input_embeddings(emb_init_scale)
        self.session_emb = InfiniteVocabEmbedding(dim, init_scale=emb_init_scale, kind="session")
        self.token_type_emb: nn.Module = Embedding(_TOKEN_TYPE_ROWS, dim, init_scale=emb_init_scale)
        if task_rows is not None:
            # Among the others, because saved optimizer states number the parameters in this order.
            self.task_emb = Embedding(task_rows, dim, init_scale=emb_init_scale)
        self.latent_emb = Embedding(num_latents_per_step, dim, init_scale=emb_init_scale)
        self.rotary_emb = RotaryTimeEmbedding(head_dim=dim_head, rotate_dim=dim_head // 2, t_min=t_min, t_max=t_max)
        self.dropout = Dropout(p=lin_dropout)

        def feed_forward() -> NormedFeedForward:
            return NormedFeedForward(nn.LayerNorm(dim), FeedForward(dim=dim, dropout=ffn_dropout))

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

        self._checkpoints = False
        self._input_tokens = self._make_input_tokens()
        self._latent_tokens = create_linspace_latent_tokens(
            0.0, self.sequence_length, step=self.latent_step, num_latents_per_step=num_latents_per_step
        )

    def _add_input_embeddings(self, init_scale: float) -> None:
        # First of all parts: saved optimizer states number the parameters in the order in which they are made.
        self.unit_emb = InfiniteVocabEmbedding(self.dim, init_scale=init_scale, kind="unit")

    def _make_input_tokens(self) -> InputTokenMaker:
        return InputTokens(self.sequence_length)

    @property
    def backbone_parts(self) -> tuple[str, ...]:
        """All but embeddings of units and sessions and the readout, from the readout back to the spikes."""
        layers = (f"proc_layers.{number}" for number in reversed(range(len(self.proc_layers))))
        return ("dec_ffn", "dec_atn", *layers, "enc_ffn", "enc_atn", "latent_emb", "token_type_emb")

    def embed_inputs(self, input_unit_index: Tensor, input_token_type: Tensor) -> Tensor:
        """The input tokens that `decode` takes: unit and type of each.

        Args:
            input_unit_index: Row of the unit vocabulary. Shape: (B, N_in), int64.
            input_token_type: Row of the token-type embedding. Same shape, int64.

        Returns:
            Shape (B, N_in, D).
        """
        tokens: Tensor = self.unit_emb(input_unit_index) + self.token_type_emb(input_token_type)
        return tokens

    def set_activation_checkpointing(self, enabled: bool = True) -> None:
        """Keep only what goes in and out of each layer while training, and compute the rest again for the gradients.

        Takes another forward pass and far less memory, most of all on CUDA; the gradients are the same, and so is what
        dropout drops. Not a part of the configuration or the weights.
        """
        self._checkpoints = bool(enabled)

    def decode(
        self,
        *,
        inputs: Tensor,
        input_timestamps: Tensor,
        input_mask: Tensor | None = None,
        input_seqlen: Tensor | None = None,
        latent_index: Tensor,
        latent_timestamps: Tensor,
        output_queries: Tensor,
        output_timestamps: Tensor,
        output_seqlen: Tensor | None = None,
    ) -> Tensor:
        """Let the output queries read what the latents made of the inputs.

        Args:
            inputs: What `embed_inputs` made. Shape: (B, N_in, D); or (T_in, D), of all windows one after the other,
                with `input_seqlen`.
            input_timestamps: Seconds. Shape of `inputs` but for D.
            input_mask: True = real token; None = all are. Shape: (B, N_in), bool.
            input_seqlen: Input tokens of each window. Shape: (B,), integer.
            latent_index: Shape: (B, N_lat), int64.
            latent_timestamps: Seconds. Shape: (B, N_lat), float.
            output_queries: Shape: (B, N_out, D); or (T_out, D) with `output_seqlen`.
            output_timestamps: Seconds. Shape of `output_queries` but for D.
            output_seqlen: Queries of each window. Shape: (B,), integer.

        Returns:
            The shape of `output_queries`.

        Raises:
            ValueError: shapes and lengths do not fit each other.
        """
        _check_form("input", inputs, input_seqlen, input_mask)
        _check_form("output", output_queries, output_seqlen)
        input_rotation = self.rotary_emb.rotation(input_timestamps)
        latents: Tensor = self.latent_emb(latent_index)
        latent_rotation = self.rotary_emb.rotation(latent_timestamps)
        output_rotation = self.rotary_emb.rotation(output_timestamps)
        dropout = self.dropout.probability

        def encode(latents: Tensor, inputs: Tensor) -> Tensor:
            if input_seqlen is None:
                arguments = inputs, latent_rotation, input_rotation, input_mask
                latents = self.enc_atn(latents, *arguments, residual_dropout=0.0)
            else:
                packings = equal_windows(latents), packing(input_seqlen, inputs)
                rows, rotations = latents.flatten(0, 1), (latent_rotation.flat(), input_rotation)
                read: Tensor = self.enc_atn.forward_varlen(rows, inputs, *rotations, *packings, residual_dropout=0.0)
                latents = read.view(latents.shape)
            result: Tensor = self.enc_ffn(latents, residual_dropout=0.0)
            return result

        def process(latents: Tensor, layer: nn.Module) -> Tensor:
            attend, feed = layer[0], layer[1]  # type: ignore[index]
            latents = attend(latents, latent_rotation, residual_dropout=dropout)
            result: Tensor = feed(latents, residual_dropout=dropout)
            return result

        def answer(queries: Tensor, latents: Tensor) -> Tensor:
            if output_seqlen is None:
                queries = self.dec_atn(queries, latents, output_rotation, latent_rotation, residual_dropout=0.0)
            else:
                packings = packing(output_seqlen, queries), equal_windows(latents)
                rows, rotations = latents.flatten(0, 1), (output_rotation, latent_rotation.flat())
                queries = self.dec_atn.forward_varlen(queries, rows, *rotations, *packings, residual_dropout=0.0)
            result: Tensor = self.dec_ffn(queries, residual_dropout=0.0)
            return result

        latents = self._run(encode, latents, inputs)
        for layer in self.proc_layers:
            latents = self._run(process, latents, layer)
        return self._run(answer, output_queries, latents)

    def _run(self, stage: Callable[..., Tensor], *arguments: Any) -> Tensor:
        if self._checkpoints and torch.is_grad_enabled():
            # What the layers are computed by must be the same when they are computed again.
            contexts: Any = {} if is_followed() else {"context_fn": as_now}
            result: Tensor = checkpoint(stage, *arguments, use_reentrant=False, **contexts)
            return result
        return stage(*arguments)

    @has_batch_form("tokenize_batch")
    def tokenize(self, data: "Data") -> dict[str, Any]:
        """Turn a window into tokens; the last transform of a dataset.

        Args:
            data: A window with `units.id`, `session.id`, `absolute_start`, the activity that the model reads (for
                spikes `spikes.timestamps` and `spikes.unit_index`), what its readouts need, and the configuration that
                names them.

        Returns:
            The nested dictionary that `nd_data.collate` batches: `model_inputs`, and `target_values`, `target_weights`,
            `eval_mask`, `session_id`, `absolute_start`.

        Raises:
            KeyError: a unit or session is not in the vocabulary, the model lacks a readout, or the recording lacks what
                a readout needs.
            ValueError: a vocabulary is not initialised, or configuration and values do not fit.
        """
        plan = self._readout_plans(data)
        known = read_values(data, plan.paths)
        inputs = self.input_and_latent_tokens(data, known)
        tokens = self._output_tokens(data, plan, known)
        inputs |= tokens["model_inputs"]
        tokens["model_inputs"] = inputs
        return tokens

    def tokenize_packed(self, data: "Data") -> dict[str, Any]:
        """As `tokenize`, for batches without padding: windows are chained, and their lengths stand beside them.

        Args:
            data: As for `tokenize`.

        Returns:
            What `nd_data.collate` makes a packed batch of: in `model_inputs` the inputs of all windows in one row and
            `input_seqlen`, the queries in one row and `output_seqlen`, and no masks; everything else that `tokenize`
            pads is chained too.

        Raises:
            KeyError, ValueError: as `tokenize`.
        """
        return packed_tokens(self.tokenize(data))

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
        plans = [self._readout_plans(window) for window in windows]
        known = [read_values(window, plan.paths) for window, plan in zip(windows, plans, strict=True)]
        inputs = self.input_and_latent_batch(windows, known)
        if inputs is None:
            return None
        batch = self._output_batch(windows, plans, known)
        batch["model_inputs"] = {**inputs, **batch["model_inputs"]}
        return batch

    def _part(self, name: str) -> Any:
        # As `getattr`, which asks in other places first and so takes a tenth of the time of tokenizing a window.
        return self._modules[name]

    @abstractmethod
    def _output_tokens(self, data: "Data", plan: ReadoutPlan, known: Mapping[str, Any]) -> dict[str, Any]:
        """The part of `tokenize` that depends on the readout."""

    @abstractmethod
    def _output_batch(
        self, windows: "Sequence[Data]", plans: Sequence[ReadoutPlan], known: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The part of `tokenize_batch` that depends on the readout."""

    def input_and_latent_tokens(self, data: "Data", known: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The part of `tokenize` that does not depend on the readout: the window's activity and the latents.

        Args:
            data: A window.
            known: What of it was read before (`nd_data.window_values.read_values`).
        """
        latent_index, latent_times = self._latent_tokens
        tokens = self._input_tokens(data, self._part("unit_emb"), known or {})
        # Copies, so that no later transform writes into the grid of all windows.
        tokens["latent_index"] = latent_index.copy()
        tokens["latent_timestamps"] = latent_times.copy()
        return tokens

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


def _check_form(side: str, tokens: Tensor, lengths: Tensor | None, mask: Tensor | None = None) -> None:
    form, given, shape, wanted = (
        ("padded", "without", "(B, N)", 3) if lengths is None else ("packed", "with", "(N,)", 2)
    )
    if tokens.ndim != wanted:
        raise ValueError(
            f"{side} tokens of a {form} batch ({given} {side}_seqlen) must have shape {shape}, got "
            f"{tuple(tokens.shape[:-1])}"
        )
    if lengths is not None and mask is not None:
        raise ValueError(f"give {side}_mask for a padded batch, or {side}_seqlen for a packed one, not both")


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
