"""Turn a list of tokenized windows into one batch: pad, chain, stack, straight into preallocated tensors.

Shape legend: B windows, N tokens of one window, T tokens of the longest one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from nd_data.batch_form import PendingWindows
from nd_data.collate_marks import (
    BatchTracker,
    Chained,
    Padded,
    chain,
    mark_name,
    pad,
    pad8,
    track_batch,
    track_mask,
    track_mask8,
)
from nd_data.same_kind import has_members, mapping_like, sequence_like
from nd_data.travelling_batch import goes_straight, prepared_to_travel

__all__ = [
    "BatchTracker",
    "Chained",
    "Padded",
    "chain",
    "collate",
    "pad",
    "pad8",
    "track_batch",
    "track_mask",
    "track_mask8",
]


def collate(batch: Sequence[Any]) -> Any:
    """Make one batch of a list of windows that share a structure.

    What is wrapped in `pad`, `pad8`, `chain`, `track_mask`, `track_mask8` or `track_batch` follows its mark; for
    everything else the result is that of torch's ``default_collate``: arrays and tensors of one shape are stacked,
    floats become float64, integers int64, strings stay a list, mappings and sequences are collated member by member and
    keep their kind (a tuple without names becomes a list).

    Args:
        batch: B windows. Where a `Dataset` hands over windows whose tokenizer has a batch form
            (see `nd_data.batch_form`), that one makes the batch, which is the same.

    Returns:
        The structure of one window with tensors for leaves. dtypes are kept; where windows differ, the wider one is
        taken, and windows without any element do not count. A worker of a DataLoader gets a dictionary that reaches the
        main process as a plain one, at a fraction of the usual cost (see `nd_data.travelling_batch`).

    Raises:
        TypeError: something cannot be collated, or a mark inside another mark.
        ValueError: an empty batch, or windows that differ in structure or in shape. A note says under which key.

    Example:
        >>> windows = [{"time": pad8(np.arange(2.0)), "name": "a"}, {"time": pad8(np.arange(3.0)), "name": "b"}]
        >>> batch = collate(windows)
        >>> batch["time"].shape, batch["name"]
        (torch.Size([2, 8]), ['a', 'b'])
    """
    if len(batch) == 0:
        raise ValueError("cannot collate an empty batch")
    whole = batch.batch() if type(batch) is PendingWindows else None
    if whole is None:
        samples = batch.tokens() if type(batch) is PendingWindows else batch
        whole = _collate(samples, range(len(samples)), _stack)
    if get_worker_info() is None:
        return whole
    return prepared_to_travel(whole, straight=goes_straight(2))


_PLAIN = (str, bytes, bool, int, float, np.generic)
_ONLY_ARRAYS = {np.ndarray}

# A recipe turns the leaves of B windows into one; windows are numbered by their place in the batch, which `chain` with
# missing keys needs for `track_batch`.
_Recipe = Callable[[Sequence[Any], Sequence[int]], Any]


def _collate(samples: Sequence[Any], windows: Sequence[int], recipe: _Recipe) -> Any:
    first = samples[0]
    kind = type(first)
    if kind is Padded or kind is Chained or kind is BatchTracker:
        return _collate_marked(samples, windows, recipe)
    if isinstance(first, Mapping):
        return _collate_mapping(samples, windows, recipe)
    if has_members(first):
        return _collate_sequence(samples, windows, recipe)
    return recipe(samples, windows)


def _collate_marked(samples: Sequence[Any], windows: Sequence[int], recipe: _Recipe) -> Any:
    first = samples[0]
    kind = type(first)
    if len(set(map(type, samples))) > 1:
        window, sample = next(
            (window, sample) for window, sample in zip(windows, samples, strict=True) if type(sample) is not kind
        )
        raise ValueError(
            f"windows must mark a member alike: {mark_name(first)} in window {windows[0]}, {mark_name(sample)} in "
            f"window {window}"
        )
    if isinstance(first, BatchTracker):
        if recipe is not _stack and recipe is not _concatenate:
            raise TypeError("track_batch(...) inside pad(...): what is padded needs track_mask instead")
        return torch.from_numpy(np.repeat(np.asarray(windows), [sample.length for sample in samples]))
    if recipe is not _stack:
        raise TypeError(f"{mark_name(first)} inside another pad(...) or chain(...): mark a member once")
    if isinstance(first, Padded):
        multiples = {sample.multiple for sample in samples}
        if len(multiples) > 1:
            raise ValueError(f"windows must mark a member alike: padded to multiples of {sorted(multiples)}")
        return _collate(
            [sample.obj for sample in samples], windows, _PAD_RECIPES.get(first.multiple) or _padding(first)
        )
    if any(sample.allow_missing_keys != first.allow_missing_keys for sample in samples):
        raise ValueError("windows must mark a member alike: some allow missing keys in chain(...), some do not")
    objects = [sample.obj for sample in samples]
    if not first.allow_missing_keys:
        return _collate(objects, windows, _concatenate)
    keys = dict.fromkeys(key for obj in objects for key in obj)
    having = {key: [row for row, obj in enumerate(objects) if key in obj] for key in keys}
    return {
        key: _member(key, [objects[row][key] for row in rows], [windows[row] for row in rows], _concatenate)
        for key, rows in having.items()
    }


def _collate_mapping(samples: Sequence[Any], windows: Sequence[int], recipe: _Recipe) -> Mapping[Any, Any]:
    first = samples[0]
    keys = first.keys()
    for sample, window in zip(samples, windows, strict=True):
        if not isinstance(sample, Mapping) or sample.keys() != keys:
            found = sorted(map(str, sample)) if isinstance(sample, Mapping) else type(sample).__name__
            raise ValueError(
                f"windows must have the same keys: window {windows[0]} has {sorted(map(str, keys))}, window "
                f"{window} has {found}. Use chain(..., allow_missing_keys=True) where a window may lack one."
            )
    members = {key: _member(key, [sample[key] for sample in samples], windows, recipe) for key in keys}
    return mapping_like(first, members)


def _collate_sequence(samples: Sequence[Any], windows: Sequence[int], recipe: _Recipe) -> Any:
    first = samples[0]
    for sample, window in zip(samples, windows, strict=True):
        if not has_members(sample) or len(sample) != len(first):
            found = f"{len(sample)} members" if has_members(sample) else type(sample).__name__
            raise ValueError(
                f"windows must have lists of the same length: window {windows[0]} has {len(first)} members, window "
                f"{window} has {found}. Use an array with pad(...) or chain(...) for what varies in length."
            )
    members = [_member(i, list(column), windows, recipe) for i, column in enumerate(zip(*samples, strict=True))]
    return sequence_like(first, members)


def _member(key: Any, samples: Sequence[Any], windows: Sequence[int], recipe: _Recipe) -> Any:
    try:
        return _collate(samples, windows, recipe)
    except (TypeError, ValueError) as error:
        error.add_note(f"while collating member {key!r} of the windows")
        raise


def _stack(samples: Sequence[Any], windows: Sequence[int]) -> Any:
    first = samples[0]
    if isinstance(first, _PLAIN):
        return _plain(samples)
    if _are_arrays(samples) and first.ndim:
        shape = first.shape
        if all(sample.shape == shape for sample in samples):
            stacked = _joined(samples, len(samples) * shape[0], shape[1:])
            if stacked is not None:
                return torch.from_numpy(stacked.reshape(len(samples), *shape))
    arrays = _tensors_or_arrays(samples, windows)
    shapes = {tuple(array.shape) for array in arrays}
    if len(shapes) > 1:
        raise ValueError(
            f"windows must have arrays of one shape to be stacked, got {sorted(shapes)}. Wrap what varies in length in "
            "pad(...), pad8(...) or chain(...)."
        )
    if isinstance(arrays[0], Tensor):
        return torch.stack(_promoted(arrays))
    return torch.from_numpy(np.stack(arrays, dtype=_common_dtype(arrays), casting="unsafe"))


def _concatenate(samples: Sequence[Any], windows: Sequence[int]) -> Any:
    first = samples[0]
    if isinstance(first, _PLAIN):
        return _plain(samples)
    if _are_arrays(samples) and first.ndim:
        chained = _joined(samples, sum(map(len, samples)), first.shape[1:])
        if chained is not None:
            return torch.from_numpy(chained)
    arrays = _tensors_or_arrays(samples, windows)
    _check_trailing_shapes(arrays, windows)
    if isinstance(arrays[0], Tensor):
        return torch.cat(_promoted(arrays))
    return torch.from_numpy(np.concatenate(arrays, dtype=_common_dtype(arrays), casting="unsafe"))


def _pad_to_multiple(multiple: int, samples: Sequence[Any], windows: Sequence[int]) -> Any:
    first = samples[0]
    if isinstance(first, _PLAIN):
        return _plain(samples)
    if _are_arrays(samples) and first.ndim:
        lengths = list(map(len, samples))
        longest = -(-max(lengths) // multiple) * multiple
        trailing = first.shape[1:]
        # One pass over the batch: the windows and the zeros between them are joined.
        zeros = np.zeros((longest - min(lengths), *trailing), dtype=first.dtype)
        pieces: list[NDArray[Any]] = []
        for sample, length in zip(samples, lengths, strict=True):
            pieces.append(sample)
            if length < longest:
                pieces.append(zeros[: longest - length])
        joined = _joined(pieces, len(samples) * longest, trailing)
        if joined is not None:
            return torch.from_numpy(joined.reshape(len(samples), longest, *trailing))
    arrays = _tensors_or_arrays(samples, windows)
    _check_trailing_shapes(arrays, windows)
    lengths = [len(array) for array in arrays]
    longest = -(-max(lengths) // multiple) * multiple
    shape = (len(arrays), longest, *arrays[0].shape[1:])
    if isinstance(arrays[0], Tensor):
        arrays = _promoted(arrays)
        padded_tensor = arrays[0].new_zeros(shape)
        for row, (array, length) in enumerate(zip(arrays, lengths, strict=True)):
            padded_tensor[row, :length] = array
        return padded_tensor
    padded = np.zeros(shape, dtype=_common_dtype(arrays))
    for row, (array, length) in enumerate(zip(arrays, lengths, strict=True)):
        padded[row, :length] = array
    return torch.from_numpy(padded)


def _padding(mark: Padded) -> _Recipe:
    return lambda samples, windows: _pad_to_multiple(mark.multiple, samples, windows)


_PAD_RECIPES: dict[int, _Recipe] = {multiple: _padding(Padded(None, multiple)) for multiple in (1, 8)}


def _are_arrays(samples: Sequence[Any]) -> bool:
    # The usual case by far: arrays of numbers, of which the first tells the dtype.
    return set(map(type, samples)) == _ONLY_ARRAYS and samples[0].dtype.kind in "biufc"


def _joined(pieces: Sequence[NDArray[Any]], length: int, trailing: tuple[int, ...]) -> NDArray[Any] | None:
    # Arrays that differ in the first axis only, one after the other in a new array; None where they differ otherwise.
    joined = np.empty((length, *trailing), dtype=pieces[0].dtype.newbyteorder("="))
    try:
        return np.concatenate(pieces, out=joined, casting="equiv")
    except (TypeError, ValueError):
        return None


def _plain(samples: Sequence[Any]) -> Any:
    return list(samples) if isinstance(samples[0], (str, bytes)) else _numbers(samples)


def _numbers(samples: Sequence[Any]) -> Tensor:
    values = np.asarray(samples)
    if values.dtype.kind not in "biufc":
        raise TypeError(f"cannot collate numbers with {sorted({type(sample).__name__ for sample in samples})}")
    return torch.from_numpy(values)


def _tensors_or_arrays(samples: Sequence[Any], windows: Sequence[int]) -> list[Any]:
    """All tensors if one is, else all arrays; refuses what is neither."""
    if all(isinstance(sample, np.ndarray) and sample.dtype.kind in "biufc" for sample in samples):
        return list(samples)
    for sample, window in zip(samples, windows, strict=True):
        if isinstance(sample, Tensor):
            continue
        if not isinstance(sample, np.ndarray) or sample.dtype.kind not in "biufc":
            found = f"array of {sample.dtype}" if isinstance(sample, np.ndarray) else type(sample).__name__
            raise TypeError(
                f"cannot collate {found} (window {window}); expected arrays or tensors of numbers, numbers, strings, "
                "or dictionaries, lists and tuples of them. Is a tokenizer missing at the end of the transform?"
            )
    return [sample if isinstance(sample, Tensor) else torch.from_numpy(sample.copy()) for sample in samples]


def _check_trailing_shapes(arrays: Sequence[Any], windows: Sequence[int]) -> None:
    trailing = arrays[0].shape[1:]
    for array, window in zip(arrays, windows, strict=True):
        if array.ndim == 0:
            raise ValueError(f"cannot pad or chain an array without axes (window {window}); wrap it in a 1-D array")
        if array.shape[1:] != trailing:
            raise ValueError(
                f"windows may differ in the first axis only: window {windows[0]} has shape {tuple(arrays[0].shape)}, "
                f"window {window} has {tuple(array.shape)}"
            )


def _common_dtype(arrays: Sequence[NDArray[Any]]) -> np.dtype[Any]:
    dtype = arrays[0].dtype
    if all(array.dtype == dtype for array in arrays):
        return dtype.newbyteorder("=")
    # `np.array([])` is float64: a window without elements must not turn indices into floats.
    return np.result_type(*({array.dtype for array in arrays if array.size} or {dtype})).newbyteorder("=")


def _promoted(arrays: Sequence[Tensor]) -> list[Tensor]:
    dtype = arrays[0].dtype
    if all(array.dtype == dtype for array in arrays):
        return list(arrays)
    kinds = [array.dtype for array in arrays if array.numel()] or [dtype]
    dtype = kinds[0]
    for kind in kinds[1:]:
        dtype = torch.promote_types(dtype, kind)
    return [array.to(dtype) for array in arrays]
