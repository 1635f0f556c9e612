"""Masked scores against the numeric cases of the longitudinal specification and slow float64 NumPy."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr as scipy_pearsonr

from nd_eval import (
    MaskedMeanAbsoluteError,
    MaskedMeanSquaredError,
    MaskedPearsonCorrCoef,
    MaskedSMAPE,
    masked_mae,
    masked_mse,
    masked_pearsonr,
    masked_smape,
)

CASES = json.loads((Path(__file__).parent / "masked_cases.json").read_text())["cases"]
METRIC_CASES = [case for case in CASES if case["kind"] == "metrics"]
EPOCH_CASES = [case for case in CASES if case["kind"] == "epoch"]
FUNCTIONS = {"mse": masked_mse, "mae": masked_mae, "smape": masked_smape, "pearsonr": masked_pearsonr}
CLASSES = {
    "mse": MaskedMeanSquaredError,
    "mae": MaskedMeanAbsoluteError,
    "smape": MaskedSMAPE,
    "pearsonr": MaskedPearsonCorrCoef,
}
REDUCTIONS = ("within-seq", "between-seq", "flatten", "none")


def array(nested):
    return np.array(json.loads(json.dumps(nested).replace("null", "NaN")), dtype=np.float64)


def tensors(inputs):
    return (
        torch.from_numpy(array(inputs["pred"])).float(),
        torch.from_numpy(array(inputs["target"])).float(),
        torch.from_numpy(array(inputs["mask"])).bool(),
    )


@pytest.mark.parametrize("metric", FUNCTIONS)
@pytest.mark.parametrize("case", METRIC_CASES, ids=lambda case: case["id"])
def test_every_numeric_case_of_the_specification_holds(case, metric):
    preds, target, mask = tensors(case["inputs"])
    for reduction, expected in case["expected"][metric].items():
        found = FUNCTIONS[metric](preds, target, mask, reduction=reduction)
        np.testing.assert_allclose(found.numpy(), array(expected), rtol=2e-5, atol=1e-6, err_msg=reduction)
        if reduction != "none":
            epoch = CLASSES[metric](reduction=reduction)
            epoch.update(preds, target, mask)
            np.testing.assert_allclose(epoch.compute().numpy(), array(expected), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("case", METRIC_CASES, ids=lambda case: case["id"])
def test_undefined_correlations_can_count_as_zero(case):
    preds, target, mask = tensors(case["inputs"])
    for reduction, expected in case["expected"]["pearsonr_undefined_as_zero"].items():
        found = masked_pearsonr(preds, target, mask, reduction=reduction, undefined="zero")
        np.testing.assert_allclose(found.numpy(), array(expected), rtol=2e-5, atol=1e-6, err_msg=reduction)


@pytest.mark.parametrize("metric", CLASSES)
@pytest.mark.parametrize("case", EPOCH_CASES, ids=lambda case: case["id"])
def test_the_value_of_an_epoch_is_that_of_all_its_points(case, metric):
    for reduction, expected in case["expected"]["epoch"][metric].items():
        epoch = CLASSES[metric](reduction=reduction)
        for batch in case["inputs"]["batches"]:
            epoch.update(*tensors(batch))
        np.testing.assert_allclose(epoch.compute().numpy(), array(expected), rtol=2e-5, atol=1e-6)
        assert epoch.count == 8


def slow(metric, reduction, preds, target, mask):
    """The specification's sentence, in loops."""

    def elementwise(p, y):
        if metric == "mse":
            return (p - y) ** 2
        if metric == "mae":
            return abs(p - y)
        return 0.0 if p == y == 0 else 2 * abs(p - y) / (abs(p) + abs(y))

    def correlation(pairs):
        p, y = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        if len(p) < 2 or np.ptp(p) == 0 or np.ptp(y) == 0:
            return math.nan
        return scipy_pearsonr(p, y).statistic

    def score(pairs):
        return correlation(pairs) if metric == "pearsonr" else np.mean([elementwise(p, y) for p, y in pairs])

    def mean(values):
        kept = [value for value in values if not math.isnan(value)]
        return float(np.mean(kept)) if kept else math.nan

    sequences, _, outcomes = preds.shape
    columns = []
    for k in range(outcomes):
        pairs = [
            list(zip(preds[b, mask[b, :, k], k], target[b, mask[b, :, k], k], strict=True)) for b in range(sequences)
        ]
        pairs = [pair for pair in pairs if pair]
        if not pairs:
            continue
        if reduction == "flatten":
            columns.append(score([one for pair in pairs for one in pair]))
        elif reduction == "within-seq":
            columns.append(mean([score(pair) for pair in pairs]))
        else:
            means = [tuple(np.mean(pair, axis=0)) for pair in pairs]
            columns.append(score(means) if metric == "pearsonr" else mean([elementwise(p, y) for p, y in means]))
    return mean(columns)


