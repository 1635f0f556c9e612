"""The table and the picture that a run ends with."""

import io
import struct

import numpy as np
import pytest
import torch
from rich.console import Console

from nd_eval import EvaluationResult, StitchedTrace
from nd_train.results_table import results_table
from nd_train.trace_picture import save_trace_picture


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


def test_the_picture_is_a_png_of_a_readable_size(tmp_path):
    traces = {"a/one": {"v": trace(np.arange(300) * 0.1)}, "b/two": {"v": trace(np.arange(5) * 0.1, seed=1)}}
    path = save_trace_picture(result({}, traces), tmp_path / "new folder" / "picture.png", task="v")
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:24])
    assert 800 < width < 3000
    assert 200 < height < 3000


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw traces and return the figure."""
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **keywords: figures.append(self))

    def draw(traces, **keywords):
        save_trace_picture(result({}, traces), tmp_path / "picture.png", **keywords)
        return figures[-1]

    return draw


def test_the_picture_shows_predicted_and_true_values_from_the_first_evaluated_time(drawn):
    one = trace(1e5 + np.arange(100) * 0.1)
    figure = drawn({"a/one": {"v": one}}, task="v", seconds=3.0)
    assert len(figure.axes) == 2
    for column, axis in enumerate(figure.axes):
        true, predicted = axis.get_lines()
        shown = (np.arange(100) * 0.1) < 3.0 - 1e-9
        np.testing.assert_allclose(true.get_xdata(), np.arange(100)[shown] * 0.1, atol=1e-9)
        np.testing.assert_allclose(true.get_ydata(), one.targets[: shown.sum(), column].numpy())
        np.testing.assert_allclose(predicted.get_ydata(), one.preds[: shown.sum(), column].numpy())


def test_the_picture_names_recording_dimension_and_r2_of_the_whole_trace(drawn):
    one = trace(np.arange(500) * 0.1)
    figure = drawn({"a/one": {"v": one}}, task="v", seconds=1.0)
    for column, axis in enumerate(figure.axes):
        targets, preds = (values[:, column].double().numpy() for values in (one.targets, one.preds))
        r2 = 1 - ((targets - preds) ** 2).sum() / ((targets - targets.mean()) ** 2).sum()
        assert axis.get_title(loc="left") == f"a/one, dimension {column + 1}: R² {r2:.2f}"


def test_time_between_evaluated_stretches_is_a_gap_in_the_line(drawn):
    times = np.concatenate([np.arange(10) * 0.1, 5 + np.arange(10) * 0.1])
    figure = drawn({"a/one": {"v": trace(times, dimensions=0)}}, task="v")
    (axis,) = figure.axes
    for line in axis.get_lines():
        assert np.flatnonzero(np.isnan(line.get_ydata())).tolist() == [10]


def test_a_trace_of_a_single_time_can_be_drawn(drawn):
    figure = drawn({"a/one": {"v": trace([1.0, 500.0], dimensions=1)}}, task="v")
    assert len(figure.axes[0].get_lines()[0].get_xdata()) == 1


def test_recordings_without_the_task_are_left_out(drawn):
    figure = drawn({"a/one": {"v": trace([0.0, 1.0], dimensions=1)}, "b/two": {"w": trace([0.0])}}, task="v")
    assert len(figure.axes) == 1


def test_a_task_that_no_recording_has_is_an_error_that_lists_those_there_are(tmp_path):
    traces = {"a/one": {"v": trace([0.0, 1.0])}}
    with pytest.raises(KeyError, match=r"no stitched trace of task 'w'; there are \['v'\]"):
        save_trace_picture(result({}, traces), tmp_path / "picture.png", task="w")
    assert not (tmp_path / "picture.png").exists()
