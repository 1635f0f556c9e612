"""One of several transforms, by chance."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nd_data.random_seed import RandomGenerator
from nd_data.transforms.random_stream import RandomStream


class RandomChoice:
    """Apply one transform, drawn anew each time.

    Args:
        transforms: What to draw from.
        p: Weight of each; they need not sum to 1. All alike if absent.
        generator: Where the seed is drawn from, once; see `RandomStream`.

    Raises:
        ValueError: no transforms, not as many weights as transforms, or weights that are negative or all zero.
    """

    def __init__(
        self,
        transforms: Sequence[Callable[[Any], Any]],
        p: Sequence[float] | None = None,
        *,
        generator: RandomGenerator | None = None,
    ) -> None:
        self.transforms = list(transforms)
        weights = np.ones(len(self.transforms)) if p is None else np.asarray(p, dtype=np.float64)
        if not self.transforms:
            raise ValueError("RandomChoice needs at least one transform")
        if len(weights) != len(self.transforms):
            raise ValueError(f"p must have one weight a transform: got {len(weights)} for {len(self.transforms)}")
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
            raise ValueError(f"p must be finite, not negative and not all zero, got {weights.tolist()}")
        self.p: list[float] = (weights / weights.sum()).tolist()
        self._random = RandomStream(generator)

    def __call__(self, data: Any) -> Any:
        """Apply one transform, drawn anew."""
        drawn = self._random.numpy().choice(len(self.transforms), p=self.p)
        return self.transforms[drawn](data)
