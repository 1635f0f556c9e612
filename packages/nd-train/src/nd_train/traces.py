"""Stitched traces in a file: HDF5 for programs, CSV for anything.

An HDF5 file has a group ``<recording id>/<task>`` for each trace, with datasets ``timestamps`` (absolute seconds,
float64), ``predictions`` and, where they are known, ``targets``, and what is known of the task as attributes. A CSV
file has one line a time. Shape legend: ``U`` distinct times, ``D`` channels or classes.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nd_eval import StitchedTrace
from nd_eval.whole_file import whole_file

Traces = Mapping[str, Mapping[str, StitchedTrace]]
"""Traces by recording and task."""

FORMAT = "nd-train traces"
VERSION = 1
"""Rises when a file is written that older packages would misread."""

HDF5_SUFFIXES = (".h5", ".hdf5")
CSV_SUFFIXES = (".csv",)

_LINES_AT_ONCE = 50_000

# An attribute of more than 64 kB is long; of a list of texts each takes 16 bytes.
_LONG_ATTRIBUTE = 4000


def write_traces(
    path: str | Path,
    traces: Traces,
    *,
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
    of_recordings: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write traces into a file, whole or not at all; an older file of that name is replaced.

    Targets that are NaN throughout are unknown, and are left out.

    Args:
        path: Where to; ``.h5`` or ``.hdf5``, or ``.csv``.
        traces: By recording and task, such as the `traces` of an `EvaluationResult`.
        attributes: What is known of each task, such as `unit` or `class_names`: numbers, text or lists of one of them.
            HDF5 only; `read_trace_attributes` gives them back.
        of_recordings: The same by recording and task, where recordings differ. HDF5 only.
        about: The same about the whole file, such as the checkpoint. HDF5 only.

    Returns:
        The path.

    Raises:
        ValueError: the name says neither HDF5 nor CSV, there is no trace, or a task's name has a slash.

    >>> import tempfile
    >>> times = torch.arange(3, dtype=torch.float64)
    >>> traces = {"monkey/day_1": {"speed": StitchedTrace(times, torch.ones(3, 1), torch.zeros(3, 1))}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_traces(f"{folder}/traces.h5", traces)
    ...     read_traces(file)["monkey/day_1"]["speed"].preds[:, 0]
    tensor([1., 1., 1.])
    """
    path = Path(path)
    is_csv = check_traces_path(path)
    for recording, tasks in traces.items():
        for task in tasks:
            if "/" in task:
                raise ValueError(
                    f"recording {recording!r}: a task's name must have no slash to be stored, got {task!r}"
                )
    if not any(traces.values()):
        raise ValueError(f"{path}: there is no trace to write")
    with whole_file(path) as unfinished:
        if is_csv:
            _write_csv(unfinished, traces)
        else:
            each = {
                recording: {
                    task: _storable(
                        {**(attributes or {}).get(task, {}), **(of_recordings or {}).get(recording, {}).get(task, {})}
                    )
                    for task in tasks
                }
                for recording, tasks in traces.items()
            }
            _write_hdf5(unfinished, traces, each, _storable(about or {}))
    return path


def read_traces(path: str | Path) -> dict[str, dict[str, StitchedTrace]]:
    """Read what `write_traces` wrote. Where targets are not known, they are NaN.

    Units, names of classes and scales are in its attributes: `read_trace_attributes`.

    Args:
        path: A file of traces, ``.h5``, ``.hdf5`` or ``.csv``.

    Returns:
        Traces by recording and task.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds no traces, or those of a newer package.
    """
    path = Path(path)
    is_csv = check_traces_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of traces at {path}")
    if is_csv:
        return _read_csv(path)
    traces: dict[str, dict[str, StitchedTrace]] = {}
    with _opened(path) as file:
        for recording, task, group in _groups(path, file):
            stored = {name: torch.from_numpy(group[name][()]) for name in group}
            preds = stored["predictions"]
            targets = stored.get("targets", torch.full(preds.shape, torch.nan))
            traces.setdefault(recording, {})[task] = StitchedTrace(stored["timestamps"], preds, targets)
    return traces


def read_trace_attributes(path: str | Path) -> dict[str, dict[str, dict[str, Any]]]:
    """What an HDF5 file of traces says about each of them, by recording and task.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds no traces, or those of a newer package.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of traces at {path}")
    found: dict[str, dict[str, dict[str, Any]]] = {}
    with _opened(path) as file:
        for recording, task, group in _groups(path, file):
            found.setdefault(recording, {})[task] = {name: _plain(value) for name, value in group.attrs.items()}
    return found


def check_traces_path(path: str | Path) -> bool:
    """Whether a file's name says CSV.

    Raises:
        ValueError: it says neither CSV nor HDF5.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in HDF5_SUFFIXES + CSV_SUFFIXES:
        raise ValueError(f"{path}: traces are written as .h5 (HDF5) or .csv; found the suffix {suffix!r}")
    return suffix in CSV_SUFFIXES


def has_targets(trace: StitchedTrace) -> bool:
    """Whether any target of a trace is known."""
    return not (trace.targets.is_floating_point() and bool(torch.isnan(trace.targets).all()))


