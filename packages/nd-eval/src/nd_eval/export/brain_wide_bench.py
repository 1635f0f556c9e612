"""Submissions to the IBL BrainWideBench (``ibl_bwb_eval``): one safetensors file a task, recording and seed.

Shape legend: ``N`` trials, ``T`` times of a trial or window, ``D`` outputs or classes, ``B`` windows, ``K`` units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import Tensor

from nd_eval.__about__ import __version__
from nd_eval.export.lookup import TraceSource, predictions_at, trace_of
from nd_eval.known_name import known_name
from nd_eval.whole_file import whole_file

# The layout below is the one of this version, and files say so.
LAYOUT_VERSION = "0.1.0"

# Outputs, and times of a trial: one, or one second at 50 Hz.
BRAIN_WIDE_DECODING_TASKS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "choice": (2, 1),
        "reward": (2, 1),
        "stimulus_contrast": (5, 1),
        "whisker_motion_energy": (1, 50),
        "wheel_speed": (1, 50),
        "right_paw_speed": (1, 50),
        "left_paw_speed": (1, 50),
        "licking_rate": (1, 50),
    }
)

ActivityTask = Literal["co_smoothing", "forecasting"]

# The order of the columns of probabilities.
BRAIN_WIDE_REGIONS = ("CB", "CNU", "CTXsp", "HB", "HPF", "HY", "Isocortex", "MB", "OLF", "TH")

_LOG_RATES = "licking_rate"


@dataclass(frozen=True)
class BrainWideTrials:
    """The trials of one recording that a decoding task scores.

    Attributes:
        recording: The recording, as the evaluation knows it.
        ids: The benchmark's number of each trial. Shape: (N,) integers.
        times: Absolute time, in seconds, of each output of each trial, as the model puts them out. Shape: (N, T), or
            (N,) for one output a trial.
    """

    recording: str
    ids: Tensor
    times: Tensor


def save_brain_wide_decoding(
    folder: str | Path,
    source: TraceSource,
    *,
    task: str,
    trials: Mapping[str, BrainWideTrials],
    label: str,
    seed: int,
    readout: str | None = None,
    rates: bool = False,
    metadata: Mapping[str, str] | None = None,
    tolerance: float = 1e-4,
) -> list[Path]:
    """Write the predictions of a task of the first suite (decoding), for each recording.

    Goes to ``<folder>/<label>/ts1-<task>/<recording>/seed_<seed>.safetensors``. Checked against ``ibl_bwb_eval`` 0.1.0,
    whose scorer reads it. Needs safetensors (extra ``export``).

    Args:
        folder: The folder of all submissions.
        source: An evaluation's result, its ``traces``, or what ``StitchingAccumulator.compute()`` gave.
        task: One of ``BRAIN_WIDE_DECODING_TASKS``.
        trials: The trials of each recording, by the benchmark's recording id.
        label: What the submission is called.
        seed: Seed of the run; the benchmark averages over several.
        readout: The task as the evaluation knows it; None takes ``task``. Its predictions are values (U, D), of
            ``choice``, ``reward`` and ``stimulus_contrast`` logits; of ``licking_rate`` logarithms of rates.
        rates: Whether predictions are rates, 0 or more, whose logarithm is to be written (0 becomes 1e-9).
        metadata: More about the run, written into the files.
        tolerance: How far, in seconds, a prediction may be from the time asked for.

    Returns:
        The files, in the order of ``trials``.

    Raises:
        ImportError: safetensors is not installed.
        KeyError: there is no such task, recording or readout.
        ValueError: there are no trials, shapes do not fit the task, a prediction is missing or not finite, or a trial
            has two numbers.
    """
    outputs, steps = BRAIN_WIDE_DECODING_TASKS[known_name(task, BRAIN_WIDE_DECODING_TASKS, "decoding task")]
    if not trials:
        raise ValueError(f"{task}: there are no recordings to write")
    if rates and task != _LOG_RATES:
        raise ValueError(f"{task} is not scored as a rate; only {_LOG_RATES} is")
    files = {}
    for recording_id, of_recording in trials.items():
        place = f"{task}, recording {recording_id!r} ({of_recording.recording!r})"
        trace = trace_of(source, of_recording.recording, readout or task)
        tensors = _decoding_tensors(place, trace.preds, of_recording, outputs, steps)
        values = predictions_at(trace, tensors.pop("times"), tolerance=tolerance, name=place)
        values = values.reshape(len(of_recording.ids), steps, outputs).to(torch.float32)
        if rates:
            if bool((values < 0).any()):
                raise ValueError(f"{place}: a rate is negative; are these logarithms already?")
            values = values.clamp(min=1e-9).log()
        files[recording_id] = {"predictions": _finite(values, place), **tensors}
    return [
        _write(folder, label, f"ts1-{task}", seed, tensors, recording_id, metadata)
        for recording_id, tensors in files.items()
    ]


def save_brain_wide_activity(
    folder: str | Path,
    *,
    task: ActivityTask,
    recording_id: str,
    window_timestamps: Tensor,
    log_rates: Tensor,
    label: str,
    seed: int,
    unit_ids: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write the predictions of a task of the second suite (neural activity), of one recording.

    Goes to ``<folder>/<label>/ts2-<task>/<recording>/seed_<seed>.safetensors``. Checked against ``ibl_bwb_eval`` 0.1.0,
    whose scorer reads it. Needs safetensors (extra ``export``).

    For ``co_smoothing`` the windows may be cut from a stitched trace with :func:`predictions_at`. Not so for
    ``forecasting``: what windows that begin later say about a time has seen the counts before it, so a mean over
    windows would know more than a forecast may. Give each window's own predictions.

    Args:
        folder: The folder of all submissions.
        task: ``co_smoothing`` or ``forecasting``.
        recording_id: The benchmark's recording id.
        window_timestamps: Start of each window in seconds, as the benchmark's data set gives it. Shape: (B,). Stored as
            float32, as the benchmark's own writer does: predictions and truth are matched by it.
        log_rates: Logarithm of the expected counts per bin, of the held-out units or times. Shape: (B, T, K).
        label: What the submission is called.
        seed: Seed of the run.
        unit_ids: Ids of the K units, ASCII, for the record; None leaves them out.
        metadata: More about the run, written into the file.

    Returns:
        The file.

    Raises:
        ImportError: safetensors is not installed.
        KeyError: there is no such task.
        ValueError: shapes do not fit, a rate is not finite, or two windows have the same start.
    """
    known_name(task, get_args(ActivityTask), "task of neural activity called")
    place = f"{task}, recording {recording_id!r}"
    if log_rates.ndim != 3 or window_timestamps.shape != log_rates.shape[:1] or not log_rates.numel():
        raise ValueError(
            f"{place}: expected log rates (windows, bins, units) and a start for each window; found "
            f"{tuple(log_rates.shape)} and {tuple(window_timestamps.shape)}"
        )
    starts = window_timestamps.detach().cpu().to(torch.float32)
    if starts.numel() != len(set(starts.tolist())) or not bool(torch.isfinite(starts).all()):
        raise ValueError(f"{place}: window_timestamps must be finite and differ from each other (in float32)")
    tensors = {"predictions": _finite(log_rates.detach().cpu().to(torch.float32), place), "window_timestamps": starts}
    if unit_ids is not None:
        if len(unit_ids) != log_rates.shape[2]:
            raise ValueError(f"{place}: {log_rates.shape[2]} units were predicted, but {len(unit_ids)} ids given")
        tensors["unit_ids"] = _encoded(unit_ids, place)
    return _write(folder, label, f"ts2-{task}", seed, tensors, recording_id, metadata)


