"""Pooling of values that overlapping windows give for the same time: means and votes.

Shape legend: ``N`` values, ``U`` distinct times.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from nd_eval.grid_runs import GridRuns
from nd_eval.time_groups import TimeGroups, group_times

_BLOCK = 1 << 14  # times
_FEW_COLUMNS = 4
_VOTES_PER_VALUE = 4  # entries of a table of votes; more, and it would outgrow the values
_ELEMENT_OF_BYTES = {8: torch.float64, 16: torch.complex128}


def stitch(
    timestamps: Tensor, values: Tensor, *, tolerance: float = 1e-6, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Pool the values that fall on the same time.

    The result does not depend on the order of the values: votes are the same to the bit, means to the rounding of a
    float64 sum (they are accumulated in float64 whatever the dtype). Memory is O(N), whatever the number of classes.

    A NaN among the values of a time makes its mean NaN: a diverged prediction shows. Give it the weight 0 to leave it
        out.

    Args:
        timestamps: Times in seconds. Absolute times want float64 (float32 has steps of 2 ms at 20,000 s); float64
            window starts plus float32 times within a window of up to 8 s stay well within the default tolerance.
            Shape: (N,).
        values: Floats are averaged; integers and booleans are put to the vote (ties go to the smaller class, False
            before True; negative classes are classes like any other), each column for itself. Shape: (N, ...).
        tolerance: Times closer than this many seconds are one time. Sorted times are cut where two neighbours are the
            tolerance or more apart, and a dense chain of times is cut again so that no group is as wide as the
            tolerance.
        weights: What each value counts, 0 or more; those of weight 0 are left out, and times left with none do not
            appear. Weighted votes are compared as float64 sums. Shape: (N,).

    Returns:
        Sorted unique times (of each group the earliest), shape (U,), and the pooled values, shape (U, ...), both in the
        dtype they came in.

    Raises:
        ValueError: the lengths differ, a time is not finite, or a weight is negative or not finite.
        TypeError: the values are complex.

    Example:
        >>> import torch
        >>> from nd_eval import stitch
        >>> times = torch.tensor([0.01, 0.02, 0.01, 0.02, 0.03], dtype=torch.float64)
        >>> stitch(times, torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))[1]
        tensor([2., 3., 5.])
        >>> stitch(times, torch.tensor([4, -1, 4, -1, 7]))[1]
        tensor([ 4, -1,  7])
    """
    if values.is_complex():
        raise TypeError("values must be floating point (averaged), integer or boolean (put to the vote); found complex")
    if values.ndim == 0 or timestamps.shape[:1] != values.shape[:1]:
        raise ValueError(
            f"timestamps and values must have one entry per value; found {tuple(timestamps.shape)} times "
            f"and values of shape {tuple(values.shape)}"
        )
    if weights is not None:
        check_weights(weights, timestamps.shape[0])
        counted = weights > 0
        timestamps, values, weights = timestamps[counted], values[counted], weights[counted]
    groups = group_times(timestamps, tolerance=tolerance)
    return groups.timestamps, pool(values, groups, weights=weights)


def pool(values: Tensor, groups: TimeGroups, *, weights: Tensor | None = None) -> Tensor:
    """Pool values, (N, ...), over groups of times: the mean of floats, the vote of integers and booleans.

    Every group needs a total weight above 0.
    """
    if values.is_floating_point():
        few = values[:1].numel() <= _FEW_COLUMNS
        runs = groups.runs
        if runs is not None and weights is None and (few or (runs.increment == 1 and runs.steps <= len(values))):
            return _add_runs(values, groups, runs)
        return (_add_up if groups.numbers is not None and few else _pool_means)(values, groups, weights)
    if len(groups) == 0 or values.numel() == 0:
        return values.new_empty((len(groups), *values.shape[1:]))
    columns = values.reshape(values.shape[0], -1).to(torch.int64)
    winners = [_pool_votes(column, groups, weights) for column in columns.unbind(1)]
    return torch.stack(winners, dim=1).reshape(len(groups), *values.shape[1:]).to(values.dtype)


def check_weights(weights: Tensor, count: int) -> None:
    """Refuse weights that are not ``count`` finite numbers of 0 or more."""
    if tuple(weights.shape) != (count,):
        raise ValueError(f"weights must have one entry per value, shape ({count},); found {tuple(weights.shape)}")
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise ValueError("weights must be finite and 0 or more")


