"""Losses of the readouts, each `(input, target, weights=None)` with one weight a time point.

Shapes: N time points, C channels or classes. With weights w, every loss is Σ w_i·l_i / Σ w_i, where l_i is the loss of
time point i averaged over its channels; without, the plain mean. Where the weights are all zero the loss is 0 and so is
its gradient.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Loss(nn.Module, ABC):
    """A loss that weights time points; subclasses give the loss of each."""

    def forward(self, input: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:  # noqa: A002
        """The (weighted) mean loss.

        Args:
            input: Predictions; values or logits. Shape: (N, C).
            target: What was recorded. Shape: (N, C), or (N,) of class indices where the loss says so; (N,) is also
                taken for (N, 1).
            weights: One non-negative weight a time point. Shape: (N,).

        Returns:
            A scalar tensor. Zero, with zero gradient, where N is 0 or all weights are 0.

        Raises:
            ValueError: shapes do not fit.
        """
        if not self.target_is_class_index and target.ndim == 1:
            target = target.unsqueeze(-1)
        self._check(input, target, weights)
        # Under autocast predictions come in half precision; targets must not be rounded to it.
        losses = self.per_time_point(input.to(torch.promote_types(input.dtype, torch.float32)), target)
        if weights is None:
            return losses.sum() / max(losses.shape[0], 1)
        weights = weights.to(losses.dtype)
        total = weights.sum()
        # Dividing by one in place of zero leaves 0 / 1, in value and in gradient, without asking the host.
        return (weights * losses).sum() / torch.where(total == 0, torch.ones_like(total), total)

    def total_weight(self, input: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:  # noqa: A002, ARG002
        """What the mean of `forward` divides by, for means over the batches of several processes.

        Arguments as for `forward`.

        Returns:
            The sum of the weights, or the number of time points. Shape: (), float64.

        >>> MSELoss().total_weight(torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([0.5, 2.0]))
        tensor(2.5000, dtype=torch.float64)
        """
        if weights is None:
            return input.new_full((), input.shape[0], dtype=torch.float64)
        return weights.sum(dtype=torch.float64)

    @abstractmethod
    def per_time_point(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """The loss of each time point. Shape: (N,)."""

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments, to write the loss into a configuration; none of the built-in losses has any."""
        return {}

    target_is_class_index = False

    def _check(self, predictions: Tensor, target: Tensor, weights: Tensor | None) -> None:
        name = type(self).__name__
        if predictions.ndim != 2:
            raise ValueError(f"{name}: input must have shape (N, C), got {tuple(predictions.shape)}")
        expected = predictions.shape[:1] if self.target_is_class_index else predictions.shape
        if target.shape != expected:
            raise ValueError(f"{name}: target must have shape {tuple(expected)}, got {tuple(target.shape)}")
        if weights is not None and weights.shape != predictions.shape[:1]:
            raise ValueError(
                f"{name}: weights must have shape {tuple(predictions.shape[:1])}, one a time point, "
                f"got {tuple(weights.shape)}"
            )


