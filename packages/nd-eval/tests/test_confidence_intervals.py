"""Intervals of the scores and averages of an evaluation."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from nd_eval import (
    ConfidenceIntervals,
    DecodingStitchEvaluation,
    MultiTaskDecodingStitchEvaluation,
    bootstrap_interval,
    build_metric,
)


def recordings_of(batches, count, seed=0, length=300, noise=0.5):
    """An evaluation of so many recordings, each one long window, whose errors last."""
    rng = np.random.default_rng(seed)
    evaluation = DecodingStitchEvaluation(metric={"r2": "r2", "mse": "mse"}, task="velocity")
    for number in range(count):
        walk = np.cumsum(rng.normal(size=(2, length, 1)), axis=1) / 10
        target = torch.from_numpy(walk[0] - walk[0].mean())
        preds = target + noise * torch.from_numpy(walk[1] - walk[1].mean() + rng.normal(size=(length, 1)))
        evaluation.update(batches.simple(preds, target, f"day{number}"))
    return evaluation.compute()


def test_every_score_has_the_interval_of_its_trace(batches):
    result = recordings_of(batches, 3)
    intervals = result.confidence_intervals(level=0.9, resamples=200)
    assert isinstance(intervals, ConfidenceIntervals)
    assert intervals.level == 0.9
    assert [row[:3] for row in intervals.rows()] == [row[:3] for row in result.rows()]
    assert [row[3] for row in intervals.rows()] == pytest.approx([row[3] for row in result.rows()], rel=1e-12)
    for recording, task, metric, value, low, high in intervals.rows():
        assert low < value < high
        trace = result.traces[recording][task]
        one = bootstrap_interval(build_metric(metric), trace.preds, trace.targets, level=0.9, resamples=200)
        assert intervals.scores[recording][task][metric].standard_error == pytest.approx(one.standard_error, rel=1e-12)
        assert value in intervals.scores[recording][task][metric]


def test_averages_over_fixed_recordings_are_surer_than_their_parts(batches):
    result = recordings_of(batches, 6)
    intervals = result.confidence_intervals(resamples=300)
    for metric in ("r2", "mse"):
        average = intervals.averages["velocity"][metric]
        parts = [tasks["velocity"][metric] for tasks in intervals.scores.values()]
        assert average.value == pytest.approx(result.averages["velocity"][metric], rel=1e-12)
        expected = math.sqrt(sum(part.standard_error**2 for part in parts)) / 6
        assert average.standard_error == pytest.approx(expected, rel=1e-12)
        assert average.low < average.value < average.high
        assert average.high - average.low < max(part.high - part.low for part in parts)


def test_averages_over_recordings_like_these_are_students(batches):
    result = recordings_of(batches, 5)
    intervals = result.confidence_intervals(resamples=100, over_recordings="sampled")
    scores = np.log([tasks["velocity"]["mse"] for tasks in result.scores.values()])
    raw = np.exp(scores)
    average = intervals.averages["velocity"]["mse"]
    assert average.standard_error == pytest.approx(raw.std(ddof=1) / math.sqrt(5), rel=1e-12)
    reach = student.ppf(0.975, 4) * average.standard_error / raw.mean()
    assert math.log(average.high / raw.mean()) == pytest.approx(reach, rel=1e-9)
    assert math.log(raw.mean() / average.low) == pytest.approx(reach, rel=1e-9)
    alone = recordings_of(batches, 1).confidence_intervals(resamples=100, over_recordings="sampled")
    assert math.isnan(alone.averages["velocity"]["mse"].low)


@pytest.mark.parametrize(("over_recordings", "spread"), [("fixed", 0.0), ("sampled", 0.3)])
def test_averages_hold_the_truth_as_often_as_they_say(batches, over_recordings, spread):
    rng, held, repetitions = np.random.default_rng(5), 0, 120
    for repetition in range(repetitions):
        evaluation = DecodingStitchEvaluation(metric="mse")
        for number in range(5):
            size = math.exp(spread * rng.normal() - spread**2 / 2)  # of mean 1 over recordings
            error = np.convolve(rng.normal(size=259), np.ones(10), "valid") / math.sqrt(10)
            zero = torch.zeros(250, 1)
            evaluation.update(batches.simple(torch.from_numpy(error[:, None] * math.sqrt(size)), zero, f"r{number}"))
        intervals = evaluation.compute().confidence_intervals(
            resamples=200, seed=repetition, over_recordings=over_recordings
        )
        held += 1.0 in intervals.averages["readout"]["mse"]
    assert 0.95 - 3 * math.sqrt(0.95 * 0.05 / repetitions) - 0.02 < held / repetitions


def test_one_more_recording_changes_no_other_interval_and_the_seed_does(batches):
    few, many = (recordings_of(batches, count).confidence_intervals(resamples=150) for count in (2, 4))
    assert few.scores["day0"] == many.scores["day0"]
    assert few.scores["day1"] == many.scores["day1"]
    other = recordings_of(batches, 2).confidence_intervals(resamples=150, seed=1)
    assert other.scores["day0"]["velocity"]["r2"].low != few.scores["day0"]["velocity"]["r2"].low


def test_a_block_can_be_given_in_seconds(batches):
    intervals = recordings_of(batches, 1).confidence_intervals(resamples=150, block_seconds=2.5)
    assert intervals.scores["day0"]["velocity"]["mse"].block_length == 25  # outputs are 0.1 s apart
    assert intervals.scores["day0"]["velocity"]["mse"].block_count == 12


def test_scores_that_do_not_exist_have_no_interval_and_leave_the_average_alone(batches):
    target = torch.randn(60, 1, generator=torch.Generator().manual_seed(0))
    evaluation = DecodingStitchEvaluation(metric="r2")
    evaluation.update(batches.simple(target + 0.1, target, "good"))
    evaluation.update(batches.simple(target, torch.ones(60, 1), "flat"))
    result = evaluation.compute()
    intervals = result.confidence_intervals(resamples=100)
    assert math.isnan(intervals.scores["flat"]["readout"]["r2"].value)
    average, good = intervals.averages["readout"]["r2"], intervals.scores["good"]["readout"]["r2"]
    assert (average.value, average.low, average.high) == (good.value, good.low, good.high)


def test_a_diverged_recording_makes_the_interval_of_the_average_nan(batches):
    target = torch.randn(60, 1, generator=torch.Generator().manual_seed(0))
    bad = target.clone()
    bad[3] = torch.nan
    evaluation = DecodingStitchEvaluation(metric="mse")
    evaluation.update(batches.simple(target + 0.1, target, "good"))
    evaluation.update(batches.simple(bad, target, "bad"))
    average = evaluation.compute().confidence_intervals(resamples=100).averages["readout"]["mse"]
    assert math.isnan(average.value)
    assert math.isnan(average.low)


def test_times_without_a_target_are_left_out(batches):
    target = torch.randn(80, 1, generator=torch.Generator().manual_seed(1))
    preds, holes = target + 0.3 * target.flip(0), target.clone()
    holes[::4] = torch.nan
    evaluation = DecodingStitchEvaluation(metric="mse")
    evaluation.update(batches.simple(preds, holes))
    result = evaluation.compute()
    interval = result.confidence_intervals(resamples=100).scores["r"]["readout"]["mse"]
    assert interval.value == pytest.approx(result.scores["r"]["readout"]["mse"], rel=1e-12)
    assert interval.low < interval.value < interval.high


def test_tasks_of_classes_and_of_numbers_have_intervals_side_by_side(batches):
    windows = batches.all_windows(batches.sessions())
    evaluation = MultiTaskDecodingStitchEvaluation(task_ids=batches.task_ids)
    evaluation.update(batches.multi_task(windows, ("velocity", "phase")))
    intervals = evaluation.compute().confidence_intervals(resamples=100)
    assert set(intervals.averages) == {"velocity", "phase"}
    for *_, value, low, high in intervals.rows():
        assert low <= value <= high <= 1.0
        assert low < high or value == 1.0  # every class right: nothing that could vary was seen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 0.0}, "level must be between 0 and 1"),
        ({"resamples": 99}, "100 resamples or more; found 99"),
        ({"block_seconds": 0.0}, "block_seconds must be a positive number of seconds; found 0"),
        ({"over_recordings": "all"}, "over_recordings must be one of fixed, sampled; found 'all'"),
    ],
)
def test_settings_that_cannot_be_are_refused(batches, options, message):
    with pytest.raises(ValueError, match=message):
        recordings_of(batches, 1).confidence_intervals(**options)
