"""From a long table to sequences: who has which column, rows in order, gaps filled, outcomes moved by the horizon.

Shapes: R rows of the table, T steps of one sequence, K outcomes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nd_data.longitudinal.infill import on_full_grid
from nd_data.longitudinal.sequence_arrays import SequenceArrays, sequence_arrays
from nd_data.longitudinal.sequence_keys import mask_key_of
from nd_data.longitudinal.table_columns import (
    as_names,
    check_columns,
    names_of_rows,
    number_columns,
    read_table,
    step_numbers,
    whole_numbers,
)
from nd_data.longitudinal.time_axis import TimeAxis

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class TableRoles:
    """Which column plays which part; the arguments of `LongitudinalDataset.from_table`."""

    sequence: str
    time: str | Mapping[str, int]
    outcomes: str | Sequence[str]
    features: Sequence[str] | Mapping[str, Sequence[str]] | None = None
    sequence_features: Mapping[str, Sequence[str]] | None = None
    query: str | None = None
    fold: str | None = None
    out_of_time: str | None = None
    time_step: Any = None
    horizon: int = 0
    missing_when: str = "all"
    without_time: str = "error"


@dataclass(frozen=True, slots=True)
class TableParts:
    """What a table gave: the sequences and how their columns are called."""

    sequences: list[SequenceArrays]
    outcome_names: tuple[str, ...]
    feature_names: dict[str, tuple[str, ...]]
    time_axis: TimeAxis | None


def sequences_of_table(table: Any, roles: TableRoles, most_steps: int | None) -> TableParts:
    """Cut a table into checked sequences; see `LongitudinalDataset.from_table`.

    Args:
        table: A data frame or the path of a file.
        roles: Which column is what.
        most_steps: The longest sequence that is believed when gaps are filled; None leaves the gaps.
    """
    frame = read_table(table)
    outcomes = as_names(roles.outcomes)
    _check_roles(frame, roles, outcomes)
    features = _features(frame, roles, outcomes)
    if roles.without_time == "drop":
        frame = frame.dropna(subset=list(_time_columns(roles)))
    if len(frame) == 0:
        raise ValueError("the table has no rows")
    codes, names = names_of_rows(frame[roles.sequence], f"sequence column {roles.sequence!r}")
    time_ids, axis = step_numbers(frame, roles.time, roles.time_step)
    columns: dict[str, NDArray[Any]] = {"time_ids": time_ids}
    for key, wanted in features.items():
        columns[key] = number_columns(frame, wanted, "feature")
        missing = np.isnan(columns[key])
        columns[mask_key_of(key)] = missing.any(axis=1) if roles.missing_when == "any" else missing.all(axis=1)
    if outcomes:
        columns["outcomes"] = number_columns(frame, outcomes, "outcome")
    if roles.query is not None:
        columns["query_ids"] = whole_numbers(frame[roles.query], f"query column {roles.query!r}")
    if roles.out_of_time is not None:
        columns["oots_mask"] = whole_numbers(frame[roles.out_of_time], f"out-of-time column {roles.out_of_time!r}")
    whole = _constant_columns(frame, roles, codes, names)
    order = np.lexsort((time_ids, codes))
    columns = {key: values[order] for key, values in columns.items()}
    bounds = np.append(np.flatnonzero(np.diff(codes[order], prepend=-1)), len(order))
    sequences = []
    for row, name in enumerate(names):
        rows = slice(bounds[row], bounds[row + 1])
        once = {"seq_id": name, **{key: values[row] for key, values in whole.items()}}
        try:
            sequences.append(
                _one_sequence({key: values[rows] for key, values in columns.items()}, once, roles, most_steps)
            )
        except ValueError as error:
            raise ValueError(f"sequence {name!r} of column {roles.sequence!r}: {error}") from error
    return TableParts(sequences, outcomes, features, axis)


def _check_roles(frame: "pd.DataFrame", roles: TableRoles, outcomes: tuple[str, ...]) -> None:
    times = _time_columns(roles)
    check_columns(frame, [roles.sequence], "sequence")
    check_columns(frame, times, "time")
    check_columns(frame, outcomes, "outcome")
    for role, name in (("query", roles.query), ("fold", roles.fold), ("out-of-time", roles.out_of_time)):
        check_columns(frame, as_names(name), role)
    if not times:
        raise ValueError("time names no column")
    if len(set(outcomes)) < len(outcomes):
        raise ValueError(f"an outcome is named twice: {outcomes}")
    for name in outcomes:
        if name in {roles.sequence, *times}:
            raise ValueError(f"column {name!r} is an outcome and names the sequence or the time; it can be only one")
    if type(roles.horizon) is not int or roles.horizon < 0:
        raise ValueError(f"horizon must be a whole number of steps from 0 on, got {roles.horizon!r}")
    if roles.missing_when not in ("all", "any"):
        raise ValueError(f"missing_when must be 'all' or 'any', got {roles.missing_when!r}")
    if roles.without_time not in ("error", "drop"):
        raise ValueError(f"without_time must be 'error' or 'drop', got {roles.without_time!r}")


def _time_columns(roles: TableRoles) -> tuple[str, ...]:
    return (roles.time,) if isinstance(roles.time, str) else tuple(roles.time)


def _features(frame: "pd.DataFrame", roles: TableRoles, outcomes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Columns by `embeddings…` key."""
    once = [name for names in (roles.sequence_features or {}).values() for name in as_names(names)]
    check_columns(frame, once, "sequence feature")
    if roles.features is None:
        taken = {roles.sequence, *_time_columns(roles), *outcomes, *once, roles.query, roles.fold, roles.out_of_time}
        rest = tuple(str(column) for column in frame.columns if column not in taken)
        for name in rest:
            if not _holds_numbers(frame, name):
                raise ValueError(
                    f"features=None takes every column without another role, but {name!r} holds {frame[name].dtype}, "
                    f"no numbers; list the features, e.g. features={[n for n in rest if _holds_numbers(frame, n)][:8]}"
                )
        groups = {"": (*(outcomes if roles.horizon > 0 else ()), *rest)}
    elif isinstance(roles.features, Mapping):
        groups = {str(group): as_names(names) for group, names in roles.features.items()}
    else:
        groups = {"": as_names(roles.features)}
    features = {f"embeddings_{group}" if group else "embeddings": names for group, names in groups.items()}
    for key, names in features.items():
        if not names:
            raise ValueError(f"no feature column for '{key}'; columns: {[str(column) for column in frame.columns]}")
        check_columns(frame, names, "feature")
        answers = [name for name in names if name in outcomes]
        if answers and roles.horizon == 0:
            raise ValueError(
                f"outcome {answers[0]!r} is also a feature of the same step, which gives the answer away; set "
                "horizon=1 to forecast the next step from it, or leave it out of the features"
            )
    return features


