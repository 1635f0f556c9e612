"""Windows that come more than once: a sampler fills up the last batch, or two processes evaluate the same window.

Shape legend: ``N`` values, ``W`` windows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nd_eval.time_groups import TimeGroups, group_times


def repeats_of_windows(
    groups: TimeGroups, window_starts: Tensor, window_sizes: Tensor, *, tolerance: float
) -> tuple[Tensor, Tensor] | None:
    """Values that windows which came more than once give for one time.

    Args:
        groups: The times of the values.
        window_starts: Absolute start of each window that came, NaN for values that belong to no known window. (W,)
        window_sizes: How many of the values, in their order, belong to each window. (W,)
        tolerance: Windows that start closer than this many seconds are one window.

    Returns:
        Positions of the values that have a repeat, (R,), and a number for each that repeats share, (R,); None if there
        is no repeat.
    """
    if not bool((torch.sort(window_starts).values.diff() < tolerance).any()) and tolerance > 0.0:
        return None
    known = torch.nonzero(~torch.isnan(window_starts)).flatten()
    windows = group_times(window_starts[known], tolerance=tolerance)
    if len(windows) == len(known):
        return None
    number = windows.group_of_values()
    again = torch.full(window_starts.shape, -1)
    again[known] = torch.where(windows.sizes[number] > 1, number, -1)
    of_values = torch.repeat_interleave(again, window_sizes)
    candidates = torch.nonzero(of_values >= 0).flatten()
    pairs = groups.group_of_values()[candidates] * len(windows) + of_values[candidates]
    ordered, by_pair = torch.sort(pairs, stable=True)
    same = ordered[1:] == ordered[:-1]
    if not bool(same.any()):
        return None
    repeated = torch.zeros(pairs.shape, dtype=torch.bool)
    repeated[1:] |= same
    repeated[:-1] |= same
    return candidates[by_pair[repeated]], ordered[repeated]


def one_of_each_repeat(values: Tensor, positions: Tensor, shared: Tensor) -> Tensor:
    """Which values count when every window counts once at every time: of repeats the smallest, whatever their order.

    Args:
        values: What is to be pooled. Shape: (N, ...).
        positions: Positions of the values that have a repeat. (R,)
        shared: A number for each that repeats share. (R,)

    Returns:
        True for the values that count. (N,)
    """
    rows = values[positions].reshape(positions.numel(), -1)
    order = torch.arange(positions.numel())
    for column in reversed(rows.unbind(1)):
        order = order[torch.sort(column[order], stable=True).indices]
    order = order[torch.sort(shared[order], stable=True).indices]
    surplus = torch.zeros(order.shape, dtype=torch.bool)
    torch.eq(shared[order][1:], shared[order][:-1], out=surplus[1:])
    counts = torch.ones(values.shape[0], dtype=torch.bool)
    counts[positions[order[surplus]]] = False
    return counts
