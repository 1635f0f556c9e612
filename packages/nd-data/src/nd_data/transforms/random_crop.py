"""Cut a shorter window out of a window."""

from nd_data.data import Data
from nd_data.random_seed import RandomGenerator
from nd_data.transforms.random_stream import RandomStream


class RandomCrop:
    """Cut a piece of fixed length from a random place, with times relative to its start.

    Data no longer than that come back as they are.

    Args:
        crop_len: Length of the piece in seconds.
        generator: Where the seed is drawn from, once; see `RandomStream`.

    Raises:
        ValueError: the length is not above 0, or, when called, the data have no domain.
    """

    def __init__(self, crop_len: float, *, generator: RandomGenerator | None = None) -> None:
        if not crop_len > 0:
            raise ValueError(f"crop_len must be above 0 seconds, got {crop_len}")
        self.crop_len = crop_len
        self._random = RandomStream(generator)

    def __call__(self, data: Data) -> Data:
        """Cut a piece out of a window; returns a new one."""
        if data.start is None or data.end is None:
            raise ValueError("data without a domain have no time to crop")
        room = data.end - data.start - self.crop_len
        if room <= 0:
            return data
        start = data.start + self._random.numpy().random() * room
        return data.slice(start, start + self.crop_len)
