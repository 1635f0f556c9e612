"""Everything that came in for one task of one recording: values still open, and stretches of time that are finished.

Shape legend: ``N`` values, ``U`` distinct times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nd_eval.collected_values import CollectedValues, check_same_kind, joined_values
from nd_eval.repeated_windows import one_of_each_repeat, repeats_of_windows
from nd_eval.stitch import pool
from nd_eval.stitched_trace import StitchedTrace, joined_traces
from nd_eval.time_groups import group_times

# Looking for what is finished costs a sort: not before there are this many values, and twice as many as were left.
_WORTH_FLUSHING = 4096

_COLUMNS = ("timestamps", "preds", "targets", "weights", "window_starts", "window_sizes")


@dataclass
class Stretch:
    """Values of one task in one recording.

    Attributes:
        tolerance: Times closer than this many seconds are one time, unless rounding of the times wants more.
        time_error: By how many seconds rounding may have moved a time.
        open: Values that wait for others of their times.
        finished: Stitched parts that are kept here.
        closed: Times, from first to last, of finished parts, kept here or handed over: nothing new may come for them.
        closed_windows: Starts of the windows that have values in finished parts, ascending.
        kind: No value, of the shape and dtype of all that came; None before any came.
        first_window: Start of the first window that came; infinity if none is known.
        newest_window: Start of the latest window that came; minus infinity if none is known.
        longest_window: Latest time of a value after the start of its window, in seconds.
    """

    tolerance: float
    time_error: float = 0.0
    open: list[CollectedValues] = field(default_factory=list)
    finished: list[StitchedTrace] = field(default_factory=list)
    closed: list[tuple[float, float]] = field(default_factory=list)
    closed_windows: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64))
    kind: CollectedValues | None = None
    first_window: float = float("inf")
    newest_window: float = -float("inf")
    longest_window: float = 0.0
    _left_open: int = 0

    @property
    def effective_tolerance(self) -> float:
        """Two renderings of one time may differ by twice the rounding."""
        return max(self.tolerance, 3.0 * self.time_error)

    def add(self, values: CollectedValues, time_error: float, *, note_windows: bool = False) -> None:
        """Take values in, all or none.

        Args:
            values: The values.
            time_error: By how many seconds rounding may have moved a time.
            note_windows: Whether :meth:`flush_in_order` will be asked.

        Raises:
            ValueError: a value is of a time that is finished, and of no window known there; or the shapes differ.
            TypeError: predictions or targets change between floats and classes.
        """
        values = self.admitted(values)
        if len(values) == 0:
            return
        self.time_error = max(self.time_error, time_error)
        if self.kind is None:
            self.kind = values.none()
        self.open.append(values)
        if note_windows:
            self._note_windows(values)

    def admitted(self, values: CollectedValues) -> CollectedValues:
        """The values, without those that repeat a window of a finished part; nothing is taken in yet.

        Raises:
            ValueError: a value is of a time that is finished, and of no window known there; or the shapes differ.
            TypeError: predictions or targets change between floats and classes.
        """
        if self.kind is not None:
            check_same_kind(self.kind, values)
        return self._without_late(values, self.effective_tolerance) if self.closed else values

    def flush(self, before: float, *, keep_from: float = -float("inf")) -> StitchedTrace | None:
        """Stitch what lies before a time and close it; None if there is nothing.

        Only whole groups of times are taken, apart from what is left open by the tolerance at least, so later values
        cannot change them.

        Args:
            before: Time in seconds; no value before it will come any more.
            keep_from: Values before this time stay open.
        """
        if not self.open:
            return None
        tolerance = self.effective_tolerance
        values = joined_values(self.open)
        groups = group_times(values.timestamps, tolerance=tolerance)
        earliest = groups.timestamps
        ordered = groups.in_order(values.timestamps)
        latest = ordered[groups.first + groups.sizes - 1]
        # A cut between two groups, or at either end, must be the tolerance wide.
        apart = torch.ones(len(groups) + 1, dtype=torch.bool)
        apart[1:-1] = earliest[1:] - latest[:-1] >= tolerance if tolerance > 0 else True
        can_start, can_stop = apart.clone(), apart.clone()
        can_start[:-1] &= earliest >= keep_from
        can_stop[1:] &= latest + tolerance <= before
        start, stop = int(can_start.to(torch.int8).argmax()), int(torch.nonzero(can_stop).max())
        if start >= stop:
            return None
        group = groups.group_of_values()
        done = (group >= start) & (group < stop)
        part = values.at(done)
        rest = values.at(~done)
        self.open = [rest] if len(rest) else []
        self._left_open = len(rest)
        trace = self._stitched(part)
        self.closed.append((float(earliest[start]), float(latest[stop - 1])))
        self._unite_closed()
        windows = part.window_starts[~torch.isnan(part.window_starts)]
        self.closed_windows = torch.unique(torch.cat([self.closed_windows, windows]))
        return trace

    def flush_in_order(self) -> StitchedTrace | None:
        """Stitch and close what no window from the newest on can reach; rarely enough to cost little.

        The time of the first window stays open: on another process a window before it may reach into it.
        """
        if sum(map(len, self.open)) < max(_WORTH_FLUSHING, 2 * self._left_open):
            return None
        self._left_open = sum(map(len, self.open))
        keep_from = self.first_window + self.longest_window + self.effective_tolerance
        return self.flush(self.newest_window, keep_from=keep_from)

    def merge(self, other: Stretch) -> None:
        """Add what another process collected of the same task and recording; the other is left as it is.

        Raises:
            ValueError: a stretch of time is finished in one and has values of its own in the other.
        """
        if self.kind is not None and other.kind is not None:
            check_same_kind(self.kind, other.kind)
        merged = Stretch(
            self.tolerance, max(self.time_error, other.time_error), kind=other.kind if self.kind is None else self.kind
        )
        margin = merged.effective_tolerance
        for start, end in self.closed:
            for other_start, other_end in other.closed:
                if start - margin < other_end and other_start < end + margin:
                    first, last = max(start, other_start), min(end, other_end)
                    raise ValueError(
                        f"both finished the time from {first:.6f} s to {last:.6f} s by themselves, which cannot be put "
                        "together exactly; do not flush before merging, or give each process a stretch of its own"
                    )
        merged.finished = self.finished + other.finished
        merged.closed = self.closed + other.closed
        merged.closed_windows = torch.unique(torch.cat([self.closed_windows, other.closed_windows]))
        merged.open = [
            part
            for mine, theirs in ((self, other), (other, self))
            for values in mine.open
            if len(part := theirs._without_late(values, margin))  # noqa: SLF001 a stretch like this one
        ]
        merged.first_window = min(self.first_window, other.first_window)
        merged.newest_window = max(self.newest_window, other.newest_window)
        merged.longest_window = max(self.longest_window, other.longest_window)
        self.__dict__.update(merged.__dict__)

    def trace(self) -> StitchedTrace | None:
        """Everything that is kept here, stitched; None of nothing."""
        parts = [*self.finished, *([self._stitched(joined_values(self.open))] if self.open else [])]
        return joined_traces(parts) if parts else None

    def state(self) -> dict[str, Any]:
        """Everything, as plain data and tensors."""
        state: dict[str, Any] = {
            "time_error": self.time_error,
            "closed": [list(span) for span in self.closed],
            "closed_windows": self.closed_windows,
            "finished": [dict(vars(trace)) for trace in self.finished],
            "windows": [self.first_window, self.newest_window, self.longest_window],
        }
        if self.kind is not None:
            state.update(vars(joined_values(self.open) if self.open else self.kind))
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Any], tolerance: float) -> Stretch:
        """Build what :meth:`state` described."""
        stretch = cls(tolerance, float(state["time_error"]))
        if "timestamps" in state:
            values = CollectedValues(**{name: state[name] for name in _COLUMNS})
            stretch.kind = values.none()
            stretch.open = [values] if len(values) else []
        stretch.closed = [(float(start), float(end)) for start, end in state["closed"]]
        stretch.closed_windows = state["closed_windows"]
        stretch.finished = [StitchedTrace(**trace) for trace in state["finished"]]
        stretch.first_window, stretch.newest_window, stretch.longest_window = map(float, state["windows"])
        return stretch

    def _stitched(self, values: CollectedValues) -> StitchedTrace:
        tolerance = self.effective_tolerance
        parts = values.window_sizes if bool((values.window_sizes > 0).all()) else None
        groups = group_times(values.timestamps, tolerance=tolerance, parts=parts)
        repeats = repeats_of_windows(groups, values.window_starts, values.window_sizes, tolerance=tolerance)
        pooled = []
        for column in (values.preds, values.targets):
            weights = values.weights
            if repeats is not None:
                counts = one_of_each_repeat(column, *repeats).to(torch.float64)
                weights = counts if weights is None else weights * counts
            pooled.append(pool(column, groups, weights=weights))
        return StitchedTrace(groups.timestamps, *pooled)

    def _without_late(self, values: CollectedValues, margin: float) -> CollectedValues:
        """Drop what repeats a window of a finished part; refuse what else is of a finished time."""
        if not self.closed:
            return values
        late = torch.zeros(len(values), dtype=torch.bool)
        for start, end in self.closed:
            late |= (values.timestamps > start - margin) & (values.timestamps < end + margin)
        if not bool(late.any()):
            return values
        starts = values.starts_of_values()[late]
        near = torch.searchsorted(self.closed_windows, starts - margin)
        padded = torch.cat([self.closed_windows, self.closed_windows.new_full((1,), float("inf"))])
        repeated = padded[near.clamp(max=len(self.closed_windows))] < starts + margin
        if not bool(repeated.all()):
            first = float(values.timestamps[late][~repeated][0])
            end = max(end for _, end in self.closed)
            raise ValueError(
                f"{int((~repeated).sum())} values, the first of {first:.6f} s, came after their time was finished (it "
                f"is up to {end:.6f} s); flush later, or do without in_order where windows come in any order"
            )
        return values.at(~late)

    def _note_windows(self, values: CollectedValues) -> None:
        earliest, latest = (float(end) for end in values.window_starts.aminmax())
        self.first_window = min(self.first_window, earliest)
        self.newest_window = max(self.newest_window, latest)
        longest = float((values.timestamps - values.starts_of_values()).max())
        self.longest_window = max(self.longest_window, longest)

    def _unite_closed(self) -> None:
        """Let one span stand for spans between which nothing is open."""
        opened = torch.cat([values.timestamps for values in self.open]) if self.open else torch.empty(0)
        united: list[tuple[float, float]] = []
        for start, end in sorted(self.closed):
            if united and not bool(((opened > united[-1][1]) & (opened < start)).any()):
                united[-1] = (united[-1][0], max(end, united[-1][1]))
            else:
                united.append((start, end))
        self.closed = united
