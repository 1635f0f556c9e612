"""Losses against plain NumPy in float64, and their behaviour at the edges."""

import numpy as np
import pytest
import torch

from nd_models.loss import (
    LOSSES,
    BinaryCrossEntropyLoss,
    CrossEntropyLoss,
    Loss,
    MallowDistanceLoss,
    MSELoss,
    MultilabelCrossEntropyLoss,
)


def squared_error(prediction, target) -> float:
    return float(np.mean((prediction - target) ** 2))


def cross_entropy(prediction, target) -> float:
    return float(np.log(np.sum(np.exp(prediction))) - prediction[target])


def mallow_distance(prediction, target) -> float:
    probability = np.exp(prediction) / np.sum(np.exp(prediction))
    wanted = np.eye(len(prediction))[target]
    return float(np.mean((np.cumsum(wanted) - np.cumsum(probability)) ** 2))


def binary_cross_entropy(prediction, target) -> float:
    probability = 1 / (1 + np.exp(-prediction))
    return float(-np.mean(target * np.log(probability) + (1 - target) * np.log(1 - probability)))


SLOW = {
    MSELoss: squared_error,
    CrossEntropyLoss: cross_entropy,
    MallowDistanceLoss: mallow_distance,
    BinaryCrossEntropyLoss: binary_cross_entropy,
    MultilabelCrossEntropyLoss: binary_cross_entropy,
}
FAMILY = pytest.mark.parametrize("kind", list(SLOW), ids=lambda kind: kind.__name__)


def draw(kind: type[Loss], count: int = 9, channels: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    predictions, weights = rng.normal(size=(count, channels)), rng.uniform(0, 3, count)
    weights[::3] = 0.0
    if kind.target_is_class_index:
        return predictions, rng.integers(0, channels, count), weights
    if kind in (BinaryCrossEntropyLoss, MultilabelCrossEntropyLoss):
        return predictions, rng.integers(0, 2, (count, channels)), weights
    return predictions, rng.normal(size=(count, channels)), weights


def test_every_loss_has_a_slow_version_here():
    assert set(LOSSES.values()) == set(SLOW)


@FAMILY
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_the_weighted_mean_over_time_points(kind, weighted):
    predictions, target, weights = draw(kind)
    each = [SLOW[kind](one, other) for one, other in zip(predictions, target, strict=True)]
    expected = np.average(each, weights=weights if weighted else None)
    arguments = [
        torch.from_numpy(array) for array in ((predictions, target, weights) if weighted else (predictions, target))
    ]
    assert float(kind()(*arguments)) == pytest.approx(expected, rel=1e-12)


@FAMILY
def test_all_zero_weights_give_zero_and_zero_gradient(kind):
    predictions, target, weights = (torch.from_numpy(array) for array in draw(kind))
    predictions.requires_grad_()
    loss = kind()(predictions, target, torch.zeros_like(weights))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(predictions.grad, torch.zeros_like(predictions))


@FAMILY
@pytest.mark.parametrize("weighted", [False, True])
def test_no_time_point_gives_zero_and_an_empty_gradient(kind, weighted):
    predictions, target, weights = (torch.from_numpy(array) for array in draw(kind, count=0))
    predictions.requires_grad_()
    loss = kind()(predictions, target, weights if weighted else None)
    loss.backward()
    assert loss.item() == 0.0
    assert predictions.grad.shape == (0, 4)


@FAMILY
def test_scaling_all_weights_changes_nothing(kind):
    predictions, target, weights = (torch.from_numpy(array) for array in draw(kind))
    torch.testing.assert_close(kind()(predictions, target, weights), kind()(predictions, target, 17.0 * weights))


@FAMILY
def test_gradients_match_finite_differences(kind):
    predictions, target, weights = (torch.from_numpy(array) for array in draw(kind, count=3))
    predictions.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: kind()(p, target, weights), (predictions,))


@FAMILY
def test_half_precision_predictions_are_compared_in_single_precision(kind):
    predictions, target, weights = (torch.from_numpy(array) for array in draw(kind))
    target = target.float() if target.is_floating_point() else target
    loss = kind()(predictions.bfloat16(), target, weights.float())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, kind()(predictions.bfloat16().float(), target, weights.float()))


@pytest.mark.parametrize("kind", [CrossEntropyLoss, MallowDistanceLoss])
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int16])
def test_class_indices_of_any_integer_type_are_taken(kind, dtype):
    predictions, target, _ = (torch.from_numpy(array) for array in draw(kind))
    assert torch.equal(kind()(predictions, target.to(dtype)), kind()(predictions, target))


