"""Ridge regression against least squares on augmented equations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nd_models import RidgeDecoder, lagged


def lagged_slowly(counts: np.ndarray, lags) -> np.ndarray:
    bins, units = counts.shape
    rows = []
    for bin_ in range(bins):
        row = []
        for lag in lags:
            inside = 0 <= bin_ - lag < bins
            row.extend(counts[bin_ - lag] if inside else np.zeros(units))
        rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(bins, len(lags) * units)


def ridge_slowly(features: np.ndarray, targets: np.ndarray, penalty: float):
    """Least squares on [X; √λ·I] [Y; 0], features standardised, targets centred."""
    mean, deviation = features.mean(0), features.std(0)
    deviation[deviation == 0] = 1.0
    standardised = (features - mean) / deviation
    width = features.shape[1]
    augmented = np.vstack([standardised, np.sqrt(penalty) * np.eye(width)])
    wanted = np.vstack([targets - targets.mean(0), np.zeros((width, targets.shape[1]))])
    weights = np.linalg.lstsq(augmented, wanted, rcond=None)[0]
    return lambda new: (new - mean) / deviation @ weights + targets.mean(0)


def make_segments(count: int = 3, *, noise: float = 1.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    tuning = rng.normal(size=(2 * 6, 2))
    segments = []
    for _ in range(count):
        counts = rng.poisson(2.0, (60, 6))
        segments.append((counts, lagged_slowly(counts, (0, 1)) @ tuning + noise * rng.normal(size=(60, 2))))
    return segments


@given(
    st.integers(0, 12),
    st.integers(1, 3),
    st.lists(st.integers(-4, 6), min_size=1, max_size=5, unique=True),
)
def test_lagged_counts_look_back_and_ahead_and_never_beyond_the_segment(bins, units, lags):
    counts = np.random.default_rng(bins).integers(0, 9, (bins, units))
    np.testing.assert_array_equal(lagged(counts, lags), lagged_slowly(counts, lags))


def test_a_number_of_lags_means_this_bin_and_those_before():
    counts = np.arange(10).reshape(5, 2)
    np.testing.assert_array_equal(lagged(counts, 3), lagged_slowly(counts, (0, 1, 2)))


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0, 1e6])
def test_predictions_equal_least_squares_on_augmented_equations(penalty):
    segments = make_segments()
    decoder = RidgeDecoder(lags=(0, 1, 3), penalties=[penalty]).fit(segments)
    features = np.concatenate([lagged_slowly(counts, (0, 1, 3)) for counts, _ in segments])
    slow = ridge_slowly(features, np.concatenate([targets for _, targets in segments]), penalty)
    new = np.random.default_rng(9).poisson(2.0, (20, 6))
    np.testing.assert_allclose(decoder.predict(new), slow(lagged_slowly(new, (0, 1, 3))), rtol=1e-9, atol=1e-9)
    assert decoder.penalty == penalty


@pytest.mark.parametrize("penalty", [0.0, 10.0])
def test_more_features_than_bins_and_silent_or_doubled_units_work(penalty):
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (12, 20))
    counts[:, 3] = 0
    counts[:, 5] = counts[:, 4]
    targets = rng.normal(size=(12, 2))
    predicted = RidgeDecoder(penalties=[penalty]).fit([(counts, targets)]).predict(counts)
    slow = ridge_slowly(counts.astype(np.float64), targets, penalty)
    np.testing.assert_allclose(predicted, slow(counts), rtol=1e-6, atol=1e-6)


def test_the_penalty_is_the_best_of_the_grid_on_the_validation_segments():
    training, validation = make_segments(2, noise=8.0), make_segments(2, noise=8.0, seed=1)
    penalties = [1e-2, 1.0, 1e2, 1e4, 1e6]
    decoder = RidgeDecoder(lags=8, penalties=penalties).fit(training, validation=validation)

    def score(penalty: float) -> float:
        one = RidgeDecoder(lags=8, penalties=[penalty]).fit(training)
        errors = np.concatenate([targets - one.predict(counts) for counts, targets in validation])
        targets = np.concatenate([targets for _, targets in validation])
        return float(np.mean(1 - (errors**2).sum(0) / ((targets - targets.mean(0)) ** 2).sum(0)))

    assert decoder.penalty == max(penalties, key=score)
    alone = RidgeDecoder(lags=8, penalties=[decoder.penalty]).fit(training)
    np.testing.assert_allclose(decoder.weights, alone.weights)


def test_without_validation_the_last_fifth_chooses_and_all_bins_teach():
    segments = make_segments(5, noise=8.0)
    penalties = [1e-2, 1e2, 1e6]
    decoder = RidgeDecoder(lags=8, penalties=penalties).fit(segments)
    chosen = RidgeDecoder(lags=8, penalties=penalties).fit(segments[:4], validation=segments[4:]).penalty
    assert decoder.penalty == chosen
    np.testing.assert_allclose(decoder.weights, RidgeDecoder(lags=8, penalties=[chosen]).fit(segments).weights)


def test_segments_are_not_joined():
    counts = np.ones((4, 1))
    first, second = np.zeros((4, 1)), np.ones((4, 1))
    decoder = RidgeDecoder(lags=(1,), penalties=[1e-9]).fit([(counts, first), (counts, second)])
    predicted = decoder.predict(counts)
    # The first bin of a segment sees silence, in both segments; were they joined, only the first would.
    np.testing.assert_allclose(predicted, 0.5, atol=1e-6)


def test_targets_may_have_one_dimension():
    counts, targets = make_segments(1)[0]
    one = RidgeDecoder(penalties=[1.0]).fit([(counts, targets[:, 0])]).predict(counts)
    both = RidgeDecoder(penalties=[1.0]).fit([(counts, targets)]).predict(counts)
    np.testing.assert_allclose(one, both[:, :1])


def test_what_was_given_is_not_altered():
    segments = make_segments()
    before = [(counts.copy(), targets.copy()) for counts, targets in segments]
    RidgeDecoder(lags=3).fit(segments)
    for (counts, targets), (old_counts, old_targets) in zip(segments, before, strict=True):
        np.testing.assert_array_equal(counts, old_counts)
        np.testing.assert_array_equal(targets, old_targets)


def test_input_that_does_not_fit_is_refused():
    counts, targets = make_segments(1)[0]
    with pytest.raises(ValueError, match="call fit"):
        RidgeDecoder().predict(counts)
    with pytest.raises(ValueError, match="no bin to learn from"):
        RidgeDecoder().fit([])
    with pytest.raises(ValueError, match="do not fit"):
        RidgeDecoder().fit([(counts, targets[:-1])])
    with pytest.raises(ValueError, match="not finite"):
        RidgeDecoder().fit([(counts, np.where(targets > 0, np.nan, targets))])
    with pytest.raises(ValueError, match="knows 6 units"):
        RidgeDecoder().fit([(counts, targets)]).predict(counts[:, :5])
    with pytest.raises(ValueError, match="shape"):
        lagged([1, 2, 3], 2)
    for lags in (0, [], [1, 1]):
        with pytest.raises(ValueError, match="lags must be"):
            lagged(counts, lags)
    for penalties in ([], [-1.0], [float("inf")]):
        with pytest.raises(ValueError, match="penalties must be"):
            RidgeDecoder(penalties=penalties)
