"""Gated recurrent networks over sequences of any length (Cho et al. 2014; Hochreiter & Schmidhuber 1997).

Shapes: B sequences, T steps, H hidden size, O outputs.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nd_models.longitudinal.forecaster import LongitudinalForecaster, check_count, check_share
from nd_models.longitudinal.last_step import gather_last_valid
from nd_models.longitudinal.step_inputs import FeatureInput, InputNorm, MissingSteps, StepInputs


class Recurrent(LongitudinalForecaster):
    """GRU or LSTM, then a linear layer.

    Args:
        num_features: D, the width of what it reads.
        num_outcomes: K.
        num_classes: 1 for regression, 2 for binary outcomes, C for classes.
        inputs: The batch key or keys that it reads.
        hidden_size: H, in each direction.
        num_layers: Recurrent layers.
        cell: `"gru"` or `"lstm"`.
        bidirectional: Read the sequence backwards too. A prediction at a step would then see the steps behind it, so
            this is for one prediction a sequence (`predict_last_valid_hidden_state`), made of the final states of both
            directions over the steps up to the last valid one; or with `allow_future`.
        allow_future: Let a bidirectional model predict at every step although it sees the steps behind it.
        dropout: Between recurrent layers.
        output_dropout: Of the hidden states that the linear layer reads; never of predictions.
        input_norm: `"layer"` normalises the features of each step, which suits embeddings of language and loses the
            common level of questionnaire items; `"none"`; `"auto"` is `"layer"` where D > 1.
        missing_steps: Features of missing steps: `"zero"`, `"carry"` (what was observed last) or `"flag"` (that, and a
            channel that says so).

    Raises:
        ValueError: a size, share or choice that cannot be.

    >>> model = Recurrent(num_features=3, num_outcomes=2, hidden_size=8)
    >>> model(torch.zeros(4, 5, 3)).shape
    torch.Size([4, 5, 2])
    """

    def __init__(
        self,
        num_features: int,
        num_outcomes: int = 1,
        *,
        num_classes: int = 1,
        inputs: str | Sequence[str] = "embeddings",
        hidden_size: int = 64,
        num_layers: int = 1,
        cell: Literal["gru", "lstm"] = "gru",
        bidirectional: bool = False,
        allow_future: bool = False,
        dropout: float = 0.0,
        output_dropout: float = 0.0,
        input_norm: InputNorm = "auto",
        missing_steps: MissingSteps = "zero",
    ) -> None:
        super().__init__(num_features, num_outcomes, num_classes=num_classes, inputs=inputs)
        check_count("hidden_size", hidden_size)
        check_count("num_layers", num_layers)
        check_share("dropout", dropout)
        check_share("output_dropout", output_dropout)
        if cell not in ("gru", "lstm"):
            raise ValueError(f"cell must be 'gru' or 'lstm', got {cell!r}")
        self.hidden_size, self.num_layers, self.cell = hidden_size, num_layers, cell
        self.bidirectional, self.allow_future = bidirectional, allow_future
        self.dropout, self.output_dropout = dropout, output_dropout
        self.input_norm, self.missing_steps = input_norm, missing_steps
        self.features = FeatureInput(num_features, len(self._keys), missing_steps=missing_steps, input_norm=input_norm)
        layers = nn.GRU if cell == "gru" else nn.LSTM
        self.recurrence = layers(
            self.features.width,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        self.drop_hidden = nn.Dropout(output_dropout)
        self.readout = nn.Linear(hidden_size * (2 if bidirectional else 1), self.num_outputs)

    def predict_steps(self, steps: StepInputs) -> Tensor:
        """Predict at every step. Shape: (B, T, O).

        Raises:
            ValueError: the model is bidirectional and `allow_future` is not set.
        """
        if self.bidirectional and not self.allow_future:
            raise ValueError(
                "a bidirectional model sees the future of every step: predict the last valid step only "
                "(predict_last_valid_timestep), or build it with allow_future=True"
            )
        lengths = None if steps.padding is None else (~steps.padding).sum(dim=1)
        output: Tensor = self.readout(self.drop_hidden(self._hidden_states(self.features(steps), lengths)))
        return output

    def predict_last(self, steps: StepInputs, index: Tensor) -> Tensor:
        """Predict at one step of each sequence; nothing behind it is read. Shape: (B, O)."""
        hidden = self._hidden_states(self.features(steps), index + 1)
        if self.bidirectional:
            backward_end = hidden[:, 0, self.hidden_size :]
            forward_end = gather_last_valid(hidden[..., : self.hidden_size], index)
            chosen = torch.cat((forward_end, backward_end), dim=-1)
        else:
            chosen = gather_last_valid(hidden, index)
        output: Tensor = self.readout(self.drop_hidden(chosen))
        return output.masked_fill((index < 0)[:, None], 0.0)

    def _hidden_states(self, values: Tensor, lengths: Tensor | None) -> Tensor:
        """Shape: (B, T, H), or (B, T, 2·H): forward, then backward. Zeros behind each sequence's length."""
        hidden: Tensor
        # One direction never meets the padding; compiled code is spared the lengths on the host.
        if lengths is None or (torch.compiler.is_compiling() and not self.bidirectional):
            hidden, _ = self.recurrence(values)
            return hidden
        # A sequence without any step still needs one to be packed; its hidden states are not used.
        packed = pack_padded_sequence(values, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.recurrence(packed)[0], batch_first=True, total_length=values.shape[1])
        return hidden
