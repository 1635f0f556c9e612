import copy
import math
import re

import numpy as np
import pytest
import torch

from nd_data.data import Data
from nd_data.interval import Interval
from nd_data.irregular_time_series import IrregularTimeSeries
from nd_data.regular_time_series import RegularTimeSeries
from nd_data.transforms import (
    BinSpikes,
    Compose,
    ConditionalChoice,
    RandomChoice,
    RandomCrop,
    RandomOutputSampler,
    RandomTimeScaling,
    TriangleDistribution,
    UnitDropout,
    UnitFilter,
    UnitFilterById,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def window(recording):
    return recording.slice(10.0, 12.0)


def spikes_by_unit(data):
    """Unit id to spike times."""
    return {
        unit_id: data.spikes.timestamps[data.spikes.unit_index == index].tolist()
        for index, unit_id in enumerate(data.units.id.tolist())
    }


# --- composition --------------------------------------------------------------------------------------------------


def test_composed_transforms_run_in_order_and_the_last_may_return_anything():
    assert Compose([lambda x: x + 1, lambda x: x * 10, str])(2) == "30"
    assert Compose([])(2) == 2


def test_a_random_choice_follows_its_weights():
    choice = RandomChoice([lambda _: 0, lambda _: 1, lambda _: 2], p=[1, 3, 0], generator=seeded())
    drawn = np.bincount([choice(None) for _ in range(4000)], minlength=3)
    assert drawn[2] == 0
    assert abs(drawn[0] - 1000) < 4 * math.sqrt(4000 * 0.25 * 0.75)


def test_a_random_choice_without_weights_is_even():
    choice = RandomChoice([lambda _: 0, lambda _: 1], generator=seeded())
    assert abs(sum(choice(None) for _ in range(4000)) - 2000) < 4 * math.sqrt(1000)


@pytest.mark.parametrize(
    ("p", "message"),
    [([1.0], "one weight a transform: got 1 for 2"), ([1, -1], "not negative"), ([0, 0], "not all zero")],
)
def test_weights_that_make_no_sense_are_refused(p, message):
    with pytest.raises(ValueError, match=message):
        RandomChoice([str, str], p=p)


def test_a_random_choice_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one transform"):
        RandomChoice([])


def test_a_condition_decides_and_must_be_a_truth_value():
    transform = ConditionalChoice(lambda x: x > 0, lambda x: "positive", lambda x: "not")
    assert [transform(x) for x in (1, -1, np.float64(2))] == ["positive", "not", "positive"]
    with pytest.raises(ValueError, match="must return True or False, got int"):
        ConditionalChoice(lambda x: 1, str, str)(0)


# --- number of units ----------------------------------------------------------------------------------------------


def acceptance(distribution, x):
    """Probability that a uniform x is kept, from the definition: P(u v M <= f) = a (1 - ln a), a = f / M."""
    a = np.array([distribution.unnormalized_density_function(value) for value in x]) / distribution.M
    return a * (1 - np.log(a))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"tail_right": 150},
        {"min_units": 5, "mode_units": 5, "max_units": 40},
        {"mode_units": 300, "max_units": 300},
        {"peak": 8, "M": 9},
    ],
)
def test_drawn_numbers_of_units_follow_the_documented_distribution(parameters):
    distribution = TriangleDistribution(**parameters, seed=1)
    draws = np.sort([distribution.sample(1000) for _ in range(4000)])
    x = np.linspace(distribution.min_units, distribution.max_units, 20_001)
    middle = (x[1:] + x[:-1]) / 2
    cumulative = np.concatenate([[0], np.cumsum(acceptance(distribution, middle))])
    expected = np.interp(draws, x, cumulative / cumulative[-1])
    assert np.abs(expected - (np.arange(4000) + 0.5) / 4000).max() < 1.63 / math.sqrt(4000)  # Kolmogorov-Smirnov, 1 %


def test_the_height_of_the_triangle():
    f = TriangleDistribution(20, 100, 300, tail_right=200, peak=4).unnormalized_density_function
    assert [f(x) for x in (19, 20, 60, 100, 150, 200, 250, 300, 301)] == [0, 1, 2.5, 4, 2.5, 1, 1, 1, 0]


def test_a_small_population_is_kept_whole(window):
    assert TriangleDistribution(min_units=20).sample(19) == 19
    before = spikes_by_unit(window)
    assert spikes_by_unit(UnitDropout(min_units=20, mode_units=100)(window)) == before


def test_all_units_are_kept_when_no_draw_is_accepted(caplog):
    distribution = TriangleDistribution(M=10**12, max_attempts=3, seed=0)
    assert distribution.sample(150) == 150
    assert "keeping all units" in caplog.text


@pytest.mark.parametrize(
    "parameters", [{"min_units": 50, "mode_units": 20}, {"min_units": 400}, {"min_units": -1}, {"M": 0}]
)
def test_parameters_out_of_order_are_refused(parameters):
    with pytest.raises(ValueError, match=r"expected 0 <= min_units|must be above 0"):
        UnitDropout(**parameters)


