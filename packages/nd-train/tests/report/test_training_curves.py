"""What of a ``metrics.csv`` becomes a curve."""

import numpy as np
import pytest

from nd_train.report.training_curves import Curve, grouped_curves, read_curves, thinned


def test_every_column_of_numbers_is_a_curve_over_steps(tmp_path):
    file = tmp_path / "metrics.csv"
    file.write_text("epoch,step,train_loss,average_val_metric,words\n0,9,1.5,,a\n0,19,nan,0.5,b\n1,29,1.25,0.75,\n")
    curves = read_curves(file)
    assert curves == {
        "train_loss": Curve("train_loss", (9.0, 29.0), (1.5, 1.25)),
        "average_val_metric": Curve("average_val_metric", (19.0, 29.0), (0.5, 0.75)),
    }


def test_without_steps_epochs_count(tmp_path):
    file = tmp_path / "metrics.csv"
    file.write_text("epoch,val_loss\n0,2.0\n1,1.0\n")
    assert read_curves(file)["val_loss"].steps == (0.0, 1.0)


def test_a_file_that_does_not_say_when_is_refused(tmp_path):
    file = tmp_path / "metrics.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="expected a column 'step' or 'epoch'"):
        read_curves(file)


def test_losses_validation_scores_and_learning_rates_are_drawn_and_the_rest_is_not():
    def curve(name, *values):
        return Curve(name, tuple(range(len(values))), values)

    names = ["train_loss", "train_loss/a", "average_val_metric", "average_a_val_metric", "lr-AdamW", "lab/day/a/r2/val"]
    curves = {name: curve(name, 1.0 * place, 2.0) for place, name in enumerate(names)}
    curves["test_loss"] = curve("test_loss", 1.0, 2.0)
    curves["val_loss"] = curve("val_loss", 1.0)
    grouped = grouped_curves(curves)
    assert {title: [one.name for one in found] for title, found in grouped.items()} == {
        "loss": ["train_loss", "train_loss/a"],
        "validation score": ["average_a_val_metric", "average_val_metric"],
        "learning rate": ["lr-AdamW"],
    }


def test_the_loss_of_an_only_task_is_drawn_once():
    same = {name: Curve(name, (1.0, 2.0), (0.5, 0.25)) for name in ("train_loss", "train_loss/a")}
    assert [one.name for one in grouped_curves(same)["loss"]] == ["train_loss"]


def test_a_long_curve_keeps_its_peaks():
    values = np.random.default_rng(0).normal(size=25_000)
    values[12_345], values[777] = 50.0, -50.0
    drawn = thinned(Curve("loss", tuple(range(25_000)), tuple(values)), limit=500)
    assert len(drawn.values) <= 502
    assert drawn.values[drawn.steps.index(12_345)] == 50.0
    assert drawn.values[drawn.steps.index(777)] == -50.0
