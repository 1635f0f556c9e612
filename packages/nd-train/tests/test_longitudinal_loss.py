"""Step 5 against slow float64 loops: every kind of loss, mask and reduction, its gradients, and empty sequences."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_train.longitudinal import longitudinal_loss, shaped_output

KINDS = (1, 2, 4)


def pointwise(output, target, classes):
    """One point's loss, from its definition."""
    if classes == 1:
        return (output - target) ** 2
    if classes == 2:
        share = 1 / (1 + math.exp(-output))
        return -math.log(share if target == 1 else 1 - share)
    return -(output[int(target)] - math.log(sum(math.exp(logit) for logit in output)))


def slow(output, target, mask, classes, reduction, weight):
    columns = []
    for k in range(mask.shape[2]):
        points = [
            [
                (
                    pointwise(output[b, t, k], target[b, t, k], classes),
                    weight[int(target[b, t, k])] if classes > 1 else 1.0,
                )
                for t in range(mask.shape[1])
                if mask[b, t, k]
            ]
            for b in range(mask.shape[0])
        ]
        points = [sequence for sequence in points if sequence]
        if not points:
            continue
        if reduction == "flatten":
            points = [[point for sequence in points for point in sequence]]
        each = [sum(loss * w for loss, w in sequence) / sum(w for _, w in sequence) for sequence in points]
        if reduction == "between-seq":
            rows = [b for b in range(mask.shape[0]) if mask[b, :, k].any()]
            each = [(output[b, mask[b, :, k], k].mean() - target[b, mask[b, :, k], k].mean()) ** 2 for b in rows]
        columns.append(np.mean(each))
    return float(np.mean(columns)) if columns else 0.0


@pytest.mark.parametrize("classes", KINDS)
@pytest.mark.parametrize("reduction", ["flatten", "within-seq", "between-seq"])
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_losses_are_those_of_loops_over_valid_points(classes, reduction, seed):
    if classes > 1 and reduction == "between-seq":
        return
    rng = np.random.default_rng(seed)
    shape = (rng.integers(1, 5), rng.integers(1, 6), rng.integers(1, 3))
    output = rng.normal(size=(*shape, classes) if classes > 2 else shape)
    target = rng.integers(0, classes, size=shape).astype(float) if classes > 1 else rng.normal(size=shape)
    mask = rng.random(shape) < rng.choice([0.1, 0.6])
    weight = rng.uniform(0.1, 3.0, size=max(classes, 2))
    expected = slow(output, target, mask, classes, reduction, weight)
    # What lies under the mask may be anything.
    target[~mask] = np.nan
    output[~mask] = np.inf
    found = longitudinal_loss(
        *(torch.from_numpy(x) for x in (output, target, mask)),
        num_classes=classes,
        reduction=reduction,
        class_weight=torch.from_numpy(weight) if classes > 1 else None,
    )
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("classes", KINDS)
@pytest.mark.parametrize("reduction", ["flatten", "within-seq"])
def test_gradients_are_finite_and_zero_where_nothing_was_observed(classes, reduction):
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(3, 4, 2, *([classes] if classes > 2 else []), generator=generator, dtype=torch.float64)
    output.requires_grad_()
    target = torch.randint(0, classes, (3, 4, 2), generator=generator).double()
    mask = torch.rand(3, 4, 2, generator=generator) < 0.5
    # One whole sequence has nothing.
    mask[1] = False
    target[~mask] = torch.nan

    def loss(values):
        return longitudinal_loss(values, target, mask, num_classes=classes, reduction=reduction)

    assert torch.autograd.gradcheck(loss, output)
    loss(output).backward()
    assert torch.isfinite(output.grad).all()
    assert output.grad[~mask].eq(0).all()
    assert output.grad[mask].ne(0).any()


@pytest.mark.parametrize("classes", KINDS)
@pytest.mark.parametrize("reduction", ["flatten", "within-seq", "none"])
def test_a_batch_with_nothing_to_learn_from_gives_zero_and_a_zero_gradient(classes, reduction):
    output = torch.full((2, 3, 1, *([classes] if classes > 2 else [])), torch.nan, requires_grad=True)
    target, mask = torch.full((2, 3, 1), torch.nan), torch.zeros(2, 3, 1, dtype=torch.bool)
    loss = longitudinal_loss(output, target, mask, num_classes=classes, reduction=reduction)
    assert loss.eq(0).all()
    loss.sum().backward()
    assert output.grad.eq(0).all()


def test_unweighted_cross_entropy_is_torchs_own():
    logits, target = torch.randn(5, 7, 1, 4), torch.randint(0, 4, (5, 7, 1))
    mask = torch.ones(5, 7, 1, dtype=torch.bool)
    weight = torch.tensor([0.5, 1.0, 2.0, 0.1])
    for given_weight in (None, weight):
        found = longitudinal_loss(logits, target.float(), mask, num_classes=4, class_weight=given_weight)
        torch.testing.assert_close(
            found, torch.nn.functional.cross_entropy(logits.view(-1, 4), target.flatten(), weight=given_weight)
        )


def test_between_sequences_is_not_defined_for_classes():
    with pytest.raises(ValueError, match="'between-seq' compares means of sequences"):
        longitudinal_loss(
            torch.zeros(1, 1, 1),
            torch.zeros(1, 1, 1),
            torch.ones(1, 1, 1).bool(),
            num_classes=2,
            reduction="between-seq",
        )


def test_outputs_of_every_layout_become_one():
    steps, values = (2, 3), torch.arange(24.0)
    assert shaped_output(values[:6].view(2, 3), steps=steps, num_outcomes=1, num_classes=1).shape == (2, 3, 1)
    assert shaped_output(values.view(2, 3, 4), steps=steps, num_outcomes=1, num_classes=4).shape == (2, 3, 1, 4)
    merged = shaped_output(values.view(2, 3, 4), steps=steps, num_outcomes=4, num_classes=2)
    assert merged.shape == (2, 3, 4)
    assert shaped_output(values[:12].view(2, 6), steps=steps, num_outcomes=2, num_classes=3).shape == (2, 1, 2, 3)
    for wrong in (values.view(3, 2, 4), values[:8], values.view(2, 12)):
        with pytest.raises(ValueError, match=r"expected \(2, 3, 1, 4\), or \(2, 1, 4\) for the last step"):
            shaped_output(wrong, steps=steps, num_outcomes=1, num_classes=4)
