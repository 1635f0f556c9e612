"""Scores of yes-or-no readouts, against plain NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_models import DataType, ModalitySpec
from nd_models.loss import BinaryCrossEntropyLoss, MultilabelCrossEntropyLoss
from nd_train.configured_metrics import metrics_of_readout
from nd_train.label_scores import LabelScore

LABELS = ModalitySpec(301, 3, DataType.MULTILABEL, "scene.timestamps", "scene.objects", MultilabelCrossEntropyLoss())
LICK = ModalitySpec(302, 1, DataType.BINARY, "lick.timestamps", "lick.value", BinaryCrossEntropyLoss())


def drawn(seed, times=40, labels=3, unknown=0.2):
    rng = np.random.default_rng(seed)
    targets = (rng.random((times, labels)) < [0.5, 0.2, 0.7][:labels]).astype(np.float32)
    targets[rng.random((times, labels)) < unknown] = np.nan
    return rng.normal(size=(times, labels)).astype(np.float32), targets


def expected(logits, targets, score):
    """One label after the other, with Python's own counting."""
    recalls, right, f1s, holds = [], [], [], []
    for column in range(targets.shape[1]):
        pairs = [(t >= 0.5, p > 0) for t, p in zip(targets[:, column], logits[:, column], strict=True) if t == t]
        right += [truth == said for truth, said in pairs]
        yes, no = ([said == truth for truth, said in pairs if truth == wanted] for wanted in (True, False))
        if yes and no:
            recalls.append((sum(yes) / len(yes) + sum(no) / len(no)) / 2)
        positive = len(yes) + sum(said for _, said in pairs)
        if positive:
            f1s.append(2 * sum(yes) / positive)
            holds.append(len(yes))
    return {
        "accuracy": np.mean(right),
        "balanced_accuracy": np.mean(recalls),
        "f1_macro": np.mean(f1s),
        "f1_weighted": np.average(f1s, weights=holds),
    }[score]


@pytest.mark.parametrize("score", ["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(1, 39))
def test_scores_are_those_of_each_label_however_the_times_are_split(score, seed, cut):
    logits, targets = drawn(seed)
    metric = LabelScore(3, score)
    for part in (slice(None, cut), slice(cut, None)):
        metric.update(torch.from_numpy(logits[part]), torch.from_numpy(targets[part]))
    assert float(metric.compute()) == pytest.approx(expected(logits, targets, score), abs=1e-12)


def test_a_readout_of_labels_gets_balanced_accuracy_of_each_label():
    metrics = metrics_of_readout(None, LABELS)
    assert list(metrics) == ["balanced_accuracy"]
    logits, targets = drawn(3)
    metrics["balanced_accuracy"].update(torch.from_numpy(logits), torch.from_numpy(targets))
    found = float(metrics["balanced_accuracy"].compute())
    assert found == pytest.approx(expected(logits, targets, "balanced_accuracy"))


def test_predicting_every_label_nowhere_is_chance():
    _, targets = drawn(1)
    metric = LabelScore(3)
    metric.update(torch.full((40, 3), -1.0), torch.from_numpy(targets))
    assert float(metric.compute()) == pytest.approx(0.5)


def test_a_yes_or_no_readout_takes_one_logit_and_whole_numbers():
    (metric,) = metrics_of_readout(None, LICK).values()
    metric.update(torch.tensor([[2.0], [-1.0], [0.5], [-3.0]]), torch.tensor([1, 1, 0, 0]))
    # One of two where it holds, one of two where it does not.
    assert float(metric.compute()) == pytest.approx(0.5)


def test_a_label_that_never_changes_counts_in_no_balanced_accuracy():
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    metric = LabelScore(2)
    metric.update(torch.tensor([[1.0, 9.0], [-1.0, 9.0], [1.0, 9.0]]), targets)
    assert float(metric.compute()) == 1.0
    nothing = LabelScore(2)
    nothing.update(torch.zeros(3, 2), torch.zeros(3, 2))
    assert torch.isnan(nothing.compute())


def test_shapes_that_do_not_fit_and_nan_logits_are_refused():
    metric = LabelScore(3)
    with pytest.raises(ValueError, match="3 labels"):
        metric.update(torch.zeros(4, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="NaN"):
        metric.update(torch.full((4, 3), torch.nan), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="balanced_accuracy"):
        LabelScore(3, "precision")
