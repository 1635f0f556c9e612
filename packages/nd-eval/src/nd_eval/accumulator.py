"""Stitching of predictions that arrive batch after batch, per recording and task.

Shape legend: ``N`` values of one update, ``U`` distinct times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nd_eval.repeated_windows import one_of_each_repeat, repeats_of_windows
from nd_eval.stitch import check_weights, pool
from nd_eval.time_groups import group_times

# Rounding of the times above which outputs at 1 kHz could no longer be told apart with certainty.
_LARGEST_TIME_ERROR = 5e-5


@dataclass(frozen=True)
class StitchedTrace:
    """Predictions and targets of one task in one recording, one of each for every time.

    Attributes:
        timestamps: Absolute times in seconds, ascending. Shape: (U,) float64.
        preds: Predictions: floats (values or logits) or class indices. Shape: (U, ...).
        targets: Targets. Shape: (U, ...).
    """

    timestamps: Tensor
    preds: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return self.timestamps.numel()


@dataclass(frozen=True)
class _Chunk:
    """What one update left behind, on the CPU."""

    timestamps: Tensor
    preds: Tensor
    targets: Tensor
    weights: Tensor
    window_starts: Tensor  # NaN: the value belongs to no known window


@dataclass
class _Stretch:
    """Everything that came in for one task of one recording."""

    chunks: list[_Chunk] = field(default_factory=list)
    time_error: float = 0.0


class StitchingAccumulator:
    """Collects predictions from windows in any order, batching and overlap, and stitches them per recording and task.

    The result is that of :func:`~nd_eval.stitch` over everything at once: votes to the bit, means to 1e-12, however the
    values were spread over updates, processes (:meth:`merge`) and devices. Values are kept on the CPU until
    :meth:`compute`, so memory grows with the number of values.

    Times are absolute seconds in float64. If they were rounded on the way, the tolerance grows with that rounding: see
    ``time_error`` of :meth:`update`.

    Args:
        tolerance: Times closer than this many seconds are one time.

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

    def __init__(self, *, tolerance: float = 1e-6) -> None:
        if not 0.0 <= tolerance < float("inf"):
            raise ValueError(f"tolerance must be a finite number of seconds, 0 or more; found {tolerance}")
        self.tolerance = tolerance
        self._stretches: dict[tuple[str, str], _Stretch] = {}

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
            stretch = self._stretches.get((recording_id, task), _Stretch())
            chunk, error = self._chunk(timestamps, preds, targets, mask, weights, window_starts, time_error)
            if stretch.chunks:
                _check_same_kind(stretch.chunks[0], chunk)
        except (TypeError, ValueError) as problem:
            raise type(problem)(f"{_place(recording_id, task)}: {problem}") from None
        self._stretches[recording_id, task] = stretch
        if chunk.timestamps.numel():
            stretch.chunks.append(chunk)
            stretch.time_error = max(stretch.time_error, error)

    def merge(self, other: StitchingAccumulator) -> None:
        """Add what another accumulator collected, such as that of another process; the other is left as it is.

        Raises:
            ValueError: the tolerances or the shapes differ.
            TypeError: predictions or targets are floats in one and classes in the other.
        """
        if other.tolerance != self.tolerance:
            raise ValueError(
                f"accumulators with different tolerances cannot be merged: {self.tolerance} s and {other.tolerance} s"
            )
        for (recording_id, task), incoming in other._stretches.items():
            stretch = self._stretches.get((recording_id, task), _Stretch())
            if stretch.chunks and incoming.chunks:
                try:
                    _check_same_kind(stretch.chunks[0], incoming.chunks[0])
                except (TypeError, ValueError) as problem:
                    raise type(problem)(f"{_place(recording_id, task)}: {problem}") from None
            self._stretches[recording_id, task] = _Stretch(
                stretch.chunks + incoming.chunks, max(stretch.time_error, incoming.time_error)
            )

    def compute(self) -> dict[tuple[str, str], StitchedTrace]:
        """Stitch what was collected so far, per (recording, task), in their alphabetical order.

        A recording and task without a single counted value is not among the results; see :attr:`seen`.
        """
        return {
            key: self._stitched(stretch)
            for key, stretch in sorted(self._stretches.items(), key=lambda item: item[0])
            if stretch.chunks
        }

    @property
    def seen(self) -> tuple[tuple[str, str], ...]:
        """Every (recording, task) that was updated, also where the masks left nothing to count."""
        return tuple(sorted(self._stretches))

    def reset(self) -> None:
        """Forget everything but the tolerance."""
        self._stretches = {}

    def state_dict(self) -> dict[str, Any]:
        """Everything collected, as plain data and CPU tensors: for a checkpoint, or for gathering across processes."""
        entries = []
        for (recording_id, task), stretch in sorted(self._stretches.items(), key=lambda item: item[0]):
            entry: dict[str, Any] = {"recording_id": recording_id, "task": task, "time_error": stretch.time_error}
            if stretch.chunks:
                entry.update(vars(_joined(stretch.chunks)))
            entries.append(entry)
        return {"tolerance": self.tolerance, "entries": entries}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become what :meth:`state_dict` described; what was collected before is forgotten.

        Raises:
            ValueError: the state is not one that :meth:`state_dict` gave.
        """
        try:
            tolerance = float(state["tolerance"])
            stretches = {}
            for entry in state["entries"]:
                names = ("timestamps", "preds", "targets", "weights", "window_starts")
                chunks = [_Chunk(**{name: entry[name] for name in names})] if "timestamps" in entry else []
                stretches[entry["recording_id"], entry["task"]] = _Stretch(chunks, float(entry["time_error"]))
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

    def _chunk(
        self,
        timestamps: Tensor,
        preds: Tensor,
        targets: Tensor,
        mask: Tensor | None,
        weights: Tensor | None,
        window_starts: Tensor | float | None,
        time_error: float | None,
    ) -> tuple[_Chunk, float]:
        count = timestamps.shape[0] if timestamps.ndim == 1 else -1
        if count < 0:
            raise ValueError(f"timestamps must be one row of times, shape (N,); found {tuple(timestamps.shape)}")
        for name, values in (("predictions", preds), ("targets", targets)):
            if values.ndim == 0 or values.shape[0] != count:
                raise ValueError(f"{count} timestamps but {name} of shape {tuple(values.shape)}")
            if values.is_complex():
                raise TypeError(f"{name} must be floating point, integer or boolean; found {values.dtype}")
        if mask is not None and tuple(mask.shape) != (count,):
            raise ValueError(f"{count} timestamps but a mask of shape {tuple(mask.shape)}")
        keep = torch.ones(count, dtype=torch.bool) if mask is None else _on_cpu(mask).to(torch.bool)
        if weights is None:
            shares = torch.ones(count, dtype=torch.float64)
        else:
            check_weights(weights, count)
            shares = _on_cpu(weights).to(torch.float64)
            keep = keep & (shares > 0)
        starts = torch.as_tensor(float("nan") if window_starts is None else window_starts, dtype=torch.float64)
        if starts.ndim > 1 or (starts.ndim == 1 and starts.shape[0] != count):
            raise ValueError(f"{count} timestamps but window_starts of shape {tuple(starts.shape)}")
        times = _on_cpu(timestamps)[keep]
        if not bool(torch.isfinite(times).all()):
            wrong = int((~torch.isfinite(times)).sum())
            raise ValueError(f"{wrong} of {times.numel()} timestamps are NaN or infinite")
        error = time_error_of(times) if time_error is None else time_error
        if error > _LARGEST_TIME_ERROR:
            raise ValueError(
                f"times near {float(times.abs().max()):.6g} s came rounded to {2 * error:.2g} s, too coarse to tell "
                "outputs apart; keep the starts of windows and absolute times in float64 (and out of half precision)"
            )
        return (
            _Chunk(
                timestamps=times.to(torch.float64),
                preds=_kept(preds, keep),
                targets=_kept(targets, keep),
                weights=shares[keep],
                window_starts=_on_cpu(starts).expand(count)[keep],
            ),
            error,
        )

    def _stitched(self, stretch: _Stretch) -> StitchedTrace:
        everything = _joined(stretch.chunks)
        tolerance = max(self.tolerance, 3.0 * stretch.time_error)
        groups = group_times(everything.timestamps, tolerance=tolerance)
        repeats = repeats_of_windows(groups, everything.window_starts, tolerance=tolerance)
        pooled = []
        for values in (everything.preds, everything.targets):
            weights = everything.weights
            if repeats is not None:
                weights = weights * one_of_each_repeat(values, *repeats)
            pooled.append(pool(values, groups, weights=None if bool((weights == 1.0).all()) else weights))
        return StitchedTrace(groups.timestamps, *pooled)


def time_error_of(timestamps: Tensor) -> float:
    """By how many seconds storing the times in their dtype may have moved them: half the spacing at the largest.

    For float32 this is 3e-8 s within a window of one second, and 1 ms at 20,000 s.
    """
    if not timestamps.is_floating_point() or timestamps.dtype == torch.float64 or timestamps.numel() == 0:
        return 0.0
    return 0.5 * torch.finfo(timestamps.dtype).eps * float(timestamps.abs().max())


def _place(recording_id: str, task: str) -> str:
    return f"recording {recording_id!r}, task {task!r}"


def _on_cpu(values: Tensor) -> Tensor:
    return values.detach().to("cpu")


def _kept(values: Tensor, keep: Tensor) -> Tensor:
    """A copy of the values to keep, on the CPU, in a dtype that loses nothing."""
    kept = _on_cpu(values)[keep]
    return kept.to(torch.float32) if kept.dtype in (torch.float16, torch.bfloat16) else kept


def _joined(chunks: list[_Chunk]) -> _Chunk:
    if len(chunks) == 1:
        return chunks[0]
    columns = zip(*(vars(chunk).values() for chunk in chunks), strict=True)
    return _Chunk(*(torch.cat(column) for column in columns))


def _check_same_kind(before: _Chunk, now: _Chunk) -> None:
    for name in ("preds", "targets"):
        first, second = getattr(before, name), getattr(now, name)
        if first.is_floating_point() != second.is_floating_point():
            raise TypeError(f"{name} were {first.dtype} so far and are now {second.dtype}")
        if first.shape[1:] != second.shape[1:]:
            raise ValueError(f"{name} were of shape (N, {_rest(first)}) so far and are now (N, {_rest(second)})")


def _rest(values: Tensor) -> str:
    return ", ".join(str(size) for size in values.shape[1:])
