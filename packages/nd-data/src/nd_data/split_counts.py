"""How many of a number of things each part of a split gets."""

from collections.abc import Sequence

import numpy as np


def split_counts(sizes: Sequence[int] | Sequence[float], total: int) -> list[int]:
    """Turn sizes into whole numbers that add up to ``total``.

    Args:
        sizes: Either whole numbers that add up to it, or fractions that add up to one.
        total: How many things there are.

    Raises:
        ValueError: fewer than two sizes, more sizes than things, or sizes that do not add up.
    """
    if len(sizes) < 2:
        raise ValueError(f"expected at least two sizes to split into, got {list(sizes)}")
    if len(sizes) > total:
        raise ValueError(f"cannot split {total} intervals into {len(sizes)} parts")
    if all(isinstance(size, int | np.integer) for size in sizes):
        if sum(sizes) != total or min(sizes) < 0:
            raise ValueError(f"the sizes {list(sizes)} must add up to the number of intervals, {total}")
        return [int(size) for size in sizes]
    if not all(isinstance(size, float | np.floating) for size in sizes):
        raise ValueError(f"sizes must be all whole numbers or all fractions, got {list(sizes)}")
    if abs(sum(sizes) - 1.0) > 1e-9 or min(sizes) < 0:
        raise ValueError(f"the fractions {list(sizes)} must add up to 1, they add up to {sum(sizes)}")
    counts = [round(size * total) for size in sizes]
    largest = int(np.argmax(counts))
    counts[largest] += total - sum(counts)
    return counts


__all__ = ["split_counts"]
