"""From what a caller has of one sequence to checked arrays: shapes, dtypes, masks, order.

Shapes: T steps of one sequence, D features, K outcomes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nd_data.longitudinal.carrying import carry_forward
from nd_data.longitudinal.sequence_keys import (
    NUMBER_KEYS,
    is_feature_key,
    is_sequence_feature_key,
    mask_key_of,
    named_step_rule,
    step_rule,
)

MOST_STEPS = 100_000
"""A grid longer than this is taken for a mistake, such as seconds in place of steps."""


@dataclass(frozen=True, slots=True)
class SequenceArrays:
    """One sequence: `steps` has arrays of shape (T, ...) with ascending `time_ids`, `whole` what it has once."""

    steps: dict[str, NDArray[Any]]
    whole: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Both in one mapping, what the sequence has once first."""
        return {**self.whole, **self.steps}


def sequence_arrays(sequence: Mapping[str, Any]) -> SequenceArrays:
    """Check one sequence and bring it into the form that datasets keep.

    `labels` becomes `outcomes`; features and outcomes of shape (T,) become (T, 1); missing values (NaN) are masked and
    carry the last observed value, 0 before any; steps are sorted by `time_ids`.

    Args:
        sequence: Arrays, tensors or nested lists under the keys of the batch.

    Returns:
        New arrays; the given ones stay as they were.

    Raises:
        TypeError: not a mapping, or values that are no numbers.
        ValueError: no steps, lengths that differ, an infinite value, or a step number that comes twice.
    """
    if not isinstance(sequence, Mapping):
        raise TypeError(f"a sequence is a mapping of arrays, got {type(sequence).__name__}")
    given, whole = _sorted_out(sequence)
    steps = _of_one_length(given)
    time_ids = steps.get("time_ids")
    if time_ids is None:
        steps["time_ids"] = np.arange(len(next(iter(steps.values()))), dtype=np.int64)
    else:
        steps = _in_order(time_ids, steps)
    for key in [key for key in steps if is_feature_key(key)]:
        _carry_features(key, steps)
    if "outcomes" in steps:
        _carry_outcomes(steps)
    elif "outcomes_mask" in steps:
        raise ValueError("'outcomes_mask' without 'outcomes'")
    return SequenceArrays(steps, whole)


