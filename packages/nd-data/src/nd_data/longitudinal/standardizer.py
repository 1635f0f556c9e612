"""Features and outcomes at mean 0 and standard deviation 1, measured on what is trained on only."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nd_data.longitudinal.dataset import LongitudinalDataset
from nd_data.longitudinal.sequence_keys import is_feature_key, is_sequence_feature_key, mask_key_of


class Standardizer:
    """Subtracts a mean and divides by a standard deviation, column by column.

    Measured on steps that are in time, of sequences that are not held out, where a value was observed; in float64. A
    column without spread is only centred, one without any such value stays as it is.

    Args:
        mean: Key to one mean a column.
        std: Key to one standard deviation a column, above 0.

    >>> dataset = LongitudinalDataset([{"embeddings": [[1.0], [3.0], [9.0]], "outcomes": [1.0, 2.0, 3.0],
    ...                                 "oots_mask": [0, 0, 1]}])
    >>> standardizer = Standardizer.fit(dataset)
    >>> standardizer.transform(dataset)[0]["embeddings"][:, 0].tolist()
    [-1.0, 1.0, 7.0]
    """

    def __init__(self, mean: Mapping[str, Any], std: Mapping[str, Any]) -> None:
        self.mean = {key: np.atleast_1d(np.asarray(value, dtype=np.float64)) for key, value in mean.items()}
        self.std = {key: np.atleast_1d(np.asarray(value, dtype=np.float64)) for key, value in std.items()}
        for key in {*self.mean, *self.std}:
            if key not in self.mean or key not in self.std or self.mean[key].shape != self.std[key].shape:
                raise ValueError(f"'{key}' needs a mean and a standard deviation a column")
            if not (
                np.isfinite(self.mean[key]).all() and np.isfinite(self.std[key]).all() and (self.std[key] > 0).all()
            ):
                raise ValueError(f"'{key}': means must be finite and standard deviations above 0")

    @classmethod
    def fit(cls, dataset: LongitudinalDataset, *, outcomes: bool = False) -> "Standardizer":
        """Measure a dataset; what is held out in it does not count.

        Args:
            dataset: Training sequences, or also held-out ones, which are left aside.
            outcomes: Standardise the outcomes too.

        Raises:
            ValueError: no sequence to measure, or outcomes that are classes.
        """
        items = [item for item in (dataset[row] for row in range(len(dataset))) if item["ooss_mask"] == 0]
        if not items:
            raise ValueError("no sequence to measure: all are held out, or there are none")
        if outcomes and dataset.num_classes > 1:
            raise ValueError(f"outcomes are classes (num_classes={dataset.num_classes}), which have no mean")
        samples: dict[str, NDArray[np.float64]] = {}
        for key in items[0]:
            if is_feature_key(key):
                used = [item[key][~item[mask_key_of(key)] & ~item["oots_mask"]] for item in items]
                samples[key] = np.concatenate(used).astype(np.float64)
            elif is_sequence_feature_key(key):
                samples[key] = np.stack([item[key] for item in items]).astype(np.float64)
            elif key == "outcomes" and outcomes:
                seen = [item["outcomes_mask"] & ~item["oots_mask"][:, None] for item in items]
                values = [np.where(mask, item[key], np.nan) for mask, item in zip(seen, items, strict=True)]
                samples[key] = np.concatenate(values).astype(np.float64)
        moments = {key: [_moments(column) for column in values.T] for key, values in samples.items()}
        return cls(
            {key: [mean for mean, _ in columns] for key, columns in moments.items()},
            {key: [std for _, std in columns] for key, columns in moments.items()},
        )

    def transform(self, dataset: LongitudinalDataset) -> LongitudinalDataset:
        """A standardised dataset. What precedes the first observation stays 0; the given dataset stays as it is.

        Raises:
            ValueError: the dataset lacks a key, or has another number of columns.
        """
        items = [dataset[row] for row in range(len(dataset))]
        changed: dict[str, list[Any]] = {}
        for key in self.mean:
            for item in items:
                if key not in item or item[key].shape[-1] != len(self.mean[key]):
                    found = item[key].shape[-1] if key in item else "none"
                    raise ValueError(
                        f"'{key}' was measured with {len(self.mean[key])} columns, the dataset has {found}"
                    )
            changed[key] = [self._standardized(key, item) for item in items]
        return dataset.with_values(changed)

    def inverse_outcomes(self, values: Tensor) -> Tensor:
        """Predictions back in the outcomes' own units. Shape: (..., K).

        Where outcomes were not standardised, the values as they are.
        """
        if "outcomes" not in self.mean:
            return values
        mean = torch.as_tensor(self.mean["outcomes"], dtype=values.dtype, device=values.device)
        std = torch.as_tensor(self.std["outcomes"], dtype=values.dtype, device=values.device)
        return values * std + mean

    def to_config(self) -> dict[str, dict[str, list[float]]]:
        """Plain numbers, for JSON and `Standardizer(**config)`."""
        return {
            "mean": {key: value.tolist() for key, value in self.mean.items()},
            "std": {key: value.tolist() for key, value in self.std.items()},
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Standardizer":
        """What `to_config` gave."""
        return cls(config["mean"], config["std"])

    def _standardized(self, key: str, item: dict[str, Any]) -> NDArray[np.float32]:
        standardized: NDArray[np.float32] = ((item[key] - self.mean[key]) / self.std[key]).astype(np.float32)
        if is_feature_key(key):
            standardized[np.logical_and.accumulate(item[mask_key_of(key)])] = 0.0
        elif key == "outcomes":
            standardized[np.logical_and.accumulate(~item["outcomes_mask"], axis=0)] = 0.0
        return standardized


def _moments(column: NDArray[np.float64]) -> tuple[float, float]:
    column = column[np.isfinite(column)]
    if column.size == 0:
        return 0.0, 1.0
    spread = float(column.std()) if column.max() > column.min() else 0.0
    return float(column.mean()), spread or 1.0
