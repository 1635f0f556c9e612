"""Add binned spike counts to a window."""

import numpy as np
from numpy.typing import DTypeLike

from nd_data.binning import bin_layout, bin_spikes
from nd_data.data import Data
from nd_data.regular_time_series import RegularTimeSeries


class BinSpikes:
    """Count spikes in bins and add the counts as ``<spikes_attribute>_binned``.

    What is added is a `RegularTimeSeries` with ``binned_counts``, shape (bins, units), whose samples lie at the starts
    of the bins.

    Args:
        bin_size: Width of a bin in seconds.
        spikes_attribute: Path of the spikes, an `IrregularTimeSeries` with ``unit_index``.
        units_attribute: Path of the units.
        max_spikes: Clip counts at this.
        right: Where the domain is no multiple of the bin: True leaves out time at its start, False at its end.
        eps: The domain may miss this fraction of its last bin.
        dtype: Of the counts.
    """

    def __init__(
        self,
        bin_size: float,
        spikes_attribute: str = "spikes",
        units_attribute: str = "units",
        max_spikes: int | None = None,
        right: bool = True,
        eps: float = 1e-3,
        dtype: DTypeLike = np.int32,
    ) -> None:
        self.bin_size = bin_size
        self.spikes_attribute = spikes_attribute
        self.units_attribute = units_attribute
        self.max_spikes = max_spikes
        self.right = right
        self.eps = eps
        self.dtype = dtype

    def __call__(self, data: Data) -> Data:
        """Add the counts to a window, in place."""
        spikes = data.get_nested_attribute(self.spikes_attribute)
        units = data.get_nested_attribute(self.units_attribute)
        counts = bin_spikes(
            spikes, len(units), self.bin_size, self.max_spikes, right=self.right, eps=self.eps, dtype=self.dtype
        )
        start, _ = bin_layout(spikes, self.bin_size, right=self.right, eps=self.eps)
        binned = RegularTimeSeries(sampling_rate=1 / self.bin_size, domain_start=start, binned_counts=counts)
        data.set_nested_attribute(f"{self.spikes_attribute}_binned", binned)
        return data
