"""Simulated recordings, and the ceiling of what can be decoded from them."""

import math
from itertools import pairwise

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_data import Data
from nd_data.ideal_decoder import (
    LogLinearTuning,
    coefficient_of_determination,
    decode_velocity,
    prior_precision,
    solve_block_tridiagonal,
)
from nd_data.simulate import simulate_recordings
from nd_data.smooth_motion import SmoothMotion


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return simulate_recordings(tmp_path_factory.mktemp("simulated"), sessions=3, minutes=2.0, units=40, seed=3)


def all_arrays(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        found.update({f"simulation:{name}": value for name, value in file["simulation"].attrs.items()})
    return found


def test_the_same_seed_gives_the_same_recordings_however_many_there_are(recordings, tmp_path):
    again = simulate_recordings(tmp_path, sessions=2, minutes=2.0, units=40, seed=3)
    for first, second in zip(recordings, again, strict=False):
        a, b = all_arrays(first.path), all_arrays(second.path)
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[name], b[name]) for name in a)
    other = simulate_recordings(tmp_path, sessions=1, minutes=2.0, units=40, seed=4)[0]
    assert not np.array_equal(Data.load(other.path).cursor.vel, Data.load(recordings[0].path).cursor.vel)


def test_recordings_hold_what_they_are_said_to_hold(recordings):
    for number, recording in enumerate(recordings):
        data = Data.load(recording.path)
        assert recording.recording_id == f"simulated/session_{number:02d}"
        assert recording.path.parts[-2:] == ("simulated", f"session_{number:02d}.h5")
        assert (data.brainset.id, data.session.id, data.subject.id) == (
            "simulated",
            f"session_{number:02d}",
            "subject_00",
        )
        assert (len(data.units), len(data.spikes)) == (recording.units, recording.spikes) == (40, len(data.spikes))
        assert list(data.domain) == [(0.0, 120.0)]
        assert data.spikes.is_sorted()
        assert ((data.spikes.timestamps >= 0) & (data.spikes.timestamps < 120)).all()
        assert set(np.unique(data.spikes.unit_index)) <= set(range(40))
        assert data.cursor.vel.shape == data.cursor.pos.shape == (12000, 2)
        np.testing.assert_allclose(data.cursor.timestamps, np.arange(12000) / 100)
        assert data.simulation.ideal_r2 == recording.ideal_r2
        assert data.simulation.ideal_r2_per_axis.mean() == pytest.approx(recording.ideal_r2)


def test_splits_follow_each_other_and_cover_the_recording(recordings):
    data = Data.load(recordings[0].path)
    edges = [*data.train_domain, *data.valid_domain, *data.test_domain]
    np.testing.assert_allclose(edges, [(0.0, 84.0), (84.0, 96.0), (96.0, 120.0)])
    assert [edges[0][1], edges[1][1]] == [edges[1][0], edges[2][0]]


def test_phases_follow_the_movement_and_never_overlap(recordings):
    data = Data.load(recordings[0].path)
    phases = data.movement_phases
    assert list(phases.hold_period | phases.reach_period | phases.return_period) == list(data.domain)
    times, vel, pos = data.cursor.timestamps + 0.005, data.cursor.vel, data.cursor.pos
    speed = np.hypot(*vel.T)
    outward = (pos * vel).sum(axis=1) >= 0
    active = {}
    for name in ("hold", "reach", "return"):
        interval = getattr(phases, f"{name}_period")
        assert interval.is_disjoint()
        active[name] = np.array([((interval.start <= t) & (t < interval.end)).any() for t in times])
    assert (sum(active.values()) == 1).all()
    assert speed[active["hold"]].max() < speed[~active["hold"]].min()
    assert outward[active["reach"]].all()
    assert not outward[active["return"]].any()


def test_trials_run_from_the_end_of_one_hold_to_the_end_of_the_next(recordings):
    data = Data.load(recordings[0].path)
    np.testing.assert_allclose(data.trials.end[:-1], data.trials.start[1:])
    assert np.isin(np.round(data.trials.end * 100), np.round(data.movement_phases.hold_period.end * 100)).all()
    first = data.cursor.slice(*next(iter(data.trials)))
    assert np.hypot(*first.vel.T).max() == data.trials.peak_speed[0]


def test_units_that_stay_keep_id_and_tuning_and_others_are_new(recordings):
    units = [Data.load(recording.path, lazy=False).units for recording in recordings]
    for before, after in pairwise(units):
        shared = set(before.id) & set(after.id)
        assert len(shared) == 28  # seven in ten
        for name in shared:
            old, new = np.flatnonzero(before.id == name), np.flatnonzero(after.id == name)
            assert np.array_equal(before.tuning[old], after.tuning[new])
            assert before.mean_rate[old] == after.mean_rate[new]
    assert all(len(set(one.id)) == 40 for one in units)


