"""What every forecast has to beat: the last observed value, and the mean of those observed so far. Nothing is trained.

Shapes: B sequences, T steps, K outcomes, C classes, O outputs.
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nd_models.longitudinal.forecaster import LongitudinalForecaster, check_count
from nd_models.longitudinal.step_inputs import StepInputs
from nd_models.longitudinal.windows import window_mean


class _PastOutcomes(LongitudinalForecaster):
    """Reads the outcomes' own past from K of the features."""

    def __init__(
        self,
        num_features: int,
        num_outcomes: int,
        *,
        num_classes: int,
        inputs: str | Sequence[str],
        columns: Sequence[int] | None,
        initial: float,
    ) -> None:
        super().__init__(num_features, num_outcomes, num_classes=num_classes, inputs=inputs)
        chosen = list(range(num_outcomes)) if columns is None else list(columns)
        if len(chosen) != num_outcomes or any(not 0 <= column < num_features for column in chosen):
            raise ValueError(
                f"columns must name one of the {num_features} features for each of the {num_outcomes} outcomes, got "
                f"{chosen}"
            )
        self.columns = None if columns is None else tuple(chosen)
        self.initial = initial
        self._chosen = chosen

    def predict_steps(self, steps: StepInputs) -> Tensor:
        """Predict at every step. Shape: (B, T, O)."""
        past = steps.values[..., self._chosen]
        observed = ~steps.missing if steps.padding is None else ~(steps.missing | steps.padding)
        if self.num_classes == 1:
            summary, counts = self.summarize(past, observed)
            return torch.where(counts[..., None] > 0, summary, self.initial)
        if self.num_classes == 2:
            share, counts = self.summarize(past.round().clamp(0.0, 1.0), observed)
            ones = share * counts[..., None]
            return torch.log(ones + 1.0) - torch.log(counts[..., None] - ones + 1.0)
        classes = functional.one_hot(past.round().long().clamp(0, self.num_classes - 1), self.num_classes)
        shares, counts = self.summarize(classes.flatten(-2).to(past.dtype), observed)
        return torch.log((shares * counts[..., None] + 1.0) / (counts[..., None] + self.num_classes))

    @abstractmethod
    def summarize(self, past: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction, shape (B, T, ·), and how many observations it rests on, shape (B, T)."""


class LastValue(_PastOutcomes):
    """Predicts what was observed last.

    Args:
        num_features: D, the width of what it reads, among it the outcomes' own past (see `horizon` of the dataset).
        num_outcomes: K.
        num_classes: 1 predicts the value itself; with classes, the logits of their smoothed frequencies in the one
            observation, (n_c + 1) / (n + C).
        inputs: The batch key or keys that it reads.
        columns: Which features are the K outcomes; None: the first K.
        initial: Prediction before the first observation.
        learn_scale: Multiply each prediction by a weight that starts at 1 and can be trained.

    >>> model = LastValue(1)
    >>> model(torch.tensor([[[3.0], [7.0], [5.0]]]), mask=torch.tensor([[False, True, False]])).flatten()
    tensor([3., 3., 5.])
    """

    def __init__(
        self,
        num_features: int,
        num_outcomes: int = 1,
        *,
        num_classes: int = 1,
        inputs: str | Sequence[str] = "embeddings",
        columns: Sequence[int] | None = None,
        initial: float = 0.0,
        learn_scale: bool = False,
    ) -> None:
        common = {"num_classes": num_classes, "inputs": inputs, "columns": columns, "initial": initial}
        super().__init__(num_features, num_outcomes, **common)  # type: ignore[arg-type]
        self.learn_scale = learn_scale
        self.scale = nn.Parameter(torch.ones(self.num_outputs)) if learn_scale else None

    def predict_steps(self, steps: StepInputs) -> Tensor:
        """Predict at every step. Shape: (B, T, O)."""
        prediction = super().predict_steps(steps)
        return prediction if self.scale is None else prediction * self.scale

    def summarize(self, past: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """The last observation, shape (B, T, ·), and whether there is one, shape (B, T)."""
        place = torch.arange(past.shape[1], device=past.device)
        last = torch.where(observed, place, -1).cummax(dim=1).values
        values = past.gather(1, last.clamp(min=0)[..., None].expand_as(past))
        return values, (last >= 0).to(past.dtype)


class MeanValue(_PastOutcomes):
    """Predicts the mean of what a sequence has shown so far, or lately.

    Args:
        num_features: D, the width of what it reads, among it the outcomes' own past (see `horizon` of the dataset).
        num_outcomes: K.
        num_classes: 1 predicts the mean; with classes, the logits of their smoothed frequencies, (n_c + 1) / (n + C).
        inputs: The batch key or keys that it reads.
        columns: Which features are the K outcomes; None: the first K.
        initial: Prediction before the first observation.
        window: Only the last `window` steps count, this one included; where none of them was observed, the last one
            that was. None: all steps so far.

    >>> model = MeanValue(1)
    >>> model(torch.tensor([[[3.0], [9.0], [5.0]]]), mask=torch.tensor([[False, True, False]])).flatten()
    tensor([3., 3., 4.])
    """

    def __init__(
        self,
        num_features: int,
        num_outcomes: int = 1,
        *,
        num_classes: int = 1,
        inputs: str | Sequence[str] = "embeddings",
        columns: Sequence[int] | None = None,
        initial: float = 0.0,
        window: int | None = None,
    ) -> None:
        common = {"num_classes": num_classes, "inputs": inputs, "columns": columns, "initial": initial}
        super().__init__(num_features, num_outcomes, **common)  # type: ignore[arg-type]
        if window is not None:
            check_count("window", window)
        self.window = window

    def summarize(self, past: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """The mean, shape (B, T, ·), and the number of observations in it, shape (B, T)."""
        means, counts = window_mean(past, observed, max_len=self.window)
        place = torch.arange(past.shape[1], device=past.device)
        last = torch.where(observed, place, -1).cummax(dim=1).values
        latest = past.gather(1, last.clamp(min=0)[..., None].expand_as(past))
        lately = counts > 0
        return torch.where(lately[..., None], means, latest), torch.where(lately, counts, (last >= 0).to(counts.dtype))
