"""The layers that are computed as a whole on CPU against the same layers in PyTorch's own operations."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from nd_models.nn import (
    FeedForward,
    NormedFeedForward,
    RotaryCrossAttention,
    RotarySelfAttention,
    RotaryTimeEmbedding,
    products,
    window_groups,
)
from nd_models.nn import blocked_attention as blocked
from nd_models.nn.blocked_attention import Gradients, attend, attend_backward
from nd_models.nn.dropout import kept, kept_scale
from nd_models.nn.fused import plain_layers
from nd_models.nn.packing import bounds_of
from nd_models.nn.products import OuterSum, product
from nd_models.nn.time_embedding import Rotation
from nd_models.nn.window_groups import groups_of_windows, parts_of

EMBEDDING = RotaryTimeEmbedding(head_dim=8, rotate_dim=4, t_min=0.05, t_max=2.0)


def feed_forward_layer(width: int = 12, dropout: float = 0.0) -> NormedFeedForward:
    layer = NormedFeedForward(nn.LayerNorm(width), FeedForward(width, dropout=dropout))
    disturb(layer)
    return layer


def disturb(layer: nn.Module) -> None:
    """Norms and biases start at one and zero, which would hide mistakes."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))


def gradients_of(output: torch.Tensor, *tensors: torch.Tensor) -> list[torch.Tensor]:
    loss = (output * torch.linspace(-1, 1, output.numel()).view(output.shape)).sum()
    return [gradient.clone() for gradient in torch.autograd.grad(loss, tensors, allow_unused=True)]


def assert_all_close(found, expected) -> None:
    for one, other in zip(found, expected, strict=True):
        scale = max(float(other.abs().max()), 1e-3) if other.numel() else 1.0
        torch.testing.assert_close(one / scale, other / scale, rtol=0, atol=5e-5)


@pytest.mark.parametrize(("rows", "inner", "columns"), [(3, 5, 7), (200, 64, 48), (64, 300, 90), (0, 64, 48)])
@pytest.mark.parametrize("has_onednn", [True, False])
def test_products_are_exact_whatever_the_layout(rows, inner, columns, has_onednn, monkeypatch):
    if not has_onednn:
        monkeypatch.setattr(products, "_ONEDNN", None)
    x, weight, bias = torch.randn(rows, inner), torch.randn(columns, inner), torch.randn(columns)
    expected = x.double() @ weight.double().t() + bias.double()
    strided = torch.randn(columns, 2 * inner)[:, ::2].copy_(weight)
    for form in (weight, weight.t().contiguous().t(), strided):
        torch.testing.assert_close(product(x, form, bias).double(), expected, rtol=1e-4, atol=1e-4)
    left = torch.randn(rows, columns)
    for form in (x, x.t().contiguous().t()):
        learned = OuterSum(weight)
        learned.add(left, form)
        learned.add(left[:1], form[:1])
        expected = left.double().t() @ x.double() + left[:1].double().t() @ x[:1].double()
        torch.testing.assert_close(learned.total.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("queries", "keys"), [(5, 3), (400, 350)])
@pytest.mark.parametrize("missing", ["nothing", "kernel", "kernel's gradient", "oneDNN", "both"])
def test_attention_equals_numpy_in_double_precision(queries, keys, missing, monkeypatch):
    """One size for each way, PyTorch's kernel and the blocks, also where PyTorch lacks what it does not promise."""
    assert (queries * keys >= blocked._LEAST_SCORES) == (queries > 5)
    if missing in ("kernel", "both"):
        monkeypatch.setattr(blocked, "_flash", None)
    if missing == "kernel's gradient":
        monkeypatch.setattr(blocked, "_flash_backward", None)
    if missing in ("oneDNN", "both"):
        monkeypatch.setattr(products, "_ONEDNN", None)
    query, key, value = torch.randn(2, queries, 8), torch.randn(2, keys, 8), torch.randn(2, keys, 8)
    q, k, v = (part.double().numpy() for part in (query, key, value))
    scores = q @ k.transpose(0, 2, 1) / math.sqrt(8)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    attended = torch.empty_like(query)
    memory = attend(query, key, value, out=attended)
    np.testing.assert_allclose(attended.numpy(), weights @ v, atol=2e-6)

    gradient = torch.randn(attended.shape)
    g = gradient.double().numpy()
    of_weights = g @ v.transpose(0, 2, 1)
    of_scores = weights * (of_weights - (of_weights * weights).sum(-1, keepdims=True)) / math.sqrt(8)
    overlaps = (gradient * attended).sum(-1)
    found = Gradients(torch.empty_like(query), torch.empty_like(key), torch.empty_like(value))
    attend_backward(gradient, query, key, value, attended, memory, overlaps, out=found)
    expected = of_scores @ k, of_scores.transpose(0, 2, 1) @ q, weights.transpose(0, 2, 1) @ g
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other, atol=1e-5)


