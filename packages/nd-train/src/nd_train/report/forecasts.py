"""Forecasts of persons over time out of the ``<stage>_predictions.csv`` of a longitudinal run.

N lines of a sequence and outcome.
"""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import torch

from nd_eval import ClusterInterval, StitchedTrace, cluster_bootstrap

_MOST_LINES = 3_000_000
_SECONDS_OF_A_DAY = 86_400.0
_WANTED = ("sequence", "time", "outcome", "prediction", "target", "observed", "out_of_time", "out_of_sequence")


@dataclass(frozen=True)
class Forecasts:
    """Predictions of a longitudinal run.

    Attributes:
        traces: By sequence and outcome; a target that was not observed is NaN.
        time_label: What the times are.
        metric: ``mae``, or ``accuracy`` of classes.
        scores: By outcome, the mean over persons of each one's own score on held-out points, persons drawn for the
            interval.
        complete: Whether the whole file was read.
    """

    traces: Mapping[str, Mapping[str, StitchedTrace]] = field(default_factory=dict)
    time_label: str = "time"
    metric: str = "mae"
    scores: Mapping[str, ClusterInterval] = field(default_factory=dict)
    complete: bool = True


def read_forecasts(path: Path, *, classes: bool = False) -> Forecasts:
    """Read a file of predictions.

    Args:
        path: The CSV, as `StoredPredictions.to_csv` writes it.
        classes: Whether predictions and targets are classes.

    Raises:
        ValueError: the file has other columns, or something in it that is not a number.
    """
    found: dict[str, dict[str, list[tuple[str, float, float, bool]]]] = {}
    complete = True
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        lacking = [name for name in _WANTED if name not in (reader.fieldnames or ())]
        if lacking:
            raise ValueError(f"{path.name}: expected columns {', '.join(_WANTED)}, found no {', '.join(lacking)}")
        for number, line in enumerate(reader):
            if number == _MOST_LINES:
                complete = False
                break
            observed, held_out = line["observed"] == "True", "True" in (line["out_of_time"], line["out_of_sequence"])
            target = float(line["target"] or "nan") if observed else math.nan
            entry = (line["time"], float(line["prediction"]), target, held_out)
            found.setdefault(line["sequence"], {}).setdefault(line["outcome"], []).append(entry)
    times, label = _clock(
        {text for by_outcome in found.values() for lines in by_outcome.values() for text, *_ in lines}
    )
    traces: dict[str, dict[str, StitchedTrace]] = {}
    of_persons: dict[str, list[float]] = {}
    for sequence, by_outcome in found.items():
        for outcome, lines in by_outcome.items():
            # Some runs forecast a step more than once; the last word counts.
            by_time = {times[text]: (prediction, target, held) for text, prediction, target, held in lines}
            ordered = sorted(by_time)
            columns = torch.tensor([by_time[time] for time in ordered], dtype=torch.float64)
            targets = columns[:, 1]
            traces.setdefault(sequence, {})[outcome] = StitchedTrace(
                torch.tensor(ordered, dtype=torch.float64), columns[:, :1], targets[:, None]
            )
            counted = (columns[:, 2] > 0) & ~torch.isnan(targets)
            if bool(counted.any()):
                distance = (columns[:, 0] - targets)[counted].abs()
                own = (distance < 0.5).double().mean() if classes else distance.mean()
                of_persons.setdefault(outcome, []).append(float(own))
    return Forecasts(
        traces,
        label,
        "accuracy" if classes else "mae",
        {outcome: cluster_bootstrap(torch.tensor(values)) for outcome, values in sorted(of_persons.items())},
        complete,
    )


def _clock(texts: set[str]) -> tuple[dict[str, float], str]:
    """Numbers of the times: as they are, or days since the first date."""
    try:
        return {text: float(text) for text in texts}, "time"
    except ValueError:
        dates = {text: datetime.fromisoformat(text) for text in texts}
    first = min(dates.values())
    days = {text: (date - first).total_seconds() / _SECONDS_OF_A_DAY for text, date in dates.items()}
    return days, f"days since {first:%Y-%m-%d}"