def _sorted_out(sequence: Mapping[str, Any]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What has a value a step, and what a sequence has once."""
    if "labels" in sequence and "outcomes" in sequence:
        raise ValueError("'labels' is the older name of 'outcomes': give one of the two")
    steps: dict[str, NDArray[Any]] = {}
    whole: dict[str, Any] = {}
    for given_key, value in sequence.items():
        key = "outcomes" if given_key == "labels" else str(given_key)
        if key in NUMBER_KEYS:
            whole[key] = one_value(key, value)
        elif is_sequence_feature_key(key):
            whole[key] = _sequence_features(key, value)
        elif isinstance(value, str) or not hasattr(value, "__len__") or getattr(value, "ndim", 1) == 0:
            whole[key] = one_value(key, value)
        else:
            steps[key] = _numbers(key, value)
    if not steps:
        raise ValueError(f"no key with a value a step, expected 'embeddings' or 'outcomes'; found {sorted(sequence)}")
    return steps, whole


def one_value(key: str, value: Any) -> Any:
    """A number or text that came alone, in an array of one element or in a list of one."""
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.size != 1:
        raise ValueError(f"'{key}' holds {array.size} values, expected one a sequence")
    item = array.reshape(-1)[0]
    item = item.item() if isinstance(item, np.generic) else item
    if key == "ooss_mask" and item not in (0, 1):
        raise ValueError(f"'ooss_mask' is {item!r}, expected 0 or 1")
    return int(item) if isinstance(item, bool) else item


def _sequence_features(key: str, value: Any) -> NDArray[np.float32]:
    values = _numbers(key, value).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"'{key}' holds a value that is missing or infinite; what a sequence has once must be there")
    return np.atleast_1d(values)


def _numbers(key: str, value: Any) -> NDArray[Any]:
    """A new array of numbers; None in a list is a missing value."""
    if isinstance(value, Tensor):
        array = value.detach().cpu().numpy().copy()
    else:
        try:
            array = np.array(value)
        except ValueError:
            raise ValueError(f"'{key}' has rows of different lengths, expected one shape a step") from None
    if array.dtype.kind == "O":
        try:
            array = np.array(value, dtype=np.float64)
        except (TypeError, ValueError):
            raise TypeError(f"'{key}' holds something that is no number, in {_shortened(value)}") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"'{key}' holds {array.dtype}, expected numbers")
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise ValueError(f"'{key}' holds an infinite value in row {_first(np.isinf(array))}; missing values are NaN")
    return array


def _of_one_length(given: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    lengths = {key: len(values) for key, values in given.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"a sequence has one length, found {lengths}")
    if 0 in lengths.values():
        raise ValueError("a sequence without any step; leave it out")
    return {key: _typed(key, values) for key, values in given.items()}


def _typed(key: str, values: NDArray[Any]) -> NDArray[Any]:
    rule = step_rule(key, values)
    if rule.dtype.kind == "f":
        with np.errstate(over="ignore"):
            wide = values.astype(rule.dtype, copy=False)
        if np.isinf(wide).any():
            raise ValueError(
                f"'{key}' holds {values.reshape(-1)[np.isinf(wide).reshape(-1)][0]}, too large for float32"
            )
        columns = is_feature_key(key) or key == "outcomes"
        if columns and wide.ndim > 2:
            raise ValueError(f"'{key}' has shape {wide.shape}, expected (steps, columns)")
        return wide[:, None] if columns and wide.ndim == 1 else wide
    if values.dtype.kind == "f" and not np.array_equal(values, np.trunc(values)):
        odd = values.reshape(-1)[(values != np.trunc(values)).reshape(-1)][0]
        raise ValueError(f"'{key}' holds {odd}, expected {'whole numbers' if rule.dtype.kind == 'i' else '0 or 1'}")
    if rule.dtype.kind == "b":
        if values.dtype.kind != "b" and not ((values == 0) | (values == 1)).all():
            raise ValueError(f"'{key}' holds {values[(values != 0) & (values != 1)][0]}, expected 0 or 1")
        if values.ndim > 1 and key != "outcomes_mask" and named_step_rule(key) is not None:
            raise ValueError(f"'{key}' has shape {values.shape}, expected one value a step")
    return values.astype(rule.dtype, copy=False)


def _in_order(time_ids: NDArray[np.int64], steps: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    if time_ids.ndim != 1:
        raise ValueError(f"'time_ids' has shape {time_ids.shape}, expected one step number a row")
    forward = np.diff(time_ids)
    if (forward > 0).all():
        return steps
    order = np.argsort(time_ids, kind="stable")
    in_order = time_ids[order]
    repeated = in_order[1:][np.diff(in_order) == 0]
    if repeated.size:
        rows = np.flatnonzero(time_ids == repeated[0]).tolist()
        raise ValueError(
            f"step {repeated[0]} comes {len(rows)} times, in rows {rows}; expected each step once. Aggregate the rows "
            "of a step first, or use shorter steps."
        )
    return {key: values[order] for key, values in steps.items()}


def _carry_features(key: str, steps: dict[str, NDArray[Any]]) -> None:
    missing = np.isnan(steps[key])
    mask_key = mask_key_of(key)
    if missing.any():
        steps[key] = carry_forward(steps[key], ~missing)
    if mask_key not in steps:
        steps[mask_key] = missing.all(axis=1)
    elif missing.any():
        steps[mask_key] = steps[mask_key] | missing.all(axis=1)


def _carry_outcomes(steps: dict[str, NDArray[Any]]) -> None:
    outcomes = steps["outcomes"]
    there = ~np.isnan(outcomes)
    given = steps.get("outcomes_mask")
    if given is not None and given.shape != outcomes.shape:
        if given.shape not in {outcomes.shape[:1], (len(outcomes), 1)}:
            raise ValueError(f"'outcomes_mask' has shape {given.shape}, expected that of 'outcomes', {outcomes.shape}")
        given = np.broadcast_to(given.reshape(-1, 1), outcomes.shape)
    observed = there if given is None else given & there
    if not there.all():
        carried = carry_forward(outcomes, observed)
        steps["outcomes"] = np.where(there, outcomes, carried)
    steps["outcomes_mask"] = observed


def _first(flags: NDArray[np.bool_]) -> int:
    return int(np.argwhere(flags)[0][0])


def _shortened(value: Any, *, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else text[:most] + "…"
