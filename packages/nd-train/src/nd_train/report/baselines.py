"""Scores of other decoders on the same recordings and split: ridge regression, or whatever was written beside a run."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from nd_data.configuration import ConfigurationLike
from nd_models import DataType, MultitaskDecoderModel, model_from_config
from nd_models.modality import ModalitySpec
from nd_train.configured_readouts import configured_readouts
from nd_train.ridge_baseline import ridge_scores

FILE_NAME = "baseline_scores.json"
RIDGE = "ridge regression"
CEILING = "ceiling"

_FORMAT = "nd baseline scores"

Baselines = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
"""Score by baseline, recording, task and metric."""


def read_baselines(folder: Path, stage: str) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """The baselines that were computed for a stage of a run before; none where the file is of another stage or broken.

    Args:
        folder: The run's folder, or the file itself.
        stage: ``test`` or ``val``.
    """
    path = folder / FILE_NAME if folder.is_dir() else folder
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT or content["stage"] != stage:
            return {}
        return {
            name: {
                recording: {task: {m: float(v) for m, v in named.items()} for task, named in by_task.items()}
                for recording, by_task in by_recording.items()
            }
            for name, by_recording in content["baselines"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def read_baseline_notes(folder: Path, stage: str) -> list[str]:
    """What a reader must know of the baselines of a stage, such as which recordings have none; a sentence each."""
    if not read_baselines(folder, stage):
        return []
    content: Any = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    return [str(note) for note in content.get("notes", [])]


def write_baselines(folder: Path, stage: str, baselines: Baselines, *, notes: Sequence[str] = ()) -> Path:
    """Leave baselines beside a run, for its report; those of other names that are there already stay.

    Args:
        folder: The run's folder.
        stage: What they are scores of, ``test`` or ``val``.
        baselines: Score by baseline, recording, task and metric.
        notes: What a reader must know of them, besides what is noted there already; a sentence each.

    Returns:
        The file, written as a whole or not at all.
    """
    path = folder / FILE_NAME
    together = {**read_baselines(folder, stage), **baselines}
    noted = list(dict.fromkeys([*read_baseline_notes(folder, stage), *notes]))
    content = {"format": _FORMAT, "version": 1, "stage": stage, "baselines": together, "notes": noted}
    temporary = path.with_name(f".{FILE_NAME}.{os.getpid()}.partial")
    try:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def ridge_baselines(settings: Mapping[str, Any]) -> tuple[Baselines, list[str]]:
    """Ridge regression on the recordings and the ``test`` split of a run, one a recording and task.

    Args:
        settings: Content of the run's ``config.yaml``.

    Returns:
        `Baselines`: R² of continuous targets, balanced accuracy of classes; and for each task that not every recording
        has a regression of, a sentence that says why.

    Raises:
        ValueError: the configuration does not say what is needed.
        FileNotFoundError: the recordings are no longer where they were.
    """
    data, network = settings.get("data"), (settings.get("model") or {}).get("network")
    if not isinstance(data, Mapping) or not isinstance(network, Mapping):
        raise ValueError("the run's configuration lacks data or model.network")  # it is the file's fault
    root = Path(str(data.get("root")))
    if not root.is_dir():
        raise FileNotFoundError(f"the recordings are not at {root}")
    model = model_from_config(dict(network))
    if isinstance(model, MultitaskDecoderModel):
        specs: dict[str, ModalitySpec] = dict(model.readout_specs)
    else:
        # As stitched evaluation calls it.
        (name,) = configured_readouts(cast("ConfigurationLike", data.get("config")), single=True)
        specs = {name: cast("ModalitySpec", model.readout_spec)}
    found: dict[str, dict[str, dict[str, float]]] = {}
    problems: list[str] = []
    for task, spec in specs.items():
        metric = "r2" if spec.type == DataType.CONTINUOUS else "balanced_accuracy"
        skipped: dict[str, str] = {}
        try:
            scores = ridge_scores(
                root,
                data.get("config"),
                spec,
                window_length=model.sequence_length,
                readout_id=task,
                skipped=skipped,
            )
        except ValueError as problem:
            problems.append(f"No ridge regression of {task}: {problem}.")
            continue
        if skipped:
            some = f"{len(skipped)} of {len(skipped) + len(scores)} recordings"
            problems.append(f"No ridge regression of {task} in {some}: {next(iter(skipped.values()))}.")
        for recording, value in scores.items():
            if math.isfinite(value):
                found.setdefault(recording, {}).setdefault(task, {})[metric] = value
    return ({RIDGE: found} if found else {}), problems
