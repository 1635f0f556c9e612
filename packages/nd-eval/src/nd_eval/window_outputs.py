"""The outputs of a batch of windows, brought from the layouts of models into one row per output.

Shape legend: ``B`` windows, ``N_out`` output times of a window (padded), ``M`` outputs of the batch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import torch
from torch import Tensor

from nd_eval.collected_values import (
    CollectedValues,
    check_finite,
    check_time_error,
    full_precision,
    time_error_of,
)
from nd_eval.evaluator_data import DataForDecodingStitchEvaluator, DataForMultiTaskDecodingStitchEvaluator


@dataclass(frozen=True)
class WindowOutputs:
    """The evaluated outputs of one task of one recording in a batch.

    Attributes:
        recording: The recording.
        task: The task.
        values: The outputs, window after window.
        time_error: By how many seconds rounding may have moved a time.
    """

    recording: str
    task: str
    values: CollectedValues
    time_error: float


def single_task_outputs(data: DataForDecodingStitchEvaluator, task: str) -> Iterator[WindowOutputs]:
    """Outputs of a model with one readout, for each recording; those that are not evaluated are dropped here.

    Raises:
        ValueError: the parts of the batch do not fit together.
    """
    timestamps, starts = _times(data.timestamps, data.absolute_starts, data.session_ids)
    masks = _cpu(data.eval_masks).to(torch.bool)
    _check_same_shape("eval_masks", masks, timestamps)
    whole = bool(masks.all())
    counts = torch.full((len(masks),), masks.shape[1]) if whole else masks.sum(1)
    places = None if whole else torch.nonzero(masks.flatten()).flatten()
    relative, absolute = timestamps.flatten(), (timestamps.to(torch.float64) + starts.unsqueeze(1)).flatten()
    if places is not None:
        relative, absolute = relative.index_select(0, places), absolute.index_select(0, places)
    yield from _by_recording(
        task,
        data.session_ids,
        starts,
        counts,
        absolute,
        _unpadded("predictions", data.preds, masks, places, data.session_ids, task),
        _unpadded("targets", data.targets, masks, places, data.session_ids, task),
        _time_error(relative, data.absolute_starts),
    )


def multi_task_outputs(
    data: DataForMultiTaskDecodingStitchEvaluator, task_ids: Mapping[str, int]
) -> Iterator[WindowOutputs]:
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
    _check_tasks(data, task_ids)
    found = {task: (decoders == number) for task, number in task_ids.items()}
    counts = {task: here.sum(1) for task, here in found.items()}
    if sum(int(count.sum()) for count in counts.values()) != int(torch.count_nonzero(decoders)):
        _refuse_unknown_id(data.session_ids, decoders, task_ids)
    relative, absolute = timestamps.flatten(), (timestamps.to(torch.float64) + starts.unsqueeze(1)).flatten()
    for task, here in found.items():
        number = counts[task]
        preds = _chained_predictions(data, task, number.tolist())
        chained = _chained_targets(data, task, number.tolist())
        if preds is None or chained is None:
            continue
        targets, mask = chained
        places = torch.nonzero(here.flatten()).flatten()
        if mask is not None and not bool(mask.all()):
            number = torch.zeros_like(number).index_add_(0, torch.repeat_interleave(number), mask.to(torch.int64))
            places, preds, targets = places[mask], preds[mask], targets[mask]
        yield from _by_recording(
            task,
            data.session_ids,
            starts,
            number,
            absolute.index_select(0, places),
            preds,
            targets,
            _time_error(relative.index_select(0, places), data.absolute_starts),
            seen=[name for name, count in zip(data.session_ids, counts[task].tolist(), strict=True) if count],
        )


def _by_recording(
    task: str,
    recordings: Sequence[str],
    starts: Tensor,
    counts: Tensor,
    timestamps: Tensor,
    preds: Tensor,
    targets: Tensor,
    time_error: float,
    *,
    seen: Iterable[str] | None = None,
) -> Iterator[WindowOutputs]:
    """The outputs of each recording apart, of windows (B,) with so many outputs each, (B,).

    A recording that is seen but has no output is among them, with no value.
    """
    chosen = dict.fromkeys(recordings if seen is None else seen)
    names = list(dict.fromkeys(recordings))
    number = [names.index(name) for name in recordings]
    if any(later < earlier for earlier, later in pairwise(number)):
        # The windows of a recording one after the other; then each recording is a slice.
        windows = torch.sort(torch.tensor(number), stable=True).indices
        first = (counts.cumsum(0) - counts)[windows]
        starts, counts = starts[windows], counts[windows]
        shift = torch.repeat_interleave(first - (counts.cumsum(0) - counts), counts)
        way = torch.arange(len(shift)) + shift
        timestamps, preds, targets = (column.index_select(0, way) for column in (timestamps, preds, targets))
        number.sort()
    sizes = counts.tolist()
    begin, window = 0, 0
    for place, name in enumerate(names):
        windows_here = number.count(place)
        end = begin + sum(sizes[window : window + windows_here])
        if name in chosen:
            here, part = slice(window, window + windows_here), slice(begin, end)
            times = timestamps[part]
            try:
                check_finite(times)
                check_time_error(time_error, times)
            except ValueError as problem:
                raise ValueError(f"recording {name!r}, task {task!r}: {problem}") from None
            values = CollectedValues(times, preds[part], targets[part], None, starts[here], counts[here])
            yield WindowOutputs(name, task, values, time_error)
        begin, window = end, window + windows_here


def _times(
    timestamps: Tensor, absolute_starts: Tensor | Sequence[float], session_ids: Sequence[str]
) -> tuple[Tensor, Tensor]:
    if timestamps.ndim != 2 or timestamps.shape[0] != len(session_ids):
        raise ValueError(
            f"timestamps must be (windows, outputs) with one row for each of {len(session_ids)} session_ids; "
            f"found {tuple(timestamps.shape)}"
        )
    starts = torch.as_tensor(absolute_starts, dtype=torch.float64).detach().to("cpu", copy=True)
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
    name: str,
    values: Tensor | Sequence[Tensor],
    masks: Tensor,
    places: Tensor | None,
    session_ids: Sequence[str],
    task: str,
) -> Tensor:
    """Values of the outputs that are evaluated, (M, ...), from padded windows or from one tensor per window."""
    if isinstance(values, Tensor):
        if values.shape[:2] != masks.shape:
            raise ValueError(
                f"task {task!r}: {name} of shape {tuple(values.shape)} do not begin with (windows, outputs) = "
                f"{tuple(masks.shape)}; give them padded, or as one tensor per window"
            )
        flat = _cpu(values).flatten(0, 1)
        return full_precision(flat.clone() if places is None else flat.index_select(0, places))
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
    return full_precision(_cpu(targets).clone()), None if mask is None else _cpu(mask).to(torch.bool)


def _joined(name: str, parts: Sequence[Tensor], recordings: Sequence[str], task: str) -> Tensor:
    """The parts of all windows one after the other, on the CPU."""
    first = parts[0]
    for part, recording in zip(parts, recordings, strict=True):
        if part.shape[1:] != first.shape[1:] or part.is_floating_point() != first.is_floating_point():
            raise ValueError(
                f"recording {recording!r}, task {task!r}: {name} of shape {tuple(part.shape)} and {part.dtype} in a "
                f"batch that begins with shape {tuple(first.shape)} and {first.dtype}"
            )
    return full_precision(_cpu(torch.cat(list(parts))))


def _check_tasks(data: DataForMultiTaskDecodingStitchEvaluator, task_ids: Mapping[str, int]) -> None:
    if all(map(task_ids.__contains__, chain(data.targets, *data.preds))):
        return
    named = [(data.session_ids[window], task) for window, preds in enumerate(data.preds) for task in preds]
    for recording, task in [*named, *((data.session_ids[0], task) for task in data.targets if data.session_ids)]:
        if task not in task_ids:
            close = difflib.get_close_matches(task, list(task_ids), n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(f"recording {recording!r}: unknown task {task!r}{hint}; known are {', '.join(task_ids)}")


def _refuse_unknown_id(session_ids: Sequence[str], decoders: Tensor, task_ids: Mapping[str, int]) -> None:
    unknown = ~torch.isin(decoders, torch.tensor([0, *task_ids.values()]))
    window, place = torch.nonzero(unknown)[0].tolist()
    listed = ", ".join(f"{number} {task}" for task, number in task_ids.items())
    raise ValueError(
        f"recording {session_ids[window]!r}: no task has the modality id {int(decoders[window, place])} "
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
