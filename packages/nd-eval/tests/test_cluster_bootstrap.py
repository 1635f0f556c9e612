"""Intervals over persons: against the normal approximation, and in how many repetitions they hold the truth."""

import math

import pytest
import torch

from nd_eval import cluster_bootstrap


def test_an_interval_of_many_persons_is_that_of_the_standard_error():
    scores = torch.randn(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    interval = cluster_bootstrap(scores, resamples=4000)
    half = 1.96 * scores.std().item() / math.sqrt(2000)
    assert interval.value == pytest.approx(scores.mean().item())
    assert (interval.low, interval.high) == pytest.approx((interval.value - half, interval.value + half), abs=0.004)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    generator = torch.Generator().manual_seed(3)
    held = sum(
        1.0 in cluster_bootstrap(torch.empty(60).exponential_(generator=generator), level=0.9, resamples=400)
        for _ in range(200)
    )
    # 180 expected; the skewness of an exponential costs a little, chance four standard errors.
    assert 160 <= held <= 196


def test_persons_without_a_score_are_left_out():
    nan = torch.nan
    with_missing, without = torch.tensor([1.0, nan, 2.0, 4.0, nan]), torch.tensor([1.0, 2.0, 4.0])
    assert cluster_bootstrap(with_missing) == cluster_bootstrap(without)
    assert cluster_bootstrap(with_missing).persons == 3


def test_one_person_has_a_value_but_no_interval_and_none_has_neither():
    one = cluster_bootstrap(torch.tensor([2.0]))
    assert (one.value, one.persons) == (2.0, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert math.isnan(cluster_bootstrap(torch.tensor([])).value)


@pytest.mark.parametrize(
    ("scores", "settings", "message"),
    [
        (torch.zeros(2, 2), {}, r"shape \(P,\), found \(2, 2\)"),
        (torch.zeros(2), {"level": 1.0}, "level: expected between 0 and 1"),
        (torch.zeros(2), {"resamples": 10}, "resamples: expected 100 or more"),
    ],
)
def test_bad_input_is_one_clear_error(scores, settings, message):
    with pytest.raises(ValueError, match=message):
        cluster_bootstrap(scores, **settings)