def test_units_fire_at_their_rates_and_as_their_tuning_says(recordings):
    data = Data.load(recordings[0].path, lazy=False)
    variance = data.simulation.velocity_std**2
    gain, mean_rate = data.units.tuning, data.units.mean_rate
    expected_rate = mean_rate * np.exp(data.cursor.vel @ gain.T - 0.5 * variance * (gain**2).sum(axis=1))
    expected = expected_rate.sum(axis=0) / 100.0
    found = np.bincount(data.spikes.unit_index, minlength=40)
    assert (np.abs(found - expected) < 5 * np.sqrt(expected) + 1).all()
    # Spikes come from the very samples in which the rate is high: the likelihood beats that of a shuffled rate.
    sample = np.floor(data.spikes.timestamps * 100).astype(int)
    log_rate = np.log(expected_rate)
    assert (
        log_rate[sample, data.spikes.unit_index].mean()
        > np.roll(log_rate, 100, axis=0)[sample, data.spikes.unit_index].mean()
    )


def test_rates_are_gamma_distributed_around_their_mean(tmp_path):
    recording = simulate_recordings(tmp_path, sessions=1, minutes=0.5, units=2000, mean_rate=0.5, seed=1)[0]
    rates = Data.load(recording.path).units.mean_rate
    assert rates.mean() == pytest.approx(0.5, rel=0.1)
    assert rates.var() == pytest.approx(0.5**2 / 2, rel=0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sessions": 0}, "at least one session"),
        ({"minutes": -1.0}, "must be positive"),
        ({"kept_units": 1.5}, "kept_units"),
        ({"splits": (0.5, 0.5)}, "splits must be three"),
        ({"splits": (0.5, 0.4, 0.2)}, "add up to 1"),
        ({"minutes": 0.001}, "fewer than 10 samples"),
        ({"time_constant": 0.001}, "longer than the time constant"),
        ({"velocity_std": 0.0}, "must be positive"),
    ],
)
def test_settings_out_of_range_are_refused_and_write_nothing(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_recordings(tmp_path, **arguments)
    assert list(tmp_path.rglob("*.h5")) == []


# The movement.


def test_the_movement_is_stationary_and_its_velocity_is_the_slope_of_its_position():
    motion = SmoothMotion.with_velocity(2.0, time_constant=0.3, step=0.01)
    carried = motion.transition @ motion.stationary @ motion.transition.T + motion.noise
    np.testing.assert_allclose(carried, motion.stationary, rtol=0, atol=1e-15)
    assert np.linalg.eigvalsh(motion.noise).min() > 0
    position, velocity = motion.sample(40_000, np.random.default_rng(0))
    assert velocity.std() == pytest.approx(2.0, rel=0.05)
    slope = np.gradient(position, 0.01, axis=0)
    assert np.corrcoef(slope[1:-1].ravel(), velocity[1:-1].ravel())[0, 1] > 0.999


@pytest.mark.parametrize("lag", [1, 10, 30, 60])
def test_the_velocity_is_correlated_in_time_as_its_formula_says(lag):
    motion = SmoothMotion.with_velocity(1.0, time_constant=0.3, step=0.01)
    covariance = np.linalg.matrix_power(motion.transition, lag) @ motion.stationary
    u = lag * 0.01 / 0.3
    assert covariance[1, 1] / motion.stationary[1, 1] == pytest.approx((1 + u - u**2) * math.exp(-u), rel=1e-9)
    if lag == 30:
        assert covariance[1, 1] / motion.stationary[1, 1] == pytest.approx(math.exp(-1))


# The ideal decoder.


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 1000))
def test_cyclic_reduction_solves_like_a_dense_solver(steps, width, seed):
    rng = np.random.default_rng(seed)
    above = rng.standard_normal((steps - 1, width, width))
    noise = 0.5 * rng.standard_normal((steps, width, width))
    diagonal = np.eye(width) * (3.0 * width + 3.0) + noise + noise.transpose(0, 2, 1)
    right = rng.standard_normal((steps, width))
    dense = np.zeros((steps, width, steps, width))
    for k in range(steps):
        dense[k, :, k] = diagonal[k]
    for k in range(steps - 1):
        dense[k, :, k + 1] = above[k]
        dense[k + 1, :, k] = above[k].T
    expected = np.linalg.solve(dense.reshape(steps * width, -1), right.ravel()).reshape(steps, width)
    np.testing.assert_allclose(solve_block_tridiagonal(diagonal, above, right), expected, rtol=0, atol=1e-9)


def test_the_prior_precision_is_the_inverse_of_the_covariance_of_all_states():
    motion = SmoothMotion.with_velocity(1.0, time_constant=0.3, step=0.1)
    diagonal, above = prior_precision(motion, 5)
    precision = np.zeros((5, 3, 5, 3))
    for k in range(5):
        precision[k, :, k] = diagonal[k, 3:, 3:]
    for k in range(4):
        precision[k, :, k + 1] = above[k, :3, :3]
        precision[k + 1, :, k] = above[k, :3, :3].T
    covariance = np.zeros((5, 3, 5, 3))
    for i in range(5):
        for j in range(i, 5):
            block = np.linalg.matrix_power(motion.transition, j - i) @ motion.stationary
            covariance[j, :, i], covariance[i, :, j] = block, block.T
    product = precision.reshape(15, 15) @ covariance.reshape(15, 15)
    np.testing.assert_allclose(product, np.eye(15), rtol=0, atol=1e-8)


