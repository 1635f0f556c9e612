"""Step 5, the loss: squared error, binary and multiclass cross entropy, all with the same masks and reductions.

B sequences, T steps, K outcomes, C classes.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from nd_train.longitudinal.settings import Reduction


class LossSums(NamedTuple):
    """What a loss is reduced from, of each sequence and outcome, (B, K) float64.

    Attributes:
        total: Sum of the weighted elementwise loss.
        weight: Sum of the weights; without class weights the number of valid points.
        mean_output: Mean output of the valid points; 0 without any, and for classes.
        mean_target: Mean target of the valid points.
    """

    total: Tensor
    weight: Tensor
    mean_output: Tensor
    mean_target: Tensor


def elementwise_loss(
    output: Tensor, target: Tensor, mask: Tensor, *, num_classes: int = 1, class_weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The weighted loss of every point, and the weights; both 0 where the mask is False.

    Args:
        output: Predictions, (B, T, K); logits (B, T, K, C) for more than two classes.
        target: (B, T, K): levels or changes, or class indices. What lies under the mask may be NaN.
        mask: True where a target counts, (B, T, K).
        num_classes: 1: squared error; 2: binary cross entropy on logits; more: cross entropy.
        class_weight: One weight a class, (C,).

    Returns:
        Loss and weight, (B, T, K) float64. A point's weight is its class's, or 1.
    """
    target = torch.where(mask, target.to(torch.float64), 0.0)
    weight = mask.to(torch.float64)
    if class_weight is not None:
        weight = weight * class_weight.to(target)[target.long()]
    if num_classes > 2:
        logits = torch.where(mask.unsqueeze(-1), output.to(torch.float64), 0.0)
        loss = -functional.log_softmax(logits, dim=-1).gather(-1, target.long().unsqueeze(-1)).squeeze(-1)
    else:
        values = torch.where(mask, output.to(torch.float64), 0.0)
        if num_classes == 2:
            loss = functional.binary_cross_entropy_with_logits(values, target, reduction="none")
        else:
            loss = (values - target) ** 2
    return torch.where(mask, loss * weight, 0.0), weight


def loss_sums(
    output: Tensor, target: Tensor, mask: Tensor, *, num_classes: int = 1, class_weight: Tensor | None = None
) -> LossSums:
    """Sums of each sequence and outcome over its steps; arguments as those of :func:`elementwise_loss`."""
    loss, weight = elementwise_loss(output, target, mask, num_classes=num_classes, class_weight=class_weight)
    total, weights = loss.sum(1), weight.sum(1)
    if num_classes > 1:
        return LossSums(total, weights, torch.zeros_like(total), torch.zeros_like(total))
    divisor = weights.clamp(min=1.0)
    means = [torch.where(mask, values.to(torch.float64), 0.0).sum(1) / divisor for values in (output, target)]
    return LossSums(total, weights, means[0], means[1])


def merge_loss_sums(first: LossSums, second: LossSums) -> LossSums:
    """Sums over the points of both, of the same sequences and outcomes."""
    weight = first.weight + second.weight
    divisor = torch.where(weight > 0, weight, 1.0)
    means = [
        (one * first.weight + other * second.weight) / divisor
        for one, other in ((first.mean_output, second.mean_output), (first.mean_target, second.mean_target))
    ]
    return LossSums(first.total + second.total, weight, means[0], means[1])


def reduced_loss(sums: LossSums, reduction: Reduction) -> Tensor:
    """A loss from its sums; NaN where there is not one valid point.

    Pairs of sequence and outcome, and outcomes, without a valid point are left out of every mean.
    """
    if reduction == "flatten":
        total, weight = sums.total.sum(0), sums.weight.sum(0)
        return _mean(_ratio(total, weight), weight > 0)
    counted = sums.weight > 0
    difference = sums.mean_output - sums.mean_target
    each = _ratio(sums.total, sums.weight) if reduction == "within-seq" else difference**2
    number = counted.sum(0)
    per_outcome = torch.where(counted, each, 0.0).sum(0) / number.clamp(min=1)
    return _mean(per_outcome, number > 0)


def longitudinal_loss(
    output: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    num_classes: int = 1,
    reduction: Reduction = "flatten",
    class_weight: Tensor | None = None,
) -> Tensor:
    """The loss of a batch, accumulated in float64.

    Args:
        output: Predictions, (B, T, K); logits (B, T, K, C) for more than two classes.
        target: (B, T, K).
        mask: True where a target counts, (B, T, K).
        num_classes: 1: squared error; 2: binary cross entropy on logits; more: cross entropy.
        reduction: ``flatten``: per outcome over all points, then over outcomes; ``within-seq``: per sequence and
            outcome, then over sequences, then over outcomes; ``between-seq`` (regression): of the masked means of each
            sequence; ``none``: every point's own, for inspection.
        class_weight: One weight a class, (C,); the weighted sums are divided by the sums of weights.

    Returns:
        A scalar in the dtype of `output`, or (B, T, K) for ``none``. A batch without a valid point gives 0 with a
        gradient of 0.

    Raises:
        ValueError: ``between-seq`` for classes.

    Example:
        >>> prediction, truth = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [float("nan")]]])
        >>> float(longitudinal_loss(prediction, truth, torch.tensor([[[True], [False]]])))
        4.0
    """
    if reduction == "none":
        return elementwise_loss(output, target, mask, num_classes=num_classes, class_weight=class_weight)[0].to(
            output.dtype
        )
    if num_classes > 1 and reduction == "between-seq":
        raise ValueError(
            "reduction 'between-seq' compares means of sequences, which classes have not: choose 'within-seq' or "
            "'flatten'"
        )
    sums = loss_sums(output, target, mask, num_classes=num_classes, class_weight=class_weight)
    loss = reduced_loss(sums, reduction)
    # Nothing to learn from: 0, still a function of the output, so that backward works.
    return torch.where((sums.weight > 0).any(), loss, sums.total.sum() * 0.0).to(output.dtype)


def _ratio(total: Tensor, weight: Tensor) -> Tensor:
    return total / torch.where(weight > 0, weight, 1.0)


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    number = counted.sum()
    mean = torch.where(counted, values, 0.0).sum() / number.clamp(min=1)
    return torch.where(number > 0, mean, torch.nan)
