"""Cut a row of windows into batches of as many as fit into a budget of tokens.

Shape legend: W windows, B batches.
"""

import heapq

import numpy as np
from numpy.typing import NDArray


def batch_ends(
    tokens: NDArray[np.int64], max_tokens: int, *, padded: bool, max_windows: int | None = None
) -> NDArray[np.int64]:
    """Where each batch ends, if every batch takes as many of the windows that follow as fit.

    Args:
        tokens: Tokens of each window, in order, 0 or more. Shape: (W,).
        max_tokens: The budget.
        padded: Whether a batch costs its longest window times its number of windows, instead of the sum of its windows.
        max_windows: Most windows of a batch.

    Returns:
        One past the last window of each batch, int64. A window that exceeds the budget is a batch of its own. Shape:
        (B,).
    """
    limit = len(tokens) if max_windows is None else max_windows
    ends = []
    begin, reach = 0, 64
    sums = np.concatenate([[0], np.cumsum(tokens)])
    while begin < len(tokens):
        if padded:
            end = begin + reach
            ahead = tokens[begin : min(end, begin + limit)]
            cost = np.maximum.accumulate(ahead) * np.arange(1, len(ahead) + 1)
            # The cost never falls, so this is the first window that does not fit.
            fitting = int(np.searchsorted(cost, max_tokens, side="right"))
            if fitting == len(ahead) and end < len(tokens) and len(ahead) < limit:
                reach *= 2
                continue
            reach = max(64, 2 * fitting)
        else:
            fitting = int(np.searchsorted(sums, sums[begin] + max_tokens, side="right")) - 1 - begin
            fitting = min(fitting, limit)
        begin = min(begin + max(fitting, 1), len(tokens))
        ends.append(begin)
    return np.array(ends, dtype=np.int64)


def split_largest(batches: list[NDArray[np.int64]], wanted: int) -> list[NDArray[np.int64]]:
    """Split the batches of most windows in two until there are as many as wanted; second halves go to the end.

    Args:
        batches: Positions of windows, for each batch.
        wanted: How many batches there shall be at least.

    Raises:
        ValueError: there are fewer windows than batches wanted.
    """
    windows = sum(map(len, batches))
    if windows < wanted:
        raise ValueError(
            f"{windows} windows cannot fill {wanted} batches: use shorter windows, more data, fewer ranks or fewer "
            "batches_per_epoch"
        )
    out = list(batches)
    largest = [(-len(batch), place) for place, batch in enumerate(out)]
    heapq.heapify(largest)
    while len(out) < wanted:
        _, place = heapq.heappop(largest)
        batch = out[place]
        half = (len(batch) + 1) // 2
        out[place] = batch[:half]
        out.append(batch[half:])
        heapq.heappush(largest, (-half, place))
        heapq.heappush(largest, (half - len(batch), len(out) - 1))
    return out