# --- dropping units -----------------------------------------------------------------------------------------------


def test_dropped_units_go_with_their_spikes_and_the_others_keep_theirs(window):
    before = spikes_by_unit(window)
    dropped = UnitDropout(min_units=2, mode_units=3, max_units=4, seed=0)(window)
    after = spikes_by_unit(dropped)
    assert 2 <= len(after) < 5
    assert after == {unit_id: before[unit_id] for unit_id in after}
    assert len(dropped.spikes) == sum(map(len, after.values()))
    assert dropped.spikes.unit_index.dtype == np.int64


def test_without_new_numbers_units_stay_and_fall_silent(window):
    before = spikes_by_unit(window)
    after = spikes_by_unit(UnitDropout("spikes", False, min_units=2, mode_units=2, max_units=2, seed=0)(window))
    assert after.keys() == before.keys()
    silent = [unit_id for unit_id in before if not after[unit_id]]
    assert len(silent) == 3
    assert all(after[unit_id] == before[unit_id] for unit_id in before if unit_id not in silent)


def test_every_unit_is_equally_likely_to_stay(window):
    dropout = UnitDropout(min_units=2, mode_units=2, max_units=2, generator=seeded())
    kept = np.zeros(5)
    for _ in range(1000):
        ids = dropout(copy.copy(window)).units.id
        kept[[int(unit_id[-1]) for unit_id in ids]] += 1
    assert kept.sum() == 2000
    assert (np.abs(kept - 400) < 4 * math.sqrt(1000 * 0.4 * 0.6)).all()


def test_the_recording_behind_a_window_does_not_change(recording):
    before = spikes_by_unit(recording)
    UnitDropout(min_units=1, mode_units=1, max_units=1, seed=0)(recording.slice(0, 100))
    assert spikes_by_unit(recording) == before


def test_units_can_be_dropped_from_the_columns_of_a_series(window):
    window.calcium = RegularTimeSeries(sampling_rate=10.0, df=np.tile(np.arange(5.0), (20, 1)) + 1)
    silent = UnitFilter(lambda units: np.arange(5) % 2 == 0, "calcium.df", reset_index=False)(copy.copy(window))
    assert silent.calcium.df[0].tolist() == [1, 0, 3, 0, 5]
    kept = UnitFilter(lambda units: np.arange(5) % 2 == 0, "calcium.df")(copy.copy(window))
    assert kept.calcium.df.shape == (20, 3)
    assert kept.calcium.df[0].tolist() == [1, 3, 5]
    assert kept.units.id.tolist() == ["unit_0", "unit_2", "unit_4"]


def test_units_can_be_dropped_from_nested_spikes(recording):
    recording.motor = Data(spikes=recording.spikes, domain=Interval(0.0, 100.0))
    window = recording.slice(0, 1)
    kept = UnitFilterById("unit_3", "motor.spikes")(window)
    assert set(kept.motor.spikes.unit_index) == {0}
    assert len(kept.spikes) > len(kept.motor.spikes)


def test_units_are_kept_or_dropped_by_their_id(window):
    before = spikes_by_unit(window)
    kept = spikes_by_unit(UnitFilterById(r"_[13]$")(copy.copy(window)))
    assert kept == {unit_id: before[unit_id] for unit_id in ("unit_1", "unit_3")}
    rest = spikes_by_unit(UnitFilterById(re.compile(r"_[13]$"), "spikes", True, keep_matches=False)(copy.copy(window)))
    assert rest == {unit_id: before[unit_id] for unit_id in ("unit_0", "unit_2", "unit_4")}


@pytest.mark.parametrize(
    ("mask", "field", "message"),
    [
        (np.ones(4, bool), "spikes", r"one value for each of 5 units, got bool of shape \(4,\)"),
        (np.arange(5), "spikes", "must be boolean"),
        (np.ones(5, bool), "units", "'units' is a ArrayDict; units can be dropped from"),
        (np.ones(5, bool), "cursor.vel", r"one column for each of 5 units.*got shape \(100, 2\)"),
    ],
)
def test_units_cannot_be_dropped_from_what_does_not_fit_them(window, mask, field, message):
    with pytest.raises(ValueError, match=message):
        UnitFilter(lambda units: mask, field)(window)


# --- time ---------------------------------------------------------------------------------------------------------


