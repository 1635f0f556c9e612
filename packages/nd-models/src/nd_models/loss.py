"""Losses of the readouts, each `(input, target, weights=None)` with one weight a time point.

Shapes: N time points, C channels or classes. With weights w, every loss is Σ w_i·l_i / Σ w_i, where l_i is the loss of
time point i averaged over its channels; without, the plain mean. Where the weights are all zero the loss is 0 and so is
its gradient.
"""

from abc import ABC, abstractmethod
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
    """Binary cross-entropy of logits, averaged over the C channels: for binary and multilabel readouts.

    Input: logits (N, C); target: 0 or 1 (or a probability) for each channel, shape (N, C).
    """

    def per_time_point(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """Mean cross-entropy of each time point. Shape: (N,)."""
        return functional.binary_cross_entropy_with_logits(input, target.to(input.dtype), reduction="none").mean(dim=1)


LOSSES: dict[str, type[Loss]] = {
    "MSELoss": MSELoss,
    "CrossEntropyLoss": CrossEntropyLoss,
    "MallowDistanceLoss": MallowDistanceLoss,
    "BinaryCrossEntropyLoss": BinaryCrossEntropyLoss,
}
"""The losses that a configuration can name. Add a class of your own under its name to let it travel in checkpoints."""
