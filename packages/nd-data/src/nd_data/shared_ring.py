"""A few places in memory that a worker and the main process share, used again and again for one batch after another.

The worker makes the ring and offers it along with a batch that goes through the pipe. Only when the main process has
found its way to it, and says so in the ring itself, does the worker put batches there. So nothing depends on it: where
there is no such memory (other systems than Linux), where it cannot be reached, or while all places are taken, batches
go through the pipe. It has no name that could be left behind: it goes with the last process that holds it.
"""

import mmap
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from numpy.typing import NDArray

_FREE, _TAKEN = 0, 1
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
        self.owner = os.getpid()
        self.offer = Offer(f"/proc/{self.owner}/fd/{self._descriptor}", secrets.token_bytes(_TOKEN_BYTES), places, size)
        self._memory[:_TOKEN_BYTES] = self.offer.token

    def put(self, pieces: Sequence[NDArray[Any]]) -> int | None:
        """Put arrays into a free place, one after the other.

        Returns:
            The place, or None where the ring was not reached yet or has no room.
        """
        if not self._memory[_TOKEN_BYTES]:
            return None
        first_state = _TOKEN_BYTES + 1
        place = self._memory.find(bytes([_FREE]), first_state, first_state + self.offer.places) - first_state
        if place < 0:
            return None
        offset = _HEADER + place * self.offer.size
        for piece in pieces:
            self._memory[offset : offset + piece.nbytes] = piece.data.cast("B") if piece.size else b""
            offset += piece.nbytes
        self._memory[first_state + place] = _TAKEN
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


@contextmanager
def taken_from(offer: Offer, place: int) -> Iterator[memoryview]:
    """The bytes in a place of a ring, which is free again afterwards.

    Raises:
        RuntimeError: this process did not reach the ring: the batch was made for another one.
    """
    memory = _REACHED.get(offer)
    if memory is None:
        raise RuntimeError(
            "this batch is in memory that its DataLoader worker shares with another process; only the process that "
            "runs the DataLoader can receive it"
        )
    offset = _HEADER + place * offer.size
    with memoryview(memory) as whole, whole[offset : offset + offer.size] as part:
        yield part
    memory[_TOKEN_BYTES + 1 + place] = _FREE


def place_size(needed: int) -> int | None:
    """How large a place to make for batches of so many bytes, with room to grow; None where they are too large."""
    size = max(2**16, 1 << (needed + needed // 4 - 1).bit_length())
    return size if 2 * size <= _LARGEST_RING else None


__all__ = ["Offer", "SharedRing", "can_share", "place_size", "reach", "taken_from"]
