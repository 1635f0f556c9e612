"""Step 6, the metrics: sums of every sequence from which the scores of a batch, or of an epoch, follow exactly.

B (or N) sequences, K outcomes, C classes. A sequence gives one row, whatever its length; rows of batches and of ranks
are put one below the other, so no score depends on how an epoch was batched.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from nd_eval.metrics.masked_scores import reduced_correlation, reduced_error
from nd_eval.metrics.paired_moments import (
    PairedMoments,
    absolute_error,
    merge_moments,
    paired_moments,
    squared_error,
    symmetric_percentage_error,
)
from nd_train.longitudinal.forecast import Forecast
from nd_train.longitudinal.loss import LossSums, loss_sums, merge_loss_sums, reduced_loss
from nd_train.longitudinal.settings import LongitudinalSettings
from nd_train.longitudinal.subsets import ZONES

REGRESSION_METRICS = ("mse", "smape", "pearsonr", "mae")
CLASS_METRICS = ("accuracy", "balanced_accuracy", "f1")
# Sequence id, first and last time id, whether the sequence is held out.
_HEADER = 4


class ZoneSums(NamedTuple):
    """Sums of N sequences over the steps of one zone.

    Attributes:
        moments: Of predictions and labels, (N, K) each; None for classes.
        absolute: Sum of absolute errors, (N, K); None for classes.
        symmetric: Sum of symmetric percentage errors, (N, K); None for classes.
        classes: Times each class was predicted rightly, was true, was predicted: (3, C, N, K); None for regression.
        loss: Of the loss, (N, K) each.
    """

    moments: PairedMoments | None
    absolute: Tensor | None
    symmetric: Tensor | None
    classes: Tensor | None
    loss: LossSums

    @property
    def number(self) -> Tensor:
        """Valid points of each sequence and outcome, (N, K)."""
        if self.moments is not None:
            return self.moments.number
        assert self.classes is not None
        return self.classes[1].sum(0)


def sequence_rows(result: Forecast, settings: LongitudinalSettings, *, class_weight: Tensor | None = None) -> Tensor:
    """One row of sums a sequence, float64.

    Args:
        result: Predictions of a batch that has labels.
        settings: What is predicted.
        class_weight: One weight a class, (C,).

    Returns:
        (B, columns); read by :func:`zone_sums`.
    """
    assert result.labels is not None
    assert result.targets is not None
    parts = [_header(result)]
    for zone in (~result.out_of_time, result.out_of_time):
        mask = result.observed & zone.unsqueeze(-1)
        if settings.num_classes == 1:
            levels, labels = result.levels.detach(), result.labels
            moments = paired_moments(levels, labels, dim=1, mask=mask, error=squared_error)
            parts += list(moments)
            for error in (absolute_error, symmetric_percentage_error):
                visible = [torch.where(mask, values.to(torch.float64), 0.0) for values in (levels, labels)]
                parts.append(torch.where(mask, error(*visible), 0.0).sum(1))
        else:
            parts += list(_class_counts(result, mask, settings.num_classes).flatten(0, 1))
        parts += list(
            loss_sums(
                result.output.detach(),
                result.targets,
                result.loss_mask & zone.unsqueeze(-1),
                num_classes=settings.num_classes,
                class_weight=class_weight,
            )
        )
    return torch.cat([part.to(torch.float64) for part in parts], dim=1)


def zone_sums(rows: Tensor, zone: str, settings: LongitudinalSettings) -> ZoneSums:
    """The sums of one zone out of rows, (N, columns)."""
    outcomes, classes = settings.num_outcomes, settings.num_classes
    fields = (row_columns(settings) - _HEADER) // (len(ZONES) * outcomes)
    table = rows[:, _HEADER:].reshape(len(rows), len(ZONES), fields, outcomes)[:, ZONES.index(zone)].movedim(1, 0)
    loss = LossSums(*table[-len(LossSums._fields) :])
    if classes > 1:
        return ZoneSums(None, None, None, table[: 3 * classes].reshape(3, classes, *table.shape[1:]), loss)
    count = len(PairedMoments._fields)
    return ZoneSums(PairedMoments(*table[:count]), table[count], table[count + 1], None, loss)


def subset_scores(
    rows: Tensor,
    parts: Iterable[tuple[bool, str]],
    settings: LongitudinalSettings,
) -> tuple[dict[str, float], int]:
    """Loss and metrics of one subset; one that is undefined is absent.

    Args:
        rows: Of all sequences, (N, columns).
        parts: Of the subset: whether sequences are held out, and the zone; see :data:`subsets.SUBSETS`.
        settings: What is predicted and how it is reduced.

    Returns:
        Scores by name, without those that are undefined, and the number of valid points.
    """
    parts = list(parts)
    held_out = rows[:, _HEADER - 1] != 0
    groups = []
    for flag in (False, True):
        zones = [zone for part_flag, zone in parts if part_flag == flag]
        if zones:
            chosen = [zone_sums(rows[held_out == flag], zone, settings) for zone in zones]
            groups.append(chosen[0] if len(chosen) == 1 else _over_zones(chosen[0], chosen[1]))
    sums = groups[0] if len(groups) == 1 else _together(groups[0], groups[1])
    count = int(sums.number.sum())
    scores: dict[str, Tensor] = {}
    if settings.loss_reduction != "none":
        scores["loss"] = reduced_loss(sums.loss, settings.loss_reduction)
    if settings.metrics_reduction != "none":
        scores |= _class_scores(sums, settings) if settings.num_classes > 1 else _regression_scores(sums, settings)
    if not count or not scores:
        return {}, count
    values = torch.stack(list(scores.values())).tolist()
    return {name: value for name, value in zip(scores, values, strict=True) if value == value}, count


class EpochStatistics:
    """The rows of an epoch: sums only, on the device they came from, until the epoch ends."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []

    def add(self, rows: Tensor) -> None:
        """Take in the rows of a batch."""
        self._rows.append(rows.detach())

    def clear(self) -> None:
        """Forget everything."""
        self._rows = []

    def collected(self, *, columns: int, device: torch.device) -> Tensor:
        """All rows, of all ranks; sequences that a sampler repeated to fill a rank count once.

        Args:
            columns: Columns of a row, for a rank without any.
            device: Where such a rank's table is made.
        """
        empty = torch.zeros((0, columns), dtype=torch.float64, device=device)
        rows = torch.cat([empty, *self._rows])
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return rows
        if torch.distributed.get_world_size() == 1:
            return rows
        return without_repeats(torch.cat(gather_all_tensors(rows)))


