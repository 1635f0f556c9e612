"""The way of short windows against the layers in PyTorch's own operations, and its products against NumPy."""

import numpy as np
import pytest
import torch

from nd_models.nn import RotarySelfAttention, RotaryTimeEmbedding, head_products, rotary_attention
from nd_models.nn import fused_short_attention as short
from nd_models.nn.dropout import kept, kept_scale
from nd_models.nn.fused import plain_layers
from nd_models.nn.head_products import along, has_head_products, through
from nd_models.nn.packing import bounds_of

pytestmark = pytest.mark.skipif(not has_head_products(), reason="this machine or PyTorch has no products of heads")

EMBEDDING = RotaryTimeEmbedding(head_dim=32, rotate_dim=16, t_min=0.05, t_max=2.0)


@pytest.fixture
def taken(monkeypatch) -> list[int]:
    """Numbers of windows that went the way of short ones, whatever their size, at most 2 together."""
    calls: list[int] = []

    def counted(x, norm, to_qkv, to_out, settings):
        calls.append(settings.windows)
        return short.short_self_attention(x, norm, to_qkv, to_out, settings)

    monkeypatch.setattr(short, "_LEAST_SCORES", 1)
    monkeypatch.setattr(short, "_SCORES", 2 * 3 * 10 * 10)
    monkeypatch.setattr(rotary_attention, "short_self_attention", counted)
    return calls


def attention_layer(*, rotate_value: bool = True) -> RotarySelfAttention:
    layer = RotarySelfAttention(dim=12, heads=3, dim_head=32, rotate_value=rotate_value)
    with torch.no_grad():  # norms and biases start at one and zero, which would hide mistakes
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return layer


def learned(output: torch.Tensor, *tensors: torch.Tensor) -> list[torch.Tensor]:
    loss = (output * torch.linspace(-1, 1, output.numel()).view(output.shape)).sum()
    return [output.detach(), *torch.autograd.grad(loss, tensors)]


def assert_all_close(found, expected) -> None:
    for one, other in zip(found, expected, strict=True):
        scale = max(float(other.abs().max()), 1e-3)
        torch.testing.assert_close(one / scale, other / scale, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("rows", "stacks", "inner", "columns"), [(5, 1, 3, 7), (128, 8, 64, 128), (37, 3, 20, 33)])
def test_products_of_heads_equal_numpy_in_double_precision(rows, stacks, inner, columns):
    x, weights, bias = (
        torch.randn(rows, stacks, inner),
        torch.randn(stacks, columns, inner),
        torch.randn(stacks, columns),
    )
    double = [part.double().numpy() for part in (x, weights, bias)]
    expected = np.einsum("nsk,smk->nsm", *double[:2])
    np.testing.assert_allclose(along(x, weights).numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(along(x, weights, bias).numpy(), expected + double[2], atol=1e-4)
    wide = torch.randn(rows, stacks, columns)
    expected = np.einsum("nsm,smk->nsk", wide.double().numpy(), double[1])
    np.testing.assert_allclose(through(wide, weights).numpy(), expected, atol=1e-4)
    assert along(x, weights).is_contiguous()
    assert through(wide, weights).is_contiguous()


@pytest.mark.parametrize("rotate_value", [False, True])
@pytest.mark.parametrize("residual_dropout", [None, 0.0])
@pytest.mark.parametrize(("windows", "tokens"), [(1, 1), (5, 10), (2, 13)])
def test_short_windows_equal_the_plain_layer_and_double_precision(
    rotate_value, residual_dropout, windows, tokens, taken
):
    layer = attention_layer(rotate_value=rotate_value)
    x, turns = torch.randn(windows, tokens, 12, requires_grad=True), EMBEDDING.rotation(torch.rand(windows, tokens))
    found = learned(layer(x, turns, residual_dropout=residual_dropout), x, *layer.parameters())
    assert taken == [windows]
    with plain_layers():
        expected = learned(layer(x, turns, residual_dropout=residual_dropout), x, *layer.parameters())
    assert_all_close(found, expected)
    exact = x.detach().double().requires_grad_()
    layer.double()
    expected = learned(layer(exact, turns, residual_dropout=residual_dropout).double(), exact, *layer.parameters())
    assert_all_close(found, [one.float() for one in expected])
    assert taken == [windows]


def test_packed_windows_of_one_length_go_the_same_way(taken):
    layer = attention_layer()
    x, turns = torch.randn(4, 10, 12), EMBEDDING.rotation(torch.rand(4, 10))
    with torch.no_grad():
        expected = layer(x, turns, residual_dropout=0.0)
        found = layer.forward_varlen(x.flatten(0, 1), turns.flat(), torch.tensor([10] * 4), residual_dropout=0.0)
    torch.testing.assert_close(found, expected.flatten(0, 1), rtol=0, atol=0)
    assert taken == [4, 4]


def test_dropout_drops_what_its_mask_says(taken):
    layer = attention_layer()
    x, turns = torch.randn(5, 10, 12, requires_grad=True), EMBEDDING.rotation(torch.rand(5, 10))
    torch.manual_seed(5)
    found = learned(layer(x, turns, residual_dropout=0.5), x, *layer.parameters())
    torch.manual_seed(5)
    mask = kept((50, 12), 0.5).view(x.shape)
    with plain_layers():
        output = x + layer(x, turns) * mask * kept_scale(0.5)
    assert 0.4 < mask.float().mean() < 0.6
    assert_all_close(found, learned(output, x, *layer.parameters()))
    assert taken == [5]


def test_large_scores_neither_overflow_nor_vanish(taken):
    """Powers of two of these scores have no float."""
    layer = attention_layer()
    with torch.no_grad():
        layer.to_qkv.weight.mul_(20.0)
    x, turns = torch.randn(3, 10, 12, requires_grad=True), EMBEDDING.rotation(torch.rand(3, 10))
    query, key, _ = layer._projected(x, turns)
    assert (query.transpose(1, 2) @ key.permute(0, 2, 3, 1)).abs().max() / 32**0.5 > 200
    found = learned(layer(x, turns), x)
    exact = x.detach().double().requires_grad_()
    expected = learned(layer.double()(exact, turns), exact)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double() / other.abs().max(), other / other.abs().max(), rtol=0, atol=2e-3)
    assert taken == [3]


