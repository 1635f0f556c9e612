"""Scores with intervals: every dot, interval and name is that of its recording."""

import itertools
import math

import numpy as np
import pytest
import torch

from nd_eval import DataForDecodingStitchEvaluator, DecodingStitchEvaluation, ScoreInterval
from nd_eval.plot import plot_scores


def evaluated(errors, metric=None):
    """A result whose recordings have these errors."""
    evaluation = DecodingStitchEvaluation(list(errors), metric=metric or {"r2": "r2", "mse": "mse"}, task="velocity")
    generator = torch.Generator().manual_seed(0)
    for name, error in errors.items():
        target = torch.zeros(400, 1) if error is None else torch.randn(400, 1, generator=generator)
        preds = target + (error or 0.0) * torch.randn(400, 1, generator=generator)
        evaluation.update(
            DataForDecodingStitchEvaluator(
                timestamps=(torch.arange(400) * 0.01)[None],
                preds=preds[None],
                targets=target[None],
                eval_masks=torch.ones(1, 400, dtype=torch.bool),
                session_ids=[name],
                absolute_starts=torch.zeros(1, dtype=torch.float64),
            )
        )
    return evaluation.compute()


def rows(axes):
    """By row's name: the dot's place, the ends of its interval, and the text beside."""
    heights = dict(zip(axes.get_yticks(), [label.get_text() for label in axes.get_yticklabels()], strict=True))
    found = {name: {"text": None, "dot": None, "ends": None} for name in heights.values()}
    for text in axes.texts:
        found[heights[text.get_position()[1]]]["text"] = text.get_text()
    for line in axes.get_lines():
        if line.get_gid() == "score":
            found[heights[line.get_ydata()[0]]]["dot"] = (line.get_xdata()[0], line.get_marker())
        if line.get_gid() == "interval":
            found[heights[line.get_ydata()[0]]]["ends"] = tuple(line.get_xdata())
    return found


def test_dots_and_intervals_are_those_of_the_result():
    result = evaluated({"day 1": 0.5, "day 2": 0.2, "day 3": 0.9})
    intervals = result.confidence_intervals(0.9)
    for source in (result, intervals):
        (axes,) = plot_scores(source, metric="r2", level=0.9).axes
        found = rows(axes)
        assert list(found) == ["day 2", "day 1", "day 3", "mean of 3"]
        for name in ("day 1", "day 2", "day 3"):
            interval = intervals.scores[name]["velocity"]["r2"]
            assert found[name]["dot"] == (interval.value, "o")
            assert found[name]["ends"] == (interval.low, interval.high)
            numbers = f"{interval.value:.2f}  [{interval.low:.2f}, {interval.high:.2f}]"
            assert found[name]["text"] == numbers.replace("-", "−")
        average = intervals.averages["velocity"]["r2"]
        assert found["mean of 3"]["dot"] == (average.value, "D")
        assert found["mean of 3"]["ends"] == (average.low, average.high)
        assert axes.get_xlabel() == "R², 90% confidence interval"


def test_the_smallest_error_is_on_top():
    result = evaluated({"day 1": 0.5, "day 2": 0.2, "day 3": 0.9})
    (axes,) = plot_scores(result, metric="mse", level=None, unit="cm²/s²").axes
    assert list(rows(axes)) == ["day 2", "day 1", "day 3", "mean of 3"]
    bottom, top = axes.get_ylim()
    assert bottom > top  # row 0 is on top
    assert axes.get_xlabel() == "mean squared error (cm²/s²)"
    assert rows(axes)["mean of 3"]["dot"][0] == pytest.approx(result.averages["velocity"]["mse"])
    assert all(row["ends"] is None for row in rows(axes).values())


def test_a_score_that_does_not_exist_is_written_below_the_others():
    result = evaluated({"constant": None, "day 1": 0.5, "day 2": 0.2})
    found = rows(plot_scores(result, metric="r2").axes[0])
    assert list(found) == ["day 2", "day 1", "constant", "mean of 2"]
    assert found["constant"] == {"text": "undefined", "dot": None, "ends": None}


