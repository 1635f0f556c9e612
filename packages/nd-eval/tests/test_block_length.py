"""Block lengths against the theory of autoregressive series, and against the formula in slow NumPy."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from nd_eval import automatic_block_length
from nd_eval.uncertainty.block_length import dependence


def autoregressive(rng, count, coefficient):
    noise = rng.normal(size=count + 500) * np.sqrt(1 - coefficient**2)
    return lfilter([1.0], [1.0, -coefficient], noise)[500:]


def slow_length(series):
    """Politis and White 2004 with the correction of 2009, circular blocks, step by step."""
    count = len(series)
    centred = series - series.mean()
    covariance = [np.dot(centred[: count - k], centred[k:]) / count for k in range(count)]
    following = max(5, math.ceil(math.sqrt(math.log10(count))))
    longest = min(math.ceil(math.sqrt(count)) + following, count - 1)
    bound = 2.0 * math.sqrt(math.log10(count) / count)
    insignificant = [abs(covariance[k] / covariance[0]) < bound for k in range(1, longest + following + 1)]
    last = None
    for start in range(len(insignificant) - following + 1):
        if all(insignificant[start : start + following]):
            last = start
            break
    if last is None:
        last = max(k for k, small in enumerate(insignificant, start=1) if not small)
    window = min(2 * max(last, 1), longest)

    def taper(t):
        return 1.0 if abs(t) <= 0.5 else 2.0 * (1.0 - abs(t))

    lags = range(-window, window + 1)
    slope = sum(taper(k / window) * abs(k) * covariance[abs(k)] for k in lags)
    spectrum = sum(taper(k / window) * covariance[abs(k)] for k in lags)
    length = (2.0 * slope**2 / (4.0 / 3.0 * spectrum**2)) ** (1 / 3) * count ** (1 / 3)
    return min(max(1.0, length), math.ceil(min(3 * math.sqrt(count), count / 3)))


@pytest.mark.parametrize("coefficient", [-0.5, 0.0, 0.3, 0.8, 0.95])
@pytest.mark.parametrize("count", [30, 200, 1500])
def test_the_length_is_that_of_the_formula(coefficient, count):
    for seed in range(4):
        series = autoregressive(np.random.default_rng(seed), count, coefficient)
        found = automatic_block_length(torch.from_numpy(series))
        assert found == pytest.approx(slow_length(series), rel=1e-9)


@pytest.mark.parametrize("coefficient", [0.5, 0.8, 0.9])
def test_the_length_is_near_the_best_one_of_an_autoregressive_series(coefficient):
    count = 20_000
    found = [
        automatic_block_length(torch.from_numpy(autoregressive(np.random.default_rng(seed), count, coefficient)))
        for seed in range(20)
    ]
    # Of AR(1): slope / spectrum = 2 φ / (1 - φ²).
    best = (2.0 * (2 * coefficient / (1 - coefficient**2)) ** 2 / (4.0 / 3.0) * count) ** (1 / 3)
    assert np.median(found) == pytest.approx(best, rel=0.25)


@pytest.mark.parametrize("coefficient", [0.0, 0.5, 0.9])
def test_the_long_run_variance_is_that_of_theory(coefficient):
    found = [
        dependence(torch.from_numpy(autoregressive(np.random.default_rng(seed), 20_000, coefficient))).long_run_variance
        for seed in range(20)
    ]
    assert np.median(found) == pytest.approx((1 + coefficient) / (1 - coefficient), rel=0.1)


def test_scale_and_offset_change_nothing():
    series = torch.from_numpy(autoregressive(np.random.default_rng(1), 500, 0.7))
    expected = automatic_block_length(series)
    assert automatic_block_length(series * 1e-7 + 3.0) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("series", [torch.empty(0), torch.ones(1), torch.arange(3.0), torch.full((100,), 2.0)])
def test_what_has_no_dependence_to_speak_of_has_blocks_of_one(series):
    assert automatic_block_length(series) == 1.0


@pytest.mark.parametrize("series", [torch.tensor([1.0, float("nan")]), torch.zeros(3, 2)])
def test_bad_input_is_one_clear_error(series):
    with pytest.raises(ValueError, match="one row of finite numbers"):
        automatic_block_length(series)
