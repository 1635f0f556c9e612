"""How a batch gets from a DataLoader's worker to the main process: by value, in few bytes.

torch moves every tensor of a batch in a block of shared memory of its own, and hands each block over in an exchange
with a thread of the worker that has to wait for the worker's interpreter: with a dozen tensors that takes longer than
making the batch, needs as many open files as tensors are kept, and fails where ``/dev/shm`` is small. Here the numbers
of all tensors go through the pipe in one piece, integers no wider than their values need and equal rows once; the main
process gets tensors of its own, the same bit for bit. Very large tensors go torch's way.
"""

import os
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from nd_data.shared_ring import Offer, SharedRing, can_share, place_size, reach, taken_from

#: What travels this way.
_TRAVELLING = frozenset(
    (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.float32, torch.float64),
    )
)
_INTEGERS = {np.dtype(dtype): np.iinfo(dtype) for dtype in (np.int8, np.int16, np.int32)}
_BITS = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}

#: Tensors with more bytes than this are left in shared memory, where they need not be copied.
_TOO_LARGE = 2**24

#: Tensors with fewer bytes are not worth looking at for what they could do without.
_WORTH_SHRINKING = 4096


class TravellingBatch(dict[Any, Any]):
    """A batch that a worker is about to send: a dictionary like any other, which arrives as a plain one."""

    def __reduce__(self) -> tuple[Any, ...]:
        pieces: list[NDArray[Any]] = []
        structure = _packed(dict(self), pieces)
        ring = _own_ring(sum([piece.nbytes for piece in pieces]))
        place = None if ring is None else ring.put(pieces)
        if ring is None or place is None:
            offer = None if ring is None else ring.offer
            return _arrived, (structure, b"".join([piece.data for piece in pieces]), offer)
        return _arrived_in_ring, (structure, ring.offer, place)


def prepared_to_travel(batch: Any) -> Any:
    """A batch as `collate` should return it: as it is, except that a worker's dictionary knows how to travel.

    Args:
        batch: What was collated.
    """
    return TravellingBatch(batch) if type(batch) is dict and get_worker_info() is not None else batch


class _Place(NamedTuple):
    """Where in the piece that travels the numbers of a tensor are, and what they looked like.

    Attributes:
        dtype: NumPy's name of the tensor's dtype.
        shape: The tensor's shape.
        sent_as: NumPy's name of the dtype that its numbers travel in.
        rows: How many of its rows travel: all, or one that is like all others.
        offset: First byte.
    """

    dtype: str
    shape: tuple[int, ...]
    sent_as: str
    rows: int
    offset: int


def _packed(value: Any, pieces: list[NDArray[Any]]) -> Any:
    if type(value) is dict:
        return {key: _packed(member, pieces) for key, member in value.items()}
    if type(value) in (list, tuple):
        return type(value)([_packed(member, pieces) for member in value])
    if type(value) is not Tensor or value.device.type != "cpu" or value.layout != torch.strided or value.requires_grad:
        return value
    if value.nbytes > _TOO_LARGE or value.dtype not in _TRAVELLING:
        return value
    array = value.numpy()
    sent = _shrunk(array)
    # Every piece begins where its numbers are aligned.
    offset = sum([piece.nbytes for piece in pieces])
    missing = -offset % 8
    if missing:
        pieces.append(np.zeros(missing, dtype=np.uint8))
    pieces.append(np.ascontiguousarray(sent).reshape(-1))
    return _Place(array.dtype.str, array.shape, sent.dtype.str, len(sent) if array.ndim else 1, offset + missing)


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


def _arrived(structure: Any, numbers: bytes, offer: Offer | None) -> Any:
    if offer is not None:
        reach(offer)
    return _unpacked(structure, numbers)


def _arrived_in_ring(structure: Any, offer: Offer, place: int) -> Any:
    with taken_from(offer, place) as numbers:
        return _unpacked(structure, numbers)


def _unpacked(structure: Any, numbers: bytes | memoryview) -> Any:
    if type(structure) is _Place:
        return _tensor(structure, numbers)
    if type(structure) is dict:
        return {key: _unpacked(member, numbers) for key, member in structure.items()}
    if type(structure) in (list, tuple):
        return type(structure)([_unpacked(member, numbers) for member in structure])
    return structure


def _tensor(place: _Place, numbers: bytes | memoryview) -> Tensor:
    array = np.empty(place.shape, dtype=place.dtype)
    if array.size:
        shape = (place.rows, *place.shape[1:]) if place.shape else ()
        sent = np.ndarray(shape, dtype=place.sent_as, buffer=numbers, offset=place.offset)
        array[...] = sent
    return torch.from_numpy(array)


__all__ = ["TravellingBatch", "prepared_to_travel"]