def _add_runs(values: Tensor, groups: TimeGroups, runs: GridRuns) -> Tensor:
    """Means of values on the CPU that come in runs of regular times."""
    columns = math.prod(values.shape[1:])
    table = values.reshape(values.shape[0], columns).contiguous()
    if len(groups) == len(values):  # windows that do not overlap: every value is the mean of its time
        return runs.placed(table).reshape(values.shape)
    sums = runs.totals(table)
    if columns == 2:
        sums.view(-1).div_(groups.size_pairs)  # as one long row, which is faster than row by row
    else:
        sums.div_(groups.sizes.unsqueeze(1))
    return sums.to(values.dtype).reshape(len(groups), *values.shape[1:])


def _add_up(values: Tensor, groups: TimeGroups, weights: Tensor | None) -> Tensor:
    """Means of values on the CPU whose groups are known without an order."""
    numbers = groups.numbers
    assert numbers is not None
    columns = math.prod(values.shape[1:])
    flat = values.reshape(values.shape[0], columns)
    if weights is None:
        totals = groups.size_pairs
    else:
        weights = weights.to(torch.float64)
        of_groups = torch.zeros(len(groups), dtype=torch.float64).scatter_add_(0, numbers, weights)
        totals = of_groups.unsqueeze(1).expand(-1, 2).flatten()
    means = values.new_empty((len(groups), columns))
    # Two columns at a time, as one complex number: of times in any order, few enough sums stay in the cache.
    for first in range(0, columns, 2):
        width = min(2, columns - first)
        addends = torch.empty((min(_BLOCK, values.shape[0]), width), dtype=torch.float64)
        sums = torch.zeros((len(groups), width), dtype=torch.float64)
        for start in range(0, values.shape[0], _BLOCK):
            part = flat[start : start + _BLOCK, first : first + width]
            row = addends[: part.shape[0]].copy_(part)
            if weights is not None:
                row *= weights[start : start + _BLOCK].unsqueeze(1)
            _as_element(sums).scatter_add_(0, numbers[start : start + _BLOCK], _as_element(row))
        # Divided as one long row, which is faster than row by row.
        sums.view(-1).div_(totals if width == 2 else totals[::2])
        means[:, first : first + width] = sums
    return means.reshape(len(groups), *values.shape[1:])


def _as_element(rows: Tensor) -> Tensor:
    """Rows of one or two float64, (N, 1) or (N, 2), as one number each, (N,)."""
    return torch.view_as_complex(rows) if rows.shape[1] == 2 else rows.squeeze(1)


def _pool_means(values: Tensor, groups: TimeGroups, weights: Tensor | None) -> Tensor:
    means = values.new_empty((len(groups), *values.shape[1:]))
    whole = _rows_as_elements(values)
    # Block by block of groups: the float64 copies stay in the cache, which saves memory and half of the time.
    edges = [*groups.first[::_BLOCK].tolist(), values.shape[0]]
    for number, (start, stop) in enumerate(pairwise(edges)):
        block = slice(number * _BLOCK, (number + 1) * _BLOCK)
        sizes = groups.sizes[block]
        part = _take(whole, groups.order, slice(start, stop)).view(values.dtype).reshape(-1, *values.shape[1:])
        size = int(sizes[0])
        if weights is None and size * sizes.numel() == stop - start and bool((sizes == size).all()):
            # Within a recording that windows cover evenly, every time has as many values as the next.
            table = part.reshape(-1, size, *values.shape[1:])
            sums = table[:, 0].to(torch.float64, copy=True)
            for place in range(1, size):
                sums += table[:, place]
            means[block] = sums.div_(size)
            continue
        part = part.to(torch.float64)
        group = torch.repeat_interleave(sizes, output_size=stop - start)
        totals = sizes.to(torch.float64)
        if weights is not None:
            shares = _take(weights, groups.order, slice(start, stop)).to(torch.float64)
            totals = torch.zeros_like(totals).index_add_(0, group, shares)
            part = part * _along(shares, part)
        sums = part.new_zeros((totals.numel(), *values.shape[1:])).index_add_(0, group, part)
        means[block] = sums.div_(_along(totals, sums))
    return means


def _rows_as_elements(values: Tensor) -> Tensor:
    """Rows of 8 or 16 bytes as one number each: gathering those takes a third of the time of gathering rows."""
    row_bytes = math.prod(values.shape[1:]) * values.element_size()
    element = _ELEMENT_OF_BYTES.get(row_bytes)
    if element is None or values.ndim == 1 or not values.is_contiguous():
        return values
    if values.storage_offset() * values.element_size() % row_bytes:
        return values
    return values.reshape(values.shape[0], -1).view(element).squeeze(1)


