"""Scores of class predictions: accuracy, balanced accuracy and F1.

Shape legend: ``N`` times, ``C`` classes, ``L`` labels.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from nd_eval.metrics.paired_moments import mean_over

F1Average = Literal["macro", "weighted", "micro", "none"]


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


def f1_score(preds: Tensor, target: Tensor, *, average: F1Average = "macro", num_classes: int | None = None) -> Tensor:
    """F1, the harmonic mean of precision and recall: ``2 right / (predicted + true)`` of each class.

    A class that neither occurs in the target nor is predicted has no F1 and is left out of the averages.

    Args:
        preds: As for :func:`accuracy`.
        target: As for :func:`accuracy`.
        average: ``macro`` over the classes; ``weighted`` by how often they are the target; ``micro`` over all decisions
            (which is the accuracy); ``none`` for each class by itself: 0 … num_classes - 1 where the number is known,
            from the argument or the logits, else the classes that occur, ascending.
        num_classes: As for :func:`accuracy`.

    Returns:
        float64, a scalar or (C,); NaN of nothing.

    Example:
        >>> import torch
        >>> from nd_eval import f1_score
        >>> target, preds = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
        >>> f1_score(preds, target, average="none")
        tensor([0.6667, 0.8000], dtype=torch.float64)
    """
    check_f1_average(average)
    counts = class_counts(preds, target, num_classes=num_classes)
    return averaged_f1(counts, average, num_classes=num_classes or logit_classes(preds, target))


def class_counts(preds: Tensor, target: Tensor, *, num_classes: int | None = None) -> Tensor:
    """Class, number of times it was predicted rightly, was the target, and was predicted.

    Returns:
        One column for each class that is the target or is predicted, ascending; (4, number of such classes) float64.
    """
    decisions = class_decisions(preds, target, num_classes=num_classes).flatten()
    both = torch.cat([target.flatten().to(torch.int64), decisions])
    classes, column = torch.unique(both, return_inverse=True)
    target_column, predicted_column = column.tensor_split(2)
    counts = torch.zeros((3, classes.numel()), dtype=torch.float64, device=classes.device)
    ones = torch.ones_like(target_column, dtype=torch.float64)
    counts[0].index_add_(0, target_column, (target_column == predicted_column).to(torch.float64))
    counts[1].index_add_(0, target_column, ones)
    counts[2].index_add_(0, predicted_column, ones)
    return torch.cat([classes.to(torch.float64).unsqueeze(0), counts])


def class_rows(preds: Tensor, target: Tensor, classes: Tensor, *, num_classes: int | None = None) -> Tensor:
    """What each time adds to the rows of :func:`class_counts` after the first, for given classes; (N, 3, C)."""
    count = target.shape[0]
    decided = torch.searchsorted(classes, class_decisions(preds, target, num_classes=num_classes).reshape(count, -1))
    true = torch.searchsorted(classes, target.to(torch.int64).reshape(count, -1))
    rows = torch.zeros((count, 3, classes.numel()), dtype=torch.float64, device=classes.device)
    ones = torch.ones_like(true, dtype=torch.float64)
    rows[:, 0].scatter_add_(1, true, (true == decided).to(torch.float64))
    rows[:, 1].scatter_add_(1, true, ones)
    rows[:, 2].scatter_add_(1, decided, ones)
    return rows


def merge_class_counts(parts: list[Tensor]) -> Tensor:
    """Counts of all parts together, in the layout of :func:`class_counts`."""
    joined = torch.cat(parts, dim=1)
    classes, column = torch.unique(joined[0], return_inverse=True)
    counts = joined.new_zeros((3, classes.numel())).index_add_(1, column, joined[1:])
    return torch.cat([classes.unsqueeze(0), counts])


def correct_over_total(counts: Tensor) -> Tensor:
    """Accuracy from the layout of :func:`class_counts`, or from many such tables, (4, C, ...)."""
    return counts[1].sum(0) / counts[2].sum(0)


def mean_recall(counts: Tensor) -> Tensor:
    """Balanced accuracy from the layout of :func:`class_counts`, or from many such tables, (4, C, ...)."""
    occurs = counts[2] > 0
    return mean_over(counts[1] / torch.where(occurs, counts[2], 1.0), occurs)[0]


def averaged_f1(counts: Tensor, average: F1Average, *, num_classes: int | None = None) -> Tensor:
    """F1 from the layout of :func:`class_counts`, or from many such tables, (4, C, ...)."""
    if average == "micro":
        return correct_over_total(counts)
    occurs = counts[2] + counts[3] > 0
    each = 2.0 * counts[1] / torch.where(occurs, counts[2] + counts[3], 1.0)
    if average == "macro":
        return mean_over(each, occurs)[0]
    if average == "weighted":
        return (each * counts[2]).sum(0) / counts[2].sum(0)
    if num_classes is None:
        return each
    return each.new_full((num_classes,), torch.nan).index_copy(0, counts[0].to(torch.int64), each)


def check_f1_average(average: str) -> None:
    """Refuse an unknown way to average over classes."""
    if average not in get_args(F1Average):
        raise ValueError(f"average must be one of {', '.join(get_args(F1Average))}; found {average!r}")


def logit_classes(preds: Tensor, target: Tensor) -> int | None:
    """The number of classes that logits decide between; None for class indices."""
    if not preds.is_floating_point():
        return None
    return preds.shape[-1] if preds.ndim == target.ndim + 1 and preds.shape[-1] > 1 else 2


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
