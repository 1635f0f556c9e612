"""A transformer over steps in which no step attends to a later one (Vaswani et al. 2017).

Shapes: B sequences, T steps, W width, H heads, D_h = W / H, O outputs.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from nd_models.longitudinal.forecaster import LongitudinalForecaster, check_count, check_share
from nd_models.longitudinal.positions import rotate_by_position, sinusoidal_positions
from nd_models.longitudinal.step_inputs import FeatureInput, InputNorm, MissingSteps, StepInputs

Positions = Literal["none", "learned", "sinusoidal", "rotary"]


class AutoRegressiveTransformer(LongitudinalForecaster):
    """Causal self-attention layers between two linear ones.

    Args:
        num_features: D, the width of what it reads.
        num_outcomes: K.
        num_classes: 1 for regression, 2 for binary outcomes, C for classes.
        inputs: The batch key or keys that it reads.
        dim: Width W, a multiple of `heads`.
        depth: Layers.
        heads: Attention heads.
        feedforward_dim: Width inside the feed-forward networks; None is 4·W.
        positions: `"none"`, `"learned"` (a table of `max_len` vectors), `"sinusoidal"` or `"rotary"`.
        position_of: A step's position: its place in the sequence (`"step"`), or the time since the sequence's first
            step (`"time"`, from `time_ids`; for sequences whose gaps were not filled).
        norm: `"pre"`: layer normalisation before each sublayer, and once at the end; `"post"`: after each sum.
        max_history: A step attends to itself and the `max_history` - 1 steps before it; None: to all before it.
        max_len: Longest sequence, which learned positions need; the others take any length.
        dropout: Of attention weights and of what each sublayer adds.
        input_norm: `"layer"` normalises the features of each step; `"none"`; `"auto"` is `"layer"` where D > 1.
        missing_steps: Features of missing steps: `"zero"`, `"carry"` (what was observed last) or `"flag"` (that, and a
            channel that says so).
        hide_missing: No step attends to a missing one, but for itself.

    Raises:
        ValueError: a size, share or choice that cannot be.

    >>> model = AutoRegressiveTransformer(3, 1, dim=16, depth=1, heads=2, positions="rotary")
    >>> model(torch.zeros(4, 5, 3)).shape
    torch.Size([4, 5, 1])
    """

    def __init__(
        self,
        num_features: int,
        num_outcomes: int = 1,
        *,
        num_classes: int = 1,
        inputs: str | Sequence[str] = "embeddings",
        dim: int = 64,
        depth: int = 2,
        heads: int = 4,
        feedforward_dim: int | None = None,
        positions: Positions = "rotary",
        position_of: Literal["step", "time"] = "step",
        norm: Literal["pre", "post"] = "pre",
        max_history: int | None = None,
        max_len: int | None = None,
        dropout: float = 0.0,
        input_norm: InputNorm = "none",
        missing_steps: MissingSteps = "zero",
        hide_missing: bool = False,
    ) -> None:
        super().__init__(num_features, num_outcomes, num_classes=num_classes, inputs=inputs)
        _check_sizes(dim, depth, heads, feedforward_dim, max_history, max_len)
        check_share("dropout", dropout)
        _check_choices(positions, position_of, norm, max_len=max_len, dim=dim, heads=heads)
        self.dim, self.depth, self.heads, self.feedforward_dim = dim, depth, heads, feedforward_dim
        self.positions, self.position_of, self.norm = positions, position_of, norm
        self.max_history, self.max_len, self.dropout = max_history, max_len, dropout
        self.input_norm, self.missing_steps, self.hide_missing = input_norm, missing_steps, hide_missing
        self.features = FeatureInput(num_features, len(self._keys), missing_steps=missing_steps, input_norm=input_norm)
        self.embed = nn.Linear(self.features.width, dim)
        self.position_table = nn.Embedding(max_len, dim) if positions == "learned" and max_len else None
        layers = [
            CausalLayer(dim, heads, feedforward_dim or 4 * dim, dropout=dropout, pre_norm=norm == "pre")
            for _ in range(depth)
        ]
        self.layers = nn.ModuleList(layers)
        self.final_norm = nn.LayerNorm(dim) if norm == "pre" else nn.Identity()
        self.readout = nn.Linear(dim, self.num_outputs)

    def predict_steps(self, steps: StepInputs) -> Tensor:
        """Predict at every step. Shape: (B, T, O).

        Raises:
            ValueError: more steps than there are learned positions, or positions in time without `time_ids`.
        """
        hidden: Tensor = self.embed(self.features(steps))
        positions = self._positions(steps)
        if self.position_table is not None:
            hidden = hidden + self.position_table(positions)
        elif self.positions == "sinusoidal":
            hidden = hidden + sinusoidal_positions(positions, self.dim).to(hidden.dtype)
        turning = positions if self.positions == "rotary" else None
        attended = self._attended(steps)
        for layer in self.layers:
            hidden = layer(hidden, turning, attended)
        output: Tensor = self.readout(self.final_norm(hidden))
        return output

    def _positions(self, steps: StepInputs) -> Tensor:
        """Shape: (T,) or, in time, (B, T), int64."""
        if self.position_of == "step":
            positions = torch.arange(steps.values.shape[1], device=steps.values.device)
            longest = steps.values.shape[1]
        else:
            if steps.time_ids is None:
                raise ValueError("position_of='time' needs time_ids in the batch")
            # Padding has -1; nobody attends to it.
            positions = (steps.time_ids - steps.time_ids[:, :1]).clamp(min=0)
            # Compiled code cannot look at a value; there the table itself refuses what it does not hold.
            looked_up = self.positions == "learned" and not torch.compiler.is_compiling()
            longest = int(positions.max()) + 1 if looked_up else 0
        if self.max_len is not None and self.positions == "learned" and longest > self.max_len:
            raise ValueError(
                f"a sequence reaches position {longest - 1}, and there are learned positions for max_len="
                f"{self.max_len} only; build the model with a larger one, or with sinusoidal or rotary positions"
            )
        return positions

    def _attended(self, steps: StepInputs) -> Tensor | None:
        """Which steps (last axis) each may attend to; None: itself and all before it. Bool, (T, T) or (B, 1, T, T)."""
        if self.max_history is None and not self.hide_missing:
            return None
        place = torch.arange(steps.values.shape[1], device=steps.values.device)
        back = place[:, None] - place
        attended = back >= 0 if self.max_history is None else (back >= 0) & (back < self.max_history)
        if self.hide_missing:
            attended = attended & (~steps.missing[:, None, None, :] | (back == 0))
        return attended


class CausalLayer(nn.Module):
    """Self-attention over the past, then a feed-forward network, each added to what came in.

    Args:
        dim: Width W.
        heads: Attention heads.
        feedforward_dim: Width inside the feed-forward network.
        dropout: Of attention weights and of what each sublayer adds.
        pre_norm: Normalise before each sublayer; else after each sum.
    """

    def __init__(self, dim: int, heads: int, feedforward_dim: int, *, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.heads, self.dropout, self.pre_norm = heads, dropout, pre_norm
        self.to_queries_keys_values = nn.Linear(dim, 3 * dim)
        self.from_values = nn.Linear(dim, dim)
        self.feedforward = nn.Sequential(
            nn.Linear(dim, feedforward_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(feedforward_dim, dim)
        )
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.drop_added = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, positions: Tensor | None, attended: Tensor | None) -> Tensor:
        """Transform the steps.

        Args:
            hidden: Shape: (B, T, W).
            positions: By which queries and keys turn; None: not at all. Shape: (T,) or (B, T).
            attended: True = may attend; None: to itself and all before. Shape: (T, T) or (B, 1, T, T), bool.

        Returns:
            Shape (B, T, W).
        """
        if self.pre_norm:
            hidden = hidden + self.drop_added(self._attend(self.attention_norm(hidden), positions, attended))
            added: Tensor = self.drop_added(self.feedforward(self.feedforward_norm(hidden)))
            return hidden + added
        hidden = self.attention_norm(hidden + self.drop_added(self._attend(hidden, positions, attended)))
        normed: Tensor = self.feedforward_norm(hidden + self.drop_added(self.feedforward(hidden)))
        return normed

    def _attend(self, hidden: Tensor, positions: Tensor | None, attended: Tensor | None) -> Tensor:
        parts = self.to_queries_keys_values(hidden).chunk(3, dim=-1)
        queries, keys, values = (part.view(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in parts)
        if positions is not None:
            by_head = positions if positions.ndim == 1 else positions[:, None]
            queries, keys = rotate_by_position(queries, by_head), rotate_by_position(keys, by_head)
        mixed = functional.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=attended,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=attended is None,
        )
        output: Tensor = self.from_values(mixed.transpose(1, 2).flatten(-2))
        return output


def _check_sizes(
    dim: int, depth: int, heads: int, feedforward_dim: int | None, max_history: int | None, max_len: int | None
) -> None:
    for name, size in {"dim": dim, "depth": depth, "heads": heads}.items():
        check_count(name, size)
    optional = {"feedforward_dim": feedforward_dim, "max_history": max_history, "max_len": max_len}
    for name, given in optional.items():
        if given is not None:
            check_count(name, given)
    if dim % heads:
        raise ValueError(f"dim must be a multiple of heads, got dim={dim}, heads={heads}")


def _check_choices(positions: str, position_of: str, norm: str, *, max_len: int | None, dim: int, heads: int) -> None:
    if positions not in ("none", "learned", "sinusoidal", "rotary"):
        raise ValueError(f"positions must be 'none', 'learned', 'sinusoidal' or 'rotary', got {positions!r}")
    if position_of not in ("step", "time"):
        raise ValueError(f"position_of must be 'step' or 'time', got {position_of!r}")
    if norm not in ("pre", "post"):
        raise ValueError(f"norm must be 'pre' or 'post', got {norm!r}")
    if positions == "learned" and max_len is None:
        raise ValueError("learned positions need max_len, the length of the longest sequence")
    if positions == "sinusoidal" and dim % 2:
        raise ValueError(f"sinusoidal positions need an even dim, got {dim}")
    if positions == "rotary" and (dim // heads) % 2:
        raise ValueError(f"rotary positions need heads of even width, got dim={dim} / heads={heads} = {dim // heads}")
