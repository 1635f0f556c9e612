"""Which classes were taken for which, of all recordings of a task together: plain values for the page.

C classes.
"""

from typing import Any

import torch

from nd_eval import EvaluationResult, StitchedTrace
from nd_eval.metrics.classification_scores import class_decisions
from nd_eval.plot.confusion import confusion_counts
from nd_eval.plot.sources import aligned_pairs
from nd_train.report.numbers import count_text, plural
from nd_train.report.run_folder import RunFolder
from nd_train.report.score_sheet import ScoreSheet

MOST_CLASSES = 24
"""More rows and columns than this nobody reads in a table."""


def confusion_tables(run: RunFolder, sheet: ScoreSheet) -> list[dict[str, Any]]:
    """A table for each task of classes: a row a true class, a column a predicted one.

    Args:
        run: The run, whose traces name the classes where that is known.
        sheet: Its scores, with the evaluation that was made from the traces.

    Returns:
        By task in alphabetical order: ``task``, ``recordings``, ``labels`` (C) and ``rows`` (C), each with its name,
        how often it was true, and C cells of a count and its share of the row in percent. With more than
        `MOST_CLASSES` classes there are no rows, and ``classes`` says how many there are.
    """
    if sheet.result is None:
        return []
    tasks = sorted({task for by_task in sheet.result.traces.values() for task in by_task})
    return [table for task in tasks if (table := _table(run, sheet.result, task)) is not None]


def are_classes(trace: StitchedTrace) -> bool:
    """Whether a trace is of one class at a time."""
    return not trace.targets.is_floating_point() and trace.targets[0].numel() == 1


def _table(run: RunFolder, result: EvaluationResult, task: str) -> dict[str, Any] | None:
    recordings = [name for name, by_task in sorted(result.traces.items()) if task in by_task]
    if not all(are_classes(result.traces[name][task]) for name in recordings):
        return None
    preds, targets = aligned_pairs(result, None, task, recordings)
    decisions, true = class_decisions(preds, targets).flatten(), targets.flatten().to(torch.int64)
    occurring: list[int] = torch.unique(torch.cat([decisions, true])).tolist()
    found = {"task": task, "recordings": plural(len(recordings), "recording"), "classes": len(occurring)}
    if len(occurring) > MOST_CLASSES:
        return {**found, "labels": [], "rows": []}
    names = run.class_names(recordings[0], task)
    # Names of classes that never come up are shown while there is room for them.
    shown = occurring if len(names) > MOST_CLASSES else sorted({*occurring, *range(len(names))})
    labelled = {label: names[label] if label < len(names) else str(label) for label in shown}
    _, counts = confusion_counts(decisions, true, labelled)
    rows = [_row(name, line) for name, line in zip(labelled.values(), counts.tolist(), strict=True)]
    return {**found, "labels": list(labelled.values()), "rows": rows}


def _row(name: str, counts: list[int]) -> dict[str, Any]:
    total = sum(counts)
    cells = [
        {"count": count_text(count), "share": round(100 * count / total) if total else 0, "known": total > 0}
        for count in counts
    ]
    return {"name": name, "total": count_text(total), "cells": cells}