def test_the_ideal_decoder_is_the_mean_of_the_posterior_on_a_grid():
    # One step, one axis that matters: the posterior can be integrated outright.
    motion = SmoothMotion.with_velocity(1.0, time_constant=0.3, step=0.1)
    units = 400
    tuning = LogLinearTuning(np.full(units, 1.0), np.stack([np.full(units, 0.4), np.zeros(units)], axis=1))
    counts = np.random.default_rng(0).poisson(tuning.rates(np.array([[0.8, 0.0]])) * 0.1)
    grid = np.linspace(-5, 5, 20001)
    log_density = counts.sum() * (1.0 + 0.4 * grid) - units * 0.1 * np.exp(1.0 + 0.4 * grid) - grid**2 / 2
    density = np.exp(log_density - log_density.max())
    found = decode_velocity(counts, tuning, motion, step=0.1)
    assert found[0, 0] == pytest.approx(grid[np.argmax(density)], abs=1e-3)
    assert found[0, 0] == pytest.approx((grid * density).sum() / density.sum(), abs=0.02)
    assert found[0, 1] == pytest.approx(0.0, abs=1e-9)


def binned(data, start, end, width=0.1, lags=6):
    """Spike counts in bins around each, and the mean velocity of each bin."""
    edges = np.arange(round((end - start) / width) + 1) * width + start
    counts = np.stack(
        [
            np.histogram(data.spikes.timestamps[data.spikes.unit_index == unit], edges)[0]
            for unit in range(len(data.units))
        ],
        axis=1,
    ).astype(float)
    velocity = data.cursor.slice(start, end).vel.reshape(len(counts), -1, 2).mean(axis=1)
    around = [np.roll(counts, lag, axis=0) for lag in range(-lags, lags + 1)]
    return np.concatenate([*around, np.ones((len(counts), 1))], axis=1)[lags:-lags], velocity[lags:-lags]


def ridge_r2(data, penalty=100.0):
    train, valid, test = (
        [float(x) for x in next(iter(getattr(data, f"{s}_domain")))] for s in ("train", "valid", "test")
    )
    x, y = binned(data, train[0], valid[1])
    weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    x, y = binned(data, *test)
    return (1 - ((y - x @ weights) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)).mean()


def test_the_ceiling_lies_above_what_ridge_regression_reaches(recordings):
    for recording in recordings:
        data = Data.load(recording.path, lazy=False)
        assert 0.5 < ridge_r2(data) < recording.ideal_r2 - 0.02


def test_the_ceiling_falls_with_the_rates_and_the_tuning(tmp_path):
    def ceiling(**settings):
        written = simulate_recordings(tmp_path, sessions=2, minutes=2.0, units=30, **settings)
        return np.mean([recording.ideal_r2 for recording in written])

    high, low, lower = ceiling(), ceiling(mean_rate=2.0), ceiling(mean_rate=0.25)
    assert high > low > lower > 0
    assert high > ceiling(tuning_depth=0.2)
    assert abs(ceiling(tuning_depth=0.0)) < 0.1


def test_default_recordings_can_be_decoded_well_but_not_perfectly(tmp_path):
    recording = simulate_recordings(tmp_path, sessions=1)[0]
    assert 0.85 < recording.ideal_r2 < 0.96
    assert recording.spikes == pytest.approx(60 * 8 * 300, rel=0.2)


def test_true_parameters_decode_better_than_wrong_ones(recordings):
    data = Data.load(recordings[0].path, lazy=False)
    step, first = 0.01, 9600
    counts = np.zeros((12000, 40), dtype=int)
    np.add.at(counts, (np.floor(data.spikes.timestamps / step + 1e-9).astype(int), data.spikes.unit_index), 1)
    gain = data.units.tuning
    offset = np.log(data.units.mean_rate) - 0.5 * (gain**2).sum(axis=1)

    def score(gain, time_constant):
        motion = SmoothMotion.with_velocity(1.0, time_constant=time_constant, step=step)
        decoded = decode_velocity(counts[first:], LogLinearTuning(offset, gain), motion, step=step)
        return coefficient_of_determination(decoded, data.cursor.vel[first:]).mean()

    best = score(gain, 0.3)
    assert best == pytest.approx(recordings[0].ideal_r2, abs=2e-3)
    for wrong in (score(gain, 0.1), score(gain, 1.0), score(1.5 * gain, 0.3), score(0.6 * gain, 0.3)):
        assert wrong < best
