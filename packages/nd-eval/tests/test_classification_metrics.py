"""Accuracy, balanced accuracy and F1 against scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score
from sklearn.metrics import f1_score as sklearn_f1

from nd_eval import Accuracy, BalancedAccuracy, F1Score, accuracy, balanced_accuracy, f1_score


def sklearn_balanced(target, preds):
    # Unlike balanced_accuracy_score this does not warn of classes that are predicted but never right.
    return recall_score(target, preds, labels=np.unique(target), average="macro", zero_division=0.0)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 80), classes=st.integers(1, 6), low=st.sampled_from([0, -3]))
def test_class_indices_agree_with_scikit_learn_in_one_part_and_in_several(seed, count, classes, low):
    rng = np.random.default_rng(seed)
    target, preds = rng.integers(0, classes, size=(2, count)) + low
    tensors = torch.from_numpy(preds), torch.from_numpy(target)
    cut = int(rng.integers(0, count + 1))
    for score, metric, oracle in (
        (accuracy, Accuracy(), accuracy_score),
        (balanced_accuracy, BalancedAccuracy(), sklearn_balanced),
    ):
        expected = oracle(target, preds)
        assert score(*tensors).item() == pytest.approx(expected, abs=1e-12)
        for part in (slice(cut, None), slice(0, cut)):
            metric.update(*(tensor[part] for tensor in tensors))
        assert metric.compute().item() == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 60),
    classes=st.integers(1, 6),
    low=st.sampled_from([0, -3]),
    average=st.sampled_from(["macro", "weighted", "micro"]),
)
def test_f1_agrees_with_scikit_learn_in_one_part_and_in_several(seed, count, classes, low, average):
    rng = np.random.default_rng(seed)
    target, preds = rng.integers(0, classes, size=(2, count)) + low
    expected = sklearn_f1(target, preds, average=average)
    tensors = torch.from_numpy(preds), torch.from_numpy(target)
    assert f1_score(*tensors, average=average).item() == pytest.approx(expected, abs=1e-12)
    metric, cut = F1Score(average=average), int(rng.integers(0, count + 1))
    for part in (slice(cut, None), slice(0, cut)):
        metric.update(*(tensor[part] for tensor in tensors))
    assert metric.compute().item() == pytest.approx(expected, abs=1e-12)


def test_f1_of_each_class_stands_at_its_place_and_is_nan_for_a_class_that_never_occurs():
    rng = np.random.default_rng(2)
    target, logits = rng.choice([0, 2, 5], size=90), rng.normal(size=(90, 7))
    logits[:, [1, 6]] = -9.0
    expected = sklearn_f1(target, logits.argmax(1), average=None, labels=range(7), zero_division=np.nan)
    assert np.isnan(expected[[1, 6]]).all()
    tensors = torch.from_numpy(logits), torch.from_numpy(target)
    np.testing.assert_allclose(f1_score(*tensors, average="none"), expected, rtol=0, atol=1e-12)
    metric = F1Score(average="none")
    metric.update(*tensors)
    np.testing.assert_allclose(metric.compute(), expected, rtol=0, atol=1e-12)
    decided = torch.from_numpy(logits.argmax(1))
    by_class = f1_score(decided, tensors[1], average="none")
    np.testing.assert_allclose(by_class, expected[~np.isnan(expected)], rtol=0, atol=1e-12)


def test_an_unknown_average_is_refused():
    with pytest.raises(ValueError, match="average must be one of macro, weighted, micro, none; found 'samples'"):
        f1_score(torch.tensor([0]), torch.tensor([0]), average="samples")
    with pytest.raises(ValueError, match="found 'samples'"):
        F1Score(average="samples")


def test_logits_are_decided_by_the_largest_and_ties_by_the_smaller_class():
    rng = np.random.default_rng(0)
    logits, target = rng.integers(0, 3, size=(200, 4)).astype(np.float32), rng.integers(0, 4, size=200)
    expected = accuracy_score(target, logits.argmax(1))  # NumPy takes the first of equals, too
    assert accuracy(torch.from_numpy(logits), torch.from_numpy(target)).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", [(300,), (300, 1), (300, 5)])
def test_binary_logits_are_decided_by_their_sign(shape):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=shape)
    labels = rng.integers(0, 2, size=shape[:1] if shape[1:] == (1,) else shape)
    expected = accuracy_score(labels.ravel(), (logits > 0).astype(int).ravel())
    assert accuracy(torch.from_numpy(logits), torch.from_numpy(labels)).item() == pytest.approx(expected, abs=1e-12)
    assert accuracy(torch.from_numpy(logits), torch.from_numpy(labels).bool()).item() == pytest.approx(
        expected, abs=1e-12
    )


def test_nothing_has_no_accuracy():
    empty = torch.empty(0, dtype=torch.int64)
    assert accuracy(empty, empty).isnan()
    assert balanced_accuracy(empty, empty).isnan()
    assert f1_score(empty, empty).isnan()
    assert f1_score(empty, empty, average="weighted").isnan()
    metric = BalancedAccuracy()
    metric.update(empty, empty)
    assert metric.compute().isnan()


@pytest.mark.parametrize(
    ("preds", "target", "options", "error", "message"),
    [
        (torch.zeros(3, 4), torch.tensor([0, 4, 1]), {}, ValueError, "target class 4 is outside the range 0 … 3"),
        (torch.zeros(3, 4), torch.tensor([0, -1, 1]), {}, ValueError, "target class -1 is outside"),
        (torch.tensor([0, 7]), torch.tensor([0, 1]), {"num_classes": 3}, ValueError, "predicted class 7 is outside"),
        (torch.zeros(2, 4), torch.tensor([0, 1]), {"num_classes": 3}, ValueError, "3 classes; found logits of 4"),
        (torch.zeros(3), torch.tensor([0, 2, 1]), {}, ValueError, "target class 2 is outside the range 0 … 1"),
        (torch.zeros(3, 4), torch.zeros(3), {}, TypeError, "class indices .integers.; found torch.float32"),
        (
            torch.zeros(4, 3),
            torch.zeros(3, dtype=torch.int64),
            {},
            ValueError,
            r"\(4, 3\) do not fit targets of shape \(3,\)",
        ),
        (torch.tensor([1, 2]), torch.tensor([1]), {}, ValueError, r"\(2,\) do not fit"),
        (torch.tensor([[float("nan"), 1.0]]), torch.tensor([1]), {}, ValueError, "NaN"),
    ],
)
def test_bad_input_is_one_clear_error(preds, target, options, error, message):
    for score in (accuracy, balanced_accuracy, f1_score):
        with pytest.raises(error, match=message):
            score(preds, target, **options)
