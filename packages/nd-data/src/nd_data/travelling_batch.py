"""How a batch gets from a DataLoader's worker to the main process: by value, in few bytes.

torch moves every tensor of a batch in a block of shared memory of its own, and hands each block over in an exchange
with a thread of the worker that has to wait for the worker's interpreter: with a dozen tensors that takes longer than
making the batch, needs as many open files as tensors are kept, and fails where ``/dev/shm`` is small. Here the numbers
of all tensors go together, bit for bit, through a place in memory that is used again for a later batch
(`nd_data.shared_ring`), or else through the pipe, integers no wider than their values need and equal rows once. Very
large tensors go torch's way.
"""

import os
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from nd_data.shared_ring import ALIGNED, Offer, SharedRing, arrays_in, can_share, place_size, reach

#: What travels this way.
_TRAVELLING = frozenset(
    (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.float32, torch.float64),
    )
)
_INTEGERS = {np.dtype(dtype): np.iinfo(dtype) for dtype in (np.int8, np.int16, np.int32)}
_BITS = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}

_FETCHER = "torch.utils.data._utils.fetch"

#: Tensors with more bytes than this are left in shared memory, where they need not be copied.
_TOO_LARGE = 2**24

#: Tensors with fewer bytes are not worth looking at for what they could do without.
_WORTH_SHRINKING = 4096


