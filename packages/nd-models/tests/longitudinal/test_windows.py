"""Windowed means and linear models of the last steps (case H02; defects MO:443-453 of the original)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nd_models.longitudinal import AutoRegressiveLinear, WindowedMeanLinear, window_mean


def test_window_means_are_those_of_the_specification(case):
    one = case("H02_window_mean")
    values, missing = torch.tensor(one["inputs"]["x"]), torch.tensor(one["inputs"]["missing"], dtype=torch.bool)
    max_len = one["inputs"]["max_len"]
    expected = one["expected"]
    masked, _ = window_mean(values, ~missing, max_len=max_len)
    np.testing.assert_allclose(masked.numpy(), expected["masked"], rtol=2e-5, atol=1e-6)
    whole, _ = window_mean(values, torch.ones_like(missing), max_len=max_len)
    np.testing.assert_allclose(whole.numpy(), expected["without_mask"], rtol=2e-5, atol=1e-6)


@given(st.integers(0, 10_000), st.integers(1, 9), st.sampled_from([None, 1, 2, 5, 20]))
def test_a_window_mean_is_the_mean_of_what_was_observed_in_the_window(seed, steps, max_len):
    rng = np.random.default_rng(seed)
    values, observed = rng.normal(size=(2, steps, 3)), rng.random((2, steps)) < 0.6
    spoiled = np.where(observed[..., None], values, np.nan)
    means, counts = window_mean(torch.from_numpy(spoiled), torch.from_numpy(observed), max_len=max_len)
    for row in range(2):
        for step in range(steps):
            window = slice(0 if max_len is None else max(0, step - max_len + 1), step + 1)
            seen = values[row, window][observed[row, window]]
            assert counts[row, step] == len(seen)
            np.testing.assert_allclose(means[row, step], seen.mean(axis=0) if len(seen) else 0.0, atol=1e-12)


def test_one_large_value_is_gone_once_the_window_has_passed_it():
    values = torch.tensor([1.0, 1e30, 1.0, 2.0, 3.0]).view(1, 5, 1)
    means, _ = window_mean(values, torch.ones(1, 5, dtype=torch.bool), max_len=2)
    assert means[0, 3:, 0].tolist() == [1.5, 2.5]


def test_a_long_running_mean_keeps_its_digits():
    values = torch.full((1, 200_000, 1), 0.1)
    means, _ = window_mean(values, torch.ones(1, 200_000, dtype=torch.bool))
    torch.testing.assert_close(means[0, -1], torch.tensor([0.1]), rtol=1e-6, atol=0)


def test_the_windowed_mean_model_is_a_linear_function_of_the_mean(make_batch):
    model, batch = WindowedMeanLinear(4, 2, max_len=3).eval(), make_batch([7, 3])
    means, _ = window_mean(batch["embeddings"], ~batch["mask"], max_len=3)
    weight, bias = model.readout.weight.detach(), model.readout.bias.detach()
    torch.testing.assert_close(model(**batch), means @ weight.T + bias)


@pytest.mark.parametrize("max_len", [1, 3, 20])
@pytest.mark.parametrize("missing_steps", ["zero", "carry", "flag"])
def test_the_linear_model_weighs_each_feature_of_each_step_of_the_window(make_batch, max_len, missing_steps):
    model = AutoRegressiveLinear(4, 2, max_len=max_len, missing_steps=missing_steps).eval()
    batch = make_batch([7, 4])
    output = model(**batch).detach().numpy()
    weight, bias = (parameter.detach().double().numpy() for parameter in (model.readout.weight, model.readout.bias))
    for row, length in enumerate([7, 4]):
        values = batch["embeddings"][row].double().numpy().copy()
        missing = batch["mask"][row].numpy()
        if missing_steps == "zero":
            values[missing] = 0.0
        elif missing_steps == "flag":
            values = np.concatenate((values, missing[:, None]), axis=1)
        for step in range(length):
            expected = bias.copy()
            for back in range(min(max_len, step + 1)):
                expected += weight[:, :, max_len - 1 - back] @ values[step - back]
            np.testing.assert_allclose(output[row, step], expected, rtol=1e-4, atol=1e-5)


def test_weights_of_one_give_the_sum_of_the_window():
    model = AutoRegressiveLinear(2, 1, max_len=2, initial="ones")
    embeddings = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]])
    assert model(embeddings)[0, :, 0].tolist() == [11.0, 33.0, 55.0]


@pytest.mark.parametrize("features", [1, 3, 7])
def test_the_number_of_features_is_free_of_the_windows_length(features):
    assert AutoRegressiveLinear(features, 2, max_len=4)(torch.zeros(1, 3, features)).shape == (1, 3, 2)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="max_len must be a whole number from 1 on, got 0"):
        WindowedMeanLinear(3, max_len=0)
    with pytest.raises(ValueError, match="initial must be 'uniform' or 'ones', got 'zeros'"):
        AutoRegressiveLinear(3, initial="zeros")
