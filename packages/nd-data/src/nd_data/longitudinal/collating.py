"""One batch of several sequences, padded to the longest.

Shapes: B sequences, T steps of the longest one, D features, K outcomes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nd_data.longitudinal.sequence_arrays import SequenceArrays, sequence_arrays
from nd_data.longitudinal.sequence_keys import SEQUENCE_IDS, step_rule


def collate_sequences(
    features: Sequence[Mapping[str, Any]], *, partition: str = "val", predict_last_valid_timestep: bool = False
) -> dict[str, Any]:
    """Make one batch. The sequences stay as they were.

    Args:
        features: Items of a `LongitudinalDataset`, or mappings such as it takes.
        partition: `"train"` cuts all sequences behind the last step that is in time for any of them; steps that are out
            of time before that stay, marked. Any other name keeps every step.
        predict_last_valid_timestep: Tell the model to predict at the last valid step only.

    Returns:
        Tensors. A step each: `embeddings`, `embeddings_<name>` (B, T, D) float32, padded with 0; `outcomes` (B, T, K)
        float32, padded with 0; `outcomes_mask` (B, T, K) bool, True = observed; `mask`, `mask_<name>` (B, T) bool,
        True = missing or padding; `pad_mask` (B, T) bool, True = padding; `oots_mask` (B, T) bool, True = out of time
        or padding; `time_ids`, `query_ids` (B, T) int64, padded with -1. Once a sequence: `ooss_mask`, `seq_id` (B, 1)
        int64, `seq_embeddings_<name>` (B, D) float32. And `predict_last_valid_hidden_state`, where it was asked for.

    Raises:
        ValueError: no sequences, keys or widths that differ, or an unfit sequence; names its place.

    >>> batch = collate_sequences([{"embeddings": [[1.0], [2.0]], "outcomes": [3.0, 4.0]},
    ...                            {"embeddings": [[5.0]], "outcomes": [6.0]}])
    >>> batch["embeddings"][..., 0].tolist(), batch["pad_mask"].tolist()
    ([[1.0, 2.0], [5.0, 0.0]], [[False, False], [False, True]])
    """
    if len(features) == 0:
        raise ValueError("cannot make a batch of no sequences")
    sequences = [_prepared(place, one) for place, one in enumerate(features)]
    _check_keys(sequences)
    lengths = _lengths(sequences, cut=partition == "train")
    batch: dict[str, Any] = {
        key: _numbers(key, [one.whole[key] for one in sequences]) for key in sequences[0].whole if key != "fold"
    }
    for key in sequences[0].steps:
        batch[key] = _padded(key, [one.steps[key] for one in sequences], lengths)
    if "pad_mask" not in batch:
        steps = torch.arange(max(lengths)).expand(len(lengths), -1)
        batch["pad_mask"] = steps >= torch.tensor(lengths)[:, None]
    if predict_last_valid_timestep:
        batch["predict_last_valid_hidden_state"] = True
    return batch


def _prepared(place: int, sequence: Mapping[str, Any]) -> SequenceArrays:
    try:
        arrays = sequence_arrays(sequence)
        names = [arrays.whole[key] for key in SEQUENCE_IDS if isinstance(arrays.whole.get(key), str)]
        if names:
            raise ValueError(f"'seq_id' is the text {names[0]!r}; LongitudinalDataset gives sequences numbers")
    except (TypeError, ValueError) as error:
        raise type(error)(f"sequence {place} of the batch: {error}") from error
    arrays.whole.setdefault("ooss_mask", 0)
    arrays.steps.setdefault("oots_mask", np.zeros(len(arrays.steps["time_ids"]), dtype=np.bool_))
    return arrays


def _check_keys(sequences: list[SequenceArrays]) -> None:
    first = sequences[0]
    for place, one in enumerate(sequences):
        differing = {*first.steps, *first.whole} ^ {*one.steps, *one.whole}
        if differing:
            raise ValueError(
                f"sequences of a batch need the same keys; sequences 0 and {place} differ in {sorted(differing)}"
            )
        for key, values in one.steps.items():
            if values.shape[1:] != first.steps[key].shape[1:]:
                raise ValueError(
                    f"'{key}' has {first.steps[key].shape[1:]} values a step in sequence 0 and {values.shape[1:]} in "
                    f"sequence {place}"
                )


def _lengths(sequences: list[SequenceArrays], *, cut: bool) -> list[int]:
    """Steps that each sequence keeps; at least one, so that a batch without any step in time is still a batch."""
    lengths = [len(one.steps["time_ids"]) for one in sequences]
    if not cut:
        return lengths
    in_time = [np.flatnonzero(~one.steps["oots_mask"]) for one in sequences]
    longest = max(int(steps[-1]) + 1 if steps.size else 1 for steps in in_time)
    return [min(length, longest) for length in lengths]


def _padded(key: str, columns: list[NDArray[Any]], lengths: list[int]) -> Tensor:
    rule = step_rule(key, columns[0])
    padded = np.full((len(columns), max(lengths), *columns[0].shape[1:]), rule.padding, dtype=rule.dtype)
    for row, (values, length) in enumerate(zip(columns, lengths, strict=True)):
        padded[row, :length] = values[:length]
    return torch.from_numpy(padded)


def _numbers(key: str, values: list[Any]) -> Any:
    """What a sequence has once: text as a list, vectors as (B, D) float32, integers as (B, 1) int64."""
    if any(isinstance(value, str) or value is None for value in values):
        return values
    arrays = [np.atleast_1d(np.asarray(value)) for value in values]
    if len({array.shape for array in arrays}) > 1:
        raise ValueError(f"'{key}' has different shapes in a batch: {sorted({array.shape for array in arrays})}")
    stacked = np.stack(arrays)
    return torch.from_numpy(stacked.astype(np.float32) if stacked.dtype.kind == "f" else stacked.astype(np.int64))
