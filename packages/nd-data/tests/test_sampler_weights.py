import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_data.samplers import RandomFixedWindowSampler, TrialSampler

LENGTHS = {"a/1": 30, "a/2": 10, "b/1": 45, "c/1": 15}
INTERVALS = {name: [(0.0, length / 3), (50.0, 50.0 + 2 * length / 3)] for name, length in LENGTHS.items()}
TRIALS = {name: [(float(i), i + 0.5) for i in range(length)] for name, length in LENGTHS.items()}


def windows(seed=0, **kwargs):
    return RandomFixedWindowSampler(
        {name: [(0.0, float(length))] for name, length in LENGTHS.items()},
        1.0,
        generator=torch.Generator().manual_seed(seed),
        **kwargs,
    )


def trials(seed=0, **kwargs):
    return TrialSampler(TRIALS, shuffle=True, generator=torch.Generator().manual_seed(seed), **kwargs)


def counts(sampler):
    return Counter(index.recording_id for index in sampler)


both = pytest.mark.parametrize("make", [windows, trials])


def expected(weights, total):
    """Independent of the code: total · w N / Σ w N, with a recording's own weight before its brainset's."""
    rate = {name: length * weights.get(name, weights.get(name.split("/")[0], 1.0)) for name, length in LENGTHS.items()}
    return {name: total * each / sum(rate.values()) for name, each in rate.items()}


@both
@given(
    weights=st.dictionaries(st.sampled_from([*LENGTHS, "a", "b"]), st.floats(0.01, 20), max_size=4),
    total=st.integers(1, 300),
    seed=st.integers(0, 9),
)
@settings(max_examples=60)
def test_every_epoch_is_within_one_window_of_the_expected_proportions(make, weights, total, seed):
    sampler = make(seed, weights=weights, windows_per_epoch=total)
    drawn = counts(sampler)
    assert sum(drawn.values()) == len(sampler) == total
    for name, mean in expected(weights, total).items():
        assert abs(drawn[name] - mean) < 1 + 1e-9


@both
def test_proportions_are_right_on_average(make):
    weights, total, epochs = {"a": 2.0, "b/1": 0.3}, 17, 2000
    sampler = make(weights=weights, windows_per_epoch=total)
    sums = Counter()
    for _ in range(epochs):
        sums.update(counts(sampler))
    # Hoeffding: each count lies within an interval of length 1 around its mean; wrong by chance once in 10^7.
    bound = math.sqrt(math.log(2 * len(LENGTHS) / 1e-7) / (2 * epochs))
    for name, mean in expected(weights, total).items():
        assert abs(sums[name] / epochs - mean) < bound


def test_no_window_comes_again_before_all_of_its_recording_came():
    sampler = trials(weights={"a/2": 7.0}, windows_per_epoch=100)
    for _ in range(5):
        times = Counter((index.recording_id, index.start) for index in sampler)
        for name, length in LENGTHS.items():
            often = [times[name, float(i)] for i in range(length)]
            assert max(often) - min(often) <= 1


def test_every_window_of_a_recording_is_as_likely_as_any_other():
    sampler = trials(weights={"b/1": 0.2}, windows_per_epoch=50)
    epochs = 4000
    times = Counter()
    for _ in range(epochs):
        times.update(index.start for index in sampler if index.recording_id == "b/1")
    share = expected({"b/1": 0.2}, 50)["b/1"] / LENGTHS["b/1"]
    bound = math.sqrt(math.log(2 * LENGTHS["b/1"] / 1e-7) / (2 * epochs))
    assert all(abs(times[float(i)] / epochs - share) < bound for i in range(LENGTHS["b/1"]))


def test_a_recording_that_is_drawn_again_is_cut_behind_another_offset():
    drawn = [
        index.start for index in windows(weights={"a/2": 30.0}, windows_per_epoch=400) if index.recording_id == "a/2"
    ]
    offsets = {round(start % 1.0, 9) for start in drawn if 1.0 <= start < 9.0}
    assert len(drawn) > 200
    assert len(offsets) >= len(drawn) // 10 - 1


