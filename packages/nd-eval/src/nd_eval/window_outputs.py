"""The outputs of a batch of windows, brought from the layouts of models into one row per output.

Shape legend: ``B`` windows, ``N_out`` output times of a window (padded), ``M`` outputs of the batch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import torch
from torch import Tensor

from nd_eval.collected_values import (
    LARGEST_TIME_ERROR,
    CollectedValues,
    check_finite,
    check_time_error,
    full_precision,
    is_half,
    time_error_of,
)
from nd_eval.evaluator_data import DataForDecodingStitchEvaluator, DataForMultiTaskDecodingStitchEvaluator
from nd_eval.known_name import did_you_mean

_CPU = torch.device("cpu")
_EXACT_ENOUGH = (torch.float32, torch.float64)
_EPSILON = torch.finfo(torch.float32).eps


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
    whole = _whole_windows(data, task)
    if whole is not None:
        yield whole
        return
    timestamps, starts = _times(data.timestamps, data.absolute_starts, data.session_ids, task)
    masks = _cpu(data.eval_masks).bool()
    _check_same_shape("eval_masks", masks, timestamps, data.session_ids, task)
    relative, absolute = timestamps, starts.unsqueeze(1) + timestamps  # in float64, as the starts are
    if bool(masks.all()):
        places, counts = None, torch.full(masks.shape[:1], masks.shape[1])
        absolute = absolute.flatten()
    else:
        places, counts = torch.nonzero(masks.flatten()).flatten(), masks.sum(1)
        relative, absolute = (times.flatten().index_select(0, places) for times in (relative, absolute))
    yield from _by_recording(
        task,
        data.session_ids,
        data.session_ids,
        starts,
        counts,
        absolute,
        _unpadded("predictions", data.preds, masks, places, data.session_ids, task),
        _unpadded("targets", data.targets, masks, places, data.session_ids, task),
        _time_error(relative, data.absolute_starts),
    )


def _whole_windows(data: DataForDecodingStitchEvaluator, task: str) -> WindowOutputs | None:
    """The outputs of a batch of one recording without padding, on the CPU: as most are, and a third of the work.

    None if the batch is anything else, or if something may be wrong with it.
    """
    times, starts, preds, targets = data.timestamps, data.absolute_starts, data.preds, data.targets
    shape, recordings = times.shape, data.session_ids
    if not (isinstance(starts, Tensor) and isinstance(preds, Tensor) and isinstance(targets, Tensor)):
        return None
    if not (times.is_cpu and starts.is_cpu and preds.is_cpu and targets.is_cpu and data.eval_masks.is_cpu):
        return None
    if not (times.dtype in _EXACT_ENOUGH and starts.dtype == torch.float64 and data.eval_masks.dtype == torch.bool):
        return None
    if not (len(shape) == 2 and 0 < shape[0] == len(recordings) and starts.shape == shape[:1] and shape[1] > 0):
        return None
    if not (preds.shape[:2] == targets.shape[:2] == data.eval_masks.shape == shape):
        return None
    if is_half(preds) or is_half(targets) or recordings.count(recordings[0]) < shape[0]:
        return None
    if not bool(data.eval_masks.all()):
        return None
    times, starts = times.detach(), starts.detach()
    lowest, highest = (float(end) for end in times.aminmax())
    time_error = 0.0 if times.dtype == torch.float64 else 0.5 * _EPSILON * max(-lowest, highest)
    if not (time_error <= LARGEST_TIME_ERROR and math.isfinite(lowest + highest + float(starts.sum()))):
        return None
    values = CollectedValues(
        (starts.unsqueeze(1) + times).flatten(),
        preds.detach().clone().flatten(0, 1),
        targets.detach().clone().flatten(0, 1),
        None,
        starts.clone(),
        torch.full(shape[:1], shape[1]),
    )
    return WindowOutputs(recordings[0], task, values, time_error)


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
    _check_same_shape("decoder_indices", decoders, timestamps, data.session_ids)
    if len(data.preds) != len(data.session_ids):
        raise ValueError(
            f"{_batch_of(data.session_ids)}: {len(data.session_ids)} windows but predictions for {len(data.preds)}"
        )
    _check_tasks(data, task_ids)
    found = {task: (decoders == number) for task, number in task_ids.items()}
    counts = {task: here.sum(1) for task, here in found.items()}
    if sum(int(count.sum()) for count in counts.values()) != int(torch.count_nonzero(decoders)):
        _refuse_unknown_id(data.session_ids, decoders, task_ids)
    relative, absolute = timestamps.flatten(), (starts.unsqueeze(1) + timestamps).flatten()
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
            [name for name, count in zip(data.session_ids, counts[task].tolist(), strict=True) if count],
            starts,
            number,
            absolute.index_select(0, places),
            preds,
            targets,
            _time_error(relative.index_select(0, places), data.absolute_starts),
        )


def _by_recording(
    task: str,
    recordings: Sequence[str],
    seen: Sequence[str],
    starts: Tensor,
    counts: Tensor,
    timestamps: Tensor,
    preds: Tensor,
    targets: Tensor,
    time_error: float,
) -> Iterator[WindowOutputs]:
    """The outputs of each recording apart, of windows (B,) with so many outputs each, (B,).

    A recording that is seen but has no output is among them, with no value.
    """
    # A sum is finite only of finite times: one quick pass tells for most. A rounding above 0 has told already.
    doubtful = not time_error <= LARGEST_TIME_ERROR or (time_error == 0 and not math.isfinite(float(timestamps.sum())))
    if seen and not doubtful and recordings.count(recordings[0]) == len(recordings):
        values = CollectedValues(timestamps, preds, targets, None, starts, counts)
        yield WindowOutputs(recordings[0], task, values, time_error)
        return
    windows_of = Counter(recordings)
    if len(list(groupby(recordings))) > len(windows_of):
        # The windows of a recording one after the other; then each recording is a slice.
        place = {name: number for number, name in enumerate(windows_of)}
        windows = torch.sort(torch.tensor([place[name] for name in recordings]), stable=True).indices
        first = (counts.cumsum(0) - counts)[windows]
        starts, counts = starts[windows], counts[windows]
        shift = torch.repeat_interleave(first - (counts.cumsum(0) - counts), counts)
        way = torch.arange(len(shift)) + shift
        timestamps, preds, targets = (column.index_select(0, way) for column in (timestamps, preds, targets))
    chosen, sizes = set(seen), counts.tolist()
    begin, window = 0, 0
    for name, windows_here in windows_of.items():
        end = begin + sum(sizes[window : window + windows_here])
        if name in chosen:
            here, part = slice(window, window + windows_here), slice(begin, end)
            times = timestamps[part]
            if doubtful:
                _check_times(times, time_error, name, task)
            values = CollectedValues(times, preds[part], targets[part], None, starts[here], counts[here])
            yield WindowOutputs(name, task, values, time_error)
        begin, window = end, window + windows_here


def _check_times(times: Tensor, time_error: float, recording: str, task: str) -> None:
    try:
        check_finite(times)
        check_time_error(time_error, times)
    except ValueError as problem:
        raise ValueError(f"recording {recording!r}, task {task!r}: {problem}") from None


def _times(
    timestamps: Tensor,
    absolute_starts: Tensor | Sequence[float],
    session_ids: Sequence[str],
    task: str | None = None,
) -> tuple[Tensor, Tensor]:
    if timestamps.ndim != 2 or timestamps.shape[0] != len(session_ids):
        raise ValueError(
            f"{_batch_of(session_ids, task)}: timestamps must be (windows, outputs) with one row for each of "
            f"{len(session_ids)} session_ids; found {tuple(timestamps.shape)}"
        )
    starts = torch.as_tensor(absolute_starts).detach().to(_CPU, torch.float64, copy=True)
    if tuple(starts.shape) != (len(session_ids),):
        raise ValueError(
            f"{_batch_of(session_ids, task)}: {len(session_ids)} windows but absolute_starts of shape "
            f"{tuple(starts.shape)}"
        )
    if not math.isfinite(float(starts.sum())) and not bool(torch.isfinite(starts).all()):
        place = int(torch.nonzero(~torch.isfinite(starts))[0, 0])
        raise ValueError(
            f"recording {session_ids[place]!r}: the absolute start of window {place} is {float(starts[place])}"
        )
    return _cpu(timestamps), starts


def _time_error(timestamps: Tensor, absolute_starts: Tensor | Sequence[float]) -> float:
    error = time_error_of(timestamps)
    if isinstance(absolute_starts, Tensor) and absolute_starts.dtype != torch.float64:
        error += time_error_of(absolute_starts)
    return error


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
                f"{_batch_of(session_ids, task)}: {name} of shape {tuple(values.shape)} do not begin with (windows, "
                f"outputs) = {tuple(masks.shape)}; give them padded, or as one tensor per window"
            )
        if places is None:
            return _copied(values).flatten(0, 1)
        return full_precision(_cpu(values).flatten(0, 1).index_select(0, places))
    if len(values) != len(session_ids):
        raise ValueError(f"{_batch_of(session_ids, task)}: {len(session_ids)} windows but {name} for {len(values)}")
    window, place = torch.nonzero(masks).unbind(1)
    lengths = torch.tensor([part.shape[0] for part in values], dtype=torch.int64)
    beyond = place >= lengths[window]
    if bool(beyond.any()):
        first = int(window[beyond][0])
        raise ValueError(
            f"recording {session_ids[first]!r}, task {task!r}: window {first} has {int(lengths[first])} {name} but its "
            f"eval_mask counts output {int(place[beyond][0])}"
        )
    if not values:
        raise ValueError(
            f"{_batch_of(session_ids, task)}: {name} of no window; give an empty batch padded, as a tensor"
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
    return _copied(targets), None if mask is None else _cpu(mask).to(torch.bool)


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
            hint = did_you_mean(task, task_ids)
            raise ValueError(f"recording {recording!r}: unknown task {task!r}{hint}; known are {', '.join(task_ids)}")


def _refuse_unknown_id(session_ids: Sequence[str], decoders: Tensor, task_ids: Mapping[str, int]) -> None:
    unknown = ~torch.isin(decoders, torch.tensor([0, *task_ids.values()]))
    window, place = torch.nonzero(unknown)[0].tolist()
    listed = ", ".join(f"{number} {task}" for task, number in task_ids.items())
    raise ValueError(
        f"recording {session_ids[window]!r}: no task has the modality id {int(decoders[window, place])} "
        f"(decoder_indices[{window}, {place}]); known are {listed}"
    )


def _check_same_shape(
    name: str, values: Tensor, timestamps: Tensor, session_ids: Sequence[str], task: str | None = None
) -> None:
    if values.shape != timestamps.shape:
        raise ValueError(
            f"{_batch_of(session_ids, task)}: timestamps are {tuple(timestamps.shape)} but {name} "
            f"{tuple(values.shape)}; both must be (windows, outputs)"
        )


def _batch_of(session_ids: Sequence[str], task: str | None = None) -> str:
    """What a batch is of, for an error that concerns it as a whole."""
    names = list(dict.fromkeys(session_ids))
    more = f" (and {len(names) - 1} more in the batch)" if len(names) > 1 else ""
    return f"recording {names[0] if names else None!r}{more}" + ("" if task is None else f", task {task!r}")


def _cpu(values: Tensor) -> Tensor:
    return values.detach() if values.is_cpu else values.detach().to(_CPU)


def _copied(values: Tensor) -> Tensor:
    """A copy on the CPU; half precision becomes float32."""
    return values.detach().to(_CPU, torch.float32 if is_half(values) else values.dtype, copy=True)
