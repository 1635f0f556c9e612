"""Steps 2 and 4 against loops over every step: shift, reshift, interpolation, and the masks of a shifted loss."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_train.longitudinal import reshift_output, shift_labels, shifted_loss_mask
from nd_train.longitudinal.shift import filled_labels


def slow_reshift(output, labels, observed, interpolated):
    """The specification's sentence, step by step."""
    levels = output.copy()
    for b, t, k in np.ndindex(*output.shape):
        if t:
            known = observed[b, t - 1, k] or not interpolated
            levels[b, t, k] = output[b, t, k] + (labels[b, t - 1, k] if known else levels[b, t - 1, k])
    return levels


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), interpolated=st.booleans())
def test_reshift_is_the_recursion_step_by_step(seed, interpolated):
    rng = np.random.default_rng(seed)
    shape = (rng.integers(1, 5), rng.integers(1, 12), rng.integers(1, 4))
    output, labels = rng.normal(size=shape), rng.normal(size=shape) * 10
    observed = rng.random(shape) < rng.choice([0.1, 0.5, 0.9])
    expected = slow_reshift(output, labels, observed, interpolated)
    found = reshift_output(*(torch.from_numpy(x) for x in (output, labels, observed)), interpolated=interpolated)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), interpolated=st.booleans())
def test_reshift_brings_back_what_shift_took_apart(seed, interpolated):
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.integers(-9, 9, size=(3, 8, 2)).astype(float))
    observed = torch.from_numpy(rng.random((3, 8, 2)) < 0.5)
    back = reshift_output(shift_labels(labels), labels, observed, interpolated=interpolated)
    torch.testing.assert_close(back, labels)


@pytest.mark.parametrize("interpolated", [False, True])
def test_reshift_leaves_its_output_untouched_and_passes_gradients(interpolated):
    output = torch.randn(2, 5, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.randn(2, 5, 2, dtype=torch.float64)
    observed = torch.tensor([1, 0, 0, 1, 1], dtype=torch.bool).view(1, 5, 1).expand(2, 5, 2)
    before = output.detach().clone()
    assert torch.autograd.gradcheck(lambda o: reshift_output(o, labels, observed, interpolated=interpolated), output)
    assert torch.equal(output.detach(), before)


def test_a_long_sum_of_changes_keeps_the_digits_of_float32():
    output = torch.full((1, 20_000, 1), 1e-3)
    observed = torch.zeros(1, 20_000, 1, dtype=torch.bool)
    labels = torch.zeros(1, 20_000, 1)
    found = reshift_output(output, labels, observed, interpolated=True)
    assert found[0, -1, 0].item() == pytest.approx(float(np.float32(1e-3)) * 20_000, rel=1e-6)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31))
def test_the_mask_of_a_shifted_loss_asks_for_earlier_observations(seed):
    rng = np.random.default_rng(seed)
    observed = rng.random((3, 6, 2)) < 0.5
    expected = {mode: observed.copy() for mode in ("compat", "baseline", "lag1")}
    for b, t, k in np.ndindex(*observed.shape):
        expected["baseline"][b, t, k] &= observed[b, :t, k].any()
        expected["lag1"][b, t, k] &= t > 0 and observed[b, t - 1, k]
    for mode, mask in expected.items():
        np.testing.assert_array_equal(shifted_loss_mask(torch.from_numpy(observed), mode).numpy(), mask)


def test_an_unobserved_label_that_is_nan_is_carried_from_the_last_observation():
    nan = torch.nan
    labels = torch.tensor([[[nan], [3.0], [nan], [nan], [5.0], [9.0]]])
    observed = torch.tensor([[[0], [1], [0], [0], [1], [0]]], dtype=torch.bool)
    # A fill that is there stays.
    assert filled_labels(labels, observed).flatten().tolist() == [0.0, 3.0, 3.0, 3.0, 5.0, 9.0]
    assert torch.isnan(labels[0, 0])
