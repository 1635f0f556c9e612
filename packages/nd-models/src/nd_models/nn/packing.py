"""Windows of different lengths, one after the other without padding.

Shapes: B windows, T tokens of all windows together, N tokens of the longest.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor


class Packing(NamedTuple):
    """Where each window lies among the tokens of a packed batch.

    Attributes:
        lengths: Tokens of each window. Shape: (B,), integer, on the tokens' device.
        longest: The largest of them, or a number that none exceeds.
        total: Their sum T.
    """

    lengths: Tensor
    longest: int
    total: int

    def bounds(self) -> list[tuple[int, int]]:
        """First token of each window, and the token behind its last. A synchronisation on CUDA."""
        return bounds_of(self.lengths.tolist())

    def starts(self) -> Tensor:
        """First token of each window, and T. Shape: (B + 1,), int32."""
        ends = self.lengths.cumsum(0, dtype=torch.int32)
        return torch.cat((ends.new_zeros(1), ends))

    def places(self) -> tuple[Tensor, Tensor]:
        """Window of each token, and its place in the window. Shapes: (T,), int64."""
        numbers = torch.arange(len(self.lengths), device=self.lengths.device)
        windows = torch.repeat_interleave(numbers, self.lengths, output_size=self.total)
        return windows, torch.arange(self.total, device=windows.device) - self.starts()[windows]

    def mask(self) -> Tensor:
        """True where the padded form has a token. Shape: (B, N), bool."""
        return torch.arange(self.longest, device=self.lengths.device) < self.lengths[:, None]

    def padded(self, tokens: Tensor) -> Tensor:
        """Shape (T, ...) to (B, N, ...), zeros behind each window's tokens."""
        filled = tokens.new_zeros((len(self.lengths), self.longest, *tokens.shape[1:]))
        return filled.index_put(self.places(), tokens)

    def packed(self, windows: Tensor) -> Tensor:
        """Shape (B, N, ...) to (T, ...)."""
        return windows[self.places()]


def packing(lengths: Tensor, tokens: Tensor) -> Packing:
    """The packing of windows of these lengths.

    Args:
        lengths: Shape: (B,), integer. On CPU with tokens on CUDA they cost no synchronisation; on CUDA they cost one.
        tokens: What is packed. Shape: (T, ...).

    Raises:
        ValueError: the lengths are not of shape (B,), or do not add up.
    """
    total = tokens.shape[0]
    if lengths.ndim != 1 or lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise ValueError(f"sequence lengths must be integers of shape (B,), got {lengths.dtype} {tuple(lengths.shape)}")
    if torch.compiler.is_compiling():
        return Packing(lengths.to(tokens.device), total, total)  # how long the longest is would break the graph
    if lengths.device.type == "cpu" and int(lengths.sum()) != total:
        raise ValueError(f"sequence lengths add up to {int(lengths.sum())}, but there are {total} tokens")
    longest = int(lengths.max()) if len(lengths) else 0
    return Packing(lengths.to(tokens.device, non_blocking=True), longest, total)


def equal_windows(windows: Tensor) -> Packing:
    """The packing of windows that are all of one length. Shape of `windows`: (B, N, ...)."""
    count, length = windows.shape[:2]
    lengths = torch.full((count,), length, dtype=torch.int64, device=windows.device)
    return Packing(lengths, length, count * length)


def bounds_of(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """First element of pieces of these lengths that follow each other, and the element behind the last."""
    ends = list(accumulate(lengths))
    return [(end - length, end) for end, length in zip(ends, lengths, strict=True)]


def prefix_lengths(mask: Tensor) -> list[int] | None:
    """How many tokens each window has, where its real tokens come first; None where they do not. Synchronises.

    Args:
        mask: True = real token. Shape: (B, N), bool.
    """
    lengths = mask.sum(dim=1)
    if not torch.equal(torch.arange(mask.shape[1], device=mask.device) < lengths[:, None], mask):
        return None
    found: list[int] = lengths.tolist()
    return found