def test_a_single_recording_has_no_mean(tmp_path):
    picture = plot_scores(evaluated({"day 1": 0.5}), metric="r2")
    assert list(rows(picture.axes[0])) == ["day 1"]
    picture.save(tmp_path / "picture.png")


def test_plain_numbers_and_intervals_by_name_can_be_drawn():
    found = rows(plot_scores({"a": 0.2, "b": ScoreInterval(0.5, 0.4, 0.7, 0.05)}, metric="accuracy").axes[0])
    assert found["a"] == {"text": "0.20", "dot": (0.2, "o"), "ends": None}
    assert found["b"] == {"text": "0.50  [0.40, 0.70]", "dot": (0.5, "o"), "ends": (0.4, 0.7)}
    assert found["mean of 2"]["dot"] == (pytest.approx(0.35), "D")
    assert list(rows(plot_scores({"a": 0.2, "b": 0.5}, larger_is_better=False).axes[0])) == ["a", "b", "mean of 2"]


def test_the_mean_of_chosen_recordings_is_theirs_and_has_no_interval():
    result = evaluated({"day 1": 0.5, "day 2": 0.2, "day 3": 0.9})
    found = rows(plot_scores(result, metric="r2", recordings=["day 1", "day 3"]).axes[0])
    expected = np.mean([result.scores[name]["velocity"]["r2"] for name in ("day 1", "day 3")])
    assert found["mean of 2"]["dot"][0] == pytest.approx(expected)
    assert found["mean of 2"]["ends"] is None


def test_scores_outside_the_limits_are_arrows_at_the_edge_with_their_number():
    (axes,) = plot_scores({"good": 0.8, "bad": -40.0}, metric="r2", limits=(-1.0, 1.0)).axes
    assert axes.get_xlim() == (-1.0, 1.0)
    assert rows(axes)["bad"]["dot"] == (-1.0, "<")
    assert rows(axes)["bad"]["text"] == "−40.00"


def test_a_reference_is_a_line():
    (axes,) = plot_scores({"a": 0.8, "b": 0.4}, reference=0.25).axes
    assert [0.25, 0.25] in [list(line.get_xdata()) for line in axes.get_lines()]


def test_many_long_names_do_not_overlap():
    names = [f"a_laboratory_with_a_name/a_recording_with_an_even_longer_name_of_day_{day}" for day in range(40)]
    picture = plot_scores({name: 0.5 + 0.01 * number for number, name in enumerate(names)})
    picture.figure.canvas.draw()
    renderer = picture.figure.canvas.get_renderer()
    boxes = [label.get_window_extent(renderer) for label in picture.axes[0].get_yticklabels()]
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(boxes))
    assert all(box.x0 >= 0 for box in boxes)
    assert len({label.get_text() for label in picture.axes[0].get_yticklabels()}) == 41
    beside = [text.get_window_extent(renderer) for text in picture.axes[0].texts]
    assert all(box.x1 <= picture.figure.bbox.width for box in beside)
    assert picture.axes[0].get_position().width > 0.3


def test_what_cannot_be_drawn_is_one_clear_error():
    result = evaluated({"day 1": 0.5, "day 2": 0.2})
    with pytest.raises(ValueError, match="choose one metric with metric=; there are mse, r2"):
        plot_scores(result)
    with pytest.raises(KeyError, match=r"there is no metric 'msr' \(did you mean 'mse'\?\); there are mse, r2"):
        plot_scores(result, metric="msr")
    with pytest.raises(KeyError, match="there is no recording 'day 9'"):
        plot_scores(result, metric="r2", recordings=["day 9"])
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_scores({})
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_scores(result, metric="r2", recordings=[])


def test_only_undefined_scores_are_a_picture_that_says_so(tmp_path):
    picture = plot_scores({"a": math.nan, "b": math.nan})
    assert [text.get_text() for text in picture.axes[0].texts] == ["undefined", "undefined"]
    picture.save(tmp_path / "picture.png")