def _take(values: Tensor, order: Tensor | None, places: slice) -> Tensor:
    """Values at places of the order of groups."""
    return values[places] if order is None else values.index_select(0, order[places])


def _along(row: Tensor, like: Tensor) -> Tensor:
    """Give a row, (M,), as many dimensions as a tensor (M, ...)."""
    return row.reshape(-1, *(1 for _ in like.shape[1:]))


def _pool_votes(labels: Tensor, groups: TimeGroups, weights: Tensor | None) -> Tensor:
    """Winning class of each group, (U,) int64, for labels (N,) int64 as they were given."""
    two_at_most = weights is None and int(groups.sizes.max()) <= 2  # one vote wins, and of two votes the smaller class
    if two_at_most and groups.runs is not None:
        return groups.runs.smallest(labels, int(labels.max()))
    numbers = groups.numbers
    if numbers is not None and weights is None:
        lowest, highest = (int(end) for end in labels.aminmax())
        if two_at_most:
            return torch.full((len(groups),), highest).scatter_reduce_(0, numbers, labels, "amin")
        spread = highest - lowest + 1
        if spread * len(groups) <= _VOTES_PER_VALUE * labels.numel():
            pairs = numbers * spread
            pairs += labels
            pairs -= lowest
            votes = torch.bincount(pairs, minlength=spread * len(groups))
            return votes.reshape(-1, spread).max(1).indices + lowest  # the first of equals
    ordered = groups.in_order(labels)
    if weights is not None:
        return _count_votes(ordered, groups.group, len(groups), groups.in_order(weights).to(torch.float64))
    # One vote wins, and of two votes the smaller class does, be they a tie or agreed: only three or more need counting.
    sizes = groups.sizes
    winners = torch.minimum(ordered.index_select(0, groups.first), ordered.index_select(0, groups.first + (sizes > 1)))
    contested = sizes > 2
    if bool(contested.any()):
        numbers = contested.cumsum(0) - 1
        chosen = contested.index_select(0, groups.group)
        votes = _count_votes(ordered[chosen], numbers.index_select(0, groups.group[chosen]), int(contested.sum()), None)
        winners[contested] = votes
    return winners


def _count_votes(labels: Tensor, group: Tensor, group_count: int, weights: Tensor | None) -> Tensor:
    """Winning class of each group, by sorting (group, class) pairs and measuring the runs."""
    names, low, spread = None, int(labels.min()), int(labels.max()) - int(labels.min()) + 1
    if group_count * spread >= 2**62:
        names, labels = torch.unique(labels, return_inverse=True)
        low, spread = 0, names.numel()
    pairs = group * spread + (labels - low)
    if group_count * spread < 2**31:
        pairs = pairs.to(torch.int32)
    if weights is None:
        pairs = torch.sort(pairs).values
    else:
        # Equal sets of weights must give equal sums, or a tie would depend on the order of the values.
        by_weight = torch.sort(weights, stable=True).indices
        pairs, by_pair = torch.sort(pairs[by_weight], stable=True)
        weights = weights[by_weight][by_pair]
    begins = torch.ones(pairs.shape, dtype=torch.bool, device=pairs.device)
    torch.ne(pairs[1:], pairs[:-1], out=begins[1:])
    run_first = torch.nonzero(begins).flatten()
    run_pair = pairs.index_select(0, run_first)
    run_group = torch.div(run_pair, spread, rounding_mode="floor").to(torch.int64)
    if weights is None:
        support = torch.diff(run_first, append=run_first.new_tensor([pairs.numel()]))
    else:
        support = weights.new_zeros(run_pair.numel()).index_add_(0, begins.cumsum(0).sub_(1), weights)
    most = support.new_zeros(group_count).scatter_reduce_(0, run_group, support, "amax", include_self=False)
    leading = torch.nonzero(support == most.index_select(0, run_group)).flatten()
    # Runs ascend by group, then by class: the first leading run of a group is its smallest leading class.
    leading_group = run_group.index_select(0, leading)
    is_first = torch.ones_like(leading_group, dtype=torch.bool)
    torch.ne(leading_group[1:], leading_group[:-1], out=is_first[1:])
    winner = run_pair.index_select(0, leading[is_first]).to(torch.int64) % spread
    return winner + low if names is None else names[winner]
