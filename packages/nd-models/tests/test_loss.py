"""Losses against plain NumPy in float64, and their behaviour at the edges."""

import numpy as np
import pytest
import torch

from nd_models.loss import LOSSES, BinaryCrossEntropyLoss, CrossEntropyLoss, Loss, MallowDistanceLoss, MSELoss


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
}
FAMILY = pytest.mark.parametrize("kind", list(SLOW), ids=lambda kind: kind.__name__)


def draw(kind: type[Loss], count: int = 9, channels: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    predictions, weights = rng.normal(size=(count, channels)), rng.uniform(0, 3, count)
    weights[::3] = 0.0
    if kind.target_is_class_index:
        return predictions, rng.integers(0, channels, count), weights
    if kind is BinaryCrossEntropyLoss:
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