def save_brain_wide_regions(
    folder: str | Path,
    *,
    unit_ids: Sequence[str],
    probabilities: Tensor,
    label: str,
    seed: int,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write the predictions of the third suite: in which brain region each unit is.

    Goes to ``<folder>/<label>/ts3-unit_cosmos/seed_<seed>.safetensors``. Checked against ``ibl_bwb_eval`` 0.1.0, whose
    scorer reads it. Needs safetensors (extra ``export``).

    Args:
        folder: The folder of all submissions.
        unit_ids: The benchmark's ids of the units, ASCII.
        probabilities: Probability of each region, in the order of ``BRAIN_WIDE_REGIONS``. Shape: (K, 10).
        label: What the submission is called.
        seed: Seed of the run.
        metadata: More about the run, written into the file.

    Returns:
        The file.

    Raises:
        ImportError: safetensors is not installed.
        ValueError: shapes do not fit, a probability is not finite, or an id is empty, not ASCII or there twice.
    """
    place = "unit_cosmos"
    if tuple(probabilities.shape) != (len(unit_ids), len(BRAIN_WIDE_REGIONS)):
        raise ValueError(
            f"{place}: expected probabilities ({len(unit_ids)} units, {len(BRAIN_WIDE_REGIONS)} regions); found "
            f"{tuple(probabilities.shape)}"
        )
    tensors = {
        "pred_proba": _finite(probabilities.detach().cpu().to(torch.float32), place),
        "entity_ids": _encoded(unit_ids, place),
    }
    more = {"label_names": ",".join(BRAIN_WIDE_REGIONS), **(metadata or {})}
    return _write(folder, label, "ts3-unit_cosmos", seed, tensors, None, more)


def _decoding_tensors(
    place: str, preds: Tensor, trials: BrainWideTrials, outputs: int, steps: int
) -> dict[str, Tensor]:
    """Trial numbers, and the times to look up, (N, T)."""
    ids, times = trials.ids.detach().cpu(), trials.times.detach().cpu()
    times = times.unsqueeze(1) if times.ndim == 1 and steps == 1 else times
    if ids.ndim != 1 or ids.is_floating_point() or not len(ids) or tuple(times.shape) != (len(ids), steps):
        raise ValueError(
            f"{place}: expected integer trial ids (trials,) and times (trials, {steps}); found {ids.dtype} "
            f"{tuple(ids.shape)} and {tuple(times.shape)}"
        )
    if len(set(ids.tolist())) < len(ids):
        raise ValueError(f"{place}: trial ids must differ from each other")
    if not preds.is_floating_point() or preds.ndim > 2 or preds[:1].numel() not in (0, outputs):
        raise ValueError(
            f"{place}: predictions must be floats (times, {outputs})"
            f"{', logits of the classes' if steps == 1 else ''}; found {preds.dtype} {tuple(preds.shape)}"
        )
    return {"trial_id": ids.to(torch.int64), "times": times}


def _finite(values: Tensor, place: str) -> Tensor:
    wrong = ~torch.isfinite(values)
    if bool(wrong.any()):
        raise ValueError(f"{place}: {int(wrong.sum())} of {values.numel()} predictions are not finite")
    return values.contiguous()


def _encoded(ids: Sequence[str], place: str) -> Tensor:
    """Ids as rows of ASCII codes, filled up with 0; (K, longest) uint8."""
    if not ids or not all(name and name.isascii() and "\0" not in name for name in ids) or len(set(ids)) < len(ids):
        raise ValueError(f"{place}: unit ids must be ASCII text, not empty, and differ from each other")
    width = max(map(len, ids))
    return torch.tensor([list(name.encode("ascii").ljust(width, b"\0")) for name in ids], dtype=torch.uint8)


def _write(
    folder: str | Path,
    label: str,
    task: str,
    seed: int,
    tensors: Mapping[str, Tensor],
    recording_id: str | None,
    metadata: Mapping[str, str] | None,
) -> Path:
    try:
        from safetensors.torch import save_file
    except ImportError as problem:
        raise ImportError("BrainWideBench submissions need safetensors: pip install 'nd-eval[export]'") from problem
    parts = [label, *([recording_id] if recording_id is not None else [])]
    if any(not part or Path(part).name != part or part in (".", "..") for part in parts):
        raise ValueError(f"label and recording id become folders and must be plain names; found {', '.join(parts)!r}")
    described = {
        **{name: str(value) for name, value in (metadata or {}).items()},
        "label": label,
        "task": task,
        "seed": str(seed),
        "ibl_bwb_eval_version": LAYOUT_VERSION,
        "written_by": f"nd-eval {__version__}",
        **({"recording_id": recording_id} if recording_id is not None else {}),
    }
    path = Path(folder, label, task, *parts[1:], f"seed_{seed}.safetensors")
    with whole_file(path) as unfinished:
        save_file(dict(tensors), unfinished, metadata=described)
    return path
