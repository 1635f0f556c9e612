"""What one update hands to a stitching accumulator, checked and brought to the CPU.

Shape legend: ``N`` values of one update, ``W`` windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nd_eval.stitch import check_weights

# Rounding of the times above which outputs at 1 kHz could no longer be told apart with certainty.
LARGEST_TIME_ERROR = 5e-5


@dataclass(frozen=True)
class CollectedValues:
    """Values of one task in one recording, on the CPU, window after window.

    Attributes:
        timestamps: Absolute times in seconds, (N,) float64.
        preds: Predictions, (N, ...).
        targets: Targets, (N, ...).
        weights: What each value counts, above 0, (N,) float64; None: all count alike.
        window_starts: Start of each window that came, (W,) float64; NaN: the values belong to no known window.
        window_sizes: How many of the values belong to each window, (W,) int64.
    """

    timestamps: Tensor
    preds: Tensor
    targets: Tensor
    weights: Tensor | None
    window_starts: Tensor
    window_sizes: Tensor

    def __len__(self) -> int:
        return self.timestamps.shape[0]

    def starts_of_values(self) -> Tensor:
        """Start of the window of each value, (N,)."""
        return torch.repeat_interleave(self.window_starts, self.window_sizes, output_size=len(self))

    def at(self, chosen: Tensor) -> CollectedValues:
        """The values where a mask, (N,), holds."""
        window = torch.repeat_interleave(self.window_sizes, output_size=len(self))
        sizes = torch.bincount(window[chosen], minlength=self.window_sizes.numel())
        return CollectedValues(
            self.timestamps[chosen],
            self.preds[chosen],
            self.targets[chosen],
            None if self.weights is None else self.weights[chosen],
            self.window_starts[sizes > 0],
            sizes[sizes > 0],
        )

    def none(self) -> CollectedValues:
        """No value, of the same shape and dtype."""
        return CollectedValues(
            self.timestamps[:0].clone(),
            self.preds[:0].clone(),
            self.targets[:0].clone(),
            None if self.weights is None else self.weights[:0].clone(),
            self.window_starts[:0].clone(),
            self.window_sizes[:0].clone(),
        )


def collect_values(
    timestamps: Tensor,
    preds: Tensor,
    targets: Tensor,
    mask: Tensor | None,
    weights: Tensor | None,
    window_starts: Tensor | float | None,
    time_error: float | None,
) -> tuple[CollectedValues, float]:
    """Check and copy what :meth:`~nd_eval.StitchingAccumulator.update` was given.

    Returns:
        The values that count, and by how many seconds rounding may have moved their times.
    """
    count = timestamps.shape[0] if timestamps.ndim == 1 else -1
    if count < 0:
        raise ValueError(f"timestamps must be one row of times, shape (N,); found {tuple(timestamps.shape)}")
    for name, values in (("predictions", preds), ("targets", targets)):
        if values.ndim == 0 or values.shape[0] != count:
            raise ValueError(f"{count} timestamps but {name} of shape {tuple(values.shape)}")
        if values.is_complex():
            raise TypeError(f"{name} must be floating point, integer or boolean; found {values.dtype}")
    if mask is not None and tuple(mask.shape) != (count,):
        raise ValueError(f"{count} timestamps but a mask of shape {tuple(mask.shape)}")
    keep = None if mask is None else _on_cpu(mask).to(torch.bool)
    shares = None
    if weights is not None:
        check_weights(weights, count)
        shares = _on_cpu(weights).to(torch.float64)
        keep = shares > 0 if keep is None else keep & (shares > 0)
    starts = torch.as_tensor(float("nan") if window_starts is None else window_starts, dtype=torch.float64)
    if starts.ndim > 1 or (starts.ndim == 1 and starts.shape[0] != count):
        raise ValueError(f"{count} timestamps but window_starts of shape {tuple(starts.shape)}")
    times = _kept(timestamps, keep)
    check_finite(times)
    error = time_error_of(times) if time_error is None else time_error
    check_time_error(error, times)
    times = times.to(torch.float64)
    collected = CollectedValues(
        times,
        full_precision(_kept(preds, keep)),
        full_precision(_kept(targets, keep)),
        None if shares is None else _kept(shares, keep),
        *_windows(starts.detach().cpu(), times, keep),
    )
    return collected, error


def _windows(starts: Tensor, times: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """Start and size of each window, (W,), from the start of all values or of each, (N,)."""
    if times.numel() == 0:
        return torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.int64)
    if starts.ndim == 0:
        starts = starts.expand(times.shape)
    elif keep is not None:
        starts = starts[keep]
    # Where times go back although the start stays, a window has come again.
    begins = torch.ones(times.shape, dtype=torch.bool)
    begins[1:] = (starts[1:] != starts[:-1]) | (times[1:] <= times[:-1])
    begins[1:] &= ~(torch.isnan(starts[1:]) & torch.isnan(starts[:-1]))
    first = torch.nonzero(begins).flatten()
    return starts[first], torch.diff(first, append=torch.tensor([times.numel()]))


def check_finite(times: Tensor) -> None:
    """Refuse times that are NaN or infinite.

    Raises:
        ValueError: there is one; the message counts them.
    """
    if times.numel() and not bool(torch.isfinite(torch.stack(times.aminmax())).all()):
        wrong = int((~torch.isfinite(times)).sum())
        raise ValueError(f"{wrong} of {times.numel()} timestamps are NaN or infinite")


def check_time_error(error: float, times: Tensor) -> None:
    """Refuse times that rounding may have moved so far that outputs could not be told apart.

    Raises:
        ValueError: it may.
    """
    if error > LARGEST_TIME_ERROR:
        raise ValueError(
            f"times near {float(times.abs().max()):.6g} s came rounded to {2 * error:.2g} s, too coarse to tell "
            "outputs apart; keep the starts of windows and absolute times in float64 (and out of half precision)"
        )


def joined_values(parts: Sequence[CollectedValues]) -> CollectedValues:
    """One or more parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    weights = None
    if any(part.weights is not None for part in parts):
        weights = torch.cat([torch.ones_like(p.timestamps) if p.weights is None else p.weights for p in parts])
    return CollectedValues(
        torch.cat([part.timestamps for part in parts]),
        torch.cat([part.preds for part in parts]),
        torch.cat([part.targets for part in parts]),
        weights,
        torch.cat([part.window_starts for part in parts]),
        torch.cat([part.window_sizes for part in parts]),
    )


