"""Splits in the order of time."""

import numpy as np


def split_in_order(count: int, train: float, valid: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks of the first `train`, the next `valid` and the other of `count` things, each of shape (count,)."""
    position = np.arange(count)
    first, second = round(count * train), round(count * (train + valid))
    return position < first, (position >= first) & (position < second), position >= second