def _holds_numbers(frame: "pd.DataFrame", name: str) -> bool:
    import pandas as pd

    column = frame[name]
    return bool(pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column) or column.dtype == object)


def _constant_columns(
    frame: "pd.DataFrame", roles: TableRoles, codes: NDArray[np.int64], names: list[Any]
) -> dict[str, list[Any]]:
    """What each sequence has once: its fold and its features; refuses what changes within a sequence."""
    whole: dict[str, list[Any]] = {}
    if roles.fold is not None:
        fold_codes, folds = names_of_rows(frame[roles.fold], f"fold column {roles.fold!r}")
        rows = _one_row_each(codes, fold_codes[:, None], names, f"fold column {roles.fold!r}")
        whole["fold"] = [folds[fold_codes[row]] for row in rows]
    for group, wanted in (roles.sequence_features or {}).items():
        columns = as_names(wanted)
        values = number_columns(frame, columns, "sequence feature")
        if np.isnan(values).any():
            row, column = np.argwhere(np.isnan(values))[0]
            raise ValueError(f"sequence feature column {columns[column]!r} lacks a value in row {row}")
        rows = _one_row_each(codes, values, names, f"sequence feature columns {list(columns)}")
        whole[f"seq_embeddings_{group}" if group else "seq_embeddings"] = list(values[rows])
    return whole


def _one_row_each(codes: NDArray[np.int64], values: NDArray[Any], names: list[Any], role: str) -> NDArray[np.int64]:
    """The first row of each sequence, once it is sure that the others say the same."""
    _, first = np.unique(codes, return_index=True)
    differs = (values != values[first][codes]).any(axis=1)
    if differs.any():
        name = names[codes[int(np.argmax(differs))]]
        found = np.unique(values[codes == codes[int(np.argmax(differs))]], axis=0).shape[0]
        raise ValueError(f"{role}: sequence {name!r} has {found} different values, expected one a sequence")
    return first


def _one_sequence(
    columns: dict[str, NDArray[Any]], once: dict[str, Any], roles: TableRoles, most_steps: int | None
) -> SequenceArrays:
    arrays = sequence_arrays({**columns, **once})
    if most_steps is not None:
        arrays = on_full_grid(arrays, most_steps=most_steps)
    if roles.horizon == 0:
        return arrays
    steps = dict(arrays.steps)
    for key in ("outcomes", "outcomes_mask", "oots_mask"):
        if key in steps:
            steps[key] = _earlier(steps[key], roles.horizon, padding=False if key == "outcomes_mask" else None)
    return SequenceArrays(steps, arrays.whole)


def _earlier(values: NDArray[Any], horizon: int, *, padding: bool | None) -> NDArray[Any]:
    """What is known `horizon` steps later; behind the end, the padding or else the last value."""
    steps = np.arange(len(values)) + horizon
    moved: NDArray[Any] = values[np.minimum(steps, len(values) - 1)]
    if padding is not None:
        moved[steps >= len(values)] = padding
    return moved
