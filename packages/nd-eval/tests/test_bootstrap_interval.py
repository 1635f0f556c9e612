"""Confidence intervals of one metric: coverage, what they do not depend on, and the ends of the range."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
import torchmetrics
from scipy.signal import lfilter
from scipy.stats import norm
from scipy.stats import t as student

from nd_eval import (
    METRICS,
    Accuracy,
    F1Score,
    MeanSquaredError,
    PearsonCorrCoef,
    R2Score,
    bootstrap_interval,
    build_metric,
)
from nd_eval.metrics.statistic_metric import Scale
from nd_eval.uncertainty.block_bootstrap import block_bootstrap
from nd_eval.uncertainty.student import student_quantile
from nd_eval.uncertainty.value_scale import value_scale


def autoregressive(rng, shape, coefficient):
    noise = rng.normal(size=shape) * np.sqrt(1 - coefficient**2)
    start = rng.normal(size=(*shape[:-1], 1))
    return lfilter([1.0], [1.0, -coefficient], noise, axis=-1, zi=coefficient * start)[0]


def pair(rng, count=1500, coefficient=0.9, kind="continuous"):
    signal, error = autoregressive(rng, (2, count), coefficient)
    if kind == "classes":
        return tuple(torch.from_numpy(np.digitize(x, [-0.5, 1.0])) for x in (signal + 0.5 * error, signal))
    if kind == "counts":
        return torch.from_numpy(np.exp(0.4 * signal)), torch.from_numpy(rng.poisson(np.exp(0.5 * signal)))
    return torch.from_numpy(signal + 0.6 * error), torch.from_numpy(signal)


@pytest.mark.parametrize(
    ("metric", "truth"),
    [
        (MeanSquaredError(), 0.36),
        (R2Score(), 1 - 0.36),
        (PearsonCorrCoef(), 1 / math.sqrt(1.36)),
    ],
)
def test_intervals_of_dependent_data_hold_the_truth_as_often_as_they_say(metric, truth):
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    repetitions = 300
    for level in (0.95, 0.8):
        held = sum(
            truth in bootstrap_interval(metric, *pair(rng), level=level, resamples=300, generator=generator)
            for _ in range(repetitions)
        )
        # Three standard errors of the share, and two percent for short recordings; docs/figures has the exact picture.
        margin = 3 * math.sqrt(level * (1 - level) / repetitions) + 0.02
        assert abs(held / repetitions - level) < margin


def test_taking_times_for_independent_would_be_far_too_sure():
    rng, generator = np.random.default_rng(1), torch.Generator().manual_seed(1)
    widths = []
    for _ in range(20):
        preds, target = pair(rng)
        way = torch.randperm(len(preds), generator=generator)
        ends = [
            bootstrap_interval(MeanSquaredError(), *x, resamples=200, generator=generator)
            for x in ((preds, target), (preds[way], target[way]))
        ]
        widths.append((ends[0].high - ends[0].low) / (ends[1].high - ends[1].low))
    # Squares of AR(1) have the coefficient φ²: theory says √((1 + φ²) / (1 - φ²)) = 3.1.
    assert np.median(widths) == pytest.approx(3.1, rel=0.25)


def test_the_interval_of_an_independent_mean_is_the_normal_one():
    rng = np.random.default_rng(2)
    right = torch.from_numpy((rng.uniform(size=20_000) < 0.7).astype(int))
    found = bootstrap_interval(Accuracy(), right, torch.ones_like(right), resamples=4000, block_length=1)
    share = right.double().mean().item()
    error = math.sqrt(share * (1 - share) / 20_000)
    assert found.value == share
    assert found.standard_error == pytest.approx(error, rel=0.05)
    assert found.low == pytest.approx(share - norm.ppf(0.975) * error, abs=0.15 * error)
    assert found.high == pytest.approx(share + norm.ppf(0.975) * error, abs=0.15 * error)


@pytest.mark.parametrize("name", [name for name, spec in METRICS.items() if spec.targets != "sequences"])
def test_every_metric_of_the_table_has_an_interval_around_its_value(name):
    kind = METRICS[name].targets
    preds, target = pair(np.random.default_rng(3), count=800, kind=kind)
    metric = build_metric(name)
    found = bootstrap_interval(metric, preds, target, resamples=200)
    assert not metric.update_called
    metric.update(preds, target)
    assert found.value == pytest.approx(metric.compute().item(), rel=1e-12)
    assert found.low < found.value < found.high
    assert found.block_length > 1
    with torch.inference_mode():
        assert bootstrap_interval(metric, preds, target, resamples=200) == found
    wider = bootstrap_interval(metric, preds, target, level=0.99, resamples=200)
    assert wider.low < found.low
    assert wider.high > found.high


@pytest.mark.filterwarnings("ignore:Metric `SpearmanCorrcoef` will save all targets:UserWarning")
def test_any_other_metric_is_computed_anew_and_gives_nearly_the_same():
    preds, target = pair(np.random.default_rng(4), count=1000)
    ours = bootstrap_interval(MeanSquaredError(), preds, target, resamples=1000, block_length=64)
    theirs = bootstrap_interval(torchmetrics.MeanSquaredError(), preds, target, resamples=1000, block_length=64)
    assert theirs.value == pytest.approx(ours.value, rel=1e-6)
    assert theirs.standard_error == pytest.approx(ours.standard_error, rel=0.1)
    width = ours.high - ours.low
    assert theirs.low == pytest.approx(ours.low, abs=0.15 * width)
    assert theirs.high == pytest.approx(ours.high, abs=0.15 * width)
    spearman = bootstrap_interval(torchmetrics.SpearmanCorrCoef(), preds, target, resamples=100)
    assert spearman.low < spearman.value < spearman.high


def test_a_masked_metric_takes_the_trace_for_one_sequence():
    preds, target = pair(np.random.default_rng(5), count=400)
    plain = bootstrap_interval(build_metric("mse"), preds, target, resamples=200)
    masked = bootstrap_interval(build_metric("masked_mse"), preds, target, resamples=200)
    assert masked.value == pytest.approx(plain.value, rel=1e-12)
    assert masked.standard_error == pytest.approx(plain.standard_error, rel=0.5)


def test_the_same_generator_state_gives_the_same_interval_and_global_state_is_left_alone():
    data = pair(np.random.default_rng(6), count=500)
    state = torch.get_rng_state()
    first, second = (bootstrap_interval(R2Score(), *data, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert first == second
    assert bootstrap_interval(R2Score(), *data) == bootstrap_interval(R2Score(), *data)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e7])
def test_an_offset_changes_nothing(offset):
    preds, target = pair(np.random.default_rng(7), count=600)
    found = [
        bootstrap_interval(metric, preds + shift, target + shift, block_length=30, resamples=200)
        for metric in (R2Score(), PearsonCorrCoef())
        for shift in (0.0, offset)
    ]
    for plain, shifted in (found[:2], found[2:]):
        assert (shifted.low, shifted.high) == pytest.approx((plain.low, plain.high), abs=1e-6)


def test_replicates_are_scores_of_resampled_blocks():
    """The sums that are resampled are those of circular blocks of the given length."""
    preds, target = pair(np.random.default_rng(8), count=90)
    found = block_bootstrap(
        R2Score(), preds, target, resamples=100, generator=torch.Generator().manual_seed(3), block_length=20
    )
    starts = torch.randint(90, (100, 5), generator=torch.Generator().manual_seed(3))
    ways = ((starts[..., None] + torch.arange(20)) % 90).flatten(1)
    for value, way in zip(found.values[:20], ways, strict=False):
        y, p = target[way].numpy(), preds[way].numpy()
        expected = 1 - ((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        assert value.item() == pytest.approx(expected, rel=1e-9)
    assert found.block_length == 20
    assert found.block_count == 4.5


def test_long_recordings_are_resampled_in_units_of_several_times():
    rng = np.random.default_rng(9)
    preds, target = pair(rng, count=100_003, coefficient=0.99)
    whole = bootstrap_interval(R2Score(), preds, target, resamples=300)
    # The reference: standard error over many recordings of this length.
    scores = [
        1 - ((p - y) ** 2).sum().item() / ((y - y.mean()) ** 2).sum().item()
        for p, y in (pair(rng, count=100_003, coefficient=0.99) for _ in range(60))
    ]
    assert whole.standard_error == pytest.approx(np.std(scores), rel=0.4)
    assert whole.block_length > 200


def test_perfect_scores_have_an_interval_of_no_width():
    right = torch.arange(300) % 3
    for metric in (Accuracy(), F1Score()):
        found = bootstrap_interval(metric, right, right)
        assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)
    exact = bootstrap_interval(MeanSquaredError(), torch.randn(50), torch.zeros(50) * 0)
    assert exact.low < exact.value
    zero = bootstrap_interval(MeanSquaredError(), torch.ones(50), torch.ones(50))
    assert (zero.low, zero.value, zero.high) == (0.0, 0.0, 0.0)


def test_an_accuracy_of_almost_one_keeps_its_ends_below_one():
    target = torch.zeros(2000, dtype=torch.int64)
    preds = target.clone()
    preds[[5, 1200]] = 1
    found = bootstrap_interval(Accuracy(), preds, target)
    assert 0.99 < found.low < found.value <= found.high <= 1.0


@pytest.mark.parametrize(
    ("preds", "target"),
    [
        (torch.ones(40), torch.ones(40)),  # a constant target has no R²
        (torch.tensor([1.0, float("nan")] * 20), torch.arange(40.0)),
        (torch.ones(1), torch.ones(1)),
        (torch.ones(0), torch.ones(0)),
    ],
)
def test_what_has_no_score_has_no_interval(preds, target):
    found = bootstrap_interval(R2Score(), preds, target)
    assert math.isnan(found.value)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_a_block_as_long_as_the_recording_has_no_interval():
    found = bootstrap_interval(R2Score(), *pair(np.random.default_rng(10), count=50), block_length=50)
    assert math.isfinite(found.value)
    assert math.isnan(found.low)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 1.0}, "level must be between 0 and 1, such as 0.95; found 1.0"),
        ({"level": 95}, "found 95"),
        ({"resamples": 10}, "an interval takes 100 resamples or more; found 10"),
        ({"block_length": 0}, "a block must have 1 time or more; found 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(R2Score(), torch.randn(9), torch.randn(9), **options)


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"predictions of shape \(9,\) but targets of shape \(8,\)"):
        bootstrap_interval(R2Score(), torch.randn(9), torch.randn(8))


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 10, 31, 200])
@pytest.mark.parametrize("probability", [0.5, 0.6, 0.9, 0.975, 0.9995])
def test_student_quantiles_are_those_of_scipy(degrees, probability):
    assert student_quantile(probability, degrees) == pytest.approx(
        student.ppf(probability, degrees), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("name", get_args(Scale))
def test_scales_ascend_and_are_undone_by_their_inverse(name):
    scale = value_scale(name, standard_error=0.05)
    values = torch.linspace(0.05, 0.95, 19, dtype=torch.float64).requires_grad_()
    torch.testing.assert_close(scale.inverse(scale.forward(values)), values)
    (slope,) = torch.autograd.grad(scale.forward(values).sum(), values)
    torch.testing.assert_close(scale.derivative(values.detach()), slope)
    assert (slope > 0).all()
