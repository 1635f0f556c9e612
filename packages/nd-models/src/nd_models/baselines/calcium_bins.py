"""Calcium traces of a window in bins, as the baselines read them.

Shapes: F frames, U cells, T bins.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nd_models.baselines.bins import number_of_bins
from nd_models.calcium_tokens import measured_values

if TYPE_CHECKING:
    from nd_data import Data

_ROUNDING = 1e-9
"""Seconds by which a border may be missed, as in `nd_data.bin_spikes`."""


def mean_values(data: "Data", *, sequence_length: float, bin_size: float) -> NDArray[np.float32]:
    """The mean ΔF/F of each cell in each bin; a frame on a border counts in the later bin.

    Bins without a value are interpolated between those that have one, and at the ends continue the nearest; a cell
    without any value is 0.

    Args:
        data: A window with `units.id` and `calcium_traces.df_over_f`.
        sequence_length: Length of the window in seconds.
        bin_size: Seconds of a bin.

    Returns:
        Shape (U, T), float32.

    Raises:
        KeyError: the recording has no such traces.
        ValueError: the values do not fit the cells.
    """
    cells, bins = len(data.units.id), number_of_bins(sequence_length, bin_size)
    times, values, known = measured_values(data, cells)
    of_frame = np.floor((times + _ROUNDING) / bin_size).astype(np.int64)
    inside = (of_frame >= 0) & (of_frame < bins)
    sums, counts = np.zeros((bins, cells)), np.zeros((bins, cells))
    np.add.at(sums, of_frame[inside], np.where(known, values, 0.0)[inside])
    np.add.at(counts, of_frame[inside], known[inside])
    means = sums / np.maximum(counts, 1)
    number = np.arange(bins)
    for cell in np.flatnonzero((counts == 0).any(axis=0) & (counts > 0).any(axis=0)):
        there = counts[:, cell] > 0
        means[~there, cell] = np.interp(number[~there], number[there], means[there, cell])
    return np.ascontiguousarray(means.T, dtype=np.float32)
