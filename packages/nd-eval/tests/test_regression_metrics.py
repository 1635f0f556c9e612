"""R², correlation and mean errors against scikit-learn, SciPy and float64 NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import pearsonr as scipy_pearsonr
from sklearn.metrics import mean_absolute_error, mean_squared_error
from sklearn.metrics import r2_score as sklearn_r2

from nd_eval import MeanAbsoluteError, MeanSquaredError, PearsonCorrCoef, R2Score, mae, mse, pearsonr, r2_score

MULTIOUTPUTS = ("uniform_average", "variance_weighted", "raw_values")


def data(seed, count=500, dims=3, noise=0.3):
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(count, dims)) * np.array([1.0, 20.0, 0.01])[:dims]
    return target + noise * rng.normal(size=target.shape) * target.std(0), target


def in_parts(metric, preds, target, sizes):
    start = 0
    for size in [*sizes, len(preds)]:
        metric.update(preds[start : start + size], target[start : start + size])
        start += size
    return metric.compute()


@pytest.mark.parametrize("multioutput", MULTIOUTPUTS)
def test_r2_agrees_with_scikit_learn(multioutput):
    preds, target = data(0)
    expected = sklearn_r2(target, preds, multioutput=multioutput)
    found = r2_score(torch.from_numpy(preds), torch.from_numpy(target), multioutput=multioutput)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)
    parts = in_parts(R2Score(multioutput=multioutput), torch.from_numpy(preds), torch.from_numpy(target), [1, 7, 200])
    np.testing.assert_allclose(parts.numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("scale", "offset"), [(5e-4, 0.0), (5e-4, 1.0), (1.0, 1e4), (1e-3, 1e4), (1e-8, 0.0), (1e6, -1e9)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_r2_is_right_for_tiny_and_offset_targets(scale, offset, dtype):
    preds, target = data(1, dims=1)
    target, preds = (torch.from_numpy(x * scale + offset).to(dtype) for x in (target, preds))
    zeros = torch.zeros_like(target)
    mean = torch.full_like(target, target.double().mean().item())
    for guess in (preds, zeros, mean):
        # The oracle sees the very numbers that the tensors hold, shifted exactly to where float64 has digits to spare.
        shift = float(target[0, 0])
        expected = sklearn_r2(target.double().numpy() - shift, guess.double().numpy() - shift)
        assert r2_score(guess, target).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
        parts = in_parts(R2Score(), guess, target, [3, 100, 2])
        assert parts.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_all_zero_predictions_of_a_tiny_target_do_not_score():
    target = 5e-4 * torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    assert r2_score(torch.zeros_like(target), target).item() < 1e-9


def test_perfect_predictions_score_exactly_one():
    _, target = data(2)
    for offset in (0.0, 1e4, -1e7):
        shifted = torch.from_numpy(target + offset)
        assert r2_score(shifted, shifted).item() == 1.0


def test_a_constant_target_has_no_r2_and_leaves_the_others_alone():
    preds, target = (torch.from_numpy(x) for x in data(3, dims=3))
    target[:, 1] = 0.1
    raw = r2_score(preds, target, multioutput="raw_values")
    assert raw.isnan().tolist() == [False, True, False]
    assert r2_score(preds, target).item() == pytest.approx(raw[[0, 2]].mean().item(), abs=1e-14)
    expected = sklearn_r2(target[:, [0, 2]], preds[:, [0, 2]], multioutput="variance_weighted")
    assert r2_score(preds, target, multioutput="variance_weighted").item() == pytest.approx(expected, abs=1e-12)
    assert r2_score(preds[:, 1], target[:, 1]).isnan()
    assert in_parts(R2Score(), preds[:, 1], target[:, 1], [17, 30]).isnan()


@pytest.mark.parametrize("score", [r2_score, pearsonr])
def test_fewer_than_two_points_are_undefined(score):
    assert score(torch.ones(1), torch.zeros(1)).isnan()
    assert score(torch.ones(0, 2), torch.zeros(0, 2)).isnan()


@pytest.mark.parametrize("score", [r2_score, pearsonr, mse, mae])
@pytest.mark.parametrize("multioutput", [None, "variance_weighted"])
def test_a_nan_prediction_shows_in_the_score(score, multioutput):
    preds, target = (torch.from_numpy(x) for x in data(4))
    preds[5, 1] = torch.nan
    options = {} if multioutput is None or score in (mse, mae) else {"multioutput": multioutput}
    assert score(preds, target, **options).isnan()


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e6])
def test_pearson_agrees_with_scipy(offset):
    preds, target = data(5)
    expected = [scipy_pearsonr(preds[:, k], target[:, k]).statistic for k in range(3)]
    preds, target = torch.from_numpy(preds + offset), torch.from_numpy(target - offset)
    # Adding the offset rounds the numbers, 1e-10 at 1e6, where the smallest target varies by 1e-2.
    np.testing.assert_allclose(pearsonr(preds, target, multioutput="raw_values"), expected, rtol=0, atol=1e-9)
    assert pearsonr(preds, target).item() == pytest.approx(np.mean(expected), abs=1e-9)
    parts = in_parts(PearsonCorrCoef(multioutput="raw_values"), preds, target, [1, 2, 300])
    np.testing.assert_allclose(parts, expected, rtol=0, atol=1e-9)


def test_pearson_is_undefined_where_a_side_is_constant():
    preds, target = (torch.from_numpy(x) for x in data(6))
    preds[:, 0] = 0.3
    assert pearsonr(preds, target, multioutput="raw_values").isnan().tolist() == [True, False, False]
    assert pearsonr(preds, target).item() == pytest.approx(pearsonr(preds[:, 1:], target[:, 1:]).item(), abs=1e-14)


def test_mean_errors_agree_with_scikit_learn():
    preds, target = data(7)
    tensors = torch.from_numpy(preds), torch.from_numpy(target)
    for score, metric, oracle in (
        (mse, MeanSquaredError, mean_squared_error),
        (mae, MeanAbsoluteError, mean_absolute_error),
    ):
        assert score(*tensors).item() == pytest.approx(oracle(target, preds), rel=1e-13)
        assert in_parts(metric(), *tensors, [4, 400]).item() == pytest.approx(oracle(target, preds), rel=1e-13)


NUMBERS = arrays(np.float64, st.tuples(st.integers(2, 12), st.integers(1, 3)), elements=st.floats(-100, 100, width=16))


@settings(deadline=None, max_examples=60)
@given(target=NUMBERS, seed=st.integers(0, 2**31), cut=st.integers(0, 12))
def test_scores_in_two_parts_in_any_order_are_those_of_the_whole(target, seed, cut):
    rng = np.random.default_rng(seed)
    preds = target + rng.normal(size=target.shape)
    way = rng.permutation(len(target))
    preds, target = torch.from_numpy(preds), torch.from_numpy(target)
    for score, metric in ((r2_score, R2Score), (pearsonr, PearsonCorrCoef), (mse, MeanSquaredError)):
        expected = score(preds, target)
        found = in_parts(metric(), preds[way], target[way], [min(cut, len(target))])
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("score", [r2_score, pearsonr, mse, mae])
def test_bad_input_is_one_clear_error(score):
    with pytest.raises(ValueError, match=r"one shape; found \(3,\) and \(3, 1\)"):
        score(torch.zeros(3), torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"\(N,\) or \(N, K\); found \(2, 3, 4\)"):
        score(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4))


def test_unknown_averages_and_changed_dimensions_are_refused():
    with pytest.raises(ValueError, match="uniform_average, variance_weighted, raw_values; found 'mean'"):
        r2_score(torch.zeros(3), torch.zeros(3), multioutput="mean")
    with pytest.raises(ValueError, match="found 'mean'"):
        R2Score(multioutput="mean")
    metric = R2Score()
    metric.update(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="expected 2 output dimensions; found 3"):
        metric.update(torch.zeros(3, 3), torch.zeros(3, 3))
    with pytest.raises(ValueError, match="expected 2 output dimensions; found 1"):
        MeanSquaredError(num_outputs=2).update(torch.zeros(3), torch.zeros(3))
