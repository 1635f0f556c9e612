"""What a run left in its folder, read as far as it is there.

U distinct times, K dimensions of the output.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from nd_eval import StitchedTrace
from nd_train.report.baselines import FILE_NAME as BASELINES_FILE
from nd_train.report.baselines import Baselines, read_baseline_notes, read_baselines
from nd_train.report.command import STAGES
from nd_train.report.forecasts import Forecasts, read_forecasts
from nd_train.report.training_curves import Curve, read_curves
from nd_train.traces import Traces, read_trace_attributes, read_traces

Scores = Mapping[str, Mapping[str, Mapping[str, float]]]

_MARKS = ("run.json", "config.yaml", "metrics.csv", *(f"{stage}_scores.json" for stage in STAGES[:2]))

_Content = TypeVar("_Content")


@dataclass(frozen=True)
class RunFolder:
    """A run, as its files tell of it.

    Attributes:
        path: The folder.
        stage: Of which stage the scores and traces are.
        system: ``decoding``, or ``longitudinal``: forecasting from a table.
        scores: Score by recording, task and metric (decoding).
        subset_scores: Score by name (longitudinal).
        traces: Stitched traces by recording and task.
        attributes: What is known of the tasks by recording and task, such as ``unit`` or ``class_names``.
        curves: What was logged in training, by name.
        record: Content of ``run.json``; empty without it.
        settings: Content of ``config.yaml``; empty without it.
        settings_text: The same as it is written.
        forecasts: What was predicted of persons (longitudinal).
        baselines: Scores of other decoders on the same data.
        missing: What is not there or cannot be read, one sentence each.
    """

    path: Path
    stage: str
    system: Literal["decoding", "longitudinal"] = "decoding"
    scores: Scores = field(default_factory=dict)
    subset_scores: Mapping[str, float] = field(default_factory=dict)
    traces: Traces = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    forecasts: Forecasts = field(default_factory=Forecasts)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    settings_text: str = ""
    baselines: Baselines = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def known(self, recording: str, task: str) -> Mapping[str, Any]:
        """What is known of a recording's task."""
        return self.attributes.get(recording, {}).get(task, {})

    def class_names(self, recording: str, task: str) -> list[str]:
        """Names of a task's classes or labels, in their order; empty where nobody said."""
        return [str(name) for name in self.known(recording, task).get("class_names") or ()]

    def unit(self, recording: str, task: str) -> str:
        """Unit of a task's values; empty where nobody said."""
        return str(self.known(recording, task).get("unit") or "")


def find_run_folder(given: Path) -> Path:
    """The folder of a run: the one given, or the newest run below it.

    Raises:
        FileNotFoundError: there is no such folder, or no run in it.
    """
    if not given.is_dir():
        raise FileNotFoundError(f"{given}: no such folder; expected the folder of a run of nd-train")
    if any((given / mark).is_file() for mark in _MARKS):
        return given
    found = {file.parent for mark in _MARKS for file in given.rglob(mark)}
    if not found:
        raise FileNotFoundError(
            f"{given}: there is no run in it: expected a folder with one of {', '.join(_MARKS)}, such as "
            "<root>/lightning_logs/version_0"
        )
    return max(found, key=lambda folder: (max(file.stat().st_mtime for file in folder.iterdir()), str(folder)))


def read_run_folder(folder: Path, stage: str | None = None) -> RunFolder:
    """Read what there is.

    Args:
        folder: The folder of a run.
        stage: ``test``, ``val`` or ``predict``; None takes the first of them that has scores, else traces.

    Raises:
        ValueError: neither scores nor traces of the stage that was asked for.
    """
    missing: list[str] = []

    def read(name: str, reader: Callable[[Path], _Content], what: str) -> _Content | None:
        path = folder / name
        if not path.is_file():
            missing.append(f"No {what}: {name} is not in the folder.")
            return None
        try:
            return reader(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            missing.append(f"No {what}: {name} cannot be read ({error}).")
            return None

    chosen = stage or _stage_of(folder)
    if stage is not None and not any((folder / f"{stage}_{kind}").is_file() for kind in ("scores.json", "traces.h5")):
        raise ValueError(f"{folder}: expected {stage}_scores.json or {stage}_traces.h5, found neither")
    record = read("run.json", _mapping, "record of command, versions and data") or {}
    settings_text = read("config.yaml", lambda path: path.read_text(encoding="utf-8"), "configuration") or ""
    settings = _settings(settings_text, missing)
    curves = read("metrics.csv", read_curves, "training curves") or {}
    scores = (None if chosen == "predict" else read(f"{chosen}_scores.json", _mapping, "scores")) or {}
    longitudinal = (settings.get("system") or record.get("hyperparameters", {}).get("system")) == "longitudinal"
    longitudinal = longitudinal or any(not isinstance(value, Mapping) for value in scores.values())
    if longitudinal:
        arguments = (settings.get("model") or {}).get("args") or {}
        classes = int(arguments.get("num_classes") or 1) > 1
        forecasts = read(f"{chosen}_predictions.csv", lambda path: read_forecasts(path, classes=classes), "predictions")
        forecasts = forecasts or Forecasts()
        if not forecasts.complete:
            missing.append(f"{chosen}_predictions.csv is longer than is read: the traces are of its beginning.")
        return RunFolder(
            folder,
            chosen,
            "longitudinal",
            subset_scores={name: float(value) for name, value in scores.items() if isinstance(value, int | float)},
            traces=forecasts.traces,
            forecasts=forecasts,
            curves=curves,
            record=record,
            settings=settings,
            settings_text=settings_text,
            missing=tuple(missing),
        )
    traces = read(f"{chosen}_traces.h5", _traces, "predicted and true traces, intervals or drift") or {}
    attributes = read_trace_attributes(folder / f"{chosen}_traces.h5") if traces else {}
    baselines = read_baselines(folder, chosen) if (folder / BASELINES_FILE).is_file() else {}
    missing += read_baseline_notes(folder, chosen) if baselines else []
    return RunFolder(
        folder,
        chosen,
        scores=scores,
        traces=traces,
        attributes=attributes,
        curves=curves,
        record=record,
        settings=settings,
        settings_text=settings_text,
        baselines=baselines,
        missing=tuple(missing),
    )


def _stage_of(folder: Path) -> str:
    for kind in ("scores.json", "traces.h5"):
        for stage in STAGES:
            if (folder / f"{stage}_{kind}").is_file():
                return stage
    return "test"


def _mapping(path: Path) -> dict[str, Any]:
    content: Any = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise TypeError(f"expected a mapping, found {type(content).__name__}")
    return content


def _settings(text: str, missing: list[str]) -> dict[str, Any]:
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        missing.append(f"No configuration: config.yaml cannot be read ({error}).")
        return {}
    return content if isinstance(content, dict) else {}


def _traces(path: Path) -> dict[str, dict[str, StitchedTrace]]:
    return {
        recording: {task: trace for task, trace in by_task.items() if len(trace.timestamps)}
        for recording, by_task in read_traces(path).items()
    }
