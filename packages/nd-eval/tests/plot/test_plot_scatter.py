"""Predicted against true: every observed time is drawn where it belongs."""

import math

import numpy as np
import pytest
import torch

from nd_eval import StitchedTrace, r2_score
from nd_eval.evaluation_result import EvaluationResult
from nd_eval.plot import plot_scatter


def values(count, dimensions=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(count, dimensions, generator=generator)
    return targets + 0.4 * torch.randn(count, dimensions, generator=generator), targets


def points(axes):
    return np.asarray(axes.collections[0].get_offsets())


def test_points_are_true_and_predicted_values():
    preds, targets = values(200, 2)
    picture = plot_scatter(preds, targets, dimension_names=["x", "y"], unit="cm/s")
    for column, axes in enumerate(picture.axes):
        np.testing.assert_allclose(points(axes), torch.stack([targets[:, column], preds[:, column]], dim=1))
        r2 = float(r2_score(preds[:, column], targets[:, column]))
        assert axes.texts[0].get_text() == f"R² {r2:.2f}\nn = 200"
        assert axes.get_title(loc="left") == "xy"[column]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("true (cm/s)", "predicted (cm/s)")
        assert axes.get_xlim() == axes.get_ylim()
        assert axes.get_aspect() == 1.0
        (line,) = [line for line in axes.get_lines() if line.get_gid() == "equal"]
        np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())


def test_many_points_are_counted_in_cells():
    preds, targets = values(20_000)
    picture = plot_scatter(preds, targets)
    (cells,) = picture.axes[0].collections
    assert cells.get_array().sum() == 20_000
    assert cells.get_array().min() >= 1
    assert len(picture.figure.axes) == 2  # the colours are explained


def test_times_without_a_target_are_left_out_and_predictions_that_are_not_finite_are_counted():
    preds, targets = values(50)
    targets[:10] = math.nan
    preds[20:23] = math.nan
    (axes,) = plot_scatter(preds, targets).axes
    assert len(points(axes)) == 37
    assert axes.texts[0].get_text() == "R² undefined\nn = 40, 3 predictions not finite"


def test_predicted_angles_lie_the_short_way_round_from_the_true_ones():
    targets = torch.tensor([1.0, 359.0, 180.0, 721.0, -10.0], dtype=torch.float64)
    preds = torch.tensor([359.0, 1.0, 200.0, 0.0, 5.0], dtype=torch.float64)
    (axes,) = plot_scatter(preds, targets, unit="°", period=360.0).axes
    np.testing.assert_allclose(points(axes), [[1, -1], [359, 361], [180, 200], [1, 0], [350, 365]])
    assert axes.texts[0].get_text() == "mean error 8.00°\nn = 5"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "90", "180", "270", "360"]
    assert axes.get_ylim() == (-45.0, 405.0)


def test_the_labels_beyond_a_turn_start_anew():
    targets = torch.linspace(0, 6, 30)
    (axes,) = plot_scatter(targets + 2.0, targets, period=2 * math.pi).axes
    labels = dict(
        zip(np.round(axes.get_yticks() / (math.pi / 2)), [t.get_text() for t in axes.get_yticklabels()], strict=True)
    )
    assert labels[0] == "0"
    assert labels[4] == "2π"
    assert labels[5] == "π/2"
    assert labels[-1] == "3π/2"


def test_a_result_pools_its_recordings():
    parts = {name: values(40, seed=seed) for seed, name in enumerate(("a/one", "b/two"))}
    traces = {name: {"speed": StitchedTrace(torch.arange(40).double(), *part)} for name, part in parts.items()}
    result = EvaluationResult({}, {}, float("nan"), False, "", {}, traces=traces)
    (axes,) = plot_scatter(result).axes
    assert len(points(axes)) == 80
    (axes,) = plot_scatter(result, recordings=["b/two"]).axes
    np.testing.assert_allclose(points(axes), torch.cat([parts["b/two"][1], parts["b/two"][0]], dim=1))


def test_more_dimensions_than_columns_fill_rows(tmp_path):
    preds, targets = values(30, 6)
    picture = plot_scatter(preds, targets)
    assert len(picture.axes) == 6
    assert [axes.get_title(loc="left") for axes in picture.axes] == [f"dimension {n}" for n in range(1, 7)]
    picture.save(tmp_path / "picture.png")
    assert len(plot_scatter(preds, targets, dimensions=[4, 1]).axes) == 2


@pytest.mark.parametrize("target", [[1.0], [3.0, 3.0], [0.0, 0.0]])
def test_a_single_or_constant_target_can_be_drawn(target, tmp_path):
    target = torch.tensor(target)
    picture = plot_scatter(target.clone(), target)
    assert picture.axes[0].texts[0].get_text().startswith("R² undefined")
    picture.save(tmp_path / "picture.png")


def test_what_cannot_be_drawn_is_one_clear_error():
    preds, targets = values(10)
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_scatter(preds[:0], targets[:0])
    with pytest.raises(ValueError, match="every target is NaN"):
        plot_scatter(preds, targets * math.nan)
    with pytest.raises(TypeError, match="draw classes with plot_confusion"):
        plot_scatter(torch.arange(3), torch.arange(3))
    with pytest.raises(ValueError, match="shape"):
        plot_scatter(preds[:3], targets)
    with pytest.raises(ValueError, match="dimensions must be among"):
        plot_scatter(preds, targets, dimensions=[1])
    with pytest.raises(ValueError, match="1 dimensions are drawn, but 2 names"):
        plot_scatter(preds, targets, dimension_names=["x", "y"])
