"""Scores of real runs: intervals, and how far one decoder is ahead of another."""

import pytest
import torch

from nd_eval import StitchedTrace, balanced_accuracy, r2_score
from nd_models import MODALITY_REGISTRY
from nd_models.readout_configuration import readout_from_config
from real_runs import AROUSAL
from real_runs_scores import ahead_of, scored

VELOCITY = MODALITY_REGISTRY["cursor_velocity_2d"]
STATES = readout_from_config(AROUSAL["arousal"])


def _traces(count: int, noise: list[float], *, common: float = 0.0, seed: int = 0) -> list[StitchedTrace]:
    """One trace for each noise, of the same targets; a part of the noise is common to all."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(count, 2, generator=generator)
    shared = common * torch.randn(count, 2, generator=generator)
    times = torch.arange(count, dtype=torch.float64)
    return [
        StitchedTrace(times, targets + shared + scale * torch.randn(count, 2, generator=generator), targets)
        for scale in noise
    ]


def test_intervals_hold_the_score_and_narrow_with_time():
    widths = []
    for count in (500, 5000):
        (trace,) = _traces(count, [0.5])
        value, low, high = scored({"one": trace}, "r2", VELOCITY)["one"]
        assert value == pytest.approx(float(r2_score(trace.preds, trace.targets)), abs=1e-4)
        assert low < value < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_a_lead_is_the_difference_of_the_seeds_means_whoever_has_more_seeds():
    traces = _traces(800, [0.3, 0.4, 0.5])
    scores = [float(r2_score(trace.preds, trace.targets)) for trace in traces]
    value, low, high = ahead_of(traces[:1], traces[1:], "r2", VELOCITY)
    assert value == pytest.approx(scores[0] - (scores[1] + scores[2]) / 2, abs=1e-4)
    assert 0.0 < low < value < high
    assert ahead_of(traces[1:], traces[:1], "r2", VELOCITY)[0] == pytest.approx(-value, abs=1e-4)


def test_a_lead_over_a_regression_in_other_units_is_that_in_the_same_units():
    ours, theirs = _traces(800, [0.3, 0.5])
    raw = StitchedTrace(theirs.timestamps, 7.0 * theirs.preds.double() + 3.0, 7.0 * theirs.targets.double() + 3.0)
    assert ahead_of([ours], [raw], "r2", VELOCITY) == pytest.approx(
        ahead_of([ours], [theirs], "r2", VELOCITY), abs=1e-3
    )


def test_what_is_hard_for_both_decoders_does_not_widen_the_interval_of_a_lead():
    first, second = _traces(2000, [0.1, 0.1], common=0.7)
    _, low, high = ahead_of([first], [second], "r2", VELOCITY)
    _, alone_low, alone_high = scored({"one": first}, "r2", VELOCITY)["one"]
    assert low < 0.0 < high
    assert high - low < (alone_high - alone_low) / 3


def test_classes_are_compared_by_the_largest_value_on_the_times_that_both_have():
    generator = torch.Generator().manual_seed(0)
    times = torch.arange(600, dtype=torch.float64) * 4.0 + 2.0
    targets = torch.randint(3, (600,), generator=generator)
    right = torch.nn.functional.one_hot(targets, 3).float()
    preds = [right + scale * torch.randn(600, 3, generator=generator) for scale in (0.5, 1.0)]
    ours = StitchedTrace(times, preds[0], targets)
    # The other saw no time before the 30th; its times are rounded otherwise.
    theirs = StitchedTrace(times[30:] + 1e-9, preds[1][30:], targets[30:].float())
    accuracy = [float(balanced_accuracy(one[30:].argmax(dim=1), targets[30:], num_classes=3)) for one in preds]
    value, _, _ = ahead_of([ours], [theirs], "balanced_accuracy", STATES)
    assert value == pytest.approx(accuracy[0] - accuracy[1], abs=1e-4)


def test_traces_of_other_times_are_refused():
    (trace,) = _traces(50, [0.5])
    later = StitchedTrace(trace.timestamps + 0.5, trace.preds, trace.targets)
    with pytest.raises(ValueError, match="no time that all of them have"):
        ahead_of([trace], [later], "r2", VELOCITY)
