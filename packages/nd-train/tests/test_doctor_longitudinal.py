"""``nd-train doctor`` on a table of persons over time."""

import json

import numpy as np
import pandas as pd
import pytest

from nd_train.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def examined(tmp_path, capsys):
    """What the doctor says of a panel of 40 persons and 15 days, some columns replaced."""

    def examine(*words, steps=0, **columns):
        rng = np.random.default_rng(0)
        table = pd.DataFrame({"person": np.repeat(np.arange(40), 15), "day": np.tile(np.arange(15), 40)})
        table["mood"] = rng.normal(size=600)
        table["sleep"] = rng.normal(size=600)
        for name, values in columns.items():
            table[name] = values(table)
        table.to_csv(tmp_path / "panel.csv", index=False)
        shared = ["--data.sequence=person", "--data.time=day", "--data.outcomes=mood", "--trainer.accelerator=cpu"]
        shared += ["--config=longitudinal", f"--data.table={tmp_path / 'panel.csv'}", f"--steps={steps}"]
        code = main(["doctor", "--json", *shared, *words])
        printed = examine.printed = json.loads(capsys.readouterr().out)
        return code, {(one["level"], one["check"]): one["what"] for one in printed["findings"] if one["level"] != "ok"}

    return examine


def test_a_sound_panel_passes_quietly(examined):
    assert examined(steps=1) == (0, {})


def test_an_outcome_that_counts_the_days_is_a_problem(examined):
    code, found = examined(mood=lambda table: table.day * 2.0)
    assert code == 1
    assert "ramp in every sequence" in found["problem", "targets like time"]


def test_a_constant_outcome_is_a_problem(examined):
    code, found = examined("--data.standardize=none", mood=lambda table: 3.0)
    assert code == 1
    assert ("problem", "targets constant") in found


def test_an_outcome_far_from_one_that_is_not_standardised_is_a_warning(examined):
    code, found = examined("--data.standardize=none", mood=lambda table: table.mood * 500 + 3000)
    assert code == 0
    assert "mean 3" in found["warning", "targets scale"]


def test_a_column_that_does_not_exist_is_a_problem_with_its_name(examined):
    code, found = examined("--data.outcomes=moood")
    assert code == 1
    assert any("moood" in what for what in found.values())


def test_a_run_without_test_persons_is_a_warning(examined):
    code, found = examined("--data.test_fraction=0")
    assert code == 0
    assert "no sequence is held out" in found["warning", "splits present"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trainer.max_epochs=3"], " an epoch, 3 at most"),
        (["--trainer.max_epochs=-1", "--trainer.max_steps=2"], " an epoch, 2 at most"),
        (["--trainer.max_epochs=-1"], " an epoch, without end"),
    ],
)
def test_the_length_of_the_run_follows_from_the_trainers_settings(examined, words, said):
    assert examined(*words, "--data.train_batch_size=64", steps=1) == (0, {})
    figures = examined.printed["figures"]
    assert figures["steps"] == f"1{said}"
    assert ("no end" in figures["time"]) is ("without end" in said)