@pytest.mark.parametrize("rows", [0, 1, 700])
@pytest.mark.parametrize("residual_dropout", [None, 0.0])
def test_feed_forward_equals_the_plain_layers(rows, residual_dropout):
    layer = feed_forward_layer(width=200)  # several blocks
    x = torch.randn(rows, 200, requires_grad=True)
    results = []
    for context in (torch.enable_grad(), plain_layers()):
        with context:
            output = layer(x, residual_dropout=residual_dropout)
            results.append([output.detach(), *gradients_of(output, x, *layer.parameters())])
    assert_all_close(*results)


def test_feed_forward_drops_what_its_masks_say():
    layer = feed_forward_layer(dropout=0.25)
    x = torch.randn(2, 40, 12, requires_grad=True)
    torch.manual_seed(5)
    found = layer(x, residual_dropout=0.5)
    torch.manual_seed(5)
    hidden, added = kept((80, 48), 0.25).view(2, 40, 48), kept((80, 12), 0.5).view(2, 40, 12)
    norm, network = layer
    widen, gate, _, narrow = network.net
    activity = gate(widen(norm(x))) * hidden * kept_scale(0.25)
    expected = x + narrow(activity) * added * kept_scale(0.5)
    assert 0.65 < hidden.float().mean() < 0.85
    assert_all_close(
        [found.detach(), *gradients_of(found, x, *layer.parameters())],
        [expected.detach(), *gradients_of(expected, x, *layer.parameters())],
    )


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("rotate_value", [False, True])
@pytest.mark.parametrize("residual_dropout", [None, 0.0])
def test_attention_layers_equal_the_plain_ones(heads, rotate_value, residual_dropout):
    kwargs = {"dim": 12, "heads": heads, "dim_head": 8, "rotate_value": rotate_value}
    cross, own = RotaryCrossAttention(context_dim=10, **kwargs), RotarySelfAttention(**kwargs)
    disturb(cross)
    disturb(own)
    x, source = torch.randn(3, 6, 12, requires_grad=True), torch.randn(3, 9, 10, requires_grad=True)
    turns, source_turns = EMBEDDING.rotation(torch.rand(3, 6)), EMBEDDING.rotation(torch.rand(3, 9))
    mask = torch.arange(9) < torch.tensor([9, 0, 4])[:, None]
    results = []
    for context in (torch.enable_grad(), plain_layers()):
        with context:
            read = cross(x, source, turns, source_turns, mask, residual_dropout=residual_dropout)
            again = own(x, turns, residual_dropout=residual_dropout)
        parts = gradients_of(read, x, source, *cross.parameters()) + gradients_of(again, x, *own.parameters())
        results.append([read.detach(), again.detach(), *parts])
    assert_all_close(*results)


@pytest.mark.parametrize("rotate_value", [False, True])
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("least_scores", [0, 100, 256 * 256])  # all windows in blocks; some; none
@pytest.mark.parametrize("part", [16 * 40, 1 << 20])
def test_windows_of_one_head_that_are_projected_together_equal_the_plain_layer(
    rotate_value, is_packed, least_scores, part, monkeypatch
):
    monkeypatch.setattr(blocked, "_LEAST_SCORES", least_scores)
    monkeypatch.setattr(blocked, "_BLOCK", 5)
    monkeypatch.setattr(window_groups, "_PART", part)
    layer = RotaryCrossAttention(dim=12, context_dim=10, heads=1, dim_head=8, rotate_value=rotate_value)
    disturb(layer)
    lengths = torch.tensor([9, 9, 20, 0, 4, 31, 1])
    windows, queries, longest = len(lengths), 6, int(lengths.max())
    mask = torch.arange(longest) < lengths[:, None]
    x, source = torch.randn(windows, queries, 12), torch.randn(windows, longest, 10)
    source[~mask] = math.nan  # what padding holds is nobody's business
    turns, source_turns = EMBEDDING.rotation(torch.rand(windows, queries)), EMBEDDING.rotation(torch.rand(mask.shape))
    x.requires_grad_()
    results = []
    for context in (torch.enable_grad(), plain_layers()):
        # The plain layers multiply what they do not read by zero.
        own = torch.where(mask[..., None], source, 0.0).requires_grad_() if results else source.requires_grad_()
        with context:
            if is_packed:
                packed_turns = Rotation(source_turns.cosine_sine[mask])
                arguments = (
                    x.flatten(0, 1),
                    own[mask],
                    turns.flat(),
                    packed_turns,
                    torch.full((windows,), queries),
                    lengths,
                )
                read = layer.forward_varlen(*arguments, residual_dropout=0.0).view(x.shape)
            else:
                read = layer(x, own, turns, source_turns, mask, residual_dropout=0.0)
        results.append([read.detach(), *gradients_of(read, x, own, *layer.parameters())])
    assert_all_close(*results)