def row_columns(settings: LongitudinalSettings) -> int:
    """Columns of a row."""
    moments = 3 * settings.num_classes if settings.num_classes > 1 else len(PairedMoments._fields) + 2
    return _HEADER + len(ZONES) * (moments + len(LossSums._fields)) * settings.num_outcomes


def without_repeats(rows: Tensor) -> Tensor:
    """Rows of which no two have the same sequence id and times; rows without an id all stay."""
    named = ~rows[:, 0].isnan()
    keys, first = torch.unique(rows[named, : _HEADER - 1], dim=0, return_inverse=True)
    order = torch.full((len(keys),), len(first), dtype=torch.int64, device=rows.device)
    positions = torch.arange(len(first), device=rows.device)
    order = order.scatter_reduce(0, first, positions, reduce="amin")
    return torch.cat([rows[named][order.sort().values], rows[~named]])


def _header(result: Forecast) -> Tensor:
    real, times = result.real, result.time_ids.to(torch.float64)
    first = torch.where(real, times, torch.inf).amin(1)
    last = torch.where(real, times, -torch.inf).amax(1)
    ids = torch.full_like(first, torch.nan) if result.sequence_ids is None else result.sequence_ids.to(torch.float64)
    return torch.stack([ids, first, last, result.out_of_sequence.to(torch.float64)], dim=1)


def predicted_classes(logits: Tensor, num_classes: int) -> Tensor:
    """Class indices of logits: (B, T, K) of two classes, (B, T, K, C) of more; the smaller class of equals."""
    return (logits > 0).long() if num_classes == 2 else logits.argmax(-1)


