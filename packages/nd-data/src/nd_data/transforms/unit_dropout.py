"""Keep a random number of units, chosen at random: so that a decoder does not depend on any of them."""

import numpy as np

from nd_data.data import Data
from nd_data.random_seed import RandomGenerator
from nd_data.transforms.triangle_distribution import TriangleDistribution
from nd_data.transforms.unit_selection import keep_units


class UnitDropout:
    """Drop units, and what belongs to them, at random.

    The number kept follows `TriangleDistribution`; a population smaller than the number drawn is kept whole.

    Args:
        field: What belongs to the units: the path of an `IrregularTimeSeries` with ``unit_index``, or of an array of a
            time series with one column a unit.
        reset_index: Drop the units from ``data.units`` as well and number the kept ones from 0.
        min_units: Smallest number of units kept. A population smaller than this is kept whole.
        mode_units: Most frequent number.
        max_units: Largest number.
        tail_right: Where the triangle ends; ``max_units`` if absent.
        peak: Height of the triangle.
        M: Scale of the height.
        max_attempts: After this many refused draws all units are kept.
        seed: Seed of all draws.
        generator: Where a seed is drawn from instead, once; see `RandomStream` for what happens in workers.

    Raises:
        ValueError: the numbers are not in order.
    """

    def __init__(
        self,
        field: str = "spikes",
        reset_index: bool = True,
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
        self.field = field
        self.reset_index = reset_index
        self.distribution = TriangleDistribution(
            min_units, mode_units, max_units, tail_right, peak, M, max_attempts, seed, generator=generator
        )

    def __call__(self, data: Data) -> Data:
        """Drop units from a window, in place."""
        num_units = len(data.units)
        num_kept = int(self.distribution.sample(num_units))
        if num_kept >= num_units:
            return data
        unit_mask = np.zeros(num_units, dtype=np.bool_)
        unit_mask[self.distribution.random.numpy().permutation(num_units)[:num_kept]] = True
        return keep_units(data, unit_mask, field=self.field, reset_index=self.reset_index)