def _write_hdf5(
    path: Path, traces: Traces, attributes: Mapping[str, Mapping[str, Mapping[str, Any]]], about: Mapping[str, Any]
) -> None:
    each = [value for tasks in attributes.values() for known in tasks.values() for value in known.values()]
    long = any(isinstance(value, Sequence) and len(value) > _LONG_ATTRIBUTE for value in each)
    # Attributes of any length need the layout of HDF5 1.8, which the oldest readers do not know.
    with h5py.File(path, "w", libver=("v108", "latest") if long else None) as file:
        file.attrs.update({"format": FORMAT, "version": VERSION, **about})
        for recording, tasks in traces.items():
            for task, trace in tasks.items():
                group = file.create_group(f"{recording}/{task}")
                group.attrs.update(attributes[recording][task])
                group["timestamps"] = _array(trace.timestamps.double())
                group["predictions"] = _array(trace.preds)
                if has_targets(trace):
                    group["targets"] = _array(trace.targets)


def _opened(path: Path) -> h5py.File:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: not readable as HDF5: {error}") from None
    found, version = file.attrs.get("format"), file.attrs.get("version", 0)
    if found != FORMAT or version > VERSION:
        file.close()
        raise ValueError(
            f"{path}: expected traces (format {FORMAT!r}) of version {VERSION} or older, found format {found!r}, "
            f"version {version}"
        )
    return file


def _groups(path: Path, file: h5py.File) -> Iterator[tuple[str, str, h5py.Group]]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Group) else None)
    for name in names:
        if any(isinstance(item, h5py.Group) for item in file[name].values()):
            continue
        recording, _, task = name.rpartition("/")
        missing = {"timestamps", "predictions"} - set(file[name])
        if missing:
            raise ValueError(f"{path}: the trace {name!r} lacks {', '.join(sorted(missing))}")
        yield recording, task, file[name]


def _write_csv(path: Path, traces: Traces) -> None:
    every = [trace for tasks in traces.values() for trace in tasks.values()]
    preds = max(_columns(trace.preds).shape[1] for trace in every)
    targets = max(_columns(trace.targets).shape[1] if has_targets(trace) else 0 for trace in every)
    heading = ["recording", "task", "time"]
    heading += [f"prediction_{number}" for number in range(preds)] + [f"target_{number}" for number in range(targets)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        for recording, tasks in traces.items():
            for task, trace in tasks.items():
                # A table has as many cells in every line.
                unknown = torch.empty(len(trace), 0)
                known = [_cells(trace.preds, preds), _cells(trace.targets if has_targets(trace) else unknown, targets)]
                for begin in range(0, len(trace), _LINES_AT_ONCE):
                    here = slice(begin, begin + _LINES_AT_ONCE)
                    # The shortest text that reads back as the same number.
                    times = [[repr(time)] for time in trace.timestamps[here].double().tolist()]
                    parts = [times, *(cells(here) for cells in known)]
                    writer.writerows(
                        [recording, task, *(cell for part in row for cell in part)] for row in zip(*parts, strict=True)
                    )


def _cells(values: Tensor, width: int) -> Any:
    columns = _columns(values)
    empty = [""] * (width - columns.shape[1])
    return lambda here: [[*map(str, row), *empty] for row in columns[here]]


def _columns(values: Tensor) -> NDArray[Any]:
    array = _array(values)
    return array.reshape(len(array), -1) if len(array) else array.reshape(0, int(np.prod(array.shape[1:])))


def _read_csv(path: Path) -> dict[str, dict[str, StitchedTrace]]:
    lines: dict[str, dict[str, list[list[str]]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        heading = next(reader, [])
        if heading[:4] != ["recording", "task", "time", "prediction_0"]:
            raise ValueError(
                f"{path}: expected a table of traces with columns recording, task, time, prediction_0, …; found "
                f"{', '.join(heading[:4]) or 'nothing'}"
            )
        for line in reader:
            lines.setdefault(line[0], {}).setdefault(line[1], []).append(line[2:])
    preds = [place for place, name in enumerate(heading[2:]) if name.startswith("prediction_")]
    targets = [place for place, name in enumerate(heading[2:]) if name.startswith("target_")]
    return {
        recording: {task: _trace(rows, preds, targets) for task, rows in tasks.items()}
        for recording, tasks in lines.items()
    }


def _trace(rows: Sequence[Sequence[str]], preds: Sequence[int], targets: Sequence[int]) -> StitchedTrace:
    times = torch.tensor([float(row[0]) for row in rows], dtype=torch.float64)
    predicted = _read_columns(rows, preds)
    known = _read_columns(rows, targets)
    if not known.shape[1]:
        known = torch.full(predicted.shape, torch.nan)
    elif not known.is_floating_point():
        known = known[:, 0] if known.shape[1] == 1 else known  # classes are one number a time
    return StitchedTrace(times, predicted, known)


def _read_columns(rows: Sequence[Sequence[str]], places: Sequence[int]) -> Tensor:
    used = [place for place in places if rows[0][place]]
    texts = [[row[place] for place in used] for row in rows]
    if used and all(text.lstrip("-").isdigit() for row in texts for text in row):
        return torch.tensor([[int(text) for text in row] for row in texts], dtype=torch.int64)
    return torch.tensor([[float(text) for text in row] for row in texts], dtype=torch.float32).reshape(len(rows), -1)


def _array(values: Tensor) -> NDArray[Any]:
    values = values.detach().cpu()
    # NumPy has no bfloat16.
    array: NDArray[Any] = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return array


def _storable(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value
