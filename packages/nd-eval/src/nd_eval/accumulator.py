"""Stitching of predictions that arrive batch after batch, per recording and task.

Shape legend: ``N`` values of one update, ``U`` distinct times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from nd_eval.collected_values import CollectedValues, collect_values
from nd_eval.stitched_trace import StitchedTrace
from nd_eval.stretch import Stretch


class StitchingAccumulator:
    """Collects predictions from windows in any order, batching and overlap, and stitches them per recording and task.

    The result is that of :func:`~nd_eval.stitch` over everything at once: votes to the bit, means to 1e-12, however the
    values were spread over updates, processes (:meth:`merge`) and devices.

    Values are kept on the CPU until :meth:`compute`, so memory grows with their number; unless stretches of time are
    finished earlier, by :meth:`flush` or, with ``in_order``, as soon as the windows have passed them. Of a finished
    stretch one value is left for each time, or none here if ``on_finished`` takes it, and the starts of its windows, by
    which a late repeat is known.

    Times are absolute seconds in float64. If they were rounded on the way, the tolerance grows with that rounding: see
    ``time_error`` of :meth:`update`.

    Args:
        tolerance: Times closer than this many seconds are one time.
        in_order: Whether the windows of each recording come in the order of their starts, as far as they are no
            repeats. Stretches of time are then finished by themselves, and a window that comes too late is an error.
            Processes may share a recording if each has a stretch of time of its own.
        on_finished: Called with recording, task and the stitched trace of each finished stretch; None keeps them for
            :meth:`compute`.

    Example:
        >>> import torch
        >>> from nd_eval import StitchingAccumulator
        >>> accumulator = StitchingAccumulator()
        >>> times = torch.arange(4, dtype=torch.float64) * 0.1
        >>> for start in (0.0, 0.2):
        ...     accumulator.update("monkey/day1", "speed", times + start, torch.full((4, 1), start), torch.ones(4, 1))
        >>> trace = accumulator.compute()["monkey/day1", "speed"]
        >>> trace.preds[:, 0]
        tensor([0.0000, 0.0000, 0.1000, 0.1000, 0.2000, 0.2000])
    """

    def __init__(
        self,
        *,
        tolerance: float = 1e-6,
        in_order: bool = False,
        on_finished: Callable[[str, str, StitchedTrace], None] | None = None,
    ) -> None:
        if not 0.0 <= tolerance < float("inf"):
            raise ValueError(f"tolerance must be a finite number of seconds, 0 or more; found {tolerance}")
        self.tolerance = tolerance
        self.in_order = in_order
        self.on_finished = on_finished
        self._stretches: dict[tuple[str, str], Stretch] = {}

    def update(
        self,
        recording_id: str,
        task: str,
        timestamps: Tensor,
        preds: Tensor,
        targets: Tensor,
        mask: Tensor | None = None,
        *,
        weights: Tensor | None = None,
        window_starts: Tensor | float | None = None,
        time_error: float | None = None,
    ) -> None:
        """Add values; nothing of the arguments is kept or changed.

        Args:
            recording_id: The recording that the values belong to.
            task: The task (readout) that they belong to.
            timestamps: Absolute times in seconds, float64. Shape: (N,).
            preds: Predictions, floats or class indices; half precision is kept as float32. Shape: (N, ...).
            targets: Targets, floats or class indices. Shape: (N, ...).
            mask: True where a value counts; None counts all. What is masked may hold anything, NaN included. Shape:
                (N,).
            weights: What each value counts, 0 or more (0 leaves it out). Shape: (N,).
            window_starts: Absolute start, in seconds, of the window that each value comes from, one for all or (N,).
                With it, a window that comes twice (a sampler pads the last batch, two ranks share a window) counts
                once.
            time_error: By how many seconds rounding may have moved a time. None takes it from the dtype of the
                timestamps. Two renderings of one time may differ by twice this, so three times this is the least
                tolerance of the recording and task.

        Raises:
            ValueError: the lengths or the shapes differ, a time is not finite, or rounding may have moved a time by
                more than 0.05 ms (in float32 beyond 800 s), so that outputs at 1 kHz could not be told apart.
            TypeError: predictions or targets change between floats and classes.
        """
        try:
            values, error = collect_values(timestamps, preds, targets, mask, weights, window_starts, time_error)
        except (TypeError, ValueError) as problem:
            raise type(problem)(f"{_place(recording_id, task)}: {problem}") from None
        self.take(recording_id, task, values, error)

    def take(self, recording_id: str, task: str, values: CollectedValues, time_error: float) -> None:
        """Add values that are checked and copied already, as :meth:`update` and the evaluations do.

        Args:
            recording_id: The recording that the values belong to.
            task: The task that they belong to.
            values: They are kept as they are.
            time_error: By how many seconds rounding may have moved a time.

        Raises:
            ValueError: the shapes differ, or a time is finished already.
            TypeError: predictions or targets change between floats and classes.
        """
        stretch = self._stretches.get((recording_id, task)) or Stretch(self.tolerance)
        try:
            if self.in_order and bool(torch.isnan(values.window_starts).any()):
                raise ValueError("window_starts tell which windows have passed; give them, or do without in_order")
            stretch.add(values, time_error, note_windows=self.in_order)
        except (TypeError, ValueError) as problem:
            raise type(problem)(f"{_place(recording_id, task)}: {problem}") from None
        self._stretches[recording_id, task] = stretch
        if self.in_order:
            self._hand_over(recording_id, task, stretch, stretch.flush_in_order())

    def check(self, recording_id: str, task: str, values: CollectedValues) -> None:
        """Refuse what :meth:`take` would refuse, and take nothing.

        Raises:
            ValueError: the shapes differ, or a time is finished already.
            TypeError: predictions or targets change between floats and classes.
        """
        stretch = self._stretches.get((recording_id, task))
        if stretch is None:
            return
        try:
            stretch.admitted(values)
        except (TypeError, ValueError) as problem:
            raise type(problem)(f"{_place(recording_id, task)}: {problem}") from None

    def flush(
        self, recording_id: str | None = None, *, task: str | None = None, before: float | None = None
    ) -> dict[tuple[str, str], StitchedTrace]:
        """Finish stretches of time: stitch them now, and keep one value for each of their times.

        A value that comes later for a finished time is an error, unless it repeats a window that was there.

        Args:
            recording_id: The recording to finish; None finishes all.
            task: The task to finish; None finishes all.
            before: Time in seconds up to which everything has come; a time closer to it than the tolerance stays open.
                None finishes everything.

        Returns:
            What this call finished, by recording and task. It also goes to ``on_finished``, or stays for
            :meth:`compute`.

        Raises:
            KeyError: nothing came for this recording or task.
        """
        chosen = [key for key in self.seen if recording_id in (None, key[0]) and task in (None, key[1])]
        if not chosen and (recording_id is not None or task is not None):
            wanted = ", ".join(
                f"{what} {name!r}" for what, name in (("recording", recording_id), ("task", task)) if name
            )
            known = ", ".join(_place(*key) for key in self.seen) or "nothing"
            raise KeyError(f"nothing came for {wanted}; what came is {known}")
        finished = {}
        for key in chosen:
            trace = self._stretches[key].flush(float("inf") if before is None else before)
            if trace is not None:
                finished[key] = trace
                self._hand_over(*key, self._stretches[key], trace)
        return finished

    def merge(self, other: StitchingAccumulator) -> None:
        """Add what another accumulator collected, such as that of another process; the other is left as it is.

        Raises:
            ValueError: the tolerances or the shapes differ, or both finished the same stretch of time.
            TypeError: predictions or targets are floats in one and classes in the other.
        """
        if other.tolerance != self.tolerance:
            raise ValueError(
                f"accumulators with different tolerances cannot be merged: {self.tolerance} s and {other.tolerance} s"
            )
        for (recording_id, task), incoming in other._stretches.items():
            stretch = self._stretches.get((recording_id, task)) or Stretch(self.tolerance)
            try:
                stretch.merge(incoming)
            except (TypeError, ValueError) as problem:
                raise type(problem)(f"{_place(recording_id, task)}: {problem}") from None
            self._stretches[recording_id, task] = stretch

    def compute(self) -> dict[tuple[str, str], StitchedTrace]:
        """Stitch what was collected so far, per (recording, task), in their alphabetical order.

        What ``on_finished`` took is not among it, nor is a recording and task without a single counted value; see
        :attr:`seen`.
        """
        traces = {key: self._stretches[key].trace() for key in self.seen}
        return {key: trace for key, trace in traces.items() if trace is not None}

    @property
    def seen(self) -> tuple[tuple[str, str], ...]:
        """Every (recording, task) that was updated, also where the masks left nothing to count."""
        return tuple(sorted(self._stretches))

    def reset(self) -> None:
        """Forget everything but the tolerance."""
        self._stretches = {}

    def state_dict(self) -> dict[str, Any]:
        """Everything collected, as plain data and CPU tensors: for a checkpoint, or for gathering across processes."""
        entries = [
            {"recording_id": recording_id, "task": task, **self._stretches[recording_id, task].state()}
            for recording_id, task in self.seen
        ]
        return {"tolerance": self.tolerance, "entries": entries}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become what :meth:`state_dict` described; what was collected before is forgotten.

        Raises:
            ValueError: the state is not one that :meth:`state_dict` gave.
        """
        try:
            tolerance = float(state["tolerance"])
            stretches = {
                (entry["recording_id"], entry["task"]): Stretch.from_state(entry, tolerance)
                for entry in state["entries"]
            }
        except (KeyError, TypeError) as problem:
            raise ValueError(f"this is not the state of a StitchingAccumulator: {problem!r}") from None
        self.tolerance, self._stretches = tolerance, stretches

    @classmethod
    def merged(cls, states: Iterable[Mapping[str, Any]]) -> StitchingAccumulator:
        """Build one accumulator from the states of several processes, as ``all_gather_object`` hands them over.

        Raises:
            ValueError: there is no state, or the states do not fit together.
        """
        result: StitchingAccumulator | None = None
        for state in states:
            part = cls()
            part.load_state_dict(state)
            if result is None:
                result = part
            else:
                result.merge(part)
        if result is None:
            raise ValueError("there is no state to merge")
        return result

    def _hand_over(self, recording_id: str, task: str, stretch: Stretch, trace: StitchedTrace | None) -> None:
        if trace is None:
            return
        if self.on_finished is None:
            stretch.finished.append(trace)
        else:
            self.on_finished(recording_id, task, trace)


def _place(recording_id: str, task: str) -> str:
    return f"recording {recording_id!r}, task {task!r}"
