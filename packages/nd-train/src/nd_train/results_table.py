"""The table a run ends with: stitched scores, one line a recording and task."""

import sys
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from nd_eval import EvaluationResult


def results_console() -> Console:
    """Where tables go: the terminal as wide as it is; a file or a pipe wide enough for recordings' names.

    Names of recordings, files and folders are written as they are, whatever rich would take them for.
    """
    return Console(width=None if sys.stdout.isatty() else 120, markup=False, emoji=False)


def results_table(
    result: EvaluationResult, *, title: str, beside: Mapping[str, Mapping[str, float]] | None = None
) -> Table:
    """Lay out the scores of one evaluation.

    Args:
        result: What a stitching evaluator computed.
        title: The table's heading.
        beside: More columns, ``{heading: {recording: value}}``; a recording without a value shows a dash.

    Returns:
        A rich table: recording, task, every metric, the columns of `beside`, evaluated times.
    """
    columns = dict(beside or {})
    metric_names = sorted(
        {name for by_task in result.scores.values() for by_name in by_task.values() for name in by_name}
    )
    table = Table(title=title)
    table.add_column("recording")
    table.add_column("task")
    for heading in (*metric_names, *columns):
        table.add_column(heading, justify="right")
    table.add_column("times", justify="right")
    for recording, by_task in sorted(result.scores.items()):
        for task, by_name in sorted(by_task.items()):
            cells = [_number(by_name.get(name)) for name in metric_names]
            cells += [_number(values.get(recording)) for values in columns.values()]
            times = len(result.traces[recording][task].timestamps) if task in result.traces.get(recording, {}) else 0
            table.add_row(recording, task, *cells, f"{times:,}")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
