"""What stands on the page: plain values and texts for the template, no markup."""

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from nd_eval import METRICS, ScoreInterval
from nd_train.report.drift import Drift
from nd_train.report.numbers import count_text, duration_text, number_text, plural, score_text
from nd_train.report.run_folder import RunFolder
from nd_train.report.score_sheet import LEVEL, Headline, ScoreLine, ScoreSheet, larger_is_better

_LABELS = {
    "r2": "R²",
    "r2_variance_weighted": "R² (variance-weighted)",
    "pearsonr": "Pearson’s r",
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "F1 (macro)",
    "f1_weighted": "F1 (weighted)",
    "poisson_pseudo_r2": "Poisson pseudo-R²",
}
_ACTIVITY = {"spikes": "Spikes", "frames": "Frames"}
_STAGES = {"test": "test", "val": "validation", "predict": "prediction"}
_SHORTEST_BLOCKS = 10
_FEW_PERSONS = 10


def metric_label(name: str) -> str:
    """A metric's name for people."""
    return _LABELS.get(name, name.replace("_", " "))


def headline_card(headline: Headline, sheet: ScoreSheet) -> dict[str, Any]:
    """The large number of a task, its interval, and where it stands among the baselines."""
    score, label = headline.score, metric_label(headline.metric)
    rows: list[dict[str, Any]] = [{"name": "this run", "score": score, "own": True}]
    rows += [{"name": name, "score": _point(theirs), "own": False} for name, (theirs, _) in headline.baselines.items()]
    # One recording alone: its own line's few blocks are those of the mean.
    blocks = [line.score.block_count for line in sheet.lines if line.task == headline.task and line.score.block_count]
    scale = Scale.of([row["score"] for row in rows], bounded=headline.metric)
    return {
        "task": headline.task,
        "label": label,
        "value": score_text(score.value),
        "interval": interval_text(score),
        "sampled": "" if headline.sampled is None else interval_text(headline.sampled),
        "recordings": plural(headline.recordings, "recording"),
        "several": headline.recordings > 1,
        "smaller": "" if larger_is_better(headline.metric) else "smaller is better",
        "unlike": [
            f"Where there is {name}, this run has {score_text(ours)}."
            for name, (_, ours) in headline.baselines.items()
            if not math.isclose(ours, score.value, abs_tol=5e-4)
        ],
        "few_blocks": bool(blocks) and min(blocks) < _SHORTEST_BLOCKS,
        "rows": [
            {
                "name": row["name"],
                "value": score_text(row["score"].value),
                "own": row["own"],
                **scale.mark(row["score"]),
            }
            for row in rows
            if math.isfinite(row["score"].value)
        ],
        "low": f"{scale.low:.3g}".replace("-", "−"),
        "high": f"{scale.high:.3g}",
    }


def forecast_card(run: RunFolder, outcome: str) -> dict[str, Any]:
    """The large number of an outcome: the mean over persons, with an interval for other persons like these."""
    found = run.forecasts.scores[outcome]
    score = ScoreInterval(found.value, found.low, found.high, math.nan)
    scale = Scale.of([score], bounded=run.forecasts.metric)
    own = {"name": "this run", "value": score_text(score.value), "own": True, **scale.mark(score)}
    return {
        "task": outcome,
        "label": metric_label(run.forecasts.metric),
        "value": score_text(score.value),
        "interval": interval_text(score),
        "sampled": "",
        "recordings": f"{plural(found.persons, 'sequence')}, each with its own score on held-out points; sequences are "
        "drawn for the interval",
        "several": True,
        "smaller": "" if larger_is_better(run.forecasts.metric) else "smaller is better",
        "unlike": ["With so few of them the interval is likely too narrow."] if found.persons < _FEW_PERSONS else [],
        "few_blocks": False,
        "rows": [own],
        "low": f"{scale.low:.3g}".replace("-", "−"),
        "high": f"{scale.high:.3g}",
    }


