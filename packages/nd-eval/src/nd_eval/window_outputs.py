"""The outputs of a batch of windows, brought from the layouts of models into one row per output.

Shape legend: ``B`` windows, ``N_out`` output times of a window (padded), ``M`` outputs of the batch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nd_eval.accumulator import time_error_of
from nd_eval.evaluator_data import DataForDecodingStitchEvaluator, DataForMultiTaskDecodingStitchEvaluator


@dataclass(frozen=True)
class WindowOutputs:
    """Outputs of one task in a batch, on the CPU.

    Attributes:
        task: The task.
        recordings: Recording of each window, B.
        window: Window of each output, (M,) int64.
        timestamps: Absolute times in seconds, (M,) float64.
        preds: Predictions, (M, ...).
        targets: Targets, (M, ...).
        mask: True where an output is evaluated, (M,); None where all are.
        window_starts: Absolute start of the window of each output, (M,) float64.
        time_error: By how many seconds rounding may have moved a time.
    """

    task: str
    recordings: Sequence[str]
    window: Tensor
    timestamps: Tensor
    preds: Tensor
    targets: Tensor
    mask: Tensor | None
    window_starts: Tensor
    time_error: float

    def by_recording(self, recordings: Iterable[str]) -> Iterator[tuple[str, WindowOutputs]]:
        """The outputs of each of the recordings apart."""
        chosen = list(dict.fromkeys(recordings))
        if len(chosen) == 1 and all(name == chosen[0] for name in self.recordings):
            yield chosen[0], self
            return
        for recording in chosen:
            belongs = torch.tensor([name == recording for name in self.recordings])[self.window]
            yield (
                recording,
                replace(
                    self,
                    window=self.window[belongs],
                    timestamps=self.timestamps[belongs],
                    preds=self.preds[belongs],
                    targets=self.targets[belongs],
                    mask=None if self.mask is None else self.mask[belongs],
                    window_starts=self.window_starts[belongs],
                ),
            )


def single_task_outputs(data: DataForDecodingStitchEvaluator, task: str) -> Iterator[tuple[str, WindowOutputs]]:
    """Outputs of a model with one readout, for each recording; those that are not evaluated are dropped here.

    Raises:
        ValueError: the parts of the batch do not fit together.
    """
    timestamps, starts = _times(data.timestamps, data.absolute_starts, data.session_ids)
    masks = _cpu(data.eval_masks).to(torch.bool)
    _check_same_shape("eval_masks", masks, timestamps)
    window = torch.nonzero(masks)[:, 0]
    outputs = WindowOutputs(
        task=task,
        recordings=data.session_ids,
        window=window,
        timestamps=timestamps[masks].to(torch.float64) + starts[window],
        preds=_unpadded("predictions", data.preds, masks, data.session_ids, task),
        targets=_unpadded("targets", data.targets, masks, data.session_ids, task),
        mask=None,
        window_starts=starts[window],
        time_error=_time_error(timestamps[masks], data.absolute_starts),
    )
    yield from outputs.by_recording(data.session_ids)


def multi_task_outputs(
    data: DataForMultiTaskDecodingStitchEvaluator, task_ids: Mapping[str, int]
) -> Iterator[tuple[str, WindowOutputs]]:
    """Outputs of a model with many readouts, for each task and each recording that has it in this batch.

    Raises:
        ValueError: the parts of the batch do not fit together, a prediction is without target or the reverse, or a task
            or a modality id is unknown.
    """
    timestamps, starts = _times(data.timestamps, data.absolute_starts, data.session_ids)
    decoders = _cpu(data.decoder_indices)
    _check_same_shape("decoder_indices", decoders, timestamps)
    if len(data.preds) != len(data.session_ids):
        raise ValueError(f"{len(data.session_ids)} windows but predictions for {len(data.preds)}")
    _check_tasks(data, decoders, task_ids)
    for task, number in task_ids.items():
        here = decoders == number
        counts = here.sum(1).tolist()
        preds = _chained_predictions(data, task, counts)
        chained = _chained_targets(data, task, counts)
        if preds is None or chained is None:
            continue
        window = torch.nonzero(here)[:, 0]
        outputs = WindowOutputs(
            task=task,
            recordings=data.session_ids,
            window=window,
            timestamps=timestamps[here].to(torch.float64) + starts[window],
            preds=preds,
            targets=chained[0],
            mask=chained[1],
            window_starts=starts[window],
            time_error=_time_error(timestamps[here], data.absolute_starts),
        )
        yield from outputs.by_recording(name for name, count in zip(data.session_ids, counts, strict=True) if count > 0)


def _times(
    timestamps: Tensor, absolute_starts: Tensor | Sequence[float], session_ids: Sequence[str]
) -> tuple[Tensor, Tensor]:
    if timestamps.ndim != 2 or timestamps.shape[0] != len(session_ids):
        raise ValueError(
            f"timestamps must be (windows, outputs) with one row for each of {len(session_ids)} session_ids; "
            f"found {tuple(timestamps.shape)}"
        )
    starts = _cpu(torch.as_tensor(absolute_starts, dtype=torch.float64))
    if tuple(starts.shape) != (len(session_ids),):
        raise ValueError(f"{len(session_ids)} windows but absolute_starts of shape {tuple(starts.shape)}")
    if not bool(torch.isfinite(starts).all()):
        place = int(torch.nonzero(~torch.isfinite(starts))[0, 0])
        raise ValueError(
            f"recording {session_ids[place]!r}: the absolute start of window {place} is {float(starts[place])}"
        )
    return _cpu(timestamps), starts


def _time_error(timestamps: Tensor, absolute_starts: Tensor | Sequence[float]) -> float:
    error = time_error_of(timestamps)
    return error + time_error_of(absolute_starts) if isinstance(absolute_starts, Tensor) else error


def _unpadded(
    name: str, values: Tensor | Sequence[Tensor], masks: Tensor, session_ids: Sequence[str], task: str
) -> Tensor:
    """Values of the outputs that are evaluated, (M, ...), from padded windows or from one tensor per window."""
    if isinstance(values, Tensor):
        if values.shape[:2] != masks.shape:
            raise ValueError(
                f"task {task!r}: {name} of shape {tuple(values.shape)} do not begin with (windows, outputs) = "
                f"{tuple(masks.shape)}; give them padded, or as one tensor per window"
            )
        return _cpu(values)[masks]
    if len(values) != len(session_ids):
        raise ValueError(f"task {task!r}: {len(session_ids)} windows but {name} for {len(values)}")
    window, place = torch.nonzero(masks).unbind(1)
    lengths = torch.tensor([part.shape[0] for part in values], dtype=torch.int64)
    beyond = place >= lengths[window]
    if bool(beyond.any()):
        first = int(window[beyond][0])
        raise ValueError(
            f"recording {session_ids[first]!r}, task {task!r}: window {first} has {int(lengths[first])} {name} but its "
            f"eval_mask counts output {int(place[beyond][0])}"
        )
    joined = _joined(name, list(values), session_ids, task)
    return joined[(lengths.cumsum(0) - lengths)[window] + place]


def _chained_predictions(
    data: DataForMultiTaskDecodingStitchEvaluator, task: str, counts: Sequence[int]
) -> Tensor | None:
    for window, (preds, count) in enumerate(zip(data.preds, counts, strict=True)):
        found = preds[task].shape[0] if task in preds else 0
        if found != count:
            raise ValueError(
                f"recording {data.session_ids[window]!r}, task {task!r}: window {window} has {count} outputs by its "
                f"decoder_indices but {found} predictions"
            )
    windows = [window for window, count in enumerate(counts) if count]
    if not windows:
        return None
    parts = [data.preds[window][task] for window in windows]
    return _joined("predictions", parts, [data.session_ids[window] for window in windows], task)


def _chained_targets(
    data: DataForMultiTaskDecodingStitchEvaluator, task: str, counts: Sequence[int]
) -> tuple[Tensor, Tensor | None] | None:
    total = sum(counts)
    first = next((name for name, count in zip(data.session_ids, counts, strict=True) if count), None)
    where = f"task {task!r}" if first is None else f"recording {first!r}, task {task!r}"
    targets, mask = data.targets.get(task), data.eval_masks.get(task)
    if total == 0:
        if targets is not None and targets.shape[0]:
            raise ValueError(f"{where}: {targets.shape[0]} targets but no output in this batch")
        return None
    if targets is None:
        raise ValueError(f"{where}: {total} predictions without targets in this batch")
    lengths = {"targets": targets.shape[0], "eval_masks": total if mask is None else mask.shape[0]}
    for name, length in lengths.items():
        if length != total:
            raise ValueError(f"{where} (first of the batch): {total} predictions in this batch but {length} {name}")
    return _cpu(targets), None if mask is None else _cpu(mask)


def _joined(name: str, parts: Sequence[Tensor], recordings: Sequence[str], task: str) -> Tensor:
    """The parts of all windows one after the other, on the CPU."""
    first = parts[0]
    for part, recording in zip(parts, recordings, strict=True):
        if part.shape[1:] != first.shape[1:] or part.is_floating_point() != first.is_floating_point():
            raise ValueError(
                f"recording {recording!r}, task {task!r}: {name} of shape {tuple(part.shape)} and {part.dtype} in a "
                f"batch that begins with shape {tuple(first.shape)} and {first.dtype}"
            )
    return _cpu(torch.cat(list(parts)))


def _check_tasks(data: DataForMultiTaskDecodingStitchEvaluator, decoders: Tensor, task_ids: Mapping[str, int]) -> None:
    named = [(data.session_ids[window], task) for window, preds in enumerate(data.preds) for task in preds]
    for recording, task in [*named, *((data.session_ids[0], task) for task in data.targets if data.session_ids)]:
        if task not in task_ids:
            close = difflib.get_close_matches(task, list(task_ids), n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(f"recording {recording!r}: unknown task {task!r}{hint}; known are {', '.join(task_ids)}")
    known = torch.tensor([0, *task_ids.values()])
    unknown = ~torch.isin(decoders, known)
    if bool(unknown.any()):
        window, place = torch.nonzero(unknown)[0].tolist()
        listed = ", ".join(f"{number} {task}" for task, number in task_ids.items())
        raise ValueError(
            f"recording {data.session_ids[window]!r}: no task has the modality id {int(decoders[window, place])} "
            f"(decoder_indices[{window}, {place}]); known are {listed}"
        )


def _check_same_shape(name: str, values: Tensor, timestamps: Tensor) -> None:
    if values.shape != timestamps.shape:
        raise ValueError(
            f"timestamps are {tuple(timestamps.shape)} but {name} {tuple(values.shape)}; "
            "both must be (windows, outputs)"
        )


def _cpu(values: Tensor) -> Tensor:
    return values.detach().to("cpu")
