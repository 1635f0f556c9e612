"""Rotary attention against a slow NumPy version in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from nd_models.nn import RotaryCrossAttention, RotarySelfAttention, RotaryTimeEmbedding

HEADS, HEAD_WIDTH, WIDTH, CONTEXT_WIDTH = 3, 8, 10, 6


def layer_norm(x: np.ndarray, norm: nn.LayerNorm) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + norm.eps)
    return scaled * norm.weight.detach().numpy() + norm.bias.detach().numpy()


def turn(x: np.ndarray, time: float, omega: np.ndarray) -> np.ndarray:
    """One token of one head; channel pairs as complex numbers."""
    turned = (x[0::2] + 1j * x[1::2]) * np.exp(1j * time * omega)
    result = np.empty(len(x))
    result[0::2], result[1::2] = turned.real, turned.imag
    return result


def attention(
    queries, keys, values, query_times, key_times, omega, mask, rotate_value
) -> np.ndarray:  # all of one window and one head, (N, D_h)
    result = np.zeros(queries.shape)
    for i, (query, query_time) in enumerate(zip(queries, query_times, strict=True)):
        logits, read = [], []
        for j in np.flatnonzero(mask):
            score = turn(query, query_time, omega) @ turn(keys[j], key_times[j], omega)
            logits.append(score / np.sqrt(len(query)))
            value = turn(values[j], key_times[j], omega) if rotate_value else values[j]
            read.append(turn(value, -query_time, omega) if rotate_value else value)
        if logits:
            weights = np.exp(np.array(logits) - max(logits))
            result[i] = (weights / weights.sum()) @ np.array(read)
    return result


def all_heads(layer, projected_query, key, value, query_times, key_times, omega, mask) -> np.ndarray:
    """Every window and head, then the output projection."""
    results = []
    for b in range(len(projected_query)):
        heads = [
            attention(
                projected_query[b][:, part],
                key[b][:, part],
                value[b][:, part],
                query_times[b],
                key_times[b],
                omega,
                mask[b],
                layer.rotate_value,
            )
            for part in (slice(h * HEAD_WIDTH, (h + 1) * HEAD_WIDTH) for h in range(HEADS))
        ]
        results.append(np.concatenate(heads, axis=-1))
    weight, bias = layer.to_out.weight.detach().numpy(), layer.to_out.bias.detach().numpy()
    return np.stack(results) @ weight.T + bias


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def cross_attention(draw, *, rotate_value: bool) -> RotaryCrossAttention:
    torch.manual_seed(0)
    layer = RotaryCrossAttention(
        dim=WIDTH, context_dim=CONTEXT_WIDTH, heads=HEADS, dim_head=HEAD_WIDTH, rotate_value=rotate_value
    ).double()
    with torch.no_grad():
        for norm in (layer.norm, layer.norm_context):
            norm.weight.copy_(draw(*norm.weight.shape))
            norm.bias.copy_(draw(*norm.bias.shape))
    return layer


EMBEDDING = RotaryTimeEmbedding(HEAD_WIDTH, 4, t_min=0.05, t_max=2.0).double()
OMEGA = EMBEDDING.omega.numpy()


@pytest.mark.parametrize("rotate_value", [False, True])
@pytest.mark.parametrize("form", ["compact", "wide"])
def test_cross_attention_equals_the_slow_version(draw, rotate_value, form):
    layer = cross_attention(draw, rotate_value=rotate_value)
    embed = EMBEDDING.rotation if form == "compact" else EMBEDDING
    queries, context = draw(2, 4, WIDTH), draw(2, 7, CONTEXT_WIDTH)
    query_times, context_times = draw(2, 4), draw(2, 7)
    mask = torch.tensor([[True] * 7, [True, False, False, True, True, False, True]])
    found = layer(queries, context, embed(query_times), embed(context_times), mask)

    projected_query = layer_norm(queries.numpy(), layer.norm) @ layer.to_q.weight.detach().numpy().T
    both = layer_norm(context.numpy(), layer.norm_context) @ layer.to_kv.weight.detach().numpy().T
    key, value = np.split(both, 2, axis=-1)
    expected = all_heads(
        layer, projected_query, key, value, query_times.numpy(), context_times.numpy(), OMEGA, mask.numpy()
    )
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("rotate_value", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_self_attention_equals_the_slow_version(draw, rotate_value, masked):
    torch.manual_seed(0)
    layer = RotarySelfAttention(dim=WIDTH, heads=HEADS, dim_head=HEAD_WIDTH, rotate_value=rotate_value).double()
    x, times = draw(2, 6, WIDTH), draw(2, 6)
    mask = torch.tensor([[True] * 6, [False, True, True, False, True, True]])
    found = layer(x, EMBEDDING.rotation(times), mask if masked else None)

    projected = layer_norm(x.numpy(), layer.norm) @ layer.to_qkv.weight.detach().numpy().T
    query, key, value = np.split(projected, 3, axis=-1)
    seen = mask.numpy() if masked else np.ones((2, 6), dtype=bool)
    expected = all_heads(layer, query, key, value, times.numpy(), times.numpy(), OMEGA, seen)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("tokens", [0, 5])
def test_a_window_without_valid_context_reads_zeros_and_passes_finite_gradients(draw, tokens):
    layer = cross_attention(draw, rotate_value=True)
    queries, context = draw(2, 4, WIDTH).requires_grad_(), draw(2, tokens, CONTEXT_WIDTH).requires_grad_()
    mask = torch.ones(2, tokens, dtype=torch.bool)
    mask[1] = False
    found = layer(queries, context, EMBEDDING.rotation(draw(2, 4)), EMBEDDING.rotation(draw(2, tokens)), mask)
    torch.testing.assert_close(found[1], layer.to_out.bias.expand(4, -1))
    found.square().sum().backward()
    if tokens:
        for gradient in (queries.grad, context.grad, layer.to_q.weight.grad, layer.to_kv.weight.grad):
            assert torch.isfinite(gradient).all()
        assert torch.all(context.grad[1] == 0)


def test_shifting_all_times_changes_nothing(draw):
    layer = cross_attention(draw, rotate_value=True)
    queries, context = draw(2, 4, WIDTH), draw(2, 7, CONTEXT_WIDTH)
    query_times, context_times = draw(2, 4), draw(2, 7)

    def at(shift: float) -> torch.Tensor:
        return layer(
            queries, context, EMBEDDING.rotation(query_times + shift), EMBEDDING.rotation(context_times + shift)
        )

    torch.testing.assert_close(at(0.0), at(17.3))


def test_gradients_match_finite_differences(draw):
    layer = cross_attention(draw, rotate_value=True)
    query_turns, context_turns = EMBEDDING.rotation(draw(1, 3)), EMBEDDING.rotation(draw(1, 4))
    mask = torch.tensor([[True, True, False, True]])
    inputs = (draw(1, 3, WIDTH).requires_grad_(), draw(1, 4, CONTEXT_WIDTH).requires_grad_())
    assert torch.autograd.gradcheck(lambda q, c: layer(q, c, query_turns, context_turns, mask), inputs)


def test_bfloat16_autocast_stays_near_single_precision(draw):
    layer = cross_attention(draw, rotate_value=True).float()
    inputs = [draw(2, 4, WIDTH).float(), draw(2, 7, CONTEXT_WIDTH).float()]
    embedding = RotaryTimeEmbedding(HEAD_WIDTH, 4, t_min=0.05, t_max=2.0)
    turns = [embedding.rotation(draw(2, 4).float()), embedding.rotation(draw(2, 7).float())]
    expected = layer(*inputs, *turns)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(*inputs, *turns)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)


def test_attention_dropout_acts_only_while_training(draw):
    torch.manual_seed(0)
    layer = RotarySelfAttention(dim=WIDTH, heads=HEADS, dim_head=HEAD_WIDTH, dropout=0.5).double()
    x, turns = draw(1, 6, WIDTH), EMBEDDING.rotation(draw(1, 6))
    assert not torch.equal(layer(x, turns), layer(x, turns))
    layer.eval()
    assert torch.equal(layer(x, turns), layer(x, turns))
