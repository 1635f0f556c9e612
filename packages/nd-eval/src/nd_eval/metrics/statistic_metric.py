"""The torchmetrics side of the scores: a metric that keeps a small table of statistics, merged exactly.

The table does not grow with the data, has float64 entries, and merges across updates, ranks and copies of a metric.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torchmetrics
from torch import Tensor

Scale = Literal["identity", "log", "log_below_one", "log_when_far", "fisher", "logit"]


@dataclass(frozen=True)
class AdditiveStatistics:
    """A metric as a function of sums over time: what lets a bootstrap resample sums in place of values.

    Attributes:
        rows: What each time of a piece of (preds, target) adds to the sums: (n, M) float64.
        value: The metric from sums, (R, M) to (R,); differentiable.
    """

    rows: Callable[[Tensor, Tensor], Tensor]
    value: Callable[[Tensor], Tensor]


class StatisticMetric(torchmetrics.Metric):
    """A metric computed from a table, (rows, columns) float64, whose columns may differ from rank to rank.

    A subclass says how a table comes from data (``_statistic``), how tables merge (``_merge``) and what the value is
    (``_value``). ``scale`` is the scale on which its values are spread evenly, for confidence intervals.
    """

    full_state_update = False
    is_differentiable = False
    scale: Scale = "identity"
    records: list[Tensor] | Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Also the dtype of what a rank without data contributes.
        self.set_dtype(torch.float64)
        self.add_state("records", default=[], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take in predictions and targets."""
        self._take(self._statistic(preds.detach(), target.detach()))

    def compute(self) -> Tensor:
        """Value of everything taken in; float64, NaN of nothing."""
        tables = self._tables()
        if not tables:
            return torch.tensor(torch.nan, dtype=torch.float64, device=self.device)
        return self._value(self._merge(tables))

    def value_of(self, preds: Tensor, target: Tensor) -> Tensor:
        """Value of these predictions and targets alone; what the metric has taken in is neither used nor changed."""
        return self._value(self._statistic(preds.detach(), target.detach()))

    def additive_statistics(self, preds: Tensor, target: Tensor) -> AdditiveStatistics | None:  # noqa: ARG002
        """The metric of these predictions and targets as a function of sums over time; None if it is not one number."""
        return None

    @abstractmethod
    def _statistic(self, preds: Tensor, target: Tensor) -> Tensor: ...

    @abstractmethod
    def _merge(self, tables: list[Tensor]) -> Tensor: ...

    @abstractmethod
    def _value(self, table: Tensor) -> Tensor: ...

    def _take(self, table: Tensor) -> None:
        merged = self._merge([*self._tables(), table])
        self.records = [torch.cat([merged.new_tensor(merged.shape), merged.flatten()])]

    def _tables(self) -> list[Tensor]:
        """The tables, out of the row of numbers they are kept in: rows, columns, entries, and so on for the next."""
        records = self.records if isinstance(self.records, list) else [self.records]
        tables = []
        for record in records:
            place = 0
            while place < record.numel():
                rows, columns = int(record[place]), int(record[place + 1])
                stop = place + 2 + rows * columns
                tables.append(record[place + 2 : stop].to(torch.float64).reshape(rows, columns))
                place = stop
        return tables


class SumMetric(StatisticMetric):
    """A metric computed from plain sums over time of a few numbers for each output dimension.

    A subclass says what each time adds (``_rows``, (N, rows, K)) and what the value is of sums (rows, K), or of many
    sums at once, (rows, K, R).
    """

    def __init__(self, *, num_outputs: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_outputs = num_outputs

    def additive_statistics(self, preds: Tensor, target: Tensor) -> AdditiveStatistics | None:
        """The metric of these predictions and targets as a function of sums over time; None if it is not one number."""
        shape = self._rows(preds[:1], target[:1]).shape[1:]
        if self._value(self._statistic(preds, target)).ndim:
            return None
        return AdditiveStatistics(
            rows=lambda preds, target: self._rows(preds, target).flatten(1),
            value=lambda sums: self._value(sums.reshape(-1, *shape).movedim(0, -1)),
        )

    @abstractmethod
    def _rows(self, preds: Tensor, target: Tensor) -> Tensor: ...

    def _statistic(self, preds: Tensor, target: Tensor) -> Tensor:
        table = self._rows(preds, target).sum(0)
        check_columns(table, self.num_outputs)
        return table

    def _merge(self, tables: list[Tensor]) -> Tensor:
        for table in tables[1:]:
            check_columns(table, tables[0].shape[1])
        return torch.stack(tables).sum(0)


def check_columns(table: Tensor, expected: int | None) -> None:
    """Refuse a table, (rows, K), of another number of output dimensions than expected.

    Raises:
        ValueError: it has.
    """
    if expected is not None and table.shape[1] != expected:
        raise ValueError(f"expected {expected} output dimensions; found {table.shape[1]}")
