"""Scores of any dtype, scale and offset against slow versions in extended precision, scikit-learn and SciPy."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, mean_squared_error, r2_score
from sklearn.metrics import balanced_accuracy_score as balanced_accuracy_of_sklearn

import nd_eval

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def pair_of(seed, count, columns, dtype, scale, offset):
    """Targets and predictions of a dtype, and the same numbers in extended precision."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(count, columns, dtype=torch.float64, generator=generator)
    preds = target + 0.5 * torch.randn(count, columns, dtype=torch.float64, generator=generator)
    given = [(values * scale + offset).to(dtype) for values in (preds, target)]
    return given, [values.double().numpy().astype(np.longdouble) for values in given]


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    count=st.one_of(st.integers(2, 60), st.just(9000)),
    columns=st.integers(1, 4),
    dtype=st.sampled_from(DTYPES),
    size=st.sampled_from([(1.0, 0.0), (1e-3, 0.0), (30.0, 50.0)]),
)
def test_continuous_scores_of_any_dtype_are_those_of_its_numbers(seed, count, columns, dtype, size):
    given_pair, (p, y) = pair_of(seed, count, columns, dtype, *size)
    assume(bool((y.max(0) > y.min(0)).all() and (p.max(0) > p.min(0)).all()))
    centred_p, centred_y = p - p.mean(0), y - y.mean(0)
    r2 = (1 - ((p - y) ** 2).sum(0) / (centred_y**2).sum(0)).mean()
    r = ((centred_p * centred_y).sum(0) / np.sqrt((centred_p**2).sum(0) * (centred_y**2).sum(0))).mean()
    expected = {"r2": r2, "pearsonr": r, "mse": ((p - y) ** 2).mean(), "mae": np.abs(p - y).mean()}
    for name, value in expected.items():
        metric = nd_eval.build_metric(name)
        half = count // 2
        metric.update(*(values[:half] for values in given_pair))
        metric.update(*(values[half:] for values in given_pair))
        found = float(metric.compute())
        assert found == pytest.approx(float(value), rel=1e-11, abs=1e-11), name
        assert float(metric.value_of(*given_pair)) == pytest.approx(float(value), rel=1e-11, abs=1e-11), name


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 1e6), (1e-3, 1e6), (1e-9, 0.0), (1e-9, 1.0), (1e12, -1e15)])
def test_offset_and_tiny_targets_lose_no_digits(scale, offset):
    given_pair, (p, y) = pair_of(3, 5000, 2, torch.float64, scale, offset)
    centred_p, centred_y = p - p.mean(0), y - y.mean(0)
    r2 = 1 - ((p - y) ** 2).sum(0) / (centred_y**2).sum(0)
    r = (centred_p * centred_y).sum(0) / np.sqrt((centred_p**2).sum(0)) / np.sqrt((centred_y**2).sum(0))
    found = (
        nd_eval.r2_score(*given_pair, multioutput="raw_values"),
        nd_eval.pearsonr(*given_pair, multioutput="raw_values"),
    )
    np.testing.assert_allclose(found[0].numpy(), r2.astype(float), rtol=1e-9)
    np.testing.assert_allclose(found[1].numpy(), r.astype(float), rtol=1e-9)
    for metric, values in (("r2", r2), ("pearsonr", r)):
        assert float(nd_eval.build_metric(metric).value_of(*given_pair)) == pytest.approx(
            float(values.mean()), rel=1e-9
        )


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 50))
def test_functions_classes_and_scikit_learn_agree(seed, count):
    (preds, target), _ = pair_of(seed, count, 2, torch.float64, 1.0, 0.3)
    for name, function, theirs in (
        ("r2", nd_eval.r2_score, r2_score),
        ("mse", nd_eval.mse, mean_squared_error),
        ("mae", nd_eval.mae, mean_absolute_error),
    ):
        expected = theirs(target.numpy(), preds.numpy())
        assert float(function(preds, target)) == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert float(nd_eval.build_metric(name).value_of(preds, target)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 60),
    classes=st.integers(2, 6),
    dtype=st.sampled_from([torch.uint8, torch.int8, torch.int32, torch.int64]),
)
def test_class_scores_of_any_integer_dtype_are_those_of_scikit_learn(seed, count, classes, dtype):
    generator = torch.Generator().manual_seed(seed)
    preds, target = torch.randint(0, classes, (2, count), generator=generator).to(dtype)
    seen = np.unique(target.numpy())
    expected = {
        "accuracy": accuracy_score(target, preds),
        "f1_macro": f1_score(target, preds, average="macro", zero_division=0),
        "f1_weighted": f1_score(target, preds, average="weighted", zero_division=0),
    }
    # Its balanced accuracy warns of predictions of a class that is no target; and of a single class.
    if len(seen) > 1 and set(preds.tolist()) <= set(seen.tolist()):
        expected["balanced_accuracy"] = balanced_accuracy_of_sklearn(target, preds)
    for name, value in expected.items():
        metric = nd_eval.build_metric(name)
        metric.update(preds, target)
        assert float(metric.compute()) == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_target_has_no_score_whatever_its_dtype_and_offset(dtype):
    for value in (0.0, 0.1, 1e4):
        target = torch.full((1000,), value).to(dtype)
        preds = torch.linspace(0.0, 1.0, 1000).to(dtype)
        for name in ("r2", "pearsonr"):
            assert nd_eval.build_metric(name).value_of(preds, target).isnan()
        assert float(nd_eval.build_metric("mse").value_of(target, target)) == 0.0
