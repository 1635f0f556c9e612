"""Training curves out of the ``metrics.csv`` that Lightning's CSVLogger leaves."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_AXES = ("epoch", "step")


@dataclass(frozen=True)
class Curve:
    """One logged number over the run.

    Attributes:
        name: What it was logged as.
        steps: Optimizer steps, or epochs where the log has no steps.
        values: Its values, finite.
    """

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


def read_curves(path: Path) -> dict[str, Curve]:
    """Every column of a ``metrics.csv`` that holds numbers.

    Args:
        path: The file; columns ``epoch`` and ``step`` say when.

    Returns:
        Curves by name. A line without a value is left out, as is what is not a number or not finite.

    Raises:
        ValueError: the file has neither a ``step`` nor an ``epoch`` column.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.DictReader(file)
        axes = [name for name in ("step", "epoch") if name in (reader.fieldnames or ())]
        if not axes:
            raise ValueError(f"{path.name}: expected a column 'step' or 'epoch', found {reader.fieldnames}")
        for line in reader:
            when = next((number for name in axes if (number := _number(line.get(name))) is not None), None)
            if when is None:
                continue
            for name, text in line.items():
                value = None if name in _AXES or name is None else _number(text)
                if value is not None:
                    points.setdefault(name, []).append((when, value))
    return {
        name: Curve(name, tuple(when for when, _ in found), tuple(value for _, value in found))
        for name, found in points.items()
    }


def grouped_curves(curves: Mapping[str, Curve]) -> dict[str, list[Curve]]:
    """The curves worth looking at, by the picture they belong to.

    Losses together, the monitored averages together, learning rates together. Scores of single recordings, and of the
    test at the end, are in the table instead.
    """
    groups: dict[str, list[Curve]] = {"loss": [], "validation score": [], "learning rate": []}
    for name, curve in sorted(curves.items()):
        if len(curve.values) < 2 or name.startswith("test_") or name.endswith("/test"):
            continue
        if name.startswith("lr-") or name == "lr":
            groups["learning rate"].append(curve)
        elif "loss" in name.split("/")[0]:
            groups["loss"].append(curve)
        elif name.startswith("average_") and "_val" in name:
            groups["validation score"].append(curve)
    # With one task its loss is the loss, and its average the average: one line each.
    return {title: _different(found) for title, found in groups.items() if found}


def thinned(curve: Curve, limit: int = 1000) -> Curve:
    """At most about this many points, the smallest and the largest of each run of neighbours among them."""
    count = len(curve.values)
    if count <= limit:
        return curve
    width = math.ceil(2 * count / limit)
    kept: set[int] = {0, count - 1}
    for start in range(0, count, width):
        places = range(start, min(start + width, count))
        kept |= {min(places, key=curve.values.__getitem__), max(places, key=curve.values.__getitem__)}
    chosen = sorted(kept)
    return Curve(curve.name, tuple(curve.steps[i] for i in chosen), tuple(curve.values[i] for i in chosen))


def _different(curves: list[Curve]) -> list[Curve]:
    by_values = {(curve.steps, curve.values): curve for curve in sorted(curves, key=lambda curve: -len(curve.name))}
    return sorted(by_values.values(), key=lambda curve: curve.name)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
