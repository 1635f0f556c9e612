"""Where every random stream of the package gets its seed: a generator that the caller passes, else torch's.

Transforms of a window are seeded by the window itself (see `WindowDraws`), so that its random numbers depend neither on
the process that loads it nor on what was loaded before.
"""

import hashlib
import struct
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

from nd_data.dataset_index import DatasetIndex

RandomGenerator = torch.Generator | np.random.Generator
"""What a caller may pass wherever something here is random."""

SEED_LIMIT = 2**63
"""Seeds are at least 0 and below this."""


def draw_seed(generator: RandomGenerator | None = None) -> int:
    """Draw one 63-bit seed.

    Without a generator the seed comes from torch's default one. That makes ``torch.manual_seed`` (and Lightning's
    ``seed_everything``) enough to repeat a run, and it makes the streams of DataLoader workers differ, because torch
    seeds its default generator in each worker with that worker's own seed.

    Args:
        generator: Where to draw from; it advances by one draw.

    Returns:
        A seed in ``[0, 2**63)``.
    """
    if isinstance(generator, np.random.Generator):
        return int(generator.integers(0, SEED_LIMIT - 1, endpoint=True))
    device = "cpu" if generator is None else generator.device
    return int(torch.empty((), dtype=torch.int64, device=device).random_(generator=generator).item())


class WindowDraws:
    """The random numbers of one window: a generator for each stream that asks, all of them functions of the window.

    A generator is seeded with the stream's seed, the window's seed and the window's address. So the same stream draws
    the same numbers for the same window in any process, after any other windows, and other numbers for other windows
    and, since samplers change the seed with the epoch, in other epochs.

    Args:
        index: The window; it has a seed.

    Raises:
        ValueError: the seed is no such number.
    """

    __slots__ = ("_address", "_generators")

    def __init__(self, index: DatasetIndex) -> None:
        try:
            times = struct.pack("<Qdd", index.seed, index.start, index.end)
        except struct.error:
            raise ValueError(
                f"a window's seed is an integer from 0 to 2**63 - 1 and its times are numbers, got seed {index.seed!r} "
                f"in {index}"
            ) from None
        self._address = times + index.recording_id.encode()
        self._generators: dict[int, np.random.Generator] = {}

    def generator(self, seed: int) -> np.random.Generator:
        """The generator of the stream with a seed: one for the whole window, which moves on as it is used.

        Args:
            seed: The stream's own seed, from 0 to 2^63 - 1.
        """
        generator = self._generators.get(seed)
        if generator is None:
            digest = hashlib.blake2b(self._address, digest_size=32, key=seed.to_bytes(8, "little")).digest()
            # Hashed already: NumPy's own mixing of seeds would take four times as long as all of this.
            words = _Words(np.frombuffer(digest, dtype="<u8"))
            bits = np.random.PCG64(words)  # type: ignore[arg-type]  # NumPy's stubs forget its own ISeedSequence
            generator = self._generators[seed] = np.random.Generator(bits)
        return generator


CURRENT_WINDOW: ContextVar[WindowDraws | None] = ContextVar("nd_data.current_window", default=None)
"""The window that is being transformed, which `Dataset` sets while it calls its transform."""


class _Words(ISeedSequence):
    """Words that are random already, handed over as they are."""

    def __init__(self, words: NDArray[np.uint64]) -> None:
        self.words = words

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> NDArray[np.uint64]:
        if n_words != len(self.words) or np.dtype(dtype) != np.uint64:
            raise AssertionError(f"PCG64 asked for {n_words} words of {dtype}, expected {len(self.words)} of 64 bits")
        return self.words
