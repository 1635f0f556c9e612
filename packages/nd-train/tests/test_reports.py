"""The table that a run ends with."""

import io

import numpy as np
import torch
from rich.console import Console

from nd_eval import EvaluationResult, StitchedTrace
from nd_train.results_table import results_console, results_table


def trace(times, *, dimensions=2, seed=0, noise=0.3):
    rng = np.random.default_rng(seed)
    shape = (len(times),) if dimensions == 0 else (len(times), dimensions)
    targets = rng.normal(size=shape)
    return StitchedTrace(
        timestamps=torch.as_tensor(np.asarray(times, dtype=np.float64)),
        preds=torch.as_tensor(targets + noise * rng.normal(size=shape)).float(),
        targets=torch.as_tensor(targets).float(),
    )


def result(scores, traces):
    return EvaluationResult(
        scores=scores,
        averages={},
        score=0.0,
        is_mixed=False,
        statement="",
        larger_is_better={"r2": True, "mse": False},
        traces=traces,
    )


def rendered(table):
    """Heading, and the cells of every line."""
    text = io.StringIO()
    Console(file=text, width=120).print(table)
    lines = text.getvalue().splitlines()
    rows = [[cell.strip() for cell in line.strip("┃│").replace("┃", "│").split("│")] for line in lines[1:]]
    return lines[0].strip(), [row for row in rows if len(row) > 1]


def test_the_table_has_a_line_for_every_recording_and_task_with_all_its_scores():
    scores = {
        "b/two": {"velocity": {"r2": 0.81251, "mse": 0.1}},
        "a/one": {"velocity": {"r2": -0.25}, "state": {"accuracy": 1.0}},
    }
    times = {"b/two": {"velocity": trace(np.arange(12345) * 0.01)}, "a/one": {"velocity": trace([0.0, 0.1])}}
    beside = {"ridge R²": {"a/one": 0.5}, "ceiling": {"a/one": 0.9, "b/two": 0.95}}
    title, rows = rendered(results_table(result(scores, times), title="stitched", beside=beside))
    assert title == "stitched"
    assert rows == [
        ["recording", "task", "accuracy", "mse", "r2", "ridge R²", "ceiling", "times"],
        ["a/one", "state", "1.000", "-", "-", "0.500", "0.900", "0"],
        ["a/one", "velocity", "-", "-", "-0.250", "0.500", "0.900", "2"],
        ["b/two", "velocity", "-", "0.100", "0.813", "-", "0.950", "12,345"],
    ]


def test_names_are_written_as_they_are(capsys):
    name = "lab[bold]/day:smile:[/]"
    console = results_console()
    console.print(results_table(result({name: {"speed": {"r2": 0.5}}}, {}), title="scores"))
    console.print(f"picture: {name}.png")
    printed = capsys.readouterr().out
    assert printed.count(name) == 2
