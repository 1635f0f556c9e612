"""A few places in memory that a worker and the main process share, used again and again for one batch after another.

A place belongs to the worker while it is filled, then to the main process for as long as any array of it is in use, and
then to the worker again. Arrays that are small are copied out, so that keeping those of many batches takes no places.

The worker makes the ring and offers it along with a batch that goes through the pipe. Only when the main process has
found its way to it, and says so in the ring itself, does the worker put batches there. So nothing depends on it: where
there is no such memory (other systems than Linux), where it cannot be reached, or while all places are taken, batches
go through the pipe. It has no name that could be left behind: it goes with the last process that holds it.
"""

import mmap
import os
import secrets
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Arrays begin at multiples of this many bytes.
ALIGNED = 64

_FREE, _TAKEN = 0, 1
_SMALL = 2**16
_MOST_PLACES = 8
_LARGEST_RING = 2**26
_TOKEN_BYTES = 16
_HEADER = mmap.PAGESIZE  # the token, one byte for "reached", and one for each place


class Offer(NamedTuple):
    """What another process needs to know to reach a ring.

    Attributes:
        path: Where the process that made it shows it to others of the same user.
        token: Stands at the start of the ring: a process number may come again.
        places: How many batches it has room for.
        size: Bytes of each place.
    """

    path: str
    token: bytes
    places: int
    size: int


class SharedRing:
    """The worker's end.

    Args:
        size: Bytes of each place.
    """

    def __init__(self, size: int) -> None:
        places = max(2, min(_MOST_PLACES, _LARGEST_RING // size))
        self._descriptor = os.memfd_create("nd_data.batches", os.MFD_CLOEXEC)
        os.ftruncate(self._descriptor, _HEADER + places * size)
        self._memory = mmap.mmap(self._descriptor, _HEADER + places * size)
        self._lock = threading.Lock()
        self.owner = os.getpid()
        self.offer = Offer(f"/proc/{self.owner}/fd/{self._descriptor}", secrets.token_bytes(_TOKEN_BYTES), places, size)
        self._memory[:_TOKEN_BYTES] = self.offer.token

    def put(self, arrays: Sequence[NDArray[Any] | None]) -> int | None:
        """Put arrays into a free place, one after the other; `arrays_in` finds them there.

        Args:
            arrays: They fit into a place, each with up to `ALIGNED` bytes of room before it. None is passed over.

        Returns:
            The place, or None where the ring was not reached yet or all places are taken.
        """
        if not self._memory[_TOKEN_BYTES]:
            return None
        first_state = _TOKEN_BYTES + 1
        with self._lock:  # a worker has a thread that makes batches and one that sends them
            place = self._memory.find(bytes([_FREE]), first_state, first_state + self.offer.places) - first_state
            if place < 0:
                return None
            self._memory[first_state + place] = _TAKEN
        offset = _HEADER + place * self.offer.size
        for array in arrays:
            if array is not None:
                np.ndarray(array.shape, array.dtype, self._memory, offset)[...] = array
                offset += _aligned(array.nbytes)
        return place

    def close(self) -> None:
        """Let go of it; batches that are still in it stay readable for the process that reached it."""
        self._memory.close()
        os.close(self._descriptor)


def can_share() -> bool:
    """Whether this system has memory to share this way."""
    return hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd")  # noqa: PTH112 a question, not a path


#: The rings of workers that this process has reached.
_REACHED: dict[Offer, mmap.mmap] = {}


def reach(offer: Offer) -> None:
    """Find the way to a worker's ring and tell the worker; where there is none, nothing happens."""
    if offer in _REACHED:
        return
    with suppress(OSError, ValueError):
        descriptor = os.open(offer.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            memory = mmap.mmap(descriptor, _HEADER + offer.places * offer.size)
        finally:
            os.close(descriptor)
        if memory[:_TOKEN_BYTES] != offer.token:
            return
        for old in [old for old in _REACHED if not os.path.exists(old.path)]:  # noqa: PTH110
            del _REACHED[old]  # its worker is gone
        _REACHED[offer] = memory
        memory[_TOKEN_BYTES] = 1


def arrays_in(offer: Offer, place: int, kinds: Sequence[tuple[str, tuple[int, ...]]]) -> list[NDArray[Any]]:
    """The arrays in a place of a ring, to use and to write to; the place is free again when the last of them is gone.

    Args:
        offer: The ring.
        place: What `SharedRing.put` returned.
        kinds: dtype and shape of each array, in the order they were put there.

    Raises:
        RuntimeError: this process did not reach the ring: the batch was made for another one.
    """
    memory = _REACHED.get(offer)
    if memory is None:
        raise RuntimeError(
            "this batch is in memory that its DataLoader worker shares with another process; only the process that "
            "runs the DataLoader can receive it"
        )
    whole = np.frombuffer(memory, np.uint8, offer.size, _HEADER + place * offer.size)
    weakref.finalize(whole, _free, memory, place, os.getpid()).atexit = False
    arrays = []
    offset = 0
    for dtype, shape in kinds:
        array: NDArray[Any] = np.ndarray(shape, dtype, whole, offset)
        offset += _aligned(array.nbytes)
        arrays.append(array.copy() if array.nbytes < _SMALL else array)
    return arrays


def _free(memory: mmap.mmap, place: int, owner: int) -> None:
    if os.getpid() == owner:  # and not a fork of it, whose copies of the arrays mean nothing
        memory[_TOKEN_BYTES + 1 + place] = _FREE


def _aligned(length: int) -> int:
    return -(-length // ALIGNED) * ALIGNED


def place_size(needed: int) -> int | None:
    """How large a place to make for batches of so many bytes, with room to grow; None where they are too large."""
    size = max(2**16, 1 << (needed + needed // 4 - 1).bit_length())
    return size if 2 * size <= _LARGEST_RING else None


__all__ = ["ALIGNED", "Offer", "SharedRing", "arrays_in", "can_share", "place_size", "reach"]
