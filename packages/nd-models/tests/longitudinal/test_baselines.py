"""The last value and the mean so far, for numbers and for classes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nd_models.longitudinal import LastValue, MeanValue


def random_past(seed, steps, *, classes=None):
    rng = np.random.default_rng(seed)
    observed = rng.random((2, steps)) < 0.6
    values = rng.integers(0, classes, (2, steps, 2)).astype(float) if classes else rng.normal(size=(2, steps, 2))
    spoiled = torch.from_numpy(np.where(observed[..., None], values, 55.0))
    return values, observed, {"embeddings": spoiled, "mask": torch.from_numpy(~observed)}


def seen_by(values, observed, row, step, window):
    first = 0 if window is None else max(0, step - window + 1)
    lately = [values[row, place] for place in range(first, step + 1) if observed[row, place]]
    before = [values[row, place] for place in range(step + 1) if observed[row, place]]
    return lately or before[-1:]


@given(st.integers(0, 10_000), st.integers(1, 8), st.sampled_from(["last", None, 1, 3]))
def test_numbers_are_forecast_from_what_was_observed_so_far(seed, steps, window):
    values, observed, batch = random_past(seed, steps)
    last = window == "last"
    model = LastValue(2, 2, initial=-3.0) if last else MeanValue(2, 2, initial=-3.0, window=window)
    output = model(**batch).numpy()
    for row in range(2):
        for step in range(steps):
            seen = seen_by(values, observed, row, step, None if last else window)
            expected = np.full(2, -3.0) if not seen else seen[-1] if last else np.mean(seen, axis=0)
            np.testing.assert_allclose(output[row, step], expected, atol=1e-12)


@given(st.integers(0, 10_000), st.integers(1, 8), st.sampled_from(["last", None, 3]), st.sampled_from([2, 4]))
def test_classes_are_forecast_by_their_smoothed_frequencies(seed, steps, window, classes):
    values, observed, batch = random_past(seed, steps, classes=classes)
    last = window == "last"
    arguments = {"num_classes": classes}
    model = LastValue(2, 2, **arguments) if last else MeanValue(2, 2, **arguments, window=window)
    output = model(**batch)
    shares = torch.sigmoid(output) if classes == 2 else torch.softmax(output, dim=-1)
    for row in range(2):
        for step in range(steps):
            seen = seen_by(values, observed, row, step, None if last else window)
            seen = np.array(seen[-1:] if last else seen).reshape(-1, 2)
            for outcome in range(2):
                counts = np.array([(seen[:, outcome] == one).sum() for one in range(classes)])
                expected = (counts + 1) / (len(seen) + classes)
                found = shares[row, step, outcome].numpy()
                np.testing.assert_allclose(found, expected[1] if classes == 2 else expected, rtol=1e-6)


def test_the_outcomes_may_stand_in_any_columns():
    embeddings = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    assert LastValue(3, 2, columns=[2, 0])(embeddings)[0].tolist() == [[3.0, 1.0], [6.0, 4.0]]
    assert MeanValue(3, 1, columns=[1])(embeddings)[0].tolist() == [[2.0], [3.5]]
    for columns in ([0], [0, 3], [0, -1]):
        with pytest.raises(ValueError, match="one of the 3 features for each of the 2 outcomes"):
            LastValue(3, 2, columns=columns)


def test_baselines_may_read_a_group_of_features_of_their_own():
    batch = {
        "embeddings": torch.zeros(1, 2, 5),
        "embeddings_mood": torch.tensor([[[1.0], [9.0]]]),
        "mask": torch.zeros(1, 2, dtype=torch.bool),
        "mask_mood": torch.tensor([[False, True]]),
    }
    assert LastValue(1, inputs="embeddings_mood")(**batch).flatten().tolist() == [1.0, 1.0]


def test_there_is_nothing_to_train_but_a_scale_that_was_asked_for():
    assert not list(LastValue(2, 2).parameters())
    assert not list(MeanValue(2, 2, window=3).parameters())
    model = LastValue(2, 2, learn_scale=True)
    assert [tuple(parameter.shape) for parameter in model.parameters()] == [(2,)]
    embeddings = torch.randn(1, 3, 2)
    assert torch.equal(model(embeddings), embeddings)


def test_a_window_of_no_steps_is_refused():
    with pytest.raises(ValueError, match="window must be a whole number from 1 on, got 0"):
        MeanValue(1, window=0)
