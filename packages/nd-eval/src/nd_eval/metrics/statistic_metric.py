"""The torchmetrics side of the scores: a metric that keeps a small table of statistics, merged exactly.

The table does not grow with the data, has float64 entries, and merges across updates, ranks and copies of a metric.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
import torchmetrics
from torch import Tensor


class StatisticMetric(torchmetrics.Metric):
    """A metric computed from a table, (rows, columns) float64, whose columns may differ from rank to rank.

    A subclass says how a table comes from data (``_statistic``), how tables merge (``_merge``) and what the value is
    (``_value``).
    """

    full_state_update = False
    is_differentiable = False
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
