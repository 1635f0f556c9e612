"""What all longitudinal models share: how they are called, what they return, how they are described.

Shapes: B sequences, T steps, D features, K outcomes, C classes, O = K, or K·C with more than two classes.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from nd_models.longitudinal.last_step import gather_last_valid, last_valid_index
from nd_models.longitudinal.step_inputs import StepInputs, check_inputs, gather_inputs


class LongitudinalForecaster(nn.Module, ABC):
    """A model of sequences that predicts K outcomes at every step, from this step and those before it.

    Args:
        num_features: D, the width of what it reads.
        num_outcomes: K.
        num_classes: 1 for regression, 2 for binary outcomes (one logit each), C for classes (C logits each).
        inputs: The batch key or keys that it reads, joined along the features: `embeddings`, `embeddings_<name>`, and
            `seq_embeddings_<name>`, which is repeated for every step.

    Raises:
        ValueError: a number below 1, or inputs that are no features.
    """

    def __init__(
        self,
        num_features: int,
        num_outcomes: int = 1,
        *,
        num_classes: int = 1,
        inputs: str | Sequence[str] = "embeddings",
    ) -> None:
        super().__init__()
        sizes = {"num_features": num_features, "num_outcomes": num_outcomes, "num_classes": num_classes}
        for name, size in sizes.items():
            check_count(name, size)
        self.num_features, self.num_outcomes, self.num_classes = num_features, num_outcomes, num_classes
        self._keys = check_inputs(inputs)
        self.inputs: str | tuple[str, ...] = inputs if isinstance(inputs, str) else tuple(inputs)

    @property
    def num_outputs(self) -> int:
        """O: numbers that are predicted a step."""
        return self.num_outcomes * (self.num_classes if self.num_classes > 2 else 1)

    def forward(
        self,
        embeddings: Tensor | None = None,
        mask: Tensor | None = None,
        time_ids: Tensor | None = None,
        *,
        pad_mask: Tensor | None = None,
        predict_last_valid_hidden_state: bool = False,
        valid_steps: Tensor | None = None,
        **others: Any,
    ) -> Tensor:
        """Predict.

        Args:
            embeddings: Features. Shape: (B, T, D), float.
            mask: True = the features of this step are missing. Shape: (B, T), bool.
            time_ids: Step numbers. Shape: (B, T), int64.
            pad_mask: True = padding, which lies at the end. Shape: (B, T), bool.
            predict_last_valid_hidden_state: Predict once a sequence, at its last valid step.
            valid_steps: Which steps may be that one; None: those that are neither missing nor padding. Shape: (B, T),
                bool.
            **others: What else a batch holds. `embeddings_<name>`, `mask_<name>` and `seq_embeddings_<name>` are read
                where `inputs` says so, and the rest is not.

        Returns:
            Shape (B, T, K) or, with more than two classes, (B, T, K, C). For the last valid step (B, K) or (B, K, C);
            zeros for a sequence that has none. Values for regression, else logits.

        Raises:
            KeyError: the batch lacks the model's inputs.
            ValueError: shapes that do not fit.
        """
        batch = {**others, "embeddings": embeddings, "mask": mask, "time_ids": time_ids, "pad_mask": pad_mask}
        steps = gather_inputs(self._keys, batch, num_features=self.num_features)
        if not predict_last_valid_hidden_state:
            return self._by_outcome(self.predict_steps(steps))
        index = last_valid_index(self._selectable(steps) if valid_steps is None else valid_steps)
        return self._by_outcome(self.predict_last(steps, index))

    def selectable_steps(self, **batch: Any) -> Tensor:
        """The steps that the last-step mode chooses from, unless it is told: neither missing nor padding.

        Args:
            **batch: What `forward` takes.

        Returns:
            Shape (B, T), bool.
        """
        return self._selectable(gather_inputs(self._keys, batch, num_features=self.num_features))

    @abstractmethod
    def predict_steps(self, steps: StepInputs) -> Tensor:
        """Predict at every step. Shape: (B, T, O)."""

    def predict_last(self, steps: StepInputs, index: Tensor) -> Tensor:
        """Predict at one step of each sequence, zeros where its index is -1. Shape: (B, O)."""
        return gather_last_valid(self.predict_steps(steps), index)

    def to_config(self) -> dict[str, Any]:
        """Every constructor argument as plain values, for `nd_models.longitudinal.model_from_config` and for JSON."""
        names = inspect.signature(type(self)).parameters
        values = {name: getattr(self, name) for name in names}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {"architecture": type(self).__name__, **plain}

    def _by_outcome(self, flat: Tensor) -> Tensor:
        if self.num_classes <= 2:
            return flat
        return flat.reshape(*flat.shape[:-1], self.num_outcomes, self.num_classes)

    @staticmethod
    def _selectable(steps: StepInputs) -> Tensor:
        return ~steps.missing if steps.padding is None else ~(steps.missing | steps.padding)


def check_count(name: str, value: int, *, least: int = 1) -> None:
    """Refuse a size that is no whole number from `least` on.

    Raises:
        ValueError: names the argument and the value.
    """
    if type(value) is not int or value < least:
        raise ValueError(f"{name} must be a whole number from {least} on, got {value!r}")


def check_share(name: str, value: float) -> None:
    """Refuse a dropout probability outside [0, 1).

    Raises:
        ValueError: names the argument and the value.
    """
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and less than 1, got {value!r}")
