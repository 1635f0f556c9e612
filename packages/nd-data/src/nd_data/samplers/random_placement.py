"""Windows end to end behind a random offset, as many as fit into each interval."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nd_data.samplers.interval_table import IntervalTable
from nd_data.samplers.placed_windows import Placement

# Intermediate results of so many intervals stay in the processor's cache, and in memory that is already at hand.
_BLOCK = 8192

# Of 64: at least 40 bits are random, so that two of a million windows hardly ever draw the same (their own order would
# then decide).
_MOST_CODE_BITS = 24


def random_placement(
    table: IntervalTable, counts: NDArray[np.int64], window_length: float, rng: np.random.Generator
) -> Placement:
    """Place windows behind an offset drawn uniformly from one window's length, and one more where that costs a window.

    The extra one lies at the interval's start or end, on the side with more room.

    Args:
        table: Intervals. I of them.
        counts: Windows that fit into each, at least 1. Shape: (I,).
        window_length: Seconds.
        rng: Where offsets come from.
    """
    first_start, odd_start = np.empty(len(table)), np.empty(len(table))
    fitting = np.empty(len(table), dtype=np.int64)
    for begin in range(0, len(table), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        start, end, most = table.start[block], table.end[block], counts[block]
        offset = rng.random(len(start)) * window_length
        room = end - start - offset
        fit = np.floor(room / window_length).astype(np.int64)
        fit = np.maximum(np.minimum(fit, most), most - 1)
        np.add(start, offset, out=first_start[block])
        odd_start[block] = np.where(room - fit * window_length > offset, end - window_length, start)
        fitting[block] = fit
    return Placement(counts, first_start, window_length, fitting, odd_start)


def random_order(
    count: int, codes: Callable[[slice], NDArray[np.int64]], code_bits: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Put windows in a random order, each order as likely as any other.

    Sorting numbers that are random above and hold the windows' codes below takes half the time of shuffling, which
    visits memory at random.

    Args:
        count: How many windows there are.
        codes: The codes of windows in a range of their own order.
        code_bits: Codes are below ``2**code_bits``.
        rng: Where the order comes from.

    Returns:
        The codes in random order. Shape: (W,).
    """
    if code_bits > _MOST_CODE_BITS:  # too few random bits would be left
        return codes(slice(0, count))[rng.permutation(count)]
    low_bits = np.uint64((1 << code_bits) - 1)
    keys = rng.integers(0, 2**64, count, dtype=np.uint64)
    keys &= ~low_bits
    for begin in range(0, count, _BLOCK):
        end = min(begin + _BLOCK, count)
        keys[begin:end] |= codes(slice(begin, end)).view(np.uint64)
    keys.sort()
    keys &= low_bits
    return keys.view(np.int64)
