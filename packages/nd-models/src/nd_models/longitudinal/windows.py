"""Linear functions of the last few steps.

Shapes: B sequences, T steps, D features, O outputs.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from nd_models.longitudinal.forecaster import LongitudinalForecaster, check_count
from nd_models.longitudinal.step_inputs import FeatureInput, MissingSteps, StepInputs


def window_mean(values: Tensor, observed: Tensor, *, max_len: int | None = None) -> tuple[Tensor, Tensor]:
    """Mean of the observed steps among the last `max_len`, this one included.

    Args:
        values: Shape: (B, T, D), float.
        observed: True = counts; what else stands there is never read. Shape: (B, T), bool.
        max_len: Length of the window; None reaches back to the first step.

    Returns:
        The means, shape (B, T, D), 0 where nothing counts; and how many steps counted, shape (B, T), same dtype.

    >>> values = torch.tensor([[[1.0], [2.0], [3.0], [4.0], [10.0]]])
    >>> means, counts = window_mean(values, torch.tensor([[True, False, True, True, False]]), max_len=2)
    >>> means.flatten().tolist(), counts.tolist()
    ([1.0, 1.0, 3.0, 3.5, 4.0], [[1.0, 1.0, 1.0, 2.0, 1.0]])
    """
    counted = torch.where(observed[..., None], values, 0.0)
    ones = observed.to(values.dtype)[..., None]
    if max_len is None:
        # Single precision would lose the later steps of a long sum.
        wide = torch.float32 if values.device.type == "mps" else torch.float64
        sums, counts = counted.to(wide).cumsum(dim=1).to(values.dtype), ones.cumsum(dim=1)
    else:
        sums, counts = _window_sums(counted, max_len), _window_sums(ones, max_len).round()
    return sums / counts.clamp(min=1.0), counts[..., 0]


class WindowedMeanLinear(LongitudinalForecaster):
    """The mean of the observed steps among the last `max_len`, then a linear layer; zeros where none was observed.

    Args:
        num_features: D, the width of what it reads.
        num_outcomes: K.
        num_classes: 1 for regression, 2 for binary outcomes, C for classes.
        inputs: The batch key or keys that it reads. With several, a step counts where any of them was observed.
        max_len: Length of the window, this step included.

    >>> WindowedMeanLinear(3, 2, max_len=4)(torch.zeros(1, 6, 3)).shape
    torch.Size([1, 6, 2])
    """

    def __init__(
        self,
        num_features: int,
        num_outcomes: int = 1,
        *,
        num_classes: int = 1,
        inputs: str | Sequence[str] = "embeddings",
        max_len: int = 7,
    ) -> None:
        super().__init__(num_features, num_outcomes, num_classes=num_classes, inputs=inputs)
        check_count("max_len", max_len)
        self.max_len = max_len
        self.readout = nn.Linear(num_features, self.num_outputs)

    def predict_steps(self, steps: StepInputs) -> Tensor:
        """Predict at every step. Shape: (B, T, O)."""
        means, _ = window_mean(steps.values, ~steps.missing, max_len=self.max_len)
        output: Tensor = self.readout(means)
        return output


class AutoRegressiveLinear(LongitudinalForecaster):
    """One weight for each feature of each of the last `max_len` steps; before a sequence's start there are zeros.

    Args:
        num_features: D, the width of what it reads.
        num_outcomes: K.
        num_classes: 1 for regression, 2 for binary outcomes, C for classes.
        inputs: The batch key or keys that it reads.
        max_len: Length of the window, this step included.
        initial: First weights: `"uniform"` as PyTorch draws them, or `"ones"` (bias 0).
        missing_steps: Features of missing steps: `"zero"`, `"carry"` (what was observed last) or `"flag"` (that, and a
            channel that says so).

    >>> AutoRegressiveLinear(3, 2, max_len=4)(torch.zeros(1, 6, 3)).shape
    torch.Size([1, 6, 2])
    """

    def __init__(
        self,
        num_features: int,
        num_outcomes: int = 1,
        *,
        num_classes: int = 1,
        inputs: str | Sequence[str] = "embeddings",
        max_len: int = 7,
        initial: Literal["uniform", "ones"] = "uniform",
        missing_steps: MissingSteps = "zero",
    ) -> None:
        super().__init__(num_features, num_outcomes, num_classes=num_classes, inputs=inputs)
        check_count("max_len", max_len)
        if initial not in ("uniform", "ones"):
            raise ValueError(f"initial must be 'uniform' or 'ones', got {initial!r}")
        self.max_len, self.initial, self.missing_steps = max_len, initial, missing_steps
        self.features = FeatureInput(num_features, len(self._keys), missing_steps=missing_steps)
        self.readout = nn.Conv1d(self.features.width, self.num_outputs, max_len)
        if initial == "ones":
            nn.init.ones_(self.readout.weight)
            nn.init.zeros_(self.readout.bias)  # type: ignore[arg-type]

    def predict_steps(self, steps: StepInputs) -> Tensor:
        """Predict at every step. Shape: (B, T, O)."""
        values = functional.pad(self.features(steps).transpose(1, 2), (self.max_len - 1, 0))
        output: Tensor = self.readout(values).transpose(1, 2)
        return output


def _window_sums(values: Tensor, max_len: int) -> Tensor:
    # Sums of each window by itself: with differences of running sums, one large value would spoil all later windows.
    length = min(max_len, values.shape[1])
    padded = functional.pad(values.transpose(1, 2), (length - 1, 0))
    return functional.avg_pool1d(padded, length, stride=1).transpose(1, 2) * length
