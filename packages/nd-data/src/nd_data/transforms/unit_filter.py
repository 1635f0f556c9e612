"""Keep the units that fulfil a condition."""

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nd_data.array_dict import ArrayDict
from nd_data.data import Data
from nd_data.transforms.unit_selection import keep_units


class UnitFilter:
    """Keep the units for which a function says so, and what belongs to them.

    Args:
        mask_fn: Takes ``data.units``, returns a boolean mask, True for the units to keep.
        field: What belongs to the units: the path of an `IrregularTimeSeries` with ``unit_index``, or of an array of a
            time series with one column a unit.
        reset_index: Drop the units from ``data.units`` as well and number the kept ones from 0.
    """

    def __init__(
        self, mask_fn: Callable[[ArrayDict], NDArray[np.bool_]], field: str = "spikes", reset_index: bool = True
    ) -> None:
        self.mask_fn = mask_fn
        self.field = field
        self.reset_index = reset_index

    def __call__(self, data: Data) -> Data:
        """Drop units from a window, in place."""
        return keep_units(data, self.mask_fn(data.units), field=self.field, reset_index=self.reset_index)


class UnitFilterById(UnitFilter):
    """Keep, or drop, the units whose id matches a pattern.

    Args:
        pattern: Regular expression, searched for anywhere in ``data.units.id``. Within a dataset those ids begin with
            ``<brainset>/<session>/``.
        field: What belongs to the units, as in `UnitFilter`.
        reset_index: Drop the units from ``data.units`` as well and number the kept ones from 0.
        keep_matches: Keep the units that match; False drops them.
    """

    def __init__(
        self,
        pattern: str | re.Pattern[str],
        field: str = "spikes",
        reset_index: bool = True,
        keep_matches: bool = True,
    ) -> None:
        self.pattern = re.compile(pattern)
        self.keep_matches = keep_matches
        super().__init__(self._matches, field, reset_index)

    def _matches(self, units: ArrayDict) -> NDArray[np.bool_]:
        matches = [self.pattern.search(unit_id) is not None for unit_id in units.id.tolist()]
        return np.array([match is self.keep_matches for match in matches], dtype=np.bool_)
