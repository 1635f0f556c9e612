"""Circular error and correlation against SciPy and their definitions over all pairs, in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import circmean

from nd_eval import CircularCorrelation, CircularError, circular_correlation, circular_error


def angles(seed, count=80, spread=3.0, noise=0.4):
    rng = np.random.default_rng(seed)
    target = spread * rng.normal(size=(count, 2))
    return target + noise * rng.normal(size=target.shape), target


def slow_correlation(preds, target):
    """The definition: sines of the differences of all pairs."""
    top = left = right = 0.0
    for i in range(len(preds)):
        for j in range(i):
            p, y = math.sin(preds[i] - preds[j]), math.sin(target[i] - target[j])
            top, left, right = top + p * y, left + p * p, right + y * y
    return top / math.sqrt(left * right)


@pytest.mark.parametrize("period", [2 * math.pi, 360.0, math.pi])
def test_the_error_is_the_size_of_the_circular_mean_of_each_difference(period):
    preds, target = (x * period for x in angles(0))
    differences = preds - target
    # The circular mean of one angle is that angle, brought between minus and plus half a turn.
    expected = np.mean([abs(circmean([d], low=-period / 2, high=period / 2)) for d in differences.ravel()])
    tensors = torch.from_numpy(preds), torch.from_numpy(target)
    assert circular_error(*tensors, period=period).item() == pytest.approx(expected, rel=1e-12)
    metric = CircularError(period=period)
    metric.update(*(x[:30] for x in tensors))
    metric.update(*(x[30:] for x in tensors))
    assert metric.compute().item() == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, max_examples=50)
@given(preds=st.lists(st.floats(-50, 50), min_size=1, max_size=9), turns=st.integers(-3, 3), shift=st.floats(-9, 9))
def test_whole_turns_change_nothing_and_a_common_rotation_neither(preds, turns, shift):
    preds = torch.tensor(preds, dtype=torch.float64)
    target = preds.flip(0) * 0.7
    error = circular_error(preds, target).item()
    assert 0.0 <= error <= math.pi
    assert circular_error(preds + turns * 2 * math.pi, target).item() == pytest.approx(error, abs=1e-9)
    assert circular_error(preds + shift, target + shift).item() == pytest.approx(error, abs=1e-9)
    assert circular_error(target, preds).item() == pytest.approx(error, abs=1e-12)


def test_the_correlation_is_that_of_its_definition_for_spread_and_for_uniform_angles():
    for spread, noise in ((0.3, 0.1), (3.0, 0.4), (30.0, 0.01)):
        preds, target = angles(1, spread=spread, noise=noise)
        expected = np.mean([slow_correlation(preds[:, k], target[:, k]) for k in range(2)])
        tensors = torch.from_numpy(preds), torch.from_numpy(target)
        assert circular_correlation(*tensors).item() == pytest.approx(expected, abs=1e-11)
        metric = CircularCorrelation()
        for part in (slice(50, None), slice(0, 50)):
            metric.update(*(x[part] for x in tensors))
        assert metric.compute().item() == pytest.approx(expected, abs=1e-11)


def test_a_rotation_leaves_the_correlation_and_a_reflection_turns_its_sign():
    _, target = (torch.from_numpy(x) for x in angles(2))
    assert circular_correlation(target + 1.3, target).item() == pytest.approx(1.0, abs=1e-12)
    assert circular_correlation(-target, target).item() == pytest.approx(-1.0, abs=1e-12)
    degrees = target * 180 / math.pi
    assert circular_correlation(degrees + 40, degrees, period=360).item() == pytest.approx(1.0, abs=1e-12)


def test_angles_that_do_not_vary_have_no_correlation_and_are_left_out():
    preds, target = (torch.from_numpy(x) for x in angles(3))
    alone = circular_correlation(preds[:, 1], target[:, 1])
    preds[:, 0] = 0.7
    assert circular_correlation(preds[:, 0], target[:, 0]).isnan()
    assert circular_correlation(preds, target).item() == pytest.approx(alone.item(), abs=1e-14)
    assert circular_correlation(preds[:1], target[:1]).isnan()


@pytest.mark.parametrize("period", [0.0, -1.0, float("nan"), float("inf")])
def test_a_turn_must_be_a_positive_number(period):
    with pytest.raises(ValueError, match="period must be a positive number"):
        circular_error(torch.zeros(2), torch.zeros(2), period=period)
    with pytest.raises(ValueError, match="period must be a positive number"):
        CircularCorrelation(period=period)


def test_shapes_and_numbers_of_angles_are_checked():
    with pytest.raises(ValueError, match=r"one shape; found \(3,\) and \(3, 1\)"):
        circular_error(torch.zeros(3), torch.zeros(3, 1))
    metric = CircularError()
    metric.update(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="expected 2 output dimensions; found 3"):
        metric.update(torch.zeros(3, 3), torch.zeros(3, 3))
