"""Scores of yes-or-no readouts: every label by itself, then their mean.

N times, C labels.
"""

from typing import Any, Literal, get_args

import torch
import torchmetrics
from torch import Tensor

LabelScoreName = Literal["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted"]


class LabelScore(torchmetrics.Metric):
    """Accuracy, balanced accuracy or F1 of labels that hold or do not, each for itself.

    A logit above 0 says that the label holds. A target of NaN says that nobody knows, and counts for nothing; any other
    holds from 0.5 on.

    Args:
        num_labels: C.
        score: ``accuracy``: the share of right decisions about all labels. ``balanced_accuracy``: the mean of the
            shares of right decisions where the label holds and where it does not, averaged over the labels that do both
            (a label that is always absent cannot be told from one that is never predicted). ``f1_macro``: F1 of the
            labels that hold or are predicted anywhere, averaged. ``f1_weighted``: weighted by how often they hold.
        **keywords: Of `torchmetrics.Metric`.

    Raises:
        ValueError: an unknown score, or fewer than one label.

    Example:
        >>> metric = LabelScore(2)
        >>> metric.update(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, float("nan")]]))
        >>> float(metric.compute())
        1.0
    """

    higher_is_better = True
    full_state_update = False
    is_differentiable = False
    counts: Tensor

    def __init__(self, num_labels: int, score: LabelScoreName = "balanced_accuracy", **keywords: Any) -> None:
        super().__init__(**keywords)
        if score not in get_args(LabelScoreName):
            raise ValueError(f"score: expected one of {', '.join(get_args(LabelScoreName))}, found {score!r}")
        if num_labels < 1:
            raise ValueError(f"num_labels: expected 1 or more, found {num_labels}")
        self.num_labels = num_labels
        self.score = score
        self.set_dtype(torch.float64)
        self.add_state("counts", default=torch.zeros(4, num_labels, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take in logits and labels.

        Args:
            preds: Logits. Shape: (N, C), or (N,) for one label.
            target: 0, 1, a probability or NaN. The same shape.

        Raises:
            ValueError: the shapes do not fit, or a logit is NaN.
        """
        logits, labels = (values.detach().reshape(len(values), -1) for values in (preds, target))
        if logits.shape != labels.shape or logits.shape[1] != self.num_labels:
            raise ValueError(
                f"expected logits and targets of {self.num_labels} labels, found shapes {tuple(preds.shape)} and "
                f"{tuple(target.shape)}"
            )
        if bool(torch.isnan(logits).any()):
            raise ValueError("a predicted logit is NaN")
        known = ~torch.isnan(labels) if labels.is_floating_point() else torch.ones_like(labels, dtype=torch.bool)
        holds, says = (labels >= 0.5) & known, (logits > 0) & known
        absent = known & ~holds
        rows = [holds & says, holds & ~says, absent & says, absent & ~says]
        self.counts += torch.stack([row.sum(0) for row in rows]).to(self.counts)

    def compute(self) -> Tensor:
        """The score of all that was taken in; NaN where there is none."""
        hit, missed, invented, rejected = self.counts
        holds, absent = hit + missed, invented + rejected
        if self.score == "accuracy":
            share: Tensor = (hit + rejected).sum() / (holds + absent).sum()
            return share
        if self.score == "balanced_accuracy":
            both = (holds > 0) & (absent > 0)
            recall: Tensor = ((hit / holds + rejected / absent) / 2)[both].mean()
            return recall
        occurs = holds + invented > 0
        f1 = torch.where(occurs, 2 * hit / (holds + hit + invented).clamp(min=1), 0.0)
        average: Tensor = f1[occurs].mean() if self.score == "f1_macro" else (f1 * holds).sum() / holds.sum()
        return average