def test_windows_of_the_same_place_have_different_seeds_within_an_epoch():
    sampler = trials(weights={"a/2": 30.0}, windows_per_epoch=400)
    seeds = {}
    for index in sampler:
        seeds.setdefault(index, []).append(index.seed)
    assert max(map(len, seeds.values())) > 20
    assert all(len(set(those)) == len(those) for those in seeds.values())


@both
def test_weight_zero_leaves_a_recording_out_and_only_ratios_count(make):
    drawn = counts(make(weights={"a": 0.0, "c/1": 0.0}))
    assert set(drawn) == {"b/1"}
    assert counts(make(weights={"a": 0.0, "b": 4.0, "c": 8.0})) == counts(make(weights={"a": 0, "b": 0.5, "c": 1}))


@both
def test_without_weights_or_with_equal_ones_every_window_comes_once(make):
    for kwargs in ({}, {"weights": dict.fromkeys(LENGTHS, 3.0)}):
        assert counts(make(**kwargs)) == LENGTHS


@both
def test_an_unknown_name_is_refused_with_the_nearest(make):
    with pytest.raises(KeyError, match=r"weights name 'a/3', which is neither.*did you mean 'a/[12]'"):
        make(weights={"a/3": 1.0})


@both
@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_weight_that_is_none_is_refused(make, weight):
    with pytest.raises(ValueError, match=r"the weight of 'b' must be a finite number, 0 or more"):
        make(weights={"b": weight})


@both
def test_an_epoch_of_nothing_is_refused(make):
    with pytest.raises(ValueError, match="every recording that holds a window has weight 0"):
        make(weights={"a": 0, "b": 0, "c": 0})
    with pytest.raises(ValueError, match="windows_per_epoch must be at least 1, got 0"):
        make(windows_per_epoch=0)


def test_weighted_trials_are_drawn_by_chance_only():
    with pytest.raises(ValueError, match="pass shuffle=True"):
        TrialSampler(TRIALS, weights={"a": 2.0})


def test_a_recording_without_windows_gets_none_whatever_its_weight():
    sampler = RandomFixedWindowSampler(
        {"a/1": [(0.0, 0.5)], "b/1": [(0.0, 4.0)]}, 1.0, weights={"a/1": 100.0}, windows_per_epoch=6
    )
    assert counts(sampler) == {"b/1": 6}


def test_an_order_of_windows_is_any_of_all_with_equal_chance():
    sampler = TrialSampler({"a": [(0, 1), (2, 3), (4, 5)]}, shuffle=True, generator=torch.Generator().manual_seed(1))
    epochs = 6000
    orders = Counter(tuple(index.start for index in sampler) for _ in range(epochs))
    assert len(orders) == 6
    bound = math.sqrt(math.log(2 * 6 / 1e-7) / (2 * epochs))
    assert all(abs(times / epochs - 1 / 6) < bound for times in orders.values())


def test_drawing_from_intervals_keeps_them_apart():
    sampler = RandomFixedWindowSampler(INTERVALS, 1.0, weights={"a": 3.0}, generator=np.random.default_rng(2))
    for index in sampler:
        length = LENGTHS[index.recording_id]
        low, high = (0.0, length / 3) if index.start < 50.0 else (50.0, 50.0 + 2 * length / 3)
        assert low <= index.start < index.end <= high


def test_few_very_long_intervals_among_many_short_ones_are_shuffled_as_well():
    # Codes of windows then need more bits than sorting leaves for chance.
    intervals = {"a": [(0.0, 3e5), *((1e6 + i, 1e6 + i + 1.0) for i in range(500))]}
    sampler = RandomFixedWindowSampler(intervals, 1.0, generator=np.random.default_rng(0))
    starts = sampler.plan(0).start
    assert len(set(starts.tolist())) == len(sampler) == len(list(sampler)) == 300_500
    # Rank correlation of place and time of a random order: standard error 1 / sqrt(n).
    ranks = np.argsort(np.argsort(starts))
    assert abs(np.corrcoef(np.arange(len(ranks)), ranks)[0, 1]) < 5 / np.sqrt(len(ranks))
    assert (np.sort(starts)[-500:] >= 1e6).all()