def test_a_single_channel_may_come_without_its_dimension():
    predictions, target = torch.randn(5, 1), torch.randn(5)
    assert torch.equal(MSELoss()(predictions, target), MSELoss()(predictions, target[:, None]))


@FAMILY
def test_shapes_that_do_not_fit_are_refused(kind):
    predictions, target, weights = (torch.from_numpy(array) for array in draw(kind))
    with pytest.raises(ValueError, match=r"input must have shape \(N, C\)"):
        kind()(predictions[0], target)
    with pytest.raises(ValueError, match="target must have shape"):
        kind()(predictions, target[:-1])
    with pytest.raises(ValueError, match="weights must have shape"):
        kind()(predictions, target, weights[:-1])


YES_OR_NO = pytest.mark.parametrize("kind", [BinaryCrossEntropyLoss, MultilabelCrossEntropyLoss])


@YES_OR_NO
def test_a_positive_weight_counts_positives_more(kind):
    predictions, target, weights = draw(kind)
    name = "positive_weight" if kind is BinaryCrossEntropyLoss else "positive_weights"
    probability = 1 / (1 + np.exp(-predictions))
    each = -(3.5 * target * np.log(probability) + (1 - target) * np.log(1 - probability)).mean(axis=1)
    loss = kind(**{name: 3.5})
    found = loss(*(torch.from_numpy(array) for array in (predictions, target, weights)))
    assert float(found) == pytest.approx(np.average(each, weights=weights), rel=1e-12)
    assert loss.arguments() == {name: 3.5}
    assert kind().arguments() == {}


def test_each_label_may_have_its_own_positive_weight():
    predictions, target, _ = draw(MultilabelCrossEntropyLoss)
    probability = 1 / (1 + np.exp(-predictions))
    scale = np.array([1.0, 2.0, 0.5, 7.0])
    each = -(scale * target * np.log(probability) + (1 - target) * np.log(1 - probability))
    loss = MultilabelCrossEntropyLoss(scale.tolist())
    assert float(loss(torch.from_numpy(predictions), torch.from_numpy(target))) == pytest.approx(each.mean(), rel=1e-12)
    assert loss.arguments() == {"positive_weights": scale.tolist()}
    with pytest.raises(ValueError, match="4 positive_weights, but the input has 3 labels"):
        loss(torch.zeros(2, 3), torch.zeros(2, 3))


@pytest.mark.parametrize("weighted", [False, True])
def test_labels_that_nobody_knows_count_for_nothing(weighted):
    predictions, target, weights = draw(MultilabelCrossEntropyLoss)
    target = target.astype(np.float64)
    target[0, 1] = target[4, :3] = np.nan
    target[5] = np.nan  # nobody knows anything of this time
    probability = 1 / (1 + np.exp(-predictions))
    costs = -(target * np.log(probability) + (1 - target) * np.log(1 - probability))
    each = np.nanmean(np.delete(costs, 5, axis=0), axis=1)
    kept = np.delete(weights if weighted else np.ones(9), 5)
    given = torch.from_numpy(predictions).requires_grad_()
    loss = MultilabelCrossEntropyLoss()(
        given, torch.from_numpy(target), torch.from_numpy(weights) if weighted else None
    )
    assert loss.item() == pytest.approx(np.average(each, weights=kept), rel=1e-12)
    loss.backward()
    assert torch.isfinite(given.grad).all()
    assert given.grad[torch.from_numpy(np.isnan(target))].abs().max() == 0


def test_where_no_label_is_known_at_all_the_loss_is_zero():
    predictions = torch.randn(3, 2, requires_grad=True)
    loss = MultilabelCrossEntropyLoss()(predictions, torch.full((3, 2), float("nan")))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(predictions.grad, torch.zeros(3, 2))


@YES_OR_NO
def test_large_logits_and_truth_values_are_fine(kind):
    predictions = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    right, wrong = torch.tensor([[True], [False]]), torch.tensor([[False], [True]])
    assert kind()(predictions, right).item() == 0.0
    loss = kind()(predictions, wrong)
    assert loss.item() == pytest.approx(1e4)
    loss.backward()
    torch.testing.assert_close(predictions.grad, torch.tensor([[0.5], [-0.5]]))


@YES_OR_NO
@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), "2", True])
def test_positive_weights_that_cannot_be_are_refused(kind, weight):
    with pytest.raises((ValueError, TypeError), match="must be a positive number"):
        kind(weight if kind is BinaryCrossEntropyLoss else [weight])
