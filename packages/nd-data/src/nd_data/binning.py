"""Spike counts in bins of equal width.

Shape legend: S spikes, T bins, U units.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nd_data.irregular_time_series import IrregularTimeSeries

_ROUNDING = 1e-9
"""Seconds. A relative time is off by what subtracting two absolute times loses: 1e-10 s at 1e6 s."""


def bin_spikes(
    spikes: IrregularTimeSeries,
    num_units: int,
    bin_size: float,
    max_spikes: int | None = None,
    right: bool = True,
    eps: float = 1e-3,
    dtype: DTypeLike = np.int32,
) -> NDArray[Any]:
    """Count the spikes of each unit in each bin.

    Bins are half-open: a spike on the border of two bins counts in the later one, a spike on the very end in none.
    Borders are compared to within a nanosecond, so that the rounding of relative times moves no spike across one. The
    end is compared exactly, as by `IrregularTimeSeries.slice`: of windows that follow one another each spike counts in
    one.

    Args:
        spikes: Spikes with ``unit_index``. Its domain, from first start to last end, is what is binned.
        num_units: U. It cannot be seen from the spikes of a window.
        bin_size: Width of a bin in seconds.
        max_spikes: Clip counts at this.
        right: Where the domain is no multiple of the bin: True leaves out time at its start, False at its end.
        eps: The domain may miss this fraction of its last bin.
        dtype: Of the counts.

    Returns:
        Counts. Shape: (T, U).

    Raises:
        ValueError: the bin is not above 0, the domain is empty, a unit index is outside ``num_units``, or a count does
            not fit the dtype.

    Example:
        >>> from nd_data import Interval
        >>> spikes = IrregularTimeSeries(
        ...     timestamps=np.array([0.0, 0.1, 0.15]), unit_index=np.array([0, 0, 1]), domain=Interval(0.0, 0.2)
        ... )
        >>> bin_spikes(spikes, num_units=2, bin_size=0.1).tolist()
        [[1, 0], [1, 1]]
    """
    origin, num_bins = bin_layout(spikes, bin_size, right=right, eps=eps)
    unit_index = np.asarray(spikes.unit_index).astype(np.int64, copy=False)
    if unit_index.size and not (unit_index.min() >= 0 and unit_index.max() < num_units):
        found = unit_index.min() if unit_index.min() < 0 else unit_index.max()
        raise ValueError(
            f"unit_index holds {found} but num_units is {num_units}: expected indices from 0 to num_units - 1"
        )
    times = spikes.timestamps
    bin_index = np.floor((times - origin + _ROUNDING) / bin_size).astype(np.int64)
    last = float(spikes.domain.end[-1])
    if origin + num_bins * bin_size >= last - _ROUNDING:
        # What comes a rounding before the end is in no later window: it stays in the last bin.
        bin_index[(bin_index == num_bins) & (times < last)] = num_bins - 1
    inside = (bin_index >= 0) & (bin_index < num_bins)
    cell = bin_index[inside] * num_units + unit_index[inside]
    counts = np.bincount(cell, minlength=num_bins * num_units).reshape(num_bins, num_units)
    if max_spikes is not None:
        counts = np.minimum(counts, max_spikes)
    dtype = np.dtype(dtype)
    if dtype.kind in "iu" and counts.size and counts.max() > np.iinfo(dtype).max:
        raise ValueError(f"a bin holds {counts.max()} spikes, more than {dtype} can: use a wider dtype or max_spikes")
    return counts.astype(dtype)


def bin_layout(spikes: IrregularTimeSeries, bin_size: float, *, right: bool, eps: float) -> tuple[float, int]:
    """Where the first bin starts, in seconds, and how many bins there are.

    Raises:
        ValueError: the bin is not above 0, or the domain is empty.
    """
    if not bin_size > 0:
        raise ValueError(f"bin_size must be above 0 seconds, got {bin_size}")
    domain = spikes.domain
    if len(domain) == 0:
        raise ValueError("cannot bin spikes without a domain: it has no interval")
    start, end = float(domain.start[0]), float(domain.end[-1])
    num_bins = int(np.floor((end - start) / bin_size + eps))
    left_out = (end - start) - num_bins * bin_size
    # Below zero, the last bin reaches past the domain by less than eps; that is no reason to move the first.
    return (start + left_out if right and left_out > 0 else start), num_bins