def test_scaling_moves_every_time_and_nothing_else(recording):
    recording.trials = Interval(np.array([10.5]), np.array([11.5]), go=np.array([10.7]), target=[3], timekeys=["go"])
    window = recording.slice(10.0, 12.0)
    before = copy.deepcopy(window)
    scaled = RandomTimeScaling(2.0, 2.0, 0.5, 0.5)(window)
    np.testing.assert_allclose(scaled.spikes.timestamps, before.spikes.timestamps * 2 + 0.5)
    np.testing.assert_allclose(scaled.cursor.timestamps, before.cursor.timestamps * 2 + 0.5)
    np.testing.assert_array_equal(scaled.cursor.vel, before.cursor.vel)
    assert scaled.cursor.sampling_rate == 25.0
    np.testing.assert_allclose([scaled.trials.start, scaled.trials.end, scaled.trials.go], [[1.5], [3.5], [1.9]])
    assert scaled.trials.target.tolist() == [3]
    reach = before.movement_periods.reach_period
    np.testing.assert_allclose(scaled.movement_periods.reach_period.start, reach.start * 2 + 0.5)
    for timed in (scaled, scaled.spikes, scaled.cursor, scaled.movement_periods):
        np.testing.assert_allclose([timed.domain.start[0], timed.domain.end[-1]], [0.5, 4.5])
    assert scaled.absolute_start == 10.0
    assert scaled.units.id.tolist() == before.units.id.tolist()
    np.testing.assert_array_equal(window.spikes.timestamps, before.spikes.timestamps)
    assert window.end == before.end


def test_scales_and_offsets_are_uniform():
    transform = RandomTimeScaling(0.5, 1.5, -1.0, 1.0, generator=seeded())
    data = Data(mark=Interval(1.0, 2.0), domain=Interval(0.0, 3.0))
    marks = [transform(data).mark for _ in range(2000)]
    scales = np.sort([mark.end[0] - mark.start[0] for mark in marks])
    offsets = np.sort([2 * mark.start[0] - mark.end[0] for mark in marks])
    even = (np.arange(2000) + 0.5) / 2000
    assert np.abs(scales - 0.5 - even).max() < 1.63 / math.sqrt(2000)
    assert np.abs((offsets + 1) / 2 - even).max() < 1.63 / math.sqrt(2000)


@pytest.mark.parametrize("bounds", [(0, 1), (2, 1), (1, 1, 1, 0)])
def test_bounds_out_of_order_are_refused(bounds):
    with pytest.raises(ValueError, match="expected 0 < min_scale <= max_scale"):
        RandomTimeScaling(*bounds)


def test_a_crop_lies_inside_the_window_and_starts_anew_at_zero(window):
    crop = RandomCrop(0.5, generator=seeded())
    starts = []
    for _ in range(500):
        piece = crop(window)
        starts.append(piece.absolute_start - 10.0)
        assert piece.end - piece.start == pytest.approx(0.5)
        inside = window.spikes.timestamps - starts[-1]
        np.testing.assert_allclose(piece.spikes.timestamps, inside[(inside >= 0) & (inside < 0.5)], atol=1e-12)
    even = (np.arange(500) + 0.5) / 500 * 1.5
    assert np.abs(np.sort(starts) - even).max() / 1.5 < 1.63 / math.sqrt(500)


def test_a_window_no_longer_than_the_crop_comes_back_as_it_is(window):
    assert RandomCrop(2.0)(window) is window
    with pytest.raises(ValueError, match="crop_len must be above 0"):
        RandomCrop(0.0)
    with pytest.raises(ValueError, match="no time to crop"):
        RandomCrop(1.0)(Data(name="x"))


# --- outputs and bins ---------------------------------------------------------------------------------------------


def test_a_few_outputs_are_drawn_without_replacement_in_order_of_time(window):
    times = np.linspace(0, 2, 50, endpoint=False)
    window.behavior = IrregularTimeSeries(timestamps=times, value=np.arange(50), domain=Interval(0.0, 2.0))
    thin = RandomOutputSampler(7, generator=seeded())(copy.copy(window)).behavior
    assert len(thin) == 7
    assert (np.diff(thin.timestamps) > 0).all()
    np.testing.assert_array_equal(times[thin.value], thin.timestamps)
    assert len(RandomOutputSampler(50)(window).behavior) == 50


def test_outputs_can_be_a_regular_series_anywhere(window):
    vel, times = window.cursor.vel.copy(), window.cursor.timestamps
    thin = RandomOutputSampler(9, "cursor", generator=seeded())(window).cursor
    rows = [int(np.flatnonzero(times == t)[0]) for t in thin.timestamps]
    np.testing.assert_array_equal(vel[rows], thin.vel)
    with pytest.raises(ValueError, match="'units' is a ArrayDict, expected a time series"):
        RandomOutputSampler(3, "units")(window)
    with pytest.raises(ValueError, match="at least 1"):
        RandomOutputSampler(0)


@pytest.mark.parametrize(("right", "start"), [(True, 0.2), (False, 0.0)])
def test_binned_spikes_lie_where_they_were_counted(window, right, start):
    binned = BinSpikes(0.3, right=right)(window).spikes_binned
    assert isinstance(binned, RegularTimeSeries)
    assert binned.binned_counts.shape == (6, 5)
    assert binned.timestamps[0] == pytest.approx(start)
    for row, time in enumerate(binned.timestamps):
        for unit in range(5):
            mine = window.spikes.timestamps[window.spikes.unit_index == unit]
            assert binned.binned_counts[row, unit] == ((mine >= time) & (mine < time + 0.3)).sum()