@pytest.mark.parametrize("metric", FUNCTIONS)
@pytest.mark.parametrize("reduction", REDUCTIONS[:3])
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_random_masks_agree_with_loops_however_batched_and_padded(metric, reduction, seed):
    rng = np.random.default_rng(seed)
    shape = (rng.integers(1, 6), rng.integers(1, 7), rng.integers(1, 4))
    # Whole numbers, so that equal means are equal in any order of summation.
    preds, target = rng.integers(-3, 4, size=shape).astype(float), rng.integers(-3, 4, size=shape).astype(float)
    mask = rng.random(shape) < rng.choice([0.1, 0.5, 0.9])
    preds[~mask], target[~mask] = np.nan, np.inf
    expected = slow(metric, reduction, preds, target, mask)
    tensors = [torch.from_numpy(x) for x in (preds, target, mask)]
    np.testing.assert_allclose(FUNCTIONS[metric](*tensors, reduction=reduction).item(), expected, rtol=1e-9, atol=1e-12)
    epoch = CLASSES[metric](reduction=reduction)
    for b in rng.permutation(shape[0]):
        padding = rng.integers(0, 3)
        epoch.update(*(torch.nn.functional.pad(x[b : b + 1], (0, 0, 0, padding)) for x in tensors))
    np.testing.assert_allclose(epoch.compute().item(), expected, rtol=1e-9, atol=1e-12)
    assert epoch.count == mask.sum()


@pytest.mark.parametrize("metric", FUNCTIONS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients_are_those_of_finite_differences_and_never_nan(metric, reduction):
    generator = torch.Generator().manual_seed(0)
    preds = torch.randn(3, 5, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randn(3, 5, 2, generator=generator, dtype=torch.float64)
    mask = torch.rand(3, 5, 2, generator=generator) < 0.7
    target[~mask] = torch.nan
    assert torch.autograd.gradcheck(lambda p: FUNCTIONS[metric](p, target, mask, reduction=reduction), preds)
    FUNCTIONS[metric](preds, target, mask, reduction=reduction).sum().backward()
    assert preds.grad[~mask].eq(0).all()


@pytest.mark.parametrize("metric", FUNCTIONS)
def test_an_undefined_pair_gives_no_nan_gradient_to_the_others(metric):
    preds = torch.tensor([[1.0, 1.0, 1.0], [1.0, 2.0, 4.0], [0.0, 0.0, 0.0]], requires_grad=True)
    target = torch.tensor([[2.0, 2.0, 2.0], [1.0, 3.0, 4.0], [0.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 1], [0, 0, 0]])
    FUNCTIONS[metric](preds, target, mask).backward()
    assert torch.isfinite(preds.grad).all()
    assert preds.grad[1].abs().sum() > 0


def test_correlation_is_scale_free_for_tiny_and_offset_signals():
    steps = torch.arange(50, dtype=torch.float64)
    for preds, target in ((steps * 1e-9, steps * 3e-9), (steps * 1e-3 + 1e6, steps), (steps * 1e-100, steps * 1e100)):
        assert masked_pearsonr(preds[None], target[None]).item() == pytest.approx(1.0, abs=1e-6)
        assert masked_pearsonr(-preds[None], target[None]).item() == pytest.approx(-1.0, abs=1e-6)


def test_means_that_differ_by_rounding_alone_are_equal():
    # Three sequences of different lengths whose means are 0.1 but for rounding.
    preds = torch.tensor([[0.1, 0.1, 0.1], [0.1, 0.1, 9.0], [0.0, 0.1, 0.2]], dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 1]])
    target = torch.tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [3.0, 3.0, 4.0]], dtype=torch.float64)
    assert masked_pearsonr(preds, target, mask, reduction="between-seq").isnan()


def test_masks_of_two_and_three_dimensions_mean_the_same_and_none_counts_all():
    generator = torch.Generator().manual_seed(1)
    preds, target = torch.randn(2, 4, 4, 3, generator=generator).unbind(0)
    mask = torch.rand(4, 4, generator=generator) < 0.5
    for function in FUNCTIONS.values():
        expected = function(preds, target, mask[..., None].expand(4, 4, 3))
        torch.testing.assert_close(function(preds, target, mask), expected)
        torch.testing.assert_close(function(preds, target, mask[..., None].int()), expected)
        torch.testing.assert_close(function(preds, target), function(preds, target, torch.ones(4, 4)))
        torch.testing.assert_close(function(preds[..., 0], target[..., 0]), function(preds[..., :1], target[..., :1]))


def test_no_sequences_at_all_give_nan():
    for metric, function in FUNCTIONS.items():
        for reduction in REDUCTIONS[:3]:
            assert function(torch.zeros(0, 3, 2), torch.zeros(0, 3, 2), reduction=reduction).isnan()
            epoch = CLASSES[metric](reduction=reduction)
            epoch.update(torch.zeros(0, 3, 2), torch.zeros(0, 3, 2))
            assert epoch.compute().isnan()


@pytest.mark.parametrize("function", FUNCTIONS.values())
def test_bad_input_is_one_clear_error(function):
    preds = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match=r"\(2, 3, 4\) and \(2, 3, 1\)"):
        function(preds, preds[..., :1])
    with pytest.raises(ValueError, match=r"mask of shape \(3, 2\)"):
        function(preds, preds, torch.ones(3, 2))
    with pytest.raises(ValueError, match=r"mask of shape \(2, 3, 2\)"):
        function(preds, preds, torch.ones(2, 3, 2))
    with pytest.raises(ValueError, match="within-seq, between-seq, flatten, none; found 'mean'"):
        function(preds, preds, reduction="mean")


def test_an_epoch_refuses_what_it_cannot_accumulate():
    with pytest.raises(ValueError, match="found 'none'"):
        MaskedMeanSquaredError(reduction="none")
    epoch = MaskedPearsonCorrCoef()
    epoch.update(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="number of outcomes must stay the same; found 3 and 4"):
        epoch.update(torch.zeros(2, 3, 3), torch.zeros(2, 3, 3))
    with pytest.raises(ValueError, match="skip, zero; found 'one'"):
        masked_pearsonr(torch.zeros(1, 2), torch.zeros(1, 2), undefined="one")
