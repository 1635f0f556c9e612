"""A short memory for arrays of names that come again and again."""

from collections import OrderedDict
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from nd_data.constant_array import is_constant

_REMEMBERED_ARRAYS = 64
_REMEMBERED_CONSTANTS = 4096

Kept = TypeVar("Kept")


class ConstantArrays(Generic[Kept]):
    """What was worked out from arrays that can never change, found again by the array itself.

    The unit ids of a recording are one such array for all windows of a dataset (`nd_data.constant_array`). Only the
    very same object is recognised, and it is kept alive, so that no other can take its place.
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[NDArray[Any], np.dtype[Any], tuple[int, ...], Kept]] = {}

    def find(self, array: "NDArray[Any]") -> Kept | None:
        """What was kept for this array, or None."""
        entry = self._entries.get(id(array))
        # dtype and shape are all that may still be set on it.
        if entry is None or entry[0] is not array or entry[1] is not array.dtype or entry[2] != array.shape:
            return None
        return entry[3]

    def keep(self, array: "NDArray[Any]", kept: Kept) -> None:
        """Remember something for an array, if the array can never change; in place of the oldest if there are many."""
        if not is_constant(array):
            return
        if len(self._entries) >= _REMEMBERED_CONSTANTS:
            self._entries.pop(next(iter(self._entries), 0), None)
        self._entries[id(array)] = array, array.dtype, array.shape, kept

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()  # of no use in another process, where the arrays are other objects


class RecentArrays:
    """Rows of the arrays of names that came lately.

    The unit ids of a recording come again with every window cut from it. An array is looked up by its first and last
    name and length, and then compared as a whole, which takes a tenth of the time of looking up its names.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[Any, ...], tuple[NDArray[np.uint32], NDArray[np.int64]]] = OrderedDict()

    def find(self, words: "NDArray[Any]") -> "NDArray[np.int64] | None":
        """The rows of this array if it came lately, as a copy; else None."""
        if not _can_be_compared(words):
            return None
        entry = self._entries.get(_signature(words))
        if entry is None or not np.array_equal(entry[0], words.view(np.uint32)):
            return None
        return entry[1].copy()

    def keep(self, words: "NDArray[Any]", rows: "NDArray[np.int64]") -> None:
        """Remember an array and its rows, in place of the oldest if there are many."""
        if not _can_be_compared(words):
            return
        signature = _signature(words)
        if signature not in self._entries and len(self._entries) >= _REMEMBERED_ARRAYS:
            self._entries.popitem(last=False)
        # A copy: the caller may write into its array later.
        self._entries[signature] = words.copy().view(np.uint32), rows


def _can_be_compared(words: "NDArray[Any]") -> bool:
    return (
        words.dtype.kind == "U"
        and words.dtype.itemsize > 0
        and words.ndim == 1
        and words.size > 0
        and words.flags.c_contiguous
    )


def _signature(words: "NDArray[Any]") -> tuple[Any, ...]:
    return words.dtype.str, words.size, str(words[0]), str(words[-1])
