"""Confusion matrix: what was predicted for each true class.

Shape legend: ``N`` times, ``C`` classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nd_eval.evaluation_result import EvaluationResult
from nd_eval.metrics.classification_scores import accuracy, balanced_accuracy, class_decisions
from nd_eval.plot.class_names import ClassNames, class_labels
from nd_eval.plot.picture import Picture, panels, score_text, shortened_names
from nd_eval.plot.sources import aligned_pairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WRITTEN = 12  # classes up to which there is room for numbers in the cells


def plot_confusion(
    preds: Tensor | EvaluationResult,
    targets: Tensor | None = None,
    *,
    task: str | None = None,
    recordings: Sequence[str] | None = None,
    class_names: ClassNames | None = None,
    axes: Axes | None = None,
) -> Picture:
    """Draw how often each true class (a row) was taken for each class (a column).

    Colour is the share of the row; a cell says that share and the number of times. With more than 12 classes the
    cells are left without text. A class that is never true has an empty row.

    Args:
        preds: Class indices (N,) or logits (N, C); or an evaluation's result, whose recordings are pooled.
        targets: Class indices (N,); None with a result.
        task: The task of the result; None where it has only one.
        recordings: Which recordings of the result; None takes all.
        class_names: Names by index, or a mapping from class to name; all of them get a row and a column, in this order.
            None takes the classes that occur.
        axes: matplotlib Axes to draw on; None makes a figure.

    Raises:
        ImportError: matplotlib is not installed.
        KeyError: there is no such task or recording.
        TypeError: the targets are not classes, or are missing.
        ValueError: the shapes do not fit, a logit is NaN, a class has no name, or there is nothing to draw.

    Example:
        >>> import torch
        >>> from nd_eval.plot import plot_confusion
        >>> target = torch.tensor([0, 0, 0, 0, 1, 1])
        >>> picture = plot_confusion(torch.tensor([0, 0, 0, 1, 1, 1]), target, class_names=["wake", "sleep"])
        >>> picture.axes[0].get_title(loc="left")
        'accuracy 0.83, balanced 0.88'
    """
    preds, targets = aligned_pairs(preds, targets, task, recordings)
    decisions = class_decisions(preds, targets).flatten()
    true = targets.flatten().to(torch.int64)
    classes, counts = confusion_counts(decisions, true, class_names)
    number = len(classes)
    size = min(12.0, max(3.4, 1.5 + (0.75 if number <= _WRITTEN else 0.28) * number))
    picture = panels(axes, 1, 1, size=(size + 0.8, size), square=True)
    (panel,) = picture.axes
    totals = counts.sum(1, keepdim=True)
    shares = torch.where(totals > 0, counts / totals.clamp(min=1), torch.nan)
    image = panel.imshow(shares.numpy(), cmap="Blues", vmin=0.0, vmax=1.0, aspect="equal", interpolation="nearest")
    if number <= _WRITTEN:
        for row in range(number):
            for column in range(number):
                _cell(panel, row, column, float(shares[row, column]), int(counts[row, column]))
    labels = shortened_names(class_labels(classes, class_names), 18)
    letters = 6 if number <= _WRITTEN else 2
    tilted = max(map(len, labels)) > letters
    panel.set_xticks(range(number), labels, rotation=45 if tilted else 0, ha="right" if tilted else "center")
    if tilted:
        for label in panel.get_xticklabels():
            label.set_rotation_mode("anchor")
    panel.set_yticks(
        range(number), [f"{label}  (n={int(total):,})" for label, total in zip(labels, totals, strict=True)]
    )
    panel.tick_params(labelsize=8, length=0)
    panel.spines[:].set_visible(False)
    panel.set_xlabel("predicted", fontsize=9)
    panel.set_ylabel("true", fontsize=9)
    scores = f"accuracy {score_text(float(accuracy(decisions, true)))}"
    scores += f", balanced {score_text(float(balanced_accuracy(decisions, true)))}"
    panel.set_title(scores, fontsize=9, loc="left")
    bar = picture.figure.colorbar(image, ax=panel, fraction=0.046, pad=0.03)
    bar.set_label("share of the true class", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return picture


def confusion_counts(
    decisions: Tensor, targets: Tensor, class_names: ClassNames | None = None
) -> tuple[list[int], Tensor]:
    """Classes, in the order of their names or ascending, and how often each (row) was taken for each (column).

    Args:
        decisions: Predicted classes. Shape: (N,) int64.
        targets: True classes. Shape: (N,) int64.
        class_names: As for :func:`plot_confusion`.

    Returns:
        C classes, and counts, (C, C) int64.

    Raises:
        ValueError: a class has no name.
    """
    occurring = torch.unique(torch.cat([decisions, targets])).tolist()
    if class_names is None:
        classes = occurring
    else:
        class_labels(occurring, class_names)
        classes = list(class_names) if isinstance(class_names, Mapping) else list(range(len(class_names)))
    place = {label: number for number, label in enumerate(classes)}
    known = torch.tensor(occurring)
    places = torch.tensor([place[label] for label in occurring])
    rows, columns = (places[torch.searchsorted(known, values)] for values in (targets, decisions))
    number = len(classes)
    return classes, torch.bincount(rows * number + columns, minlength=number**2).reshape(number, number)


def _cell(panel: Axes, row: int, column: int, share: float, count: int) -> None:
    if share != share:
        return
    text = f"{100 * share:.0f}%\n{count:,}" if count else "0"
    color = "white" if share > 0.55 else ("0.15" if count else "0.6")
    panel.text(column, row, text, ha="center", va="center", fontsize=8 if count else 7, color=color)