def score_table(sheet: ScoreSheet) -> dict[str, Any]:
    """The table of recordings and tasks: headings, and cells with what to sort them by."""
    lines = sheet.lines
    metrics = {line.metric for line in lines}
    others = sorted({name for line in lines for name in line.others})
    baselines = list(dict.fromkeys(name for line in lines for name in line.baselines))
    scales = {metric: Scale.near([line.score for line in lines if line.metric == metric]) for metric in metrics}
    single = metric_label(next(iter(metrics))) if len(metrics) == 1 else None
    return {
        "score_heading": single or "score",
        "shows_metric": single is None,
        "shows_interval": any(math.isfinite(line.score.low) for line in lines),
        "shows_drift": any(line.drift for line in lines),
        "shows_times": any(line.seconds is not None for line in lines),
        "shows_units": any(line.units is not None for line in lines),
        "others": [metric_label(name) for name in others],
        "baselines": baselines,
        "scale_words": "; ".join(
            f"from {score_text(scale.low)} to {score_text(scale.high)}{'' if single else f' ({metric_label(metric)})'}"
            for metric, scale in sorted(scales.items())
        ),
        "level": f"{LEVEL:.0%}".replace("%", " %"),
        "rows": [_row(line, others, baselines, scales[line.metric]) for line in lines],
    }


def _row(line: ScoreLine, others: Sequence[str], baselines: Sequence[str], scale: "Scale") -> dict[str, Any]:
    score = line.score
    return {
        "recording": line.recording,
        "task": line.task,
        "metric": metric_label(line.metric),
        "score": cell(score.value, score_text(score.value)),
        "interval": interval_text(score),
        "width": "" if math.isnan(score.low) else repr(score.high - score.low),
        "mark": scale.mark(score),
        "others": [cell(line.others.get(name), score_text(line.others.get(name))) for name in others],
        "baselines": [cell(line.baselines.get(name), score_text(line.baselines.get(name))) for name in baselines],
        "seconds": cell(line.seconds, number_text(line.seconds, 4)),
        "times": "" if line.times is None else plural(line.times, "time"),
        "units": cell(line.units, count_text(line.units)),
        "rate": cell(line.spikes_per_second, number_text(line.spikes_per_second)),
        "drift": None if line.drift is None else _sparkline(line.drift),
    }


