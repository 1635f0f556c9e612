"""Predictions of an epoch beside their targets, without padding, and as a table.

N stored steps of all sequences one after another, K outcomes, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nd_train.longitudinal.epoch_statistics import predicted_classes

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class StoredPredictions:
    """The predictions of one epoch, on the CPU.

    Attributes:
        sequence_ids: (N,) int64; -1 where the batches had none.
        time_ids: (N,) int64.
        predictions: Levels, (N, K), or logits, (N, K) or (N, K, C). float32.
        targets: (N, K) float32; NaN where the batches had none.
        observed: Whether the target was observed, (N, K) bool.
        out_of_time: (N,) bool.
        out_of_sequence: (N,) bool.
        infilled: Whether the features were missing, (N,) bool.
        query_ids: (N,) int64; -1 where the batches had none.
        num_classes: 1 for numbers.
        epoch: The epoch they are of.
        left_out: Steps that were beyond the bound.
    """

    sequence_ids: Tensor
    time_ids: Tensor
    predictions: Tensor
    targets: Tensor
    observed: Tensor
    out_of_time: Tensor
    out_of_sequence: Tensor
    infilled: Tensor
    query_ids: Tensor
    num_classes: int = 1
    epoch: int = 0
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.time_ids)

    def to_pandas(
        self,
        *,
        outcome_names: Sequence[str] | None = None,
        name_of: Callable[[int], Any] | None = None,
        time_of: Callable[[int], Any] | None = None,
    ) -> pd.DataFrame:
        """One line a sequence, time and outcome.

        Args:
            outcome_names: Names of the K outcomes; their numbers without them.
            name_of: Name of a sequence id.
            time_of: Time of a time id.

        Returns:
            Columns `sequence`, `time`, `outcome`, `prediction`, `target` (NaN where there is none), `observed`,
            `out_of_time`, `out_of_sequence`, `infilled`; `query` where there are query ids. For classes `prediction` is
            the class, and `probability` (of class 1) or `probability_0`, … are beside it.

        Raises:
            ImportError: pandas is not installed.
            ValueError: another number of names than outcomes.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("tables need pandas: pip install 'nd-train[tables]'") from error
        outcomes = self.targets.shape[1]
        names: list[Any] = list(range(outcomes)) if outcome_names is None else list(outcome_names)
        if len(names) != outcomes:
            raise ValueError(f"outcome_names: expected {outcomes} names, found {len(names)}")
        sequences: list[Any] = self.sequence_ids.tolist()
        times: list[Any] = self.time_ids.tolist()
        if name_of is not None:
            known = {item: name_of(item) for item in set(sequences)}
            sequences = [known[item] for item in sequences]
        if time_of is not None:
            known = {item: time_of(item) for item in set(times)}
            times = [known[item] for item in times]
        predictions, targets = self.predictions, self.targets
        if self.num_classes > 1:
            predictions = predicted_classes(predictions, self.num_classes)

        def repeated(values: Any) -> pd.Series[Any]:
            return pd.Series(values).repeat(outcomes).reset_index(drop=True)

        table = pd.DataFrame(
            {
                "sequence": repeated(sequences),
                "time": repeated(times),
                "outcome": names * len(self),
                "prediction": predictions.flatten().numpy(),
                "target": targets.flatten().numpy(),
                "observed": self.observed.flatten().numpy(),
                "out_of_time": repeated(self.out_of_time.numpy()),
                "out_of_sequence": repeated(self.out_of_sequence.numpy()),
                "infilled": repeated(self.infilled.numpy()),
            }
        )
        if bool((self.query_ids != -1).any()):
            table["query"] = repeated(self.query_ids.numpy())
        for name, values in self._probabilities().items():
            table[name] = values.flatten().numpy()
        return table

    def to_parquet(self, path: str | Path, **keywords: Any) -> Path:
        """Write :meth:`to_pandas` as a parquet file; its arguments are this method's.

        Raises:
            ImportError: pandas or pyarrow is not installed.
        """
        table = self.to_pandas(**keywords)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Never half a file under the name that was asked for.
        unfinished = path.with_name(f"{path.name}.unfinished")
        try:
            table.to_parquet(unfinished, index=False)
        except ImportError as error:
            raise ImportError("parquet needs pyarrow: pip install 'nd-train[tables]'") from error
        Path(unfinished).replace(path)
        return path

    def to_csv(self, path: str | Path, **keywords: Any) -> Path:
        """Write :meth:`to_pandas` as a CSV file; its arguments are this method's."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.unfinished")
        self.to_pandas(**keywords).to_csv(unfinished, index=False)
        Path(unfinished).replace(path)
        return path

    def _probabilities(self) -> dict[str, Tensor]:
        if self.num_classes == 2:
            return {"probability": torch.sigmoid(self.predictions)}
        if self.num_classes > 2:
            shares = torch.softmax(self.predictions, dim=-1)
            return {f"probability_{index}": shares[..., index] for index in range(self.num_classes)}
        return {}
