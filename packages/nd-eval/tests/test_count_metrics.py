"""Bits per spike and Poisson pseudo-R² against SciPy's Poisson likelihood and scikit-learn's deviance."""

import numpy as np
import pytest
import torch
from scipy.stats import poisson
from sklearn.metrics import d2_tweedie_score

from nd_eval import BitsPerSpike, PoissonPseudoR2, bits_per_spike, poisson_pseudo_r2


def spikes(seed, bins=400, neurons=5):
    rng = np.random.default_rng(seed)
    rates = np.exp(rng.normal(-1.0, 0.8, size=(bins, neurons)))
    return np.exp(np.log(rates) + 0.3 * rng.normal(size=rates.shape)), rng.poisson(rates).astype(np.float64)


def slow_bits(rates, counts, null=None):
    """From likelihoods in full, factorials included."""
    null = counts.mean(0, keepdims=True) if null is None else null
    gain = poisson.logpmf(counts, rates).sum() - poisson.logpmf(counts, np.broadcast_to(null, counts.shape)).sum()
    return gain / counts.sum() / np.log(2)


def test_bits_per_spike_are_those_of_the_likelihood_in_one_part_and_in_several():
    rates, counts = spikes(0)
    tensors = torch.from_numpy(rates), torch.from_numpy(counts)
    expected = slow_bits(rates, counts)
    assert bits_per_spike(*tensors).item() == pytest.approx(expected, rel=1e-11)
    assert bits_per_spike(tensors[0].log(), tensors[1], log_rates=True).item() == pytest.approx(expected, rel=1e-11)
    assert bits_per_spike(tensors[0], tensors[1].long()).item() == pytest.approx(expected, rel=1e-11)
    metric = BitsPerSpike()
    for part in (slice(300, None), slice(0, 7), slice(7, 300)):
        metric.update(*(x[part] for x in tensors))
    assert metric.compute().item() == pytest.approx(expected, rel=1e-11)


def test_the_null_model_can_come_from_elsewhere():
    rates, counts = spikes(1)
    null = np.array([0.2, 0.3, 0.4, 0.5, 0.6])
    found = bits_per_spike(torch.from_numpy(rates), torch.from_numpy(counts), null_rates=torch.from_numpy(null))
    assert found.item() == pytest.approx(slow_bits(rates, counts, null[None]), rel=1e-11)


def test_a_rate_of_zero_is_set_to_a_billionth_and_other_rates_are_left():
    rates, counts = spikes(2)
    rates[::7] = 0.0
    rates[3, 1] = 1e-30
    clipped = np.where(rates == 0.0, 1e-9, rates)
    expected = slow_bits(clipped, counts)
    assert bits_per_spike(torch.from_numpy(rates), torch.from_numpy(counts)).item() == pytest.approx(
        expected, rel=1e-11
    )
    higher = slow_bits(np.where(rates == 0.0, 1e-3, rates), counts)
    found = bits_per_spike(torch.from_numpy(rates), torch.from_numpy(counts), zero_rate=1e-3)
    assert found.item() == pytest.approx(higher, rel=1e-11)


def test_a_silent_neuron_costs_only_what_was_predicted_of_it():
    rates, counts = spikes(3)
    counts[:, 2] = 0.0
    null = np.where(counts.mean(0) == 0.0, 1e-9, counts.mean(0))
    found = bits_per_spike(torch.from_numpy(rates), torch.from_numpy(counts))
    assert found.item() == pytest.approx(slow_bits(rates, counts, null[None]), rel=1e-11)
    assert bits_per_spike(torch.ones(4, 2), torch.zeros(4, 2)).isnan()


