"""Marks that tell `collate` what to do with what they are put around: pad it, chain it, or keep track of it.

Shape legend: B windows, N tokens of one window, T tokens of the longest one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The marks are values: treat them as immutable. They are not frozen, because freezing triples the time to make one, and
# a window has a dozen.


@dataclass(slots=True)
class Padded:
    """What `pad` and `pad8` return: an object whose arrays are padded to a common length.

    Attributes:
        obj: The wrapped object.
        multiple: The common length is rounded up to a multiple of this.
    """

    obj: Any
    multiple: int = 1


@dataclass(slots=True)
class Chained:
    """What `chain` returns: an object whose arrays are concatenated over the batch.

    Attributes:
        obj: The wrapped object.
        allow_missing_keys: A window may lack keys of the wrapped dictionary.
    """

    obj: Any
    allow_missing_keys: bool = False


@dataclass(slots=True)
class BatchTracker:
    """What `track_batch` returns: a length that becomes the window's number in the batch, that many times.

    Attributes:
        length: N.
    """

    length: int


def pad(obj: Any) -> Padded:
    """Mark an array, or all arrays of a nested object, to be padded with zeros to the longest in the batch.

    Args:
        obj: Array or tensor of shape (N, …), or dictionaries, lists and tuples of them. Collated to (B, T, …).
    """
    return Padded(obj)


def pad8(obj: Any) -> Padded:
    """Like `pad`, with T rounded up to a multiple of 8, the width that tensor cores and attention kernels like.

    Args:
        obj: Array or tensor of shape (N, …), or dictionaries, lists and tuples of them. Collated to (B, T, …).
    """
    return Padded(obj, 8)


def track_mask(input: Any) -> Padded:  # noqa: A002  # the name users know
    """Mark where the padded tokens of an array are real. Collated to (B, T) bool, True for real tokens.

    Args:
        input: The array or tensor that goes through `pad`; only its length is used.
    """
    return Padded(_all_true(len(input)))


def track_mask8(input: Any) -> Padded:  # noqa: A002
    """Like `track_mask`, for an array that goes through `pad8`.

    Args:
        input: The array or tensor that goes through `pad8`; only its length is used.
    """
    return Padded(_all_true(len(input)), 8)


def chain(obj: Any, allow_missing_keys: bool = False) -> Chained:
    """Mark an array, or all arrays of a nested object, to be concatenated over the batch along the first axis.

    Args:
        obj: Array or tensor of shape (N, …), or dictionaries, lists and tuples of them. Collated to (ΣN, …).
        allow_missing_keys: ``obj`` is a dictionary that may have other keys in other windows; the values of a key are
            then concatenated over the windows that have it.

    Raises:
        TypeError: ``allow_missing_keys`` and not a dictionary.
    """
    if allow_missing_keys and not isinstance(obj, (dict, Mapping)):  # a dictionary nearly always, and sooner asked
        raise TypeError(f"allow_missing_keys needs a dictionary, got {type(obj).__name__}")
    return Chained(obj, allow_missing_keys)


def track_batch(input: Any) -> BatchTracker:  # noqa: A002
    """Mark which window each element of a chained array came from. Collated to (ΣN,) int64, counted from 0.

    Args:
        input: The array or tensor that goes through `chain`; only its length is used.
    """
    return BatchTracker(len(input))


def mark_name(mark: Any) -> str:
    """What the user wrote to get a mark."""
    if isinstance(mark, Padded):
        return "pad(...)" if mark.multiple == 1 else f"pad{mark.multiple}(...)"
    return {Chained: "chain(...)", BatchTracker: "track_batch(...)"}.get(type(mark), type(mark).__name__)


def _all_true(length: int) -> NDArray[np.bool_]:
    mask = np.empty(length, dtype=np.bool_)
    mask.fill(True)
    return mask