def test_a_frozen_part_takes_nothing_from_the_others(taken):
    layer = attention_layer()
    x, turns = torch.randn(3, 10, 12, requires_grad=True), EMBEDDING.rotation(torch.rand(3, 10))
    parts = {"x": x, **dict(layer.named_parameters())}
    every = dict(zip(parts, learned(layer(x, turns), *parts.values())[1:], strict=True))
    for name, part in parts.items():
        for other in parts.values():
            other.requires_grad_(other is part)
        torch.testing.assert_close(learned(layer(x, turns), part)[1], every[name], rtol=0, atol=0)
        for other in parts.values():
            other.requires_grad_(other is not part)
        others = [other for other in parts.values() if other is not part]
        expected = [gradient for key, gradient in every.items() if key != name]
        torch.testing.assert_close(learned(layer(x, turns), *others)[1:], expected, rtol=0, atol=0)
        for other in parts.values():
            other.requires_grad_()
    assert len(taken) == 1 + 2 * len(parts)


def test_gradients_of_gradients_are_refused(taken):
    layer = attention_layer()
    x, turns = torch.randn(2, 10, 12, requires_grad=True), EMBEDDING.rotation(torch.rand(2, 10))
    with pytest.raises(RuntimeError, match="plain_layers"):
        torch.autograd.grad(layer(x, turns).sum(), x, create_graph=True)
    assert taken == [2]


def test_what_is_short(monkeypatch):
    assert short.are_short(bounds_of([128] * 64), 8, 512)
    assert not short.are_short([], 8, 512)
    assert not short.are_short(bounds_of([128] * 63 + [127]), 8, 512)
    assert not short.are_short(bounds_of([1280] * 8), 8, 512)  # long
    assert not short.are_short(bounds_of([16] * 2), 8, 512)  # little work
    assert not short.are_short(bounds_of([0] * 64), 8, 512)
    assert not short.are_short(bounds_of([128] * 64), 8, 128)  # narrow heads
    with monkeypatch.context() as without_onednn:
        without_onednn.setattr(torch._C, "_get_mkldnn_enabled", lambda: False)
        assert not short.are_short(bounds_of([128] * 64), 8, 512)
    monkeypatch.setattr(head_products, "_convolve_back", None)
    assert not short.are_short(bounds_of([128] * 64), 8, 512)