def test_bins_that_were_not_recorded_are_left_out():
    rates, counts = spikes(4, neurons=1)
    holes = counts.copy()
    holes[::3] = np.nan
    kept = ~np.isnan(holes[:, 0])
    for score in (bits_per_spike, poisson_pseudo_r2):
        found = score(torch.from_numpy(rates), torch.from_numpy(holes))
        expected = score(torch.from_numpy(rates[kept]), torch.from_numpy(counts[kept]))
        assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_pseudo_r2_is_the_explained_deviance_of_scikit_learn():
    rates, counts = spikes(5)
    tensors = torch.from_numpy(rates), torch.from_numpy(counts)
    each = np.array([d2_tweedie_score(counts[:, k], rates[:, k], power=1) for k in range(5)])
    np.testing.assert_allclose(poisson_pseudo_r2(*tensors, average="raw_values"), each, rtol=0, atol=1e-11)
    assert poisson_pseudo_r2(*tensors).item() == pytest.approx(each.mean(), abs=1e-11)
    deviances = [2 * (np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / y.mean()), 0)).sum() for y in counts.T]
    pooled = np.average(each, weights=deviances)
    assert poisson_pseudo_r2(*tensors, average="deviance_weighted").item() == pytest.approx(pooled, abs=1e-11)
    metric = PoissonPseudoR2()
    for part in (slice(100, None), slice(0, 100)):
        metric.update(*(x[part] for x in tensors))
    assert metric.compute().item() == pytest.approx(each.mean(), abs=1e-11)


def test_a_neuron_whose_count_never_changes_has_no_pseudo_r2():
    rates, counts = spikes(6)
    counts[:, 0], counts[:, 3] = 2.0, 0.0
    tensors = torch.from_numpy(rates), torch.from_numpy(counts)
    raw = poisson_pseudo_r2(*tensors, average="raw_values")
    assert raw.isnan().tolist() == [True, False, False, True, False]
    assert poisson_pseudo_r2(*tensors).item() == pytest.approx(raw[[1, 2, 4]].mean().item(), abs=1e-13)
    assert poisson_pseudo_r2(tensors[0][:, :1], tensors[1][:, :1], average="deviance_weighted").isnan()


def test_counts_themselves_explain_everything_and_their_mean_nothing():
    _, counts = (torch.from_numpy(x) for x in spikes(7))
    assert poisson_pseudo_r2(counts, counts).item() == pytest.approx(1.0, abs=1e-6)
    mean = counts.mean(0, keepdim=True).expand_as(counts)
    assert poisson_pseudo_r2(mean, counts).item() == pytest.approx(0.0, abs=1e-12)
    assert bits_per_spike(mean, counts).item() == pytest.approx(0.0, abs=1e-12)


def test_a_nan_rate_shows():
    rates, counts = (torch.from_numpy(x) for x in spikes(8))
    rates[5, 1] = torch.nan
    assert bits_per_spike(rates, counts).isnan()
    assert poisson_pseudo_r2(rates, counts, average="raw_values").isnan().tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("score", [bits_per_spike, poisson_pseudo_r2])
def test_bad_input_is_one_clear_error(score):
    counts = torch.ones(3, 2)
    with pytest.raises(ValueError, match=r"a rate must be 0 or more; found -1 at bin 2, neuron 1; are these log rates"):
        score(torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, -1.0]]), counts)
    with pytest.raises(ValueError, match=r"a count must be 0 or more; found -1 at bin 0, neuron 0"):
        score(counts, -counts)
    with pytest.raises(ValueError, match=r"one rate of 0 or more for each of 2 neurons; found shape \(3,\)"):
        score(counts, counts, null_rates=torch.ones(3))
    with pytest.raises(ValueError, match="with a negative or NaN"):
        score(counts, counts, null_rates=torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="zero_rate must be a positive rate; found 0"):
        score(counts, counts, zero_rate=0.0)
    with pytest.raises(ValueError, match="one shape"):
        score(counts, counts[:, :1])


def test_an_unknown_average_is_refused():
    with pytest.raises(ValueError, match="uniform_average, deviance_weighted, raw_values; found 'mean'"):
        poisson_pseudo_r2(torch.ones(2), torch.ones(2), average="mean")
    with pytest.raises(ValueError, match="found 'mean'"):
        PoissonPseudoR2(average="mean")
