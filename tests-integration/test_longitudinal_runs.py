"""Forecasts of real panels through ``nd-train fit`` against the person's own past; skipped where data are absent."""

import numpy as np
import pandas as pd
import pytest

import longitudinal_runs
from converters import diary_sampling, fertility


@pytest.mark.recordings
def test_the_converted_diary_holds_every_answered_beep_in_order(real_recordings, tmp_path):
    table = pd.read_csv(diary_sampling.convert(real_recordings / "diary_sampling", tmp_path / "diary.csv"))
    raw = pd.read_csv(real_recordings / "diary_sampling" / diary_sampling.FILE, index_col=0)
    answered = raw[raw.beepno.notna() & raw[list(diary_sampling.OUTCOMES)].notna().any(axis=1)]
    assert len(table) == len(answered)
    assert table.person.nunique() == answered.subjno.nunique()
    for column, name in diary_sampling.OUTCOMES.items():
        assert table[name].sum() == answered[column].sum()
    for _, one in table.groupby("person"):
        assert one.answer.tolist() == list(range(len(one)))
        assert one.after_treatment.is_monotonic_increasing
    assert np.expm1(table.beeps_since).min() == 0
    assert sorted(table.groupby("person").fold.first().value_counts().tolist()) == [25, 26, 26, 26, 26]


@pytest.mark.recordings
@pytest.mark.slow
def test_a_forecast_of_mood_beats_both_baselines_in_explained_variance(real_recordings, tmp_path):
    result = longitudinal_runs.run("diary", tmp_path, real_recordings)
    for part in ("known_persons_out_of_time", "new_persons"):
        r2 = result[part]["pooled_r2"]
        assert r2["model"] > max(r2["last_value"], r2["person_mean"]) + 0.05
        assert result[part]["mae"]["model_minus_person_mean"][2] < 0


def test_the_fertility_panel_holds_each_country_and_year_once(tmp_path):
    pytest.importorskip("statsmodels", reason="statsmodels, whose data set this is, is not installed")
    table = pd.read_csv(fertility.convert(tmp_path / "fertility.csv"))
    assert not table.duplicated(["country", "year"]).any()
    assert table.births.between(0.5, 10).all()
    assert table.year.between(1960, 2013).all()
    assert table.country.nunique() > 200


@pytest.mark.slow
def test_a_forecast_of_births_beats_last_years_value(tmp_path):
    pytest.importorskip("statsmodels", reason="statsmodels, whose data set this is, is not installed")
    result = longitudinal_runs.run("fertility", tmp_path)
    for part in ("known_persons_out_of_time", "new_persons"):
        # The whole interval of the difference is below 0.
        assert result[part]["mae"]["model_minus_last_value"][2] < 0


def test_baselines_are_of_the_persons_own_past_only():
    table = pd.DataFrame({"who": "a", "step": [0, 1, 2, 4], "calm": [1.0, 3.0, np.nan, 8.0]})
    predictions = pd.DataFrame(
        {
            "sequence": "a",
            "time": [1, 2, 4],
            "outcome": "calm",
            "prediction": [0.0, 0.0, 7.0],
            "target": [3.0, 3.0, 8.0],
            "observed": [True, False, True],
            "out_of_time": True,
            "out_of_sequence": False,
        }
    )
    panel = longitudinal_runs.Panel("who", "step", ("calm",), ())
    both = longitudinal_runs.with_baselines(predictions, table, panel)
    assert both[["time", "model", "last_value", "person_mean"]].to_numpy().tolist() == [[1, 0, 1, 1], [4, 7, 3, 2]]
    scores = longitudinal_runs.person_scores(both)["mae"].loc["a"]
    assert scores.to_dict() == {"model": 2.0, "last_value": 3.5, "person_mean": 4.0}
