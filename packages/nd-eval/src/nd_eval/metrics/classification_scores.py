"""Scores of class predictions: accuracy and balanced accuracy.

Shape legend: ``N`` times, ``C`` classes, ``L`` labels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def accuracy(preds: Tensor, target: Tensor, *, num_classes: int | None = None) -> Tensor:
    """Share of the times (and labels) whose class is predicted, float64; NaN of nothing.

    Args:
        preds: Class indices of the targets' shape; logits (N, C), of which the largest wins (the smaller class of
            equals); or, for a binary target, logits of the targets' shape or (N, 1), of which positive ones say 1.
        target: Class indices. Shape: (N,), or (N, L) for binary labels.
        num_classes: With it, a class outside 0 … num_classes - 1 is an error.

    Raises:
        ValueError: the shapes do not fit, a class is out of range, or a logit is NaN.
        TypeError: the targets are not integers.
    """
    return correct_over_total(class_counts(preds, target, num_classes=num_classes))


def balanced_accuracy(preds: Tensor, target: Tensor, *, num_classes: int | None = None) -> Tensor:
    """Recall of each class averaged over the classes that occur in the target, float64; NaN of nothing.

    Chance is 1 / C however unequal the classes are.

    Args:
        preds: As for :func:`accuracy`.
        target: As for :func:`accuracy`.
        num_classes: As for :func:`accuracy`.
    """
    return mean_recall(class_counts(preds, target, num_classes=num_classes))


def class_counts(preds: Tensor, target: Tensor, *, num_classes: int | None = None) -> Tensor:
    """Class, number of times it was predicted rightly, and number of times it was the target.

    Returns:
        One column for each class of the target, ascending; (3, number of such classes) float64.
    """
    decisions = class_decisions(preds, target, num_classes=num_classes).flatten()
    classes, column = torch.unique(target.flatten().to(torch.int64), return_inverse=True)
    right = (decisions == classes[column]).to(torch.float64)
    counts = right.new_zeros((2, classes.numel()))
    counts[0].index_add_(0, column, right)
    counts[1].index_add_(0, column, torch.ones_like(right))
    return torch.cat([classes.to(torch.float64).unsqueeze(0), counts])


def merge_class_counts(parts: list[Tensor]) -> Tensor:
    """Counts of all parts together, in the layout of :func:`class_counts`."""
    joined = torch.cat(parts, dim=1)
    classes, column = torch.unique(joined[0], return_inverse=True)
    counts = joined.new_zeros((2, classes.numel())).index_add_(1, column, joined[1:])
    return torch.cat([classes.unsqueeze(0), counts])


def correct_over_total(counts: Tensor) -> Tensor:
    """Accuracy from the layout of :func:`class_counts`."""
    return counts[1].sum() / counts[2].sum()


def mean_recall(counts: Tensor) -> Tensor:
    """Balanced accuracy from the layout of :func:`class_counts`."""
    return (counts[1] / counts[2]).mean()


def class_decisions(preds: Tensor, target: Tensor, *, num_classes: int | None = None) -> Tensor:
    """Predicted class of every target, in the targets' shape; see :func:`accuracy` for what predictions may be."""
    if target.is_floating_point() or target.is_complex():
        raise TypeError(f"targets must be class indices (integers); found {target.dtype}")
    classes_known = num_classes
    if not preds.is_floating_point():
        _check_shapes(preds, target)
        decisions = preds.to(torch.int64)
    else:
        if bool(torch.isnan(preds).any()):
            raise ValueError("a predicted logit is NaN")
        if preds.ndim == target.ndim + 1 and preds.shape[:-1] == target.shape and preds.shape[-1] > 1:
            classes_known = preds.shape[-1]
            decisions = preds.argmax(-1)
        else:
            if preds.ndim == target.ndim + 1 and preds.shape[-1] == 1:
                preds = preds.squeeze(-1)
            _check_shapes(preds, target)
            classes_known = 2
            decisions = (preds > 0).to(torch.int64)
        if num_classes is not None and classes_known != num_classes:
            raise ValueError(f"expected logits of {num_classes} classes; found logits of {classes_known}")
    if classes_known is not None:
        for name, classes in (("target", target), ("predicted", decisions)):
            check_class_range(name, classes, classes_known)
    return decisions


def check_class_range(name: str, classes: Tensor, count: int) -> None:
    """Refuse classes outside 0 … count - 1."""
    outside = (classes < 0) | (classes >= count)
    if bool(outside.any()):
        raise ValueError(
            f"{name} class {int(classes[outside][0])} is outside the range 0 … {count - 1} "
            f"({int(outside.sum())} of {classes.numel()} are)"
        )


def _check_shapes(preds: Tensor, target: Tensor) -> None:
    if preds.shape != target.shape:
        raise ValueError(
            f"predictions of shape {tuple(preds.shape)} do not fit targets of shape {tuple(target.shape)}: expected "
            "class indices of the same shape or logits with one dimension more"
        )