def test_attention_drops_what_its_mask_says():
    layer = RotarySelfAttention(dim=12, heads=2, dim_head=8, rotate_value=True)
    x, turns = torch.randn(2, 30, 12, requires_grad=True), EMBEDDING.rotation(torch.rand(2, 30))
    torch.manual_seed(5)
    found = layer(x, turns, residual_dropout=0.5)
    torch.manual_seed(5)
    mask = kept((60, 12), 0.5).view(x.shape)
    with plain_layers():
        expected = x + layer(x, turns) * mask * kept_scale(0.5)
    assert_all_close(
        [found.detach(), *gradients_of(found, x, *layer.parameters())],
        [expected.detach(), *gradients_of(expected, x, *layer.parameters())],
    )


def test_windows_of_equal_sizes_go_together_up_to_a_limit():
    equal = groups_of_windows(bounds_of([4] * 5), bounds_of([3] * 5), width=1 << 17)
    assert [group.windows for group in equal] == [4, 1]
    assert equal[0].queries == slice(0, 16)
    assert equal[1].context == slice(12, 15)
    ragged = groups_of_windows(bounds_of([4, 4, 4, 2]), bounds_of([3, 3, 5, 5]), width=8)
    assert [group.windows for group in ragged] == [2, 1, 1]
    padded = groups_of_windows(bounds_of([4, 4]), [(0, 3), (8, 11)], width=8)
    assert [group.windows for group in padded] == [1, 1]


def test_windows_are_projected_together_up_to_a_limit_where_there_is_one_head(monkeypatch):
    monkeypatch.setattr(window_groups, "_PART", 100)
    groups = groups_of_windows(bounds_of([4] * 4), [(0, 3), (8, 13), (16, 21), (24, 24)], width=10)
    together = parts_of(groups, heads=1, width=10)
    assert [len(part.groups) for part in together] == [2, 2]
    assert [part.first for part in together] == [0, 2]
    assert together[1].queries == slice(8, 16)
    assert [len(part.groups) for part in parts_of(groups, heads=2, width=10)] == [1, 1, 1, 1]
    rows = torch.arange(30.0)[:, None]
    context = together[0].context_of(rows)
    assert context[:, 0].tolist() == [0, 1, 2, 8, 9, 10, 11, 12]
    out = torch.zeros(30, 1)
    together[0].put_context(context + 100, out)
    assert out[out != 0].tolist() == [100, 101, 102, 108, 109, 110, 111, 112]


def test_single_precision_angles_under_autocast_equal_double_precision():
    """bfloat16 keeps 8 bits: an angle of 100 turns would be off by half a turn."""
    embedding = RotaryTimeEmbedding(head_dim=8, rotate_dim=8, t_min=0.01, t_max=2.0)
    times = torch.rand(50, dtype=torch.float64)
    expected = times[:, None].numpy() * embedding.omega.double().numpy()
    for dtype in (torch.float64, torch.float32):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = embedding.rotation(times.to(dtype)).cosine_sine
        assert found.dtype == torch.float32
        assert found.shape == (50, 4, 2)
        tolerance = 1e-6 if dtype == torch.float64 else 1e-4
        np.testing.assert_allclose(found[..., 0].numpy(), np.cos(expected), atol=tolerance)
        np.testing.assert_allclose(found[..., 1].numpy(), np.sin(expected), atol=tolerance)
