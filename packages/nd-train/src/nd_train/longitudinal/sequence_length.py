"""How much of each sequence is learned from, epoch by epoch: the sequence-length schedule and its mask."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class SequenceLengthScheduler:
    """A length for every epoch, growing from the shortest to the longest, in exact arithmetic.

    ``f = e / (n - 1)`` for epoch ``e`` of ``n``, so that the last scheduled epoch has the full length; with
    ``progress="compat"``, ``f = e / n``. Linear: ``⌊min + (max - min) f⌋``; exponential: ``⌊min (max / min)^f⌋``.

    Args:
        kind: ``none`` (always the longest), ``linear`` or ``exponential``.
        min_seq_len: Length of epoch 0, 1 or more.
        max_seq_len: Full length, at least `min_seq_len`.
        num_epochs: Scheduled epochs n.
        progress: ``full`` or ``compat``.

    Raises:
        ValueError: lengths or epochs out of range.

    Example:
        >>> schedule = SequenceLengthScheduler("linear", min_seq_len=2, max_seq_len=6, num_epochs=4)
        >>> [schedule.length(epoch) for epoch in range(5)]
        [2, 3, 4, 6, 6]
    """

    kind: Literal["none", "linear", "exponential"]
    min_seq_len: int
    max_seq_len: int
    num_epochs: int
    progress: Literal["full", "compat"] = "full"

    def __post_init__(self) -> None:
        if self.kind != "none":
            if not 1 <= self.min_seq_len <= self.max_seq_len:
                raise ValueError(
                    f"sequence lengths: expected 1 <= min_seq_len <= max_seq_len, found {self.min_seq_len} and "
                    f"{self.max_seq_len}"
                )
            if self.num_epochs < 1:
                raise ValueError(f"scheduled epochs: expected 1 or more, found {self.num_epochs}")

    def length(self, epoch: int) -> int:
        """Steps to learn from in an epoch, counted from 0."""
        shortest, longest = self.min_seq_len, self.max_seq_len
        whole = self.num_epochs - 1 if self.progress == "full" else self.num_epochs
        if self.kind == "none" or epoch >= whole:
            return longest
        if self.kind == "linear":
            return shortest + (longest - shortest) * epoch // whole
        # The largest length whose whole-th power is at most min^(whole - e) max^e, in integers.
        bound = shortest ** (whole - epoch) * longest**epoch
        low, high = shortest, longest
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**whole <= bound else (low, middle - 1)
        return low


def trim_mask(outcomes_mask: Tensor, seq_len: int) -> Tensor:
    """A mask that is False from step `seq_len` on; the given one stays as it was.

    Args:
        outcomes_mask: (B, T, K) or (B, T).
        seq_len: Steps to keep.
    """
    kept = torch.arange(outcomes_mask.shape[1], device=outcomes_mask.device) < seq_len
    return outcomes_mask & kept.view(1, -1, *[1] * (outcomes_mask.ndim - 2)).to(outcomes_mask.dtype)
