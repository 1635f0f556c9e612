"""Scores, intervals, baselines and drift of a run's report, against float64 NumPy."""

import json

import numpy as np
import pytest
import torch

from nd_eval import StitchedTrace, build_metric
from nd_train.report.baselines import RIDGE, write_baselines
from nd_train.report.drift import evaluated_seconds, score_drift
from nd_train.report.run_folder import read_run_folder
from nd_train.report.score_sheet import score_sheet
from nd_train.traces import read_traces

VELOCITY, PHASE = "cursor_velocity_2d", "movement_phase"


def trace(times, preds, targets):
    return StitchedTrace(torch.as_tensor(times), torch.as_tensor(preds), torch.as_tensor(targets))


def test_a_line_holds_score_interval_time_units_and_rate(make_run):
    folder = make_run("lab/day_1", "lab/day_2")
    stored = json.loads((folder / "test_scores.json").read_text())
    sheet = score_sheet(read_run_folder(folder))
    assert [(line.recording, line.task) for line in sheet.lines] == [
        *(("lab/day_1", VELOCITY), ("lab/day_1", PHASE), ("lab/day_2", VELOCITY), ("lab/day_2", PHASE))
    ]
    first = sheet.lines[0]
    assert first.metric == "r2"
    assert first.score.value == pytest.approx(stored["lab/day_1"][VELOCITY]["r2"], abs=1e-6)
    assert first.score.low < first.score.value < first.score.high
    assert first.others == {"mse": stored["lab/day_1"][VELOCITY]["mse"]}
    assert first.seconds == pytest.approx(55.0)  # a minute without the gap of five seconds
    assert first.times == 5500
    assert first.units == 50
    assert first.spikes_per_second == pytest.approx(123_456 / 360)
    assert sheet.lines[1].metric == "balanced_accuracy"
    assert sheet.notes == ()


def test_the_headline_is_the_mean_over_recordings_inside_its_interval(make_run):
    names = [f"lab/day_{day}" for day in range(4)]
    folder = make_run(*names)
    stored = json.loads((folder / "test_scores.json").read_text())
    sheet = score_sheet(read_run_folder(folder))
    headline = sheet.headlines[0]
    assert (headline.task, headline.metric, headline.recordings) == (VELOCITY, "r2", 4)
    assert headline.score.value == pytest.approx(np.mean([stored[name][VELOCITY]["r2"] for name in names]), abs=1e-6)
    assert headline.score.low < headline.score.value < headline.score.high
    # For recordings like these the differences between them count too.
    assert headline.sampled.high - headline.sampled.low > headline.score.high - headline.score.low


def test_of_two_recordings_there_is_no_interval_for_others_like_them(make_run):
    sheet = score_sheet(read_run_folder(make_run("lab/day_1", "lab/day_2")))
    assert sheet.headlines[0].sampled is None


def test_a_baseline_is_compared_on_the_recordings_that_both_have(make_run):
    folder = make_run("lab/day_1", "lab/day_2", classes=False)
    write_baselines(folder, "test", {RIDGE: {"lab/day_2": {VELOCITY: {"r2": 0.5}}}})
    sheet = score_sheet(read_run_folder(folder))
    assert [dict(line.baselines) for line in sheet.lines] == [{}, {RIDGE: 0.5}]
    assert sheet.headlines[0].baselines[RIDGE] == (0.5, sheet.lines[1].score.value)


def test_without_traces_the_stored_scores_stand_without_intervals(make_run):
    folder = make_run("lab/day_1", left_out=("test_traces.h5",))
    stored = json.loads((folder / "test_scores.json").read_text())
    run = read_run_folder(folder)
    sheet = score_sheet(run)
    assert sheet.lines[0].score.value == stored["lab/day_1"][VELOCITY]["r2"]
    assert np.isnan(sheet.lines[0].score.low)
    assert sheet.lines[0].seconds is None
    assert any("test_traces.h5 is not in the folder" in text for text in run.missing)


def test_scores_of_another_evaluation_than_the_traces_are_named(make_run):
    folder = make_run("lab/day_1")
    stored = json.loads((folder / "test_scores.json").read_text())
    stored["lab/day_1"][VELOCITY]["r2"] -= 0.1
    (folder / "test_scores.json").write_text(json.dumps(stored))
    (note,) = score_sheet(read_run_folder(folder)).notes
    assert "lab/day_1" in note
    assert "another evaluation" in note


def test_a_metric_that_is_not_in_the_table_has_no_interval_and_a_note(make_run):
    folder = make_run("lab/day_1", classes=False)
    stored = json.loads((folder / "test_scores.json").read_text())
    stored["lab/day_1"][VELOCITY] = {"my_own": 0.3}
    (folder / "test_scores.json").write_text(json.dumps(stored))
    sheet = score_sheet(read_run_folder(folder))
    assert sheet.lines[0].score.value == 0.3
    assert np.isnan(sheet.lines[0].score.low)
    assert "my_own" in sheet.notes[0]


def test_the_mean_of_the_windows_of_r2_is_the_r2_of_the_recording(make_run):
    folder = make_run("lab/day_1")
    found = read_traces(folder / "test_traces.h5")["lab/day_1"][VELOCITY]
    drift = score_drift(found, "r2", build_metric("r2"))
    windows = zip(drift.starts, drift.ends, strict=True)
    counts = [int(((found.timestamps >= start) & (found.timestamps <= end)).sum()) for start, end in windows]
    stored = json.loads((folder / "test_scores.json").read_text())["lab/day_1"][VELOCITY]["r2"]
    assert sum(counts) == len(found)
    assert np.average(drift.values, weights=counts) == pytest.approx(stored, abs=1e-9)


def test_drift_shows_where_a_decoder_got_worse():
    times = np.arange(6000) * 0.01
    targets = np.sin(times)[:, None]
    noise = np.random.default_rng(0).normal(size=targets.shape) * np.linspace(0.05, 1.0, len(times))[:, None]
    first, last = score_drift(trace(times, targets + noise, targets), "r2", build_metric("r2")).thirds
    variance = targets.var()
    third = len(times) // 3
    assert first == pytest.approx(1 - (noise[:third] ** 2).mean() / variance, abs=1e-9)
    assert last == pytest.approx(1 - (noise[-third:] ** 2).mean() / variance, abs=1e-9)
    assert last < first - 0.5


def test_drift_of_classes_is_the_metric_of_each_window():
    times = np.arange(4000) * 0.01
    targets = np.arange(4000) % 2
    labels = np.where(times < 20.0, targets, 0)
    drift = score_drift(trace(times, labels, targets), "accuracy", build_metric("accuracy"))
    assert drift.values == (1.0, 1.0, 0.5, 0.5)
    assert not drift.of_whole_variance


def test_a_short_trace_has_no_drift():
    times = np.arange(39) * 0.01
    assert score_drift(trace(times, times[:, None], times[:, None]), "r2", build_metric("r2")) is None


@pytest.mark.parametrize(
    ("times", "seconds"), [([], 0.0), ([3.0], 0.0), ([0.0, 0.5, 1.0], 1.5), ([0.0, 0.5, 1.0, 9.0, 9.5, 10.0], 3.0)]
)
def test_evaluated_time_leaves_gaps_out(times, seconds):
    assert evaluated_seconds(torch.tensor(times, dtype=torch.float64)) == pytest.approx(seconds)