def check_same_kind(before: CollectedValues, now: CollectedValues) -> None:
    """Refuse predictions or targets of another shape, or floats after classes.

    Raises:
        ValueError: the shapes differ.
        TypeError: floats meet classes.
    """
    for name, first, second in (("preds", before.preds, now.preds), ("targets", before.targets, now.targets)):
        if first.is_floating_point() != second.is_floating_point():
            raise TypeError(f"{name} were {first.dtype} so far and are now {second.dtype}")
        if first.shape[1:] != second.shape[1:]:
            raise ValueError(f"{name} were of shape (N, {_rest(first)}) so far and are now (N, {_rest(second)})")


def time_error_of(timestamps: Tensor) -> float:
    """By how many seconds storing the times in their dtype may have moved them: half the spacing at the largest.

    For float32 this is 3e-8 s within a window of one second, and 1 ms at 20,000 s.
    """
    dtype = timestamps.dtype
    if dtype == torch.float64 or not dtype.is_floating_point or timestamps.numel() == 0:
        return 0.0
    lowest, highest = timestamps.aminmax()
    return 0.5 * torch.finfo(dtype).eps * max(-float(lowest), float(highest))


def _on_cpu(values: Tensor) -> Tensor:
    return values.detach().to("cpu")


def _kept(values: Tensor, keep: Tensor | None) -> Tensor:
    """A copy of the values to keep, on the CPU."""
    return values.detach().to("cpu", copy=True) if keep is None else _on_cpu(values)[keep]


def full_precision(values: Tensor) -> Tensor:
    """Means of half precision values want more digits than those have."""
    return values.to(torch.float32) if is_half(values) else values


def is_half(values: Tensor) -> bool:
    """Whether values have half precision."""
    return values.dtype in (torch.float16, torch.bfloat16)


def _rest(values: Tensor) -> str:
    return ", ".join(str(size) for size in values.shape[1:])