class Scale:
    """Where values lie between two ends, in percent.

    Args:
        low: The left end.
        high: The right end.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    @classmethod
    def of(cls, scores: Sequence[ScoreInterval], *, bounded: str) -> "Scale":
        """A scale that holds these scores; one of a bounded metric ends at 0 and 1 where the scores are in between."""
        found = [v for score in scores for v in (score.value, score.low, score.high) if math.isfinite(v)]
        if not found:
            return cls(0.0, 1.0)
        low, high = min(found), max(found)
        if bounded in METRICS and METRICS[bounded].larger_is_better and high <= 1.0:
            # A recording far below zero must not press all others together at the right edge.
            return cls(0.0 if low >= 0.0 else max(-1.0, low), 1.0)
        low = min(low, 0.0)
        return cls(low, high + 0.05 * (high - low or 1.0))

    @classmethod
    def near(cls, scores: Sequence[ScoreInterval]) -> "Scale":
        """A scale just around these scores and their intervals, so that they can be told apart; not below −1."""
        found = [v for score in scores for v in (score.value, score.low, score.high) if math.isfinite(v)]
        low, high = (max(-1.0, min(found)), max(found)) if found else (0.0, 1.0)
        return cls(low, high) if high > low else cls(high - 1.0, high)

    def place(self, value: float) -> float:
        """Percent of the way, within the ends."""
        return round(100.0 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low))), 2)

    def mark(self, score: ScoreInterval) -> dict[str, Any]:
        """Dot and whisker, and where zero lies."""
        has_interval = math.isfinite(score.low)
        return {
            "dot": self.place(score.value) if math.isfinite(score.value) else None,
            "left": self.place(score.low) if has_interval else None,
            "right": self.place(score.high) if has_interval else None,
            "zero": self.place(0.0) if self.low < 0.0 < self.high else None,
            "outside": math.isfinite(score.value) and score.value < self.low,
        }


def _sparkline(drift: Drift) -> dict[str, Any]:
    values = [value for value in drift.values if math.isfinite(value)]
    first, last = drift.thirds
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    span = high - low or 1.0
    count = max(1, len(drift.values) - 1)
    points = [
        f"{96 * place / count + 2:.1f},{22 - 20 * (value - low) / span:.1f}"
        for place, value in enumerate(drift.values)
        if math.isfinite(value)
    ]
    words = f"first third {score_text(first)}, last third {score_text(last)}"
    return {
        "points": " ".join(points),
        "words": words,
        "change": "" if math.isnan(last - first) else repr(last - first),
    }


def data_facts(run: RunFolder, sheet: ScoreSheet) -> list[tuple[str, str]]:
    """What the run learnt from and was scored on."""
    data: Mapping[str, Any] = run.record.get("data") or {}
    recordings: Mapping[str, Any] = data.get("recordings") or {}
    facts: list[tuple[str, str]] = []
    if recordings:
        known = [entry for entry in recordings.values() if isinstance(entry, Mapping)]
        facts.append(("Recordings", f"{len(recordings):,}"))
        facts.append(("Recorded time", duration_text(_total(entry.get("duration") for entry in known))))
        facts.append(("Units", count_text(_total(entry.get("units") for entry in known))))
        for key, heading in _counted(known).items():
            facts.append((heading, count_text(_total(entry.get(key) for entry in known))))
        for split in _splits(known):
            length = _total((entry.get("splits") or {}).get(split) for entry in known)
            facts.append((f"Split “{split}”", duration_text(length)))
    for part, count in (data.get("sequences") or {}).items():
        facts.append((f"Sequences, {part}", f"{count:,}"))
    seconds = [line.seconds for line in sheet.lines if line.seconds is not None]
    if seconds:
        facts.append((f"Evaluated time, {_STAGES[run.stage]}", duration_text(sum(seconds))))
    if data:
        checked = bool(data.get("leakage_checked"))
        facts.append(("Leakage check", "passed: no splits overlap" if checked else "not passed, or not made"))
        facts.append(("Data", str(data.get("root") or "unknown")))
        facts.append(("Data hash (SHA-256)", str(data.get("hash") or "unknown")))
    return facts


def recording_facts(run: RunFolder) -> dict[str, Any]:
    """One line a recording: units, spikes or frames, length and splits."""
    recordings: Mapping[str, Any] = (run.record.get("data") or {}).get("recordings") or {}
    counted = _counted(entry or {} for entry in recordings.values())
    splits = _splits(entry or {} for entry in recordings.values())
    rows = []
    for name, entry in sorted(recordings.items()):
        entry = entry or {}
        cells = [cell(entry.get(key), count_text(entry.get(key))) for key in ("units", *counted)]
        cells.append(cell(entry.get("duration"), duration_text(entry.get("duration"))))
        lengths = entry.get("splits") or {}
        cells += [cell(lengths.get(split), duration_text(lengths.get(split))) for split in splits]
        rows.append({"recording": name, "cells": cells})
    return {"counted": [heading.lower() for heading in counted.values()], "splits": splits, "rows": rows}


def _counted(recordings: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What the recordings' activity is counted in, with its heading."""
    present = {key for entry in recordings for key in _ACTIVITY if entry.get(key) is not None}
    return {key: heading for key, heading in _ACTIVITY.items() if key in present}


def reproduction(run: RunFolder) -> dict[str, Any]:
    """The command that makes the run again, and what it depends on."""
    record = run.record
    words = [str(word) for word in record.get("command") or ()]
    seed = record.get("seed", run.settings.get("seed_everything"))
    command = shlex.join(words)
    # Only what trains has the configuration of a training run in its folder.
    other = shlex.join(["nd-train", "fit", "--config", str(run.path / "config.yaml")]) if run.settings else ""
    git = record.get("git") or {}
    facts = []
    if record.get("started"):
        facts.append(("Started", _when(str(record["started"]))))
    if seed is not None:
        facts.append(("Seed", str(seed)))
    if git.get("commit"):
        facts.append(("Commit", f"{git['commit']}{' (with changes that are not in it)' if git.get('changed') else ''}"))
    facts += [
        (name, str(record[key])) for name, key in (("Python", "python"), ("Platform", "platform")) if key in record
    ]
    return {
        "command": command or other,
        "other": other if command else "",
        "facts": facts,
        "packages": sorted((str(name), str(version)) for name, version in (record.get("packages") or {}).items()),
        "settings": run.settings_text,
    }


