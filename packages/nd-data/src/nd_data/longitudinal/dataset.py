"""Many people or things, each followed over time: one sequence an item.

Shapes: T steps of one sequence, D features, K outcomes.
"""

import copy
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset

from nd_data.longitudinal.infill import on_full_grid
from nd_data.longitudinal.outcome_checks import WithoutObservations, check_classes, check_observations
from nd_data.longitudinal.sequence_arrays import MOST_STEPS, SequenceArrays, sequence_arrays
from nd_data.longitudinal.sequence_keys import SEQUENCE_IDS, is_feature_key, is_sequence_feature_key
from nd_data.longitudinal.time_axis import TimeAxis

if TYPE_CHECKING:
    import pandas as pd

SequenceName = int | str


class LongitudinalDataset(TorchDataset[dict[str, Any]]):
    """Sequences in memory, checked once and never changed: every method that alters something returns a new dataset.

    An item is a new dictionary of read-only arrays: `embeddings` (T, D) float32 and others `embeddings_<name>`, `mask`
    and `mask_<name>` (T,) bool (True = missing, carries the last observed vector), `outcomes` (T, K) float32,
    `outcomes_mask` (T, K) bool (True = observed), `time_ids` (T,) int64 ascending, `oots_mask` (T,) bool (True = out of
    time), `ooss_mask` (1 = out of sequence), `seq_id`, and what else was given. `collate_sequences` makes batches.

    Most datasets come from `from_table` or `from_sequences`.

    Args:
        sequences: One mapping a sequence, with `embeddings`, `outcomes` or both, and any of: `time_ids` (default
            0, 1, …), `outcomes_mask`, `mask`, `oots_mask`, `ooss_mask`, `seq_id` (integer or text; default: its place),
            `fold`, `query_ids`, `seq_embeddings_<name>` and more. Missing values are NaN. `labels` means `outcomes`.
        outcome_names: K names; default "outcome_0", ….
        feature_names: Column names by key, for those that have any.
        time_axis: What a step number means.
        horizon: How many steps after its inputs a step's outcome was observed.
        num_classes: 1 for regression, 2 for binary outcomes, C for classes 0 … C - 1.
        without_observations: What becomes of a sequence without any observed outcome: `"keep"` (it counts in no loss
            and no metric, and can be predicted), `"drop"` or `"error"`.

    Raises:
        TypeError: no mapping, or values that are no numbers.
        ValueError: an unfit sequence, which the error names; two with one `seq_id`; widths or keys that differ.

    >>> dataset = LongitudinalDataset([
    ...     {"seq_id": "ann", "embeddings": [[1.0, 2.0], [3.0, 4.0]], "outcomes": [1.0, float("nan")]},
    ...     {"seq_id": "bob", "embeddings": [[5.0, 6.0]], "outcomes": [2.0]},
    ... ])
    >>> len(dataset), dataset.num_features, dataset[0]["outcomes_mask"][:, 0].tolist()
    (2, 2, [True, False])
    >>> dataset.name_of(dataset[1]["seq_id"])
    'bob'
    """

    def __init__(
        self,
        sequences: Sequence[Mapping[str, Any] | SequenceArrays],
        *,
        outcome_names: Sequence[str] | None = None,
        feature_names: Mapping[str, Sequence[str]] | None = None,
        time_axis: TimeAxis | None = None,
        horizon: int = 0,
        num_classes: int = 1,
        without_observations: WithoutObservations = "keep",
    ) -> None:
        checked = [_checked(position, sequence) for position, sequence in enumerate(sequences)]
        names: list[SequenceName] = [_name(position, one) for position, one in enumerate(checked)]
        _check_alike(checked, names)
        checked, names = check_observations(checked, names, without_observations)
        in_numbers = all(isinstance(name, int) for name in names)
        self._name_of_id = {name if in_numbers else row: name for row, name in enumerate(names)}
        self._items = [
            {
                "seq_id": seq_id,
                "ooss_mask": 0,
                **{key: value for key, value in one.whole.items() if key not in (*SEQUENCE_IDS, "fold")},
                "oots_mask": np.zeros(len(one.steps["time_ids"]), dtype=np.bool_),
                **one.steps,
            }
            for seq_id, one in zip(self._name_of_id, checked, strict=True)
        ]
        for item in self._items:
            _lock(item)
        folds = [one.whole.get("fold") for one in checked]
        self._folds = None if any(fold is None for fold in folds) or not folds else tuple(folds)
        first = checked[0].steps if checked else {}
        width = first["outcomes"].shape[1] if "outcomes" in first else 0
        self._outcome_names = tuple(outcome_names or (f"outcome_{column}" for column in range(width)))
        if len(self._outcome_names) != width and checked:
            raise ValueError(f"{len(self._outcome_names)} outcome names for {width} outcomes: {self._outcome_names}")
        self._feature_names = {key: tuple(names) for key, names in (feature_names or {}).items()}
        self._feature_sizes = _feature_sizes(self._items[0]) if self._items else {}
        self._time_axis, self._horizon, self._num_classes = time_axis, horizon, num_classes
        self.check_classes(num_classes)

    @classmethod
    def from_sequences(
        cls,
        columns: Mapping[str, Sequence[Any]],
        *,
        outcome_names: Sequence[str] | None = None,
        num_classes: int = 1,
        fill_gaps: bool = True,
        without_observations: WithoutObservations = "keep",
        most_steps: int = MOST_STEPS,
    ) -> "LongitudinalDataset":
        """Ragged sequences, key by key.

        Args:
            columns: For each key one value a sequence: `{"embeddings": [(T_0, D), (T_1, D), …], "outcomes": […], …}`.
            outcome_names: K names.
            num_classes: 1 for regression, 2 for binary outcomes, C for classes.
            fill_gaps: Give every step between a sequence's first and last a row.
            without_observations: What becomes of a sequence without any observed outcome.
            most_steps: The longest sequence that is believed when gaps are filled.

        Raises:
            ValueError: lists of different lengths, or an unfit sequence, which the error names.
        """
        if not isinstance(columns, Mapping):
            raise TypeError(f"columns is a mapping of keys to lists, got {type(columns).__name__}")
        counts = {key: len(values) for key, values in columns.items()}
        if len(set(counts.values())) != 1:
            raise ValueError(f"every key needs one value a sequence, found {counts or 'no keys'}")
        count = next(iter(counts.values()))
        rows = [{key: values[row] for key, values in columns.items()} for row in range(count)]
        checked = [_checked(row, sequence, most_steps if fill_gaps else None) for row, sequence in enumerate(rows)]
        return cls(
            checked, outcome_names=outcome_names, num_classes=num_classes, without_observations=without_observations
        )

    @classmethod
    def from_table(
        cls,
        table: "pd.DataFrame | str | PathLike[str]",
        *,
        sequence: str,
        time: str | Mapping[str, int],
        outcomes: str | Sequence[str],
        features: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        sequence_features: Mapping[str, Sequence[str]] | None = None,
        query: str | None = None,
        fold: str | None = None,
        out_of_time: str | None = None,
        time_step: Any = None,
        horizon: int = 0,
        num_classes: int = 1,
        fill_gaps: bool = True,
        missing_when: str = "all",
        without_time: str = "error",
        without_observations: WithoutObservations = "keep",
        most_steps: int = MOST_STEPS,
    ) -> "LongitudinalDataset":
        """A long table: one row for each step of each sequence, in any order. The table stays as it is.

        Args:
            table: A data frame, or the path of a `.csv`, `.txt`, `.tsv` or `.parquet` file.
            sequence: Column that names the sequence.
            time: Column of step numbers; of times or dates, with `time_step`; or columns with the steps that each
                counts for, `{"day": 10, "beep": 1}`.
            outcomes: What to predict, one column or several. `[]`: nothing, the table is only to be predicted.
            features: Columns of `embeddings`; or `{"": […], "mood": […]}` for `embeddings` and `embeddings_mood`. None
                takes every column without another role, after the outcomes' own past where `horizon` is above 0.
            sequence_features: Columns that are constant within a sequence: `{"person": […]}` for
                `seq_embeddings_person`.
            query: Column of whole numbers kept as `query_ids`.
            fold: Column, constant within a sequence, for `split_by_folds`.
            out_of_time: Column of 0 and 1 kept as `oots_mask`.
            time_step: Length of a step: a number, or for dates "1D", "12h", …. Text is read as ISO 8601; with a time
                zone, the clock on the wall counts.
            horizon: The outcome of step t is the one observed at step t + horizon (with `fill_gaps=False`: that many
                rows later). Its last steps have none, and are what forecasts the future.
            num_classes: 1 for regression, 2 for binary outcomes, C for classes 0 … C - 1.
            fill_gaps: Give every step between a sequence's first and last row a row.
            missing_when: A row's features count as missing when `"all"` of them are, or when `"any"` is.
            without_time: What becomes of a row without a time: `"error"`, or `"drop"` leaves it out.
            without_observations: What becomes of a sequence without any observed outcome.
            most_steps: The longest sequence that is believed when gaps are filled.

        Raises:
            ImportError: pandas (or pyarrow) is not installed.
            KeyError: a column that does not exist.
            ValueError: a step that comes twice in a sequence, text or infinity where numbers are expected, missing
                names or times, no observed outcome, a class that does not exist, an outcome that is its own feature.

        >>> import pandas as pd
        >>> table = pd.DataFrame({"who": ["a", "a", "a"], "day": [1, 4, 2], "sleep": [7.0, 8.0, None],
        ...                       "mood": [3, 5, 4]})
        >>> dataset = LongitudinalDataset.from_table(table, sequence="who", time="day", outcomes="mood")
        >>> dataset[0]["time_ids"].tolist(), dataset[0]["mask"].tolist()
        ([1, 2, 3, 4], [False, True, True, False])
        >>> dataset[0]["outcomes_mask"][:, 0].tolist()
        [True, True, False, True]
        """
        from nd_data.longitudinal.table import TableRoles, sequences_of_table

        roles = TableRoles(
            sequence=sequence,
            time=time,
            outcomes=outcomes,
            features=features,
            sequence_features=sequence_features,
            query=query,
            fold=fold,
            out_of_time=out_of_time,
            time_step=time_step,
            horizon=horizon,
            missing_when=missing_when,
            without_time=without_time,
        )
        parts = sequences_of_table(table, roles, most_steps if fill_gaps else None)
        return cls(
            parts.sequences,
            outcome_names=parts.outcome_names,
            feature_names=parts.feature_names,
            time_axis=parts.time_axis,
            horizon=horizon,
            num_classes=num_classes,
            without_observations=without_observations,
        )

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One sequence: a new dictionary; its arrays are read-only."""
        return dict(self._items[index])

    @property
    def sequence_names(self) -> tuple[SequenceName, ...]:
        """The names of the sequences, in order."""
        return tuple(self._name_of_id[item["seq_id"]] for item in self._items)

    def name_of(self, seq_id: int) -> SequenceName:
        """The name of a sequence from the number that batches carry; known in every part of a split.

        Raises:
            KeyError: no sequence has this number.
        """
        if seq_id not in self._name_of_id:
            raise KeyError(f"no sequence has the number {seq_id}")
        return self._name_of_id[seq_id]

    @property
    def outcome_names(self) -> tuple[str, ...]:
        """K names."""
        return self._outcome_names

    @property
    def num_outcomes(self) -> int:
        """K."""
        return len(self._outcome_names)

    @property
    def num_classes(self) -> int:
        """1 for regression, 2 for binary outcomes, C for classes."""
        return self._num_classes

    @property
    def feature_sizes(self) -> dict[str, int]:
        """Width of every `embeddings…` and `seq_embeddings…` key."""
        return dict(self._feature_sizes)

    @property
    def num_features(self) -> int:
        """D, the width of `embeddings`; 0 where there is no such key."""
        return self._feature_sizes.get("embeddings", 0)

    @property
    def feature_names(self) -> dict[str, tuple[str, ...]]:
        """Column names by key, where they are known."""
        return dict(self._feature_names)

    @property
    def folds(self) -> tuple[Any, ...] | None:
        """Each sequence's fold; None where none was given."""
        return self._folds

    @property
    def time_axis(self) -> TimeAxis | None:
        """What a step number means; None where steps were given as numbers."""
        return self._time_axis

    @property
    def horizon(self) -> int:
        """How many steps after its inputs a step's outcome was observed."""
        return self._horizon

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of steps of every sequence. Shape: (len,)."""
        return np.array([len(item["time_ids"]) for item in self._items], dtype=np.int64)

    def select(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> "LongitudinalDataset":
        """The sequences at these places, in this order; arrays are shared, not copied."""
        items = [self._items[int(index)] for index in indices]
        folds = None if self._folds is None else tuple(self._folds[int(index)] for index in indices)
        return self._with(items, folds)

    def with_values(self, values: Mapping[str, Sequence[Any]]) -> "LongitudinalDataset":
        """Replace or add keys.

        Args:
            values: For each key one value a sequence, as an item holds it.

        Raises:
            ValueError: not one value a sequence, or an unfit one.
        """
        for key, column in values.items():
            if len(column) != len(self):
                raise ValueError(f"'{key}' has {len(column)} values for {len(self)} sequences")
        names = list(self.sequence_names)
        rows = [{**item, "seq_id": name} for item, name in zip(self._items, names, strict=True)]
        changes = [{key: column[row] for key, column in values.items()} for row in range(len(self))]
        checked = [_checked(row, {**rows[row], **changes[row]}) for row in range(len(self))]
        _check_alike(checked, names)
        items = [
            _lock({**one.as_dict(), "seq_id": item["seq_id"]}) for one, item in zip(checked, self._items, strict=True)
        ]
        dataset = self._with(items, self._folds)
        dataset.__dict__["_feature_sizes"] = _feature_sizes(items[0]) if items else self.feature_sizes
        if items and "outcomes" in items[0] and items[0]["outcomes"].shape[1] != self.num_outcomes:
            raise ValueError(f"{items[0]['outcomes'].shape[1]} outcomes in place of {self._outcome_names}")
        return dataset

    def check_classes(self, num_classes: int) -> None:
        """Refuse an observed outcome that is no class.

        Args:
            num_classes: 1 allows everything, 2 the values 0 and 1, C the classes 0 … C - 1.

        Raises:
            ValueError: names the outcome, the sequence, the step and the value.
        """
        check_classes(self._items, self.sequence_names, self._outcome_names, num_classes)

    def _with(self, items: list[dict[str, Any]], folds: tuple[Any, ...] | None) -> "LongitudinalDataset":
        dataset = copy.copy(self)
        dataset.__dict__.update(_items=items, _folds=folds)
        return dataset


def _checked(position: int, sequence: Any, most_steps: int | None = None) -> SequenceArrays:
    if isinstance(sequence, SequenceArrays):
        return sequence
    try:
        arrays = sequence_arrays(sequence)
        return arrays if most_steps is None else on_full_grid(arrays, most_steps=most_steps)
    except (TypeError, ValueError) as error:
        name = sequence.get("seq_id", sequence.get("seq_idx", position)) if isinstance(sequence, Mapping) else position
        raise type(error)(f"sequence {name!r}: {error}") from error


def _name(position: int, arrays: SequenceArrays) -> SequenceName:
    name = next((arrays.whole[key] for key in SEQUENCE_IDS if key in arrays.whole), position)
    return name if isinstance(name, int | str) else str(name)


def _check_alike(sequences: list[SequenceArrays], names: list[SequenceName]) -> None:
    """All sequences have the same keys and widths, and names of their own."""
    seen: set[SequenceName] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"two sequences are called {name!r}; each needs a name of its own")
        seen.add(name)
    first = _described(sequences[0]) if sequences else {}
    for one, name in zip(sequences, names, strict=True):
        own = _described(one)
        if first != own:
            raise ValueError(f"sequences need the same keys and widths: {names[0]!r} has {first}, {name!r} has {own}")


def _described(one: SequenceArrays) -> dict[str, Any]:
    widths = {key: values.shape[1:] for key, values in one.steps.items() if key not in ("time_ids", "oots_mask")}
    once = {key: np.shape(value) for key, value in one.whole.items() if key not in (*SEQUENCE_IDS, "ooss_mask")}
    return dict(sorted({**widths, **once}.items()))


def _feature_sizes(item: Mapping[str, Any]) -> dict[str, int]:
    return {key: value.shape[-1] for key, value in item.items() if is_feature_key(key) or is_sequence_feature_key(key)}


def _lock(item: dict[str, Any]) -> dict[str, Any]:
    for value in item.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return item
