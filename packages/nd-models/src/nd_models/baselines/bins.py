"""Windows in bins: counting spikes, looking back some bins, and reading bins at any time.

Shapes: B windows, U units, T bins, N times, H features of a bin.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nd_data import Interval, IrregularTimeSeries, bin_spikes

if TYPE_CHECKING:
    from nd_data import Data

Interpolation = Literal["linear", "nearest"]

_ROUNDING = 1e-9
"""Seconds by which a border may be missed, as in `nd_data.bin_spikes`."""


def number_of_bins(sequence_length: float, bin_size: float) -> int:
    """How many bins fill a window.

    Raises:
        ValueError: a length is not a positive number of seconds, or bins do not fill the window.

    >>> number_of_bins(1.0, 0.02)
    50
    """
    lengths: dict[str, object] = {"sequence_length": sequence_length, "bin_size": bin_size}
    for name, seconds in lengths.items():
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not (0 < seconds < math.inf):
            raise ValueError(f"{name} must be a positive number of seconds, got {seconds!r}")
    bins = max(round(sequence_length / bin_size), 1)
    if abs(bins * bin_size - sequence_length) > 1e-6 * bin_size:
        raise ValueError(
            f"bins of {bin_size} s do not fill a window of {sequence_length} s; {bins} bins would be "
            f"{sequence_length / bins:.6g} s each"
        )
    return bins


def spike_counts(data: "Data", *, sequence_length: float, bin_size: float) -> NDArray[np.float32]:
    """Count a window's spikes, by the rules of `nd_data.bin_spikes`: a spike on a border counts in the later bin.

    Bins start at the window's start, whatever part of the window was recorded.

    Args:
        data: A window with `units.id`, `spikes.timestamps` and `spikes.unit_index`.
        sequence_length: Length of the window in seconds.
        bin_size: Seconds of a bin.

    Returns:
        Shape (U, T), float32.

    Raises:
        ValueError: a spike of a unit that there is not.
    """
    units = len(data.units.id)
    spikes = IrregularTimeSeries(
        timestamps=np.asarray(data.spikes.timestamps),
        unit_index=np.asarray(data.spikes.unit_index),
        domain=Interval(0.0, sequence_length),
    )
    try:
        counts = bin_spikes(spikes, units, bin_size, right=False, dtype=np.float32)
    except ValueError as error:
        found = spikes.unit_index.max(initial=0)
        if found < units:
            error.add_note(f"while binning a window of recording {data.session.id!r}")
            raise
        raise ValueError(
            f"recording {data.session.id!r}: spikes.unit_index holds {found} but there are only {units} units"
        ) from None
    return np.ascontiguousarray(counts.T)


def shifted(bins: Tensor, lag: int) -> Tensor:
    """What was there `lag` bins ago (ahead, where it is negative); zero beyond the window. Shape: (B, T, H)."""
    count = bins.shape[1]
    if abs(lag) >= count:
        return torch.zeros_like(bins)
    if lag >= 0:
        return functional.pad(bins[:, : count - lag], (0, 0, lag, 0))
    return functional.pad(bins[:, -lag:], (0, 0, 0, -lag))


def read_bins(bins: Tensor, times: Tensor, bin_size: float, interpolation: Interpolation) -> Tensor:
    """Read features of bins at any times.

    Args:
        bins: Shape: (B, T, H).
        times: Seconds from the window's start. Shape: (B, N), float.
        bin_size: Seconds of a bin.
        interpolation: `linear` between the middles of the two bins around a time, and the first or last bin itself
            beyond their middles; `nearest`: the bin that the time lies in, the later one on a border.

    Returns:
        Shape (B, N, H).

    >>> bins, times = torch.tensor([[[0.0], [1.0]]]), torch.tensor([[0.0, 0.5, 1.0, 1.25, 2.0]], dtype=torch.float64)
    >>> read_bins(bins, times, 1.0, "linear").flatten().tolist()
    [0.0, 0.0, 0.5, 0.75, 1.0]
    >>> read_bins(bins, times, 1.0, "nearest").flatten().tolist()
    [0.0, 0.0, 1.0, 1.0, 1.0]
    """
    last = bins.shape[1] - 1
    times = times.to(torch.promote_types(times.dtype, torch.float32))
    rows = torch.arange(bins.shape[0], device=bins.device).unsqueeze(1)
    if interpolation == "nearest":
        return bins[rows, ((times + _ROUNDING) / bin_size).floor().clamp(0, last).long()]
    position = times / bin_size - 0.5
    before = position.floor().clamp(0, last)
    share = (position - before).clamp(0.0, 1.0).unsqueeze(-1).to(bins.dtype)
    earlier = before.long()
    return torch.lerp(bins[rows, earlier], bins[rows, (earlier + 1).clamp(max=last)], share)


def checked_interpolation(interpolation: Interpolation) -> Interpolation:
    """`interpolation` itself.

    Raises:
        ValueError: it is neither "linear" nor "nearest".
    """
    if interpolation not in ("linear", "nearest"):
        raise ValueError(f"interpolation must be 'linear' or 'nearest', got {interpolation!r}")
    return interpolation


def check_sizes(**sizes: object) -> None:
    """Refuse sizes that are no whole numbers of at least 1.

    Raises:
        ValueError: one is not.
    """
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {size!r}")


def check_share(**shares: object) -> None:
    """Refuse probabilities outside 0 to 1.

    Raises:
        ValueError: one is not inside.
    """
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise ValueError(f"{name} must be a probability from 0 to 1, got {share!r}")


def lag_list(lags: int | Sequence[int]) -> list[int]:
    """Lags as plain numbers, from a number n (0, 1, …, n − 1) or a sequence.

    Raises:
        ValueError: there is no lag, or one comes twice.
    """
    from nd_models.ridge import checked_lags

    return list(checked_lags(lags))