def model_facts(run: RunFolder) -> list[tuple[str, str]]:
    """The settings that a reader asks for first."""
    settings = run.settings or run.record.get("hyperparameters") or {}
    model, trainer = settings.get("model") or {}, settings.get("trainer") or {}
    network = model.get("network") or {}
    wanted = [
        ("Architecture", network.get("architecture", "POYOPlus" if network else None)),
        (
            "Window",
            f"{network['sequence_length']:g} s" if isinstance(network.get("sequence_length"), int | float) else None,
        ),
        ("Width × depth", f"{network['dim']} × {network['depth']}" if {"dim", "depth"} <= set(network) else None),
        ("Optimizer", model.get("optimizer")),
        ("Learning rate", f"{model['lr']:g}" if isinstance(model.get("lr"), int | float) else None),
        ("Schedule", model.get("schedule")),
        ("Batch size", (settings.get("data") or {}).get("batch_size")),
        ("Steps, at most", trainer.get("max_steps") if (trainer.get("max_steps") or -1) > 0 else None),
        ("Epochs, at most", trainer.get("max_epochs") if (trainer.get("max_epochs") or -1) > 0 else None),
        ("Precision", trainer.get("precision")),
    ]
    return [(name, str(value)) for name, value in wanted if value is not None]


def subset_table(run: RunFolder) -> dict[str, Any]:
    """The scores of a longitudinal run: one line a subset."""
    from nd_train.longitudinal.subsets import SUBSET_WORDS, SUBSETS

    named: dict[str, dict[str, float]] = {}
    for name, value in run.subset_scores.items():
        rest = name.removeprefix(f"{run.stage}_")
        if name in ("epoch", "sanity_check"):
            continue
        subset = next((s for s in sorted(SUBSETS, key=len, reverse=True) if rest.startswith(f"{s}_")), None)
        if subset is not None:
            named.setdefault(subset, {})[rest.removeprefix(f"{subset}_")] = value
    named = {subset: values for subset, values in named.items() if values.get("count", 1)}
    columns = list(dict.fromkeys(name for values in named.values() for name in values))
    columns.sort(key="count".__eq__)
    return {
        "columns": ["points" if name == "count" else metric_label(name) for name in columns],
        "rows": [
            {
                "subset": subset,
                "words": SUBSET_WORDS[subset],
                "cells": [
                    cell(
                        values.get(name),
                        count_text(values.get(name)) if name == "count" else score_text(values.get(name)),
                    )
                    for name in columns
                ],
            }
            for subset, values in named.items()
        ],
        "rest": [
            (name, score_text(value))
            for name, value in run.subset_scores.items()
            if name not in ("epoch", "sanity_check")
            and not any(name.removeprefix(f"{run.stage}_").startswith(f"{subset}_") for subset in SUBSETS)
        ],
    }


def cell(value: float | None, text: str) -> dict[str, str]:
    """A number as it is read, and as it is sorted by."""
    return {"text": text, "sort": "" if value is None or math.isnan(value) else repr(float(value))}


def interval_text(score: ScoreInterval) -> str:
    """Both ends of an interval; nothing where there is none."""
    return "" if math.isnan(score.low) else f"{score_text(score.low)} – {score_text(score.high)}"


def stage_text(stage: str) -> str:
    """What a stage is called in a sentence."""
    return _STAGES[stage]


def _point(value: float) -> ScoreInterval:
    return ScoreInterval(value, math.nan, math.nan, math.nan)


def _splits(recordings: Iterable[Mapping[str, Any]]) -> list[str]:
    usual = {"train": 0, "valid": 1, "test": 2}
    found = dict.fromkeys(name for entry in recordings for name in entry.get("splits") or {})
    return sorted(found, key=lambda name: usual.get(name, len(usual)))


def _total(values: Any) -> float | None:
    seen = [value for value in values if isinstance(value, int | float)]
    return float(sum(seen)) if seen else None


def _when(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M %Z}".strip()
    except ValueError:
        return text