class MSELoss(Loss):
    """Squared error, averaged over the C channels. Target: (N, C).

    >>> MSELoss()(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 0.0]]))
    tensor(5.)
    """

    def per_time_point(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """Mean squared error of each time point. Shape: (N,)."""
        return functional.mse_loss(input, target.to(input.dtype), reduction="none").mean(dim=1)


class CrossEntropyLoss(Loss):
    """Negative log probability of the right class under softmax. Input: logits (N, C); target: class indices (N,)."""

    target_is_class_index = True

    def per_time_point(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """Negative log likelihood of each time point. Shape: (N,)."""
        return functional.cross_entropy(input, target.long(), reduction="none")


class MallowDistanceLoss(Loss):
    """Squared difference of the cumulative distributions, for ordered classes.

    Input: logits (N, C); target: class indices (N,). The predicted distribution is the softmax; the target's is one at
    its class; the loss is the squared difference of their cumulative sums, averaged over the classes (Mallows distance;
    Hou et al. 2016, arXiv 1611.05916, equation 3).
    """

    target_is_class_index = True

    def per_time_point(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """Distance of each time point. Shape: (N,)."""
        predicted = torch.softmax(input, dim=-1).cumsum(dim=-1)
        classes = torch.arange(input.shape[-1], device=input.device)
        # The cumulative sum of a one at class k is a step up at k.
        step = (classes >= target.long().unsqueeze(-1)).to(predicted.dtype)
        return (step - predicted).square().mean(dim=-1)


class BinaryCrossEntropyLoss(Loss):
    """Binary cross-entropy of logits, averaged over the C channels: for readouts of yes or no.

    Input: logits (N, C); target: 0 or 1 (or a probability) for each channel, shape (N, C), or (N,) where C is 1.

    Args:
        positive_weight: What a positive counts, against 1 for a negative: above 1 where positives are rare.

    Raises:
        ValueError: the weight is not a positive number.

    >>> BinaryCrossEntropyLoss()(torch.tensor([[0.0]]), torch.tensor([[1.0]])).exp()  # a toss-up costs log 2
    tensor(2.)
    """

    def __init__(self, positive_weight: float = 1.0) -> None:
        super().__init__()
        self.positive_weight = _positive_number("positive_weight", positive_weight)

    def per_time_point(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """Mean cross-entropy of each time point. Shape: (N,)."""
        return _cross_entropies(input, target.to(input.dtype), self.positive_weight).mean(dim=1)

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments, as far as they are not the usual ones."""
        return {} if self.positive_weight == 1.0 else {"positive_weight": self.positive_weight}


class MultilabelCrossEntropyLoss(Loss):
    """Binary cross-entropy of each label's logit, averaged over the labels that are known: for any subset of C labels.

    Input: logits (N, C); target: 0 or 1 (or a probability) for each label, shape (N, C). A target of NaN says that
    nobody knows whether the label holds: it counts for nothing, and a time point without any known label is left out
    of the mean.

    Args:
        positive_weights: What a positive counts, against 1 for a negative: one number for all labels or one for each.

    Raises:
        ValueError: a weight is not a positive number, or their number is not C.

    >>> logits, labels = torch.zeros(1, 3), torch.tensor([[1.0, 0.0, float("nan")]])
    >>> MultilabelCrossEntropyLoss()(logits, labels).exp()
    tensor(2.)
    """

    def __init__(self, positive_weights: float | Sequence[float] = 1.0) -> None:
        super().__init__()
        self.positive_weights: float | list[float]
        if isinstance(positive_weights, (int, float)):
            self.positive_weights = _positive_number("positive_weights", positive_weights)
        else:
            self.positive_weights = [_positive_number("positive_weights", weight) for weight in positive_weights]

    def forward(self, input: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:  # noqa: A002
        """As `Loss.forward`; time points without a known label weigh nothing."""
        return super().forward(input, target, _of_known_labels(input, target, weights))

    def total_weight(self, input: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:  # noqa: A002
        """As `Loss.total_weight`; time points without a known label weigh nothing."""
        return super().total_weight(input, target, _of_known_labels(input, target, weights))

    def per_time_point(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """Mean cross-entropy of each time point over its known labels. Shape: (N,)."""
        positive_weights: float | Tensor
        if isinstance(self.positive_weights, float):
            positive_weights = self.positive_weights
        else:
            if len(self.positive_weights) != input.shape[1]:
                raise ValueError(
                    f"MultilabelCrossEntropyLoss: {len(self.positive_weights)} positive_weights, but the input has "
                    f"{input.shape[1]} labels"
                )
            positive_weights = input.new_tensor(self.positive_weights)
        target = target.to(input.dtype)
        known = ~target.isnan()
        # NaN has to go before it is used: zero times NaN is NaN, in value and in gradient.
        losses = _cross_entropies(input, torch.where(known, target, 0.0), positive_weights)
        return (losses * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments, as far as they are not the usual ones."""
        return {} if self.positive_weights == 1.0 else {"positive_weights": self.positive_weights}


def _of_known_labels(predictions: Tensor, target: Tensor, weights: Tensor | None) -> Tensor | None:
    if not target.is_floating_point() or target.shape != predictions.shape:
        return weights
    known = ~target.isnan().all(dim=1)
    return known.to(predictions.dtype) if weights is None else torch.where(known, weights, 0.0)


def _cross_entropies(logits: Tensor, target: Tensor, positive_weight: float | Tensor) -> Tensor:
    # -log σ(x) = softplus(-x), which neither overflows nor loses digits.
    positive = positive_weight * target * functional.softplus(-logits)
    return positive + (1.0 - target) * functional.softplus(logits)


def _positive_number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 < value < math.inf):
        raise ValueError(f"{name} must be a positive number, got {value!r}")
    return float(value)


LOSSES: dict[str, type[Loss]] = {
    "MSELoss": MSELoss,
    "CrossEntropyLoss": CrossEntropyLoss,
    "MallowDistanceLoss": MallowDistanceLoss,
    "BinaryCrossEntropyLoss": BinaryCrossEntropyLoss,
    "MultilabelCrossEntropyLoss": MultilabelCrossEntropyLoss,
}
"""The losses that a configuration can name. Add a class of your own under its name to let it travel in checkpoints."""
