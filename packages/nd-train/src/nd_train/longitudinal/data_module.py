"""The data of a longitudinal run: a table or ragged sequences, split, standardised where wanted, and batched."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lightning as L
import numpy as np
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler

from nd_data.longitudinal import (
    LongitudinalDataset,
    LongitudinalSplits,
    Standardizer,
    collate_sequences,
    mark_out_of_time,
    split_by_folds,
    split_by_ids,
    split_sequences,
)
from nd_train.longitudinal.stored_predictions import StoredPredictions

if TYPE_CHECKING:
    import pandas as pd


class LongitudinalDataModule(L.LightningDataModule):
    """Sequences of a table, held out within (time) and between (persons), as loaders for `MILightningModule`.

    Training sees the sequences that are not held out, in a new order every epoch; validation sees them and those held
    out for it, so that every subset can be scored; the test sees only those held out for the test. Prediction runs over
    all sequences of the table, or over `test_table`.

    Args:
        table: A path (CSV, TSV or parquet), a data frame, a mapping of ragged sequences (as
            `LongitudinalDataset.from_sequences` takes it), a `LongitudinalDataset` or `LongitudinalSplits`.
        sequence: Column that names the sequence (the person).
        time: Column of the step, number or date; or columns and their length in steps, ``{day: 10, beep: 1}``.
        outcomes: Column or columns to predict.
        features: Columns that predict; several groups as ``{"": [...], "mood": [...]}``. None: all other numbers.
        sequence_features: Columns that are constant within a sequence, by group.
        query: Column of message ids.
        fold: Column of folds, for `val_folds` and `test_folds`.
        out_of_time: Column that marks out-of-time steps.
        time_step: Length of a step, where times are numbers or dates (``1D``).
        horizon: Steps between what is seen and what is predicted; 1 forecasts the next step.
        fill_gaps: Whether steps that a table leaves out become missing steps.
        missing_when: Whether a step is missing when `all` or `any` of its features are.
        without_observations: What to do with a sequence without any observed outcome.
        val_folds: Folds held out for validation.
        test_folds: Folds held out for the test.
        val_ids: Sequences held out for validation, by name.
        test_ids: Sequences held out for the test, by name.
        val_fraction: Share of sequences held out at random for validation.
        test_fraction: Share of sequences held out at random for the test.
        out_of_time_fraction: Last share of each sequence's observed steps that is held out.
        out_of_time_from: Time from which on steps are held out.
        test_table: Another table of the same columns to test on and to predict, all of it held out.
        standardize: Bring `features`, or `all` (also outcomes that are numbers), to mean 0 and standard deviation 1 of
            what is trained on. `MILightningModule` brings predictions back to their own units.
        num_classes: Classes of the outcomes; 1 for numbers.
        train_batch_size: Sequences in a training batch.
        val_batch_size: Sequences in an evaluation batch.
        num_workers: Loader processes.
        seed: Seed of random splits and of the training order.

    Raises:
        KeyError: a column that does not exist.
        ValueError: arguments that exclude each other, or data that do not fit.

    Example:
        >>> data = LongitudinalDataModule(
        ...     {"embeddings": [[[0.0], [1.0], [2.0]]] * 4, "outcomes": [[[1.0], [2.0], [3.0]]] * 4}, val_fraction=0.25
        ... )
        >>> data.prepare()
        >>> len(data.splits.train), len(data.splits.val), data.feature_sizes
        (3, 4, {'embeddings': 1})
    """

    def __init__(
        self,
        table: Any,
        *,
        sequence: str | None = None,
        time: str | dict[str, int] | None = None,
        outcomes: str | list[str] | None = None,
        features: list[str] | dict[str, list[str]] | None = None,
        sequence_features: dict[str, list[str]] | None = None,
        query: str | None = None,
        fold: str | None = None,
        out_of_time: str | None = None,
        time_step: str | float | None = None,
        horizon: int = 0,
        fill_gaps: bool = True,
        missing_when: Literal["all", "any"] = "all",
        without_observations: Literal["keep", "drop", "error"] = "keep",
        val_folds: Sequence[int | str] = (),
        test_folds: Sequence[int | str] = (),
        val_ids: Sequence[int | str] = (),
        test_ids: Sequence[int | str] = (),
        val_fraction: float = 0.0,
        test_fraction: float = 0.0,
        out_of_time_fraction: float | None = None,
        out_of_time_from: str | float | None = None,
        test_table: Any = None,
        standardize: Literal["none", "features", "all"] = "none",
        num_classes: int = 1,
        train_batch_size: int = 32,
        val_batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.table = table
        self.test_table = test_table
        self.roles: dict[str, Any] = {
            "sequence": sequence,
            "time": time,
            "outcomes": outcomes,
            "features": features,
            "sequence_features": sequence_features,
            "query": query,
            "fold": fold,
            "out_of_time": out_of_time,
            "time_step": time_step,
            "horizon": horizon,
            "fill_gaps": fill_gaps,
            "missing_when": missing_when,
            "without_observations": without_observations,
        }
        self.by_folds = {"val_folds": tuple(val_folds), "test_folds": tuple(test_folds)}
        self.by_ids = {"val_ids": tuple(val_ids), "test_ids": tuple(test_ids)}
        self.by_fraction = {"val_fraction": val_fraction, "test_fraction": test_fraction}
        self.out_of_time_fraction = out_of_time_fraction
        self.out_of_time_from = out_of_time_from
        self.standardize = standardize
        self.num_classes = num_classes
        self.train_batch_size = train_batch_size
        self.val_batch_size = val_batch_size
        self.num_workers = num_workers
        self.seed = seed
        self._standardizer: Standardizer | None = None
        ways = [name for name in ("by_folds", "by_ids", "by_fraction") if any(getattr(self, name).values())]
        if len(ways) > 1:
            raise ValueError(
                f"sequences are held out {' and '.join(way.replace('_', ' ') for way in ways)}: choose one way"
            )
        if out_of_time_fraction is not None and out_of_time_from is not None:
            raise ValueError("out_of_time_fraction and out_of_time_from both say which steps are held out: choose one")

    def prepare(self) -> None:
        """Read and split the data now; otherwise that happens on first use."""
        _ = self.splits

    def setup(self, stage: str) -> None:  # noqa: ARG002  # Lightning's signature
        """As :meth:`prepare`: errors in the data come before a run begins."""
        self.prepare()

    @cached_property
    def splits(self) -> LongitudinalSplits:
        """Training, validation and test sequences, not standardised."""
        if isinstance(self.table, LongitudinalSplits):
            splits = self.table
        else:
            splits = self._split(self._marked(self._read(self.table)))
        if self.test_table is not None:
            if len(splits.test):
                raise ValueError("test_table, and sequences of the table held out for the test: choose one")
            test = self._read(self.test_table)
            splits = LongitudinalSplits(splits.train, splits.val, _held_out(self._marked(test)))
        return splits

    @property
    def feature_sizes(self) -> dict[str, int]:
        """Width of every kind of features, by its key in a batch."""
        return dict(self.splits.train.feature_sizes)

    @property
    def num_outcomes(self) -> int:
        """Outcomes K."""
        return int(self.splits.train.num_outcomes)

    @property
    def has_test(self) -> bool:
        """Whether any sequence is held out for the test."""
        return len(self.splits.test) > 0

    @property
    def standardizer(self) -> Standardizer | None:
        """What features (and outcomes) are scaled with; None without `standardize`."""
        if self._standardizer is None and self.standardize != "none":
            self._standardizer = Standardizer.fit(
                self.splits.train, outcomes=self.standardize == "all" and self.num_classes == 1
            )
        return self._standardizer

    @property
    def outcome_scale(self) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation that outcomes were standardised with; None where they were not."""
        config = None if self.standardizer is None else self.standardizer.to_config()
        if config is None or "outcomes" not in config["mean"]:
            return None
        return config["mean"]["outcomes"], config["std"]["outcomes"]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the scales of the data that were trained on."""
        return {"standardizer": None if self.standardizer is None else self.standardizer.to_config()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the scales of a checkpoint in place of this table's own."""
        config = state_dict.get("standardizer")
        self._standardizer = None if config is None else Standardizer.from_config(config)
        self.standardize = (
            self.standardize if config is None else ("all" if "outcomes" in config["mean"] else "features")
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Training sequences in a new order every epoch; their batches end with the last in-time step."""
        return DataLoader(
            self._scaled(self.splits.train),
            batch_size=self.train_batch_size,
            sampler=EpochOrder(len(self.splits.train), seed=self.seed),
            collate_fn=partial(collate_sequences, partition="train"),
            **self._workers(),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Training sequences and those held out for validation, whole."""
        return self._evaluation_loader(self._scaled(self.splits.val), "val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Sequences held out for the test, whole.

        Raises:
            ValueError: there are none.
        """
        if not self.has_test:
            raise ValueError(
                "no sequence is held out for the test: give test_folds, test_ids, test_fraction or test_table"
            )
        return self._evaluation_loader(self._scaled(self.splits.test), "test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """All sequences of the table once, or those of `test_table`."""
        if self.test_table is not None:
            return self._evaluation_loader(self._scaled(self.splits.test), "predict")
        parts = [self._scaled(part) for part in (self.splits.val, self.splits.test) if len(part)]
        return self._evaluation_loader(ConcatDataset(parts), "predict")

    def prediction_table(self, stored: StoredPredictions, split: str = "val") -> "pd.DataFrame":
        """Predictions with the data's own names and times; a time is that of the predicted outcome.

        Args:
            stored: As `MILightningModule.predictions` keeps them.
            split: What they are of.
        """
        return stored.to_pandas(**self.table_arguments(split))

    def table_arguments(self, split: str = "val") -> dict[str, Any]:
        """Arguments of `StoredPredictions.to_pandas`, `to_parquet` and `to_csv` for predictions of one split."""
        apart = self.test_table is not None and split in ("test", "predict")
        dataset = self.splits.test if apart else self.splits.train
        axis, horizon = dataset.time_axis, dataset.horizon
        return {
            "outcome_names": dataset.outcome_names,
            "name_of": dataset.name_of,
            "time_of": lambda step: step + horizon if axis is None else axis.time_of(step + horizon),
        }

    def _read(self, table: Any) -> LongitudinalDataset:
        if isinstance(table, LongitudinalDataset):
            return table
        shared = {name: self.roles[name] for name in ("fill_gaps", "without_observations")}
        if isinstance(table, Mapping):
            names = self.roles["outcomes"]
            return LongitudinalDataset.from_sequences(
                table,
                outcome_names=[names] if isinstance(names, str) else names,
                num_classes=self.num_classes,
                **shared,
            )
        missing = [name for name in ("sequence", "time", "outcomes") if self.roles[name] is None]
        if missing:
            raise ValueError(f"a table needs to know its columns: give {', '.join(missing)}")
        if isinstance(table, str | Path) and not Path(table).is_file():
            raise FileNotFoundError(f"no table at {table}")
        return LongitudinalDataset.from_table(table, num_classes=self.num_classes, **self.roles)

    def _marked(self, dataset: LongitudinalDataset) -> LongitudinalDataset:
        if self.out_of_time_from is not None:
            return mark_out_of_time(dataset, cutoff=self.out_of_time_from)
        if self.out_of_time_fraction is not None:
            return mark_out_of_time(dataset, fraction=self.out_of_time_fraction)
        return dataset

    def _split(self, dataset: LongitudinalDataset) -> LongitudinalSplits:
        if any(self.by_folds.values()):
            return split_by_folds(dataset, **self.by_folds)
        if any(self.by_ids.values()):
            return split_by_ids(dataset, **self.by_ids)
        return split_sequences(dataset, **self.by_fraction, generator=torch.Generator().manual_seed(self.seed))

    def _scaled(self, dataset: LongitudinalDataset) -> LongitudinalDataset:
        return dataset if self.standardizer is None else self.standardizer.transform(dataset)

    def _evaluation_loader(self, dataset: Dataset[Any], partition: str) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_size=self.val_batch_size,
            collate_fn=partial(collate_sequences, partition=partition),
            **self._workers(),
        )

    def _workers(self) -> dict[str, Any]:
        # A loader without a generator draws from the global one, which a run's dropout depends on.
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "generator": torch.Generator().manual_seed(self.seed),
        }


class EpochOrder(Sampler[int]):
    """All sequences in an order that the seed and the epoch decide: a run that is resumed goes on as it would have.

    Args:
        length: Number of sequences.
        seed: Of all orders.
    """

    def __init__(self, length: int, *, seed: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        seed = int(np.random.SeedSequence((self.seed, self.epoch)).generate_state(1)[0])
        order = torch.randperm(self.length, generator=torch.Generator().manual_seed(seed))
        self.epoch += 1
        return iter(order.tolist())

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next order is of; a Lightning trainer says it."""
        self.epoch = epoch


def _held_out(dataset: LongitudinalDataset) -> LongitudinalDataset:
    return dataset.with_values({"ooss_mask": [1] * len(dataset)})
