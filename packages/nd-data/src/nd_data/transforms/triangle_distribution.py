"""How many units to keep: a triangle between two numbers, on a floor of 1."""

import logging

from nd_data.random_seed import RandomGenerator
from nd_data.transforms.random_stream import RandomStream

logger = logging.getLogger(__name__)


class TriangleDistribution:
    r"""Draw a number of units between ``min_units`` and ``max_units``, most often near ``mode_units``.

    The height f(x) rises from 1 at ``min_units`` to ``peak`` at ``mode_units``, falls back to 1 at ``tail_right``,
    stays 1 until ``max_units``, and is 0 elsewhere. A uniform x is kept if :math:`u \, v \, M \le f(x)` for two
    uniform u and v, which is to say with probability :math:`a (1 - \ln a)`, where :math:`a = f(x) / M` is below 1. The
    drawn numbers therefore follow :math:`a (1 - \ln a)`, a flatter triangle than f itself. This is the distribution
    that the published models were trained with.

    Args:
        min_units: Smallest number. A population smaller than this is kept whole.
        mode_units: Most frequent number.
        max_units: Largest number. It may exceed the population, which is then kept whole.
        tail_right: Where the triangle ends; ``max_units`` if absent.
        peak: Height at ``mode_units``.
        M: Scale of the height, see above.
        max_attempts: After this many refused draws all units are kept.
        seed: Seed of the draws.
        generator: Where a seed is drawn from instead, once; see `RandomStream`.

    Raises:
        ValueError: the numbers are not in order, or a height is not above 0.
    """

    def __init__(
        self,
        min_units: int = 20,
        mode_units: int = 100,
        max_units: int = 300,
        tail_right: int | None = None,
        peak: float = 4,
        M: int = 10,  # noqa: N803  # the name users know
        max_attempts: int = 100,
        seed: int | None = None,
        *,
        generator: RandomGenerator | None = None,
    ) -> None:
        if not 0 <= min_units <= mode_units or min_units > max_units:
            raise ValueError(
                "expected 0 <= min_units <= mode_units and min_units <= max_units, got "
                f"min_units={min_units}, mode_units={mode_units}, max_units={max_units}"
            )
        if not (peak > 0 and M > 0):
            raise ValueError(f"peak and M must be above 0, got peak={peak}, M={M}")
        self.min_units = min_units
        self.mode_units = mode_units
        self.max_units = max_units
        self.tail_right = max_units if tail_right is None else tail_right
        self.peak = peak
        self.M = M
        self.max_attempts = max_attempts
        self.random = RandomStream(generator, seed=seed)

    def unnormalized_density_function(self, x: float) -> float:
        """The height f(x)."""
        if not self.min_units <= x <= self.max_units:
            return 0.0
        if x == self.mode_units:
            return float(self.peak)
        if x < self.mode_units:
            return 1 + (self.peak - 1) * (x - self.min_units) / (self.mode_units - self.min_units)
        if x < self.tail_right:
            return self.peak - (self.peak - 1) * (x - self.mode_units) / (self.tail_right - self.mode_units)
        return 1.0

    def sample(self, num_units: int) -> float:
        """Draw how many of ``num_units`` to keep, before rounding down; it may exceed them.

        Args:
            num_units: Size of the population.
        """
        if num_units < self.min_units:
            return num_units
        rng = self.random.numpy()
        for _ in range(self.max_attempts + 1):
            x, u, v = rng.random(3).tolist()
            x = self.min_units + x * (self.max_units - self.min_units)
            if u * v * self.M <= self.unnormalized_density_function(x):
                return float(x)
        logger.warning("No number of units was accepted in %d draws: keeping all units.", self.max_attempts)
        return num_units
