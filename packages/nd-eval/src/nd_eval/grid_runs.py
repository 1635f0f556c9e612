"""Regular times that come in runs, as windows do: whole runs are added to the time line as slices, without an index.

A window of outputs at a constant step covers evenly spaced steps of the time line, and the next window does so a hop
later. Every k-th of them then covers steps that no other of those covers, so all of these are one strided addition.

Shape legend: ``N`` values, ``G`` steps from the first time to the last, ``U`` steps that hold a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

_BLOCK = 1 << 16  # numbers at a time: temporaries stay in the cache
_HEAD = 1 << 10
_GUESSED_FROM = 1 << 12
_SHORTEST = 12  # values of a run, on average; shorter ones are not worth it
_VALUES_PER_BATCH = 1 << 12  # a batch costs some calls: this many values by index cost as much
_FEWEST_BATCHES = 4


class RunBatch(NamedTuple):
    """Runs that share no step.

    Attributes:
        place: Position of the first value of the first run.
        step: Step on which that value lies.
        runs: Number of runs.
        length: Values of each run.
        place_stride: Positions from one run to the next.
        step_stride: Steps from one run to the next.
    """

    place: int
    step: int
    runs: int
    length: int
    place_stride: int
    step_stride: int


@dataclass(frozen=True)
class GridRuns:
    """How runs of values lie on the steps of a time line.

    Attributes:
        batches: The runs.
        increment: Steps from one value of a run to the next.
        steps: The number of steps, G.
        taken: The steps that hold a time, (U,) int64; None: all.
    """

    batches: tuple[RunBatch, ...]
    increment: int
    steps: int
    taken: Tensor | None = None

    def numbers(self, count: int) -> Tensor:
        """The group of each of the values, (N,) int64."""
        numbers = torch.empty(count, dtype=torch.int64)
        for part in self.blocks():
            self._of_values(numbers, part).copy_(self._steps_of(part))
        if self.taken is None:
            return numbers
        group = torch.empty(self.steps, dtype=torch.int64)
        group[self.taken] = torch.arange(self.taken.numel())
        return group.index_select(0, numbers)

    def totals(self, values: Tensor) -> Tensor:
        """Sums of each group, (U, C) float64, of values, (N, C), contiguous."""
        columns = values.shape[1]
        if self.increment == 1:  # runs are slices, rows and columns together
            sums = torch.empty((self.steps, columns), dtype=torch.float64)
            begin, end = self._tiled_by_first()
            sums[:begin].zero_()
            sums[end:].zero_()
            for number, batch in enumerate(self.batches):
                # What comes first need not be added to zeros.
                put = Tensor.copy_ if number == 0 and end > begin else Tensor.add_
                for part in _blocks(batch, columns):
                    on_steps = _rows(
                        sums, part.step * columns, part.runs, part.step_stride * columns, part.length * columns
                    )
                    given = _rows(
                        values, part.place * columns, part.runs, part.place_stride * columns, part.length * columns
                    )
                    put(on_steps, given)
        else:
            sums = torch.zeros((self.steps, columns), dtype=torch.float64)
            pairs = _as_pairs(values)
            given = values if pairs is None else pairs
            added = sums if pairs is None else torch.view_as_complex(sums.view(self.steps, -1, 2))
            for of_values, of_steps in zip(given.unbind(1), added.unbind(1), strict=True):
                for part in self.blocks(2):
                    self._of_steps(of_steps, part).add_(self._of_values(of_values, part))
        return self._where_taken(sums)

    def placed(self, values: Tensor) -> Tensor:
        """The value of each group, (U, C), of values, (N, C), contiguous, one in every group."""
        on_steps = values.new_empty((self.steps, values.shape[1]))
        pairs = _as_pairs(values)
        given = values if pairs is None else pairs
        table = on_steps if pairs is None else torch.view_as_complex(on_steps.view(self.steps, -1, 2))
        for of_values, of_steps in zip(given.unbind(1), table.unbind(1), strict=True):
            for part in self.blocks(2):
                self._of_steps(of_steps, part).copy_(self._of_values(of_values, part))
        return self._where_taken(on_steps)

    def smallest(self, values: Tensor, largest: float) -> Tensor:
        """The smallest value of each group, (U,), of values, (N,), none above ``largest``."""
        least = torch.full((self.steps,), largest, dtype=values.dtype)
        for part in self.blocks():
            on_steps = self._of_steps(least, part)
            torch.minimum(on_steps, self._of_values(values, part), out=on_steps)
        return self._where_taken(least)

    def sizes(self) -> Tensor:
        """How many values lie on each step, (G,) int64."""
        sizes = torch.zeros(self.steps, dtype=torch.int64)
        for part in self.blocks():
            self._of_steps(sizes, part).add_(1)
        return sizes

    def deviation(self, times: Tensor, first: float, step: float) -> float:
        """Width of the range in which the times, (N,), lie around their steps, in seconds."""
        low, high = 0.0, 0.0
        within, length = times, -1
        for part in self.blocks():
            if part.length != length:
                length = part.length
                within = torch.arange(length, dtype=torch.float64) * (self.increment * step)
            begins = torch.arange(part.runs, dtype=torch.float64) * (part.step_stride * step)
            begins += first + part.step * step
            least, most = (self._of_values(times, part) - begins.unsqueeze(1)).sub_(within).aminmax()
            low, high = min(low, float(least)), max(high, float(most))
            if high - low > step:
                break  # they are not on these steps at all
        return high - low

    def blocks(self, columns: int = 1) -> Iterator[RunBatch]:
        """The batches, cut into pieces that fit the cache."""
        for batch in self.batches:
            yield from _blocks(batch, columns)

    def _tiled_by_first(self) -> tuple[int, int]:
        """The steps that the first batch covers, from one to before another; none if it leaves gaps among them."""
        first = self.batches[0]
        if first.runs > 1 and first.step_stride != first.length * self.increment:
            return 0, 0
        return first.step, first.step + first.runs * first.length

    def _steps_of(self, part: RunBatch) -> Tensor:
        within = torch.arange(0, part.length * self.increment, self.increment)
        return within + (part.step + torch.arange(part.runs) * part.step_stride).unsqueeze(1)

    def _of_values(self, values: Tensor, part: RunBatch) -> Tensor:
        return _rows(values, part.place, part.runs, part.place_stride, part.length)

    def _of_steps(self, steps: Tensor, part: RunBatch) -> Tensor:
        return _rows(steps, part.step, part.runs, part.step_stride, part.length, self.increment)

    def _where_taken(self, steps: Tensor) -> Tensor:
        return steps if self.taken is None else steps.index_select(0, self.taken)


def _blocks(batch: RunBatch, columns: int) -> Iterator[RunBatch]:
    """A batch, cut into pieces that fit the cache."""
    at_once = max(1, _BLOCK // (batch.length * columns))
    for run in range(0, batch.runs, at_once):
        yield batch._replace(
            place=batch.place + run * batch.place_stride,
            step=batch.step + run * batch.step_stride,
            runs=min(at_once, batch.runs - run),
        )


def _as_pairs(table: Tensor) -> Tensor | None:
    """A table, (n, C), as complex numbers of two columns each, (n, C / 2), to add two at once; None if that is odd."""
    if table.shape[1] % 2 or table.storage_offset() % 2 or table.dtype not in (torch.float32, torch.float64):
        return None
    return torch.view_as_complex(table.view(table.shape[0], -1, 2))


def _rows(row: Tensor, start: int, rows: int, row_stride: int, length: int, stride: int = 1) -> Tensor:
    """Rows out of a row of numbers, or of a table that is contiguous; they may overlap."""
    inner = row.stride(0) if row.ndim == 1 else 1
    return row.as_strided((rows, length), (row_stride * inner, stride * inner), row.storage_offset() + start * inner)


def runs_on_grid(
    times: Tensor, first: float, last: float, step: float, *, tolerance: float, starts: Tensor | None = None
) -> GridRuns | None:
    """The runs in which times lie on the steps from the first; None where they do not, or in too many.

    As for :func:`~nd_eval.time_grid.regular_steps`: any two times of one step are closer than half the tolerance.

    Args:
        times: Finite times in the order in which their values come. Shape: (N,) float64.
        first: The earliest.
        last: The latest.
        step: Seconds of a step, twice the tolerance or more.
        tolerance: Times closer than this many seconds are one time.
        starts: Positions at which runs begin, (R,) int64, where windows tell; None looks for them.
    """
    count = times.numel()
    increment = round(float((times[1:_HEAD] - times[: _HEAD - 1][: count - 1]).median()) / step)
    if increment < 1:
        return None
    if starts is None:
        starts = _evenly_spaced_starts(times, increment * step, 0.25 * step)
        if starts is not None:
            found = _runs_from(starts, times, first, last, step, increment, tolerance)
            if found is not None:
                return found
        starts = _starts(times, increment * step, 0.25 * step)
    return None if starts is None else _runs_from(starts, times, first, last, step, increment, tolerance)


def _runs_from(
    starts: Tensor, times: Tensor, first: float, last: float, step: float, increment: int, tolerance: float
) -> GridRuns | None:
    """The runs that begin at some places; None if a time is not where it should be then."""
    count = times.numel()
    if starts.numel() * _SHORTEST > count + 2 * _SHORTEST:
        return None
    steps = ((times.index_select(0, starts) - first) / step).round_().to(torch.int64)
    batches = _batches(starts, steps, count, increment)
    if batches is None:
        return None
    runs = GridRuns(batches, increment, round((last - first) / step) + 1)
    lengths = starts.diff(append=starts.new_tensor([count]))
    if int((steps + (lengths - 1) * increment).max()) >= runs.steps:
        return None  # a run that goes beyond the latest time
    return runs if runs.deviation(times, first, step) < 0.5 * tolerance else None


def _evenly_spaced_starts(times: Tensor, gap: float, leeway: float) -> Tensor | None:
    """Places at which runs begin, (R,), if all but the first and the last are as long as the second; only a guess."""
    head = times[:_GUESSED_FROM]
    breaks = torch.nonzero((head.diff() - gap).abs_() > leeway).flatten()
    if not 2 <= breaks.numel() <= _GUESSED_FROM // _SHORTEST:
        return None
    after_first, length = int(breaks[0]) + 1, int(breaks[1] - breaks[0])
    return torch.cat([torch.zeros(1, dtype=torch.int64), torch.arange(after_first, times.numel(), length)])


def _starts(times: Tensor, gap: float, leeway: float) -> Tensor | None:
    """Places at which runs begin, (R,): where the gap to the time before is another one; None where runs are short."""
    breaks = [torch.zeros(1, dtype=torch.int64)]
    found = 1
    edges = [0, min(_HEAD, times.numel() - 1)]
    edges += [*range(edges[1] + _BLOCK, times.numel() - 1, _BLOCK), times.numel() - 1]
    for start, stop in pairwise(edges):
        gaps = times[start + 1 : stop + 1] - times[start:stop]
        breaks.append(torch.nonzero(gaps.sub_(gap).abs_() > leeway).flatten().add_(start + 1))
        found += breaks[-1].numel()
        if found > 2 + stop // _SHORTEST:
            return None
    return torch.cat(breaks)


def _batches(starts: Tensor, steps: Tensor, count: int, increment: int) -> tuple[RunBatch, ...] | None:
    """Runs of one length that follow each other at a constant hop, put together; None where that leaves too many."""
    lengths = starts.diff(append=starts.new_tensor([count]))
    most = _FEWEST_BATCHES + count // _VALUES_PER_BATCH
    hops = torch.where((lengths[1:] == lengths[:-1]) & (lengths[1:] <= _BLOCK), steps.diff(), 0).clamp_(min=0)
    changes = torch.nonzero(hops.diff()).flatten().add_(1)
    if changes.numel() > most:
        return None
    batches: list[RunBatch] = []
    run = 0
    edges = [0, *changes.tolist(), hops.numel()]
    for begin, end in [*pairwise(edges), (hops.numel(), hops.numel() + 1)]:
        hop = int(hops[begin]) if begin < hops.numel() and end > begin else 0
        stop = min(end + 1 if hop else end, starts.numel())
        if stop - run > most and not hop:
            return None
        if hop:
            batches += _at_a_hop(starts, steps, lengths, run, stop, hop, increment)
        else:
            for single in range(run, stop):
                batches += _single(int(starts[single]), int(steps[single]), int(lengths[single]), increment)
        run = max(run, stop)
        if len(batches) > most:
            return None
    return tuple(batches)


def _at_a_hop(
    starts: Tensor, steps: Tensor, lengths: Tensor, run: int, stop: int, hop: int, increment: int
) -> list[RunBatch]:
    """Every k-th run of those from one on, k times: so far apart that they share no step."""
    if run >= stop:
        return []
    length = int(lengths[run])
    apart = math.ceil(((length - 1) * increment + 1) / hop)
    place, step = int(starts[run]), int(steps[run])
    return [
        RunBatch(
            place + phase * length,
            step + phase * hop,
            math.ceil((stop - run - phase) / apart),
            length,
            apart * length,
            apart * hop,
        )
        for phase in range(min(apart, stop - run))
    ]


def _single(place: int, step: int, length: int, increment: int) -> list[RunBatch]:
    """One run, however long, as equal pieces and a rest."""
    pieces, rest = divmod(length, _BLOCK)
    parts = [RunBatch(place, step, pieces, _BLOCK, _BLOCK, _BLOCK * increment)] if pieces else []
    if rest:
        done = pieces * _BLOCK
        parts.append(RunBatch(place + done, step + done * increment, 1, rest, rest, rest * increment))
    return parts