class TravellingBatch(dict[Any, Any]):
    """A batch that a worker is about to send: a dictionary like any other, which arrives as a plain one."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _packed(self)


class PackedBatch:
    """A batch that is on its way already, and arrives as a plain dictionary.

    Packed at once, the memory of its tensors is free for the next batch; packed by the thread that sends, it would be
    held until then, and the next batch made in memory that is not in the processor's caches.

    Args:
        batch: What was collated. Nobody may change it any more.
    """

    def __init__(self, batch: dict[Any, Any]) -> None:
        self._parts = _packed(batch)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._parts


def prepared_to_travel(batch: Any, *, straight: bool = False) -> Any:
    """A batch as `collate` should return it: as it is, except that a worker's dictionary knows how to travel.

    Args:
        batch: What was collated.
        straight: Whether what is returned goes straight to the queue, without anybody having a look at it.
    """
    if type(batch) is not dict or get_worker_info() is None:
        return batch
    return PackedBatch(batch) if straight else TravellingBatch(batch)


def goes_straight(depth: int) -> bool:
    """Whether a function was called by the part of torch's DataLoader that puts what it returns into the queue.

    Args:
        depth: How many calls up from here the caller in question is.
    """
    frame: FrameType | None = sys._getframe(depth) if hasattr(sys, "_getframe") else None  # noqa: SLF001
    return frame is not None and frame.f_globals.get("__name__") == _FETCHER


def _packed(batch: dict[Any, Any]) -> tuple[Any, ...]:
    arrays: list[NDArray[Any] | None] = []
    structure = _emptied(dict(batch), arrays)
    ring = _own_ring(sum([ALIGNED + array.nbytes for array in arrays if array is not None]))
    place = None if ring is None else ring.put(arrays)
    if ring is not None and place is not None:
        labels = [None if array is None else (array.dtype.str, array.shape) for array in arrays]
        return _arrived_in_ring, (structure, labels, ring.offer, place)
    labels_sent: list[_Label] = []
    pieces: list[bytes] = []
    for array in arrays:
        sent = None if array is None else _shrunk(array)
        labels_sent.append(
            None if array is None or sent is None else (array.dtype.str, sent.dtype.str, array.shape, sent.shape)
        )
        pieces.append(b"" if sent is None else sent.tobytes())
    return _arrived, (structure, labels_sent, pieces, None if ring is None else ring.offer)


#: Of each tensor: NumPy's names of its dtype and of that which its numbers travel in, its shape, and that of the
#: numbers: all its rows, or one that is like all others. None stands for an Ellipsis that was in the batch.
_Label = tuple[str, str, tuple[int, ...], tuple[int, ...]] | None


def _emptied(value: Any, arrays: list[NDArray[Any] | None]) -> Any:
    # The structure of a batch, with an Ellipsis for each tensor whose numbers were taken out.
    kind = type(value)
    if kind is dict:
        return {key: _emptied(member, arrays) for key, member in value.items()}
    if kind is list or kind is tuple:
        return kind([_emptied(member, arrays) for member in value])
    if kind is Tensor and _can_travel(value):
        arrays.append(value.numpy())
        return ...
    if value is ...:
        arrays.append(None)
    return value


def _can_travel(tensor: Tensor) -> bool:
    return (
        tensor.dtype in _TRAVELLING
        and tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and not tensor.requires_grad
        and tensor.nbytes <= _TOO_LARGE
    )


def _shrunk(array: NDArray[Any]) -> NDArray[Any]:
    # As few numbers, in as few bytes, as will do.
    if array.nbytes < _WORTH_SHRINKING or array.ndim == 0:
        return array
    if array.ndim > 1 and _has_equal_rows(array):
        array = array[:1]
    if array.dtype.kind == "i":
        lowest, highest = int(array.min()), int(array.max())
        for dtype, limits in _INTEGERS.items():
            if dtype.itemsize < array.dtype.itemsize and limits.min <= lowest and highest <= limits.max:
                return array.astype(dtype)
    return array


def _has_equal_rows(array: NDArray[Any]) -> bool:
    # Equal bit for bit: 0.0 and -0.0 are not, NaN and NaN may be.
    if array.strides[0] == 0:
        return True
    if len(array) < 2 or not array.flags.c_contiguous:
        return False
    bits = array.view(_BITS[array.dtype.itemsize])
    return np.array_equal(bits[0], bits[-1]) and np.array_equal(bits[1:], bits[:-1])


#: The ring of this process, if it is a worker that has sent a batch.
_RINGS: list[SharedRing] = []


def _own_ring(needed: int) -> SharedRing | None:
    size = place_size(needed)
    if size is None or get_worker_info() is None or not can_share():
        return None
    ring = _RINGS[-1] if _RINGS else None
    if ring is None or ring.owner != os.getpid() or ring.offer.size < needed:
        if ring is not None and ring.owner == os.getpid():
            ring.close()
        try:
            _RINGS[:] = [SharedRing(size)]
        except OSError:  # no memory to share, or not as much
            return None
    return _RINGS[-1]


def _arrived(structure: Any, labels: list[_Label], pieces: list[bytes], offer: Offer | None) -> Any:
    if offer is not None:
        reach(offer)
    tensors: list[Any] = []
    for label, numbers in zip(labels, pieces, strict=True):
        if label is None:
            tensors.append(...)
            continue
        dtype, sent_as, shape, shape_sent = label
        array = np.empty(shape, dtype)
        if array.size:
            array[...] = np.frombuffer(numbers, sent_as).reshape(shape_sent)
        tensors.append(torch.from_numpy(array))
    return _filled(structure, iter(tensors))


def _arrived_in_ring(structure: Any, labels: list[tuple[str, tuple[int, ...]] | None], offer: Offer, place: int) -> Any:
    arrays = iter(arrays_in(offer, place, [label for label in labels if label is not None]))
    return _filled(structure, iter([... if label is None else torch.from_numpy(next(arrays)) for label in labels]))


def _filled(value: Any, tensors: Iterator[Any]) -> Any:
    kind = type(value)
    if kind is dict:
        return {key: _filled(member, tensors) for key, member in value.items()}
    if kind is list or kind is tuple:
        return kind([_filled(member, tensors) for member in value])
    return next(tensors) if value is ... else value


__all__ = ["PackedBatch", "TravellingBatch", "goes_straight", "prepared_to_travel"]
