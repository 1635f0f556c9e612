"""Gaps between the steps of a sequence: found, and filled with what was observed last.

Shapes: N rows of one sequence, T steps from the first to the last of them, D features, K outcomes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nd_data.longitudinal.sequence_arrays import MOST_STEPS, SequenceArrays, sequence_arrays
from nd_data.longitudinal.sequence_keys import step_rule


def find_gaps(time_ids: ArrayLike) -> NDArray[np.int64]:
    """The steps between the first and the last that have no row.

    Args:
        time_ids: Step numbers, in any order. Shape: (N,), integer.

    Returns:
        The missing step numbers, ascending, int64.

    >>> find_gaps([5, 6, 9])
    array([7, 8])
    """
    present = np.unique(np.asarray(time_ids, dtype=np.int64))
    if present.size == 0:
        return present
    return np.setdiff1d(np.arange(present[0], present[-1] + 1), present, assume_unique=True)


def fill_gaps(sequence: Mapping[str, Any], *, most_steps: int = MOST_STEPS) -> dict[str, Any]:
    """Give a sequence one row for every step from its first to its last.

    A step without a row carries the features and the outcome that were observed last (0 before any) and is marked:
    `mask` True, `outcomes_mask` False. Ids are -1 there; `oots_mask` keeps its last value.

    Args:
        sequence: `time_ids` (default 0, 1, …), `embeddings`, `outcomes` and what else `LongitudinalDataset` knows.
            Missing values are NaN.
        most_steps: The longest grid that is believed; beyond it, step numbers are taken for something else.

    Returns:
        New arrays; what was given stays as it was.

    Raises:
        ValueError: the sequence is unfit (see `LongitudinalDataset`), or its grid would exceed `most_steps`.

    >>> filled = fill_gaps({"time_ids": [5, 6, 9], "embeddings": [[1.0], [2.0], [5.0]], "outcomes": [3.0, 0.0, 1.0]})
    >>> filled["embeddings"][:, 0].tolist(), filled["mask"].tolist()
    ([1.0, 2.0, 2.0, 2.0, 5.0], [False, False, True, True, False])
    >>> filled["outcomes_mask"][:, 0].tolist()
    [True, True, False, False, True]
    """
    return on_full_grid(sequence_arrays(sequence), most_steps=most_steps).as_dict()


def on_full_grid(arrays: SequenceArrays, *, most_steps: int = MOST_STEPS) -> SequenceArrays:
    """`fill_gaps` of a sequence that was checked."""
    time_ids = arrays.steps["time_ids"]
    first, last = int(time_ids[0]), int(time_ids[-1])
    length = last - first + 1
    if length == len(time_ids):
        return arrays
    if length > most_steps:
        jump = int(np.argmax(np.diff(time_ids)))
        raise ValueError(
            f"the steps run from {first} to {last}, which makes {length:,} of them, with a jump from "
            f"{time_ids[jump]} to {time_ids[jump + 1]}; expected at most {most_steps:,}. Are these times in seconds or "
            "dates? Give the length of a step (time_step), raise most_steps, or leave the gaps (fill_gaps=False)."
        )
    offsets = time_ids - first
    has_row = np.zeros(length, dtype=np.bool_)
    has_row[offsets] = True
    last_row = np.cumsum(has_row) - 1
    steps = {key: _regular(key, values, has_row, last_row) for key, values in arrays.steps.items()}
    steps["time_ids"] = np.arange(first, last + 1, dtype=np.int64)
    return SequenceArrays(steps, arrays.whole)


def _regular(key: str, values: NDArray[Any], has_row: NDArray[np.bool_], last_row: NDArray[np.int64]) -> NDArray[Any]:
    rule = step_rule(key, values)
    filled: NDArray[Any] = values[last_row]
    if rule.filling != "carry":
        filled[~has_row] = True if rule.filling == "true" else rule.padding
    return filled
