"""Which windows go through an attention layer together.

Shapes: T_q and T_c rows (tokens of all windows, queries and context), H heads, G windows of a group; of the groups that
are projected together P_q and P_c rows.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Numbers of the projections of windows that go together, 8 MB, and of groups that are only projected together, 4 MB.
_GROUP = 1 << 21
_PART = 1 << 20


class Group(NamedTuple):
    """Windows of equal sizes that follow each other.

    Attributes:
        windows: How many, G.
        queries: Rows of their queries.
        context: Rows of their context.
    """

    windows: int
    queries: slice
    context: slice


def groups_of_windows(
    query_bounds: Sequence[tuple[int, int]], context_bounds: Sequence[tuple[int, int]], *, width: int
) -> list[Group]:
    """Put windows together that have as many queries and context tokens as the window before, without a gap.

    Args:
        query_bounds: First row of each window's queries, and the row behind the last.
        context_bounds: The same for its context.
        width: Numbers that the projections of one row have.
    """
    groups: list[Group] = []
    for (first_query, end_query), (first, end) in zip(query_bounds, context_bounds, strict=True):
        if groups:
            windows, queries, context = groups[-1]
            sizes = (_length(queries) // windows, _length(context) // windows)
            follows = (queries.stop, context.stop) == (first_query, first)
            rows = max(end_query - queries.start, end - context.start)
            if follows and sizes == (end_query - first_query, end - first) and rows * width <= _GROUP:
                groups[-1] = Group(windows + 1, slice(queries.start, end_query), slice(context.start, end))
                continue
        groups.append(Group(1, slice(first_query, end_query), slice(first, end)))
    return groups


class Part(NamedTuple):
    """Groups that are projected together: their queries follow each other, between their context may lie padding."""

    first: int
    """Number of the first group."""
    groups: list[Group]

    @property
    def windows(self) -> int:
        """How many windows lie side by side in stacks: those of a group that is alone, else one after the other."""
        return self.groups[0].windows if len(self.groups) == 1 else 1

    @property
    def queries(self) -> slice:
        """Rows of the queries."""
        return slice(self.groups[0].queries.start, self.groups[-1].queries.stop)

    def context_of(self, x: Tensor) -> Tensor:
        """The rows of the context, (T_c, …) to (P_c, …)."""
        if self._has_no_gaps():
            return x[self.groups[0].context.start : self.groups[-1].context.stop]
        return torch.cat([x[group.context] for group in self.groups])

    def put_context(self, rows: Tensor, out: Tensor) -> None:
        """Write rows of the context to where `context_of` reads them."""
        if self._has_no_gaps():
            out[self.groups[0].context.start : self.groups[-1].context.stop] = rows
            return
        sizes = [_length(group.context) for group in self.groups]
        for group, of_group in zip(self.groups, torch.split(rows, sizes), strict=True):
            out[group.context] = of_group

    def spread(self, queries: Sequence[Tensor], context: Sequence[Tensor]) -> Iterator[tuple[int, list[Tensor]]]:
        """The number of each group, and its part of stacks (H·G, P_q / G, …) and (H·G, P_c / G, …); views."""
        if len(self.groups) == 1:
            yield self.first, [*queries, *context]
            return
        row = token = 0  # of the one head's stack
        for number, (windows, rows, tokens) in enumerate(self.groups, self.first):
            end_row, end_token = row + _length(rows), token + _length(tokens)
            found = [stacks[0, row:end_row].view(windows, -1, *stacks.shape[2:]) for stacks in queries]
            found += [stacks[0, token:end_token].view(windows, -1, *stacks.shape[2:]) for stacks in context]
            yield number, found
            row, token = end_row, end_token

    def _has_no_gaps(self) -> bool:
        return all(
            one.context.stop == other.context.start for one, other in zip(self.groups, self.groups[1:], strict=False)
        )


def parts_of(groups: Sequence[Group], heads: int, *, width: int) -> list[Part]:
    """Groups one by one; several at once where there is one head, whose stack is rows, so that they need no copying.

    Args:
        groups: What `groups_of_windows` found.
        heads: Number of heads H.
        width: Numbers that the projections of one row have.
    """
    parts: list[Part] = []
    rows = 0
    for number, group in enumerate(groups):
        longest = max(_length(group.queries), _length(group.context))
        follows = bool(parts) and parts[-1].queries.stop == group.queries.start
        if heads == 1 and follows and (rows + longest) * width <= _PART:
            parts[-1].groups.append(group)
            rows += longest
        else:
            parts.append(Part(number, [group]))
            rows = longest
    return parts


def _length(rows: slice) -> int:
    return int(rows.stop - rows.start)