def _class_counts(result: Forecast, mask: Tensor, num_classes: int) -> Tensor:
    """Right, true and predicted, of each class, (3, C, B, K)."""
    assert result.labels is not None
    predicted = predicted_classes(result.levels, num_classes)
    true = torch.where(mask, result.labels, 0.0).long()
    counts = []
    for index in range(num_classes):
        is_true, is_predicted = (true == index) & mask, (predicted == index) & mask
        counts.append(torch.stack([(is_true & is_predicted).sum(1), is_true.sum(1), is_predicted.sum(1)]))
    return torch.stack(counts, dim=1).to(torch.float64)


def _over_zones(one: ZoneSums, other: ZoneSums) -> ZoneSums:
    """Sums of the same sequences over two zones."""
    loss = merge_loss_sums(one.loss, other.loss)
    if one.moments is None or other.moments is None:
        assert one.classes is not None
        assert other.classes is not None
        return ZoneSums(None, None, None, one.classes + other.classes, loss)
    assert one.absolute is not None
    assert other.absolute is not None
    assert one.symmetric is not None
    assert other.symmetric is not None
    both = PairedMoments(*(torch.stack(pair) for pair in zip(one.moments, other.moments, strict=True)))
    return ZoneSums(merge_moments(both), one.absolute + other.absolute, one.symmetric + other.symmetric, None, loss)


def _together(one: ZoneSums, other: ZoneSums) -> ZoneSums:
    """Sums of two lots of sequences, one below the other."""
    loss = LossSums(*(torch.cat(pair) for pair in zip(one.loss, other.loss, strict=True)))
    if one.moments is None or other.moments is None:
        assert one.classes is not None
        assert other.classes is not None
        return ZoneSums(None, None, None, torch.cat([one.classes, other.classes], dim=2), loss)
    assert one.absolute is not None
    assert other.absolute is not None
    assert one.symmetric is not None
    assert other.symmetric is not None
    moments = PairedMoments(*(torch.cat(pair) for pair in zip(one.moments, other.moments, strict=True)))
    absolute = torch.cat([one.absolute, other.absolute])
    return ZoneSums(moments, absolute, torch.cat([one.symmetric, other.symmetric]), None, loss)


def _regression_scores(sums: ZoneSums, settings: LongitudinalSettings) -> dict[str, Tensor]:
    assert sums.moments is not None
    assert sums.absolute is not None
    assert sums.symmetric is not None
    moments, reduction = sums.moments, settings.metrics_reduction
    return {
        "mse": reduced_error(moments, reduction, squared_error),
        "smape": reduced_error(moments._replace(error=sums.symmetric), reduction, symmetric_percentage_error),
        "pearsonr": reduced_correlation(moments, reduction, settings.undefined_correlation),
        "mae": reduced_error(moments._replace(error=sums.absolute), reduction, absolute_error),
    }


def _class_scores(sums: ZoneSums, settings: LongitudinalSettings) -> dict[str, Tensor]:
    """Accuracy by the reduction; balanced accuracy and macro F1 of each outcome over all its points, then the mean."""
    assert sums.classes is not None
    right, true, predicted = sums.classes
    nothing = torch.zeros_like(sums.number)
    accuracy = reduced_loss(LossSums(right.sum(0), sums.number, nothing, nothing), settings.metrics_reduction)
    right, true, predicted = (counts.sum(1) for counts in (right, true, predicted))
    return {
        "accuracy": accuracy,
        "balanced_accuracy": _over_classes(right / true.clamp(min=1.0), true > 0),
        "f1": _over_classes(2.0 * right / (true + predicted).clamp(min=1.0), true + predicted > 0),
    }


def _over_classes(values: Tensor, counted: Tensor) -> Tensor:
    """Mean over the classes that count, (C, K), then over the outcomes with any."""
    number = counted.sum(0)
    each = torch.where(counted, values, 0.0).sum(0) / number.clamp(min=1)
    return each[number > 0].mean() if bool((number > 0).any()) else each.new_tensor(torch.nan)
