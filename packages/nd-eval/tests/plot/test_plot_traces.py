"""Predicted against true over time: what is drawn is what was given."""

import math

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nd_eval import DataForDecodingStitchEvaluator, DecodingStitchEvaluation, StitchedTrace, circular_error, r2_score
from nd_eval.plot import plot_traces


def trace(times, dimensions=2, seed=0):
    times = torch.as_tensor(np.asarray(times), dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    shape = (len(times), dimensions) if dimensions else (len(times),)
    targets = torch.randn(shape, generator=generator)
    return StitchedTrace(times, targets + 0.3 * torch.randn(shape, generator=generator), targets)


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def result_of(recordings, task="velocity"):
    """An evaluation of two-dimensional outputs at 100 Hz, a second each."""
    evaluation = DecodingStitchEvaluation(recordings, metric="r2", task=task)
    for seed, recording in enumerate(recordings):
        one = trace(np.arange(100) * 0.01, seed=seed)
        evaluation.update(
            DataForDecodingStitchEvaluator(
                timestamps=one.timestamps.float()[None],
                preds=one.preds[None],
                targets=one.targets[None],
                eval_masks=torch.ones(1, 100, dtype=torch.bool),
                session_ids=[recording],
                absolute_starts=torch.tensor([5.0 + seed], dtype=torch.float64),
            )
        )
    return evaluation.compute()


def test_each_dimension_of_a_trace_has_a_panel_with_its_values():
    one = trace(1e5 + np.arange(50) * 0.1)
    picture = plot_traces(one, dimension_names=["x", "y"], unit="cm/s")
    assert len(picture.axes) == 2
    for column, axes in enumerate(picture.axes):
        for name, values in (("true", one.targets), ("predicted", one.preds)):
            np.testing.assert_array_equal(lines(axes)[name].get_xdata(), one.timestamps)
            np.testing.assert_array_equal(lines(axes)[name].get_ydata(), values[:, column].double())
        assert axes.get_ylabel() == f"{'xy'[column]} (cm/s)"
        r2 = float(r2_score(one.preds[:, column], one.targets[:, column]))
        assert axes.get_title(loc="right") == f"R² {r2:.2f}"
    assert [axes.get_xlabel() for axes in picture.axes] == ["", "time (s)"]


def test_times_far_from_zero_are_written_in_full():
    picture = plot_traces(trace(1e5 + np.arange(50) * 0.1, dimensions=0))
    picture.figure.canvas.draw()
    assert "100002" in [label.get_text() for label in picture.axes[0].get_xticklabels()]


def test_a_result_gives_a_row_for_each_recording_and_a_column_for_each_dimension():
    result = result_of(["b/two", "a/one", "c/three"])
    picture = plot_traces(result)
    assert [axes.get_title(loc="left") for axes in picture.axes] == [
        name for name in ("a/one", "b/two", "c/three") for _ in range(2)
    ]
    drawn = lines(picture.axes[3])["predicted"]
    np.testing.assert_allclose(drawn.get_ydata(), result.traces["b/two"]["velocity"].preds[:, 1])
    chosen = plot_traces(result, recordings=["c/three"], dimensions=[1])
    assert len(chosen.axes) == 1
    assert chosen.axes[0].get_title(loc="left") == "c/three"
    np.testing.assert_allclose(
        lines(chosen.axes[0])["true"].get_ydata(), result.traces["c/three"]["velocity"].targets[:, 1]
    )


def test_a_gap_in_time_and_a_nan_are_gaps_in_the_line():
    one = trace(np.concatenate([np.arange(10) * 0.1, 5 + np.arange(10) * 0.1]), dimensions=0)
    one.targets[15] = math.nan
    picture = plot_traces(one)
    drawn = lines(picture.axes[0])
    assert np.flatnonzero(np.isnan(drawn["predicted"].get_ydata())).tolist() == [10]
    assert np.flatnonzero(np.isnan(drawn["true"].get_ydata())).tolist() == [10, 16]


def test_a_point_between_gaps_is_a_dot():
    one = trace([0.0, 0.1, 0.2, 0.3, 5.0, 9.0, 9.1, 9.2, 9.3, 9.4, 9.5, 9.6, 9.7, 9.8, 9.9], dimensions=0)
    for line in lines(plot_traces(one).axes[0]).values():
        assert line.get_marker() == "."
        assert line.get_markevery() == [5]
        assert line.get_xdata()[5] == 5.0


def test_only_the_seconds_asked_for_are_drawn_but_all_are_scored():
    one = trace(20.0 + np.arange(400) * 0.05, dimensions=0)
    (axes,) = plot_traces(one, start=25.0, seconds=2.0).axes
    x = lines(axes)["true"].get_xdata()
    assert x[0] == pytest.approx(25.0)
    assert x[-1] == pytest.approx(26.95)
    assert axes.get_title(loc="right") == f"R² {float(r2_score(one.preds, one.targets)):.2f}"
    (axes,) = plot_traces(one, seconds=1.0).axes
    assert lines(axes)["true"].get_xdata()[[0, -1]].tolist() == pytest.approx([20.0, 20.95])
    with pytest.raises(ValueError, match=r"no time between 90 s and 95 s; the trace goes from 20 s to 39\.95 s"):
        plot_traces(one, start=90.0, seconds=5.0)


def test_time_that_was_not_evaluated_is_shaded_and_not_scored():
    one = trace(np.arange(100) * 0.1, dimensions=0)
    mask = torch.ones(100, dtype=torch.bool)
    mask[20:30] = mask[60:] = False
    one.preds[~mask] = 1e6
    picture = plot_traces(one, mask=mask)
    (axes,) = picture.axes
    (shade,) = axes.collections
    spans = [(path.get_extents().x0, path.get_extents().x1) for path in shade.get_paths()]
    np.testing.assert_allclose(spans, [(1.95, 2.95), (5.95, 9.95)])
    assert axes.get_title(loc="right") == f"R² {float(r2_score(one.preds[mask], one.targets[mask])):.2f}"
    (legend,) = picture.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["true", "predicted", "not evaluated"]


def test_masks_are_given_by_name_for_several_recordings():
    traces = {"a": trace(np.arange(10.0), dimensions=0), "b": trace(np.arange(10.0), dimensions=0)}
    picture = plot_traces(traces, mask={"b": torch.arange(10) < 5})
    assert [len(axes.collections) for axes in picture.axes] == [0, 1]
    with pytest.raises(ValueError, match="mask of each recording by name: a, b"):
        plot_traces(traces, mask=torch.ones(10, dtype=torch.bool))
    with pytest.raises(KeyError, match="there is no recording 'c'"):
        plot_traces(traces, mask={"c": torch.ones(10, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"recording 'b': the mask must have one entry for each of the 10 times"):
        plot_traces(traces, mask={"b": torch.ones(9, dtype=torch.bool)})


def test_angles_are_drawn_within_one_turn_and_scored_the_short_way_round():
    times = torch.arange(40, dtype=torch.float64) * 0.1
    target = torch.linspace(-1.0, 9.0, 40, dtype=torch.float64)
    one = StitchedTrace(times, target + 0.2, target)
    (axes,) = plot_traces(one, period=2 * math.pi, unit="rad").axes
    line = lines(axes)["true"]
    x, y = line.get_xdata(), line.get_ydata()
    given = np.isin(x, times.numpy())
    np.testing.assert_allclose(y[given], np.mod(target.numpy(), 2 * math.pi))
    assert np.isnan(y).sum() == 2  # it passes 0 and 2π
    assert axes.get_title(loc="right") == "mean error 0.20 rad"
    assert float(circular_error(one.preds, one.targets)) == pytest.approx(0.2)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["0", "π/2", "π", "3π/2", "2π"]


def test_classes_are_bars_at_their_names():
    classes = torch.tensor([0, 0, 2, 2, 2, 1])
    logits = torch.nn.functional.one_hot(torch.tensor([0, 2, 2, 2, 0, 1]), 3).float()
    (axes,) = plot_traces(StitchedTrace(torch.arange(6).double(), logits, classes), class_names=["a", "b", "c"]).axes
    np.testing.assert_array_equal(lines(axes)["true"].get_ydata(), [0, 0, np.nan, 2, 2, 2, np.nan, 1])
    np.testing.assert_array_equal(lines(axes)["predicted"].get_ydata(), [0, np.nan, 2, 2, 2, np.nan, 0, np.nan, 1])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert axes.get_title(loc="right") == "accuracy 0.67"


def test_a_single_time_and_a_single_class_can_be_drawn(tmp_path):
    one = plot_traces(trace([3.0], dimensions=1))
    np.testing.assert_array_equal(lines(one.axes[0])["true"].get_xdata(), [3.0])
    same = torch.zeros(5, dtype=torch.int64)
    classes = plot_traces(StitchedTrace(torch.arange(5).double(), same, same))
    np.testing.assert_array_equal(lines(classes.axes[0])["predicted"].get_ydata(), np.zeros(5))
    for picture, file in ((one, "one.png"), (classes, "class.png")):
        assert picture.save(tmp_path / file).stat().st_size > 0


def test_targets_that_are_all_nan_are_drawn_without_a_score(tmp_path):
    one = trace(np.arange(5.0), dimensions=0)
    one.targets[:] = math.nan
    picture = plot_traces(one)
    assert picture.axes[0].get_title(loc="right") == ""
    picture.save(tmp_path / "picture.png")


def test_titles_and_names_do_not_overlap_however_long():
    names = [f"a_laboratory_with_a_name/a_recording_with_an_even_longer_name_of_day_{day}" for day in range(3)]
    picture = plot_traces({name: trace(np.arange(50.0), seed=n) for n, name in enumerate(names)})
    picture.figure.canvas.draw()
    renderer = picture.figure.canvas.get_renderer()
    for axes in picture.axes:
        left, right = (title.get_window_extent(renderer) for title in (axes._left_title, axes._right_title))
        assert left.x1 < right.x0
    assert len({axes.get_title(loc="left") for axes in picture.axes}) == 3


def test_the_legend_on_the_callers_axes_hides_neither_lines_nor_titles():
    figure = Figure(figsize=(6, 3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    plot_traces({"a/recording": trace(np.arange(50.0), dimensions=0)}, axes=axes)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    legend = axes.get_legend().get_window_extent(renderer)
    others = [axes.get_window_extent(renderer)]
    others += [title.get_window_extent(renderer) for title in (axes._left_title, axes._right_title)]
    assert not any(legend.overlaps(box) for box in others)
    assert legend.y1 <= figure.bbox.height


def test_what_cannot_be_drawn_is_one_clear_error():
    result = result_of(["a/one", "b/two"])
    one = trace(np.arange(4.0))
    with pytest.raises(KeyError, match=r"there is no task 'velocty' \(did you mean 'velocity'"):
        plot_traces(result, task="velocty")
    with pytest.raises(KeyError, match=r"there is no recording 'a/two'.*there are a/one, b/two"):
        plot_traces(result, recordings=["a/two"])
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_traces({})
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_traces(one.at(torch.zeros(4, dtype=torch.bool)))
    with pytest.raises(ValueError, match="same first dimension"):
        plot_traces(StitchedTrace(one.timestamps, one.preds[:3], one.targets))
    with pytest.raises(ValueError, match=r"recording 'a': predictions and targets must both be"):
        plot_traces({"a": StitchedTrace(one.timestamps, one.preds, one.targets[:, 0])})
    with pytest.raises(ValueError, match="finite and ascend"):
        plot_traces(StitchedTrace(one.timestamps.flip(0), one.preds, one.targets))
    with pytest.raises(ValueError, match=r"dimensions must be among 0 … 1; found \[2\]"):
        plot_traces(one, dimensions=[2])
    with pytest.raises(ValueError, match="2 dimensions are drawn, but 1 names"):
        plot_traces(one, dimension_names=["x"])
    with pytest.raises(ValueError, match="different numbers of dimensions"):
        plot_traces({"a": one, "b": trace(np.arange(4.0), dimensions=3)})
    with pytest.raises(ValueError, match="period must be a positive number"):
        plot_traces(one, period=0.0)
