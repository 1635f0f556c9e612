"""Rotary and sinusoidal embeddings against plain NumPy in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nd_models.nn import RotaryTimeEmbedding, Rotation, SinusoidalTimeEmbedding
from nd_models.nn.time_embedding import log_spaced_periods, rotate_heads, rotate_pairs, rotate_pairs_in_parts


def rotated(x: np.ndarray, times: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """Each pair of channels times its 2 × 2 rotation matrix. x: (N, D_h), times: (N,), omega: (D_h / 2,)."""
    result = np.empty(x.shape)
    for token, time in enumerate(times):
        for pair, frequency in enumerate(omega):
            angle = time * frequency
            matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            result[token, 2 * pair : 2 * pair + 2] = matrix @ x[token, 2 * pair : 2 * pair + 2]
    return result


def make(dtype: torch.dtype = torch.float64) -> tuple[RotaryTimeEmbedding, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    embedding = RotaryTimeEmbedding(12, 8, t_min=0.01, t_max=3.0).to(dtype)
    times = torch.rand(2, 5, generator=generator, dtype=dtype)
    x = torch.randn(2, 5, 3, 12, generator=generator, dtype=dtype)
    return embedding, times, x


@pytest.mark.parametrize("form", ["forward", "rotation"])
@pytest.mark.parametrize("heads_dimension", [1, 2])
def test_rotation_is_a_matrix_product_of_each_pair(form, heads_dimension):
    embedding, times, x = make()
    turns = embedding(times) if form == "forward" else embedding.rotation(times)
    given_x = x.transpose(1, 2) if heads_dimension == 1 else x
    found = RotaryTimeEmbedding.rotate(given_x, turns, unsqueeze_dim=heads_dimension)
    found = found.transpose(1, 2) if heads_dimension == 1 else found
    for window in range(2):
        for head in range(3):
            expected = rotated(x[window, :, head].numpy(), times[window].numpy(), embedding.omega.numpy())
            np.testing.assert_allclose(found[window, :, head].numpy(), expected, atol=1e-12)


def test_channels_beyond_rotate_dim_pass_unchanged():
    embedding, times, x = make()
    found = RotaryTimeEmbedding.rotate(x, embedding.rotation(times))
    assert torch.equal(found[..., 8:], x[..., 8:])
    assert not torch.isclose(found[..., :8], x[..., :8]).any(dim=-1).all()


def test_periods_run_from_t_min_to_t_max_evenly_in_the_logarithm():
    periods = log_spaced_periods(7, 1e-3, 2.0).double().numpy()
    np.testing.assert_allclose(periods, np.logspace(-3, np.log10(2.0), 7), rtol=2e-6)
    omega = RotaryTimeEmbedding(8, 4, t_min=0.5, t_max=2.0).omega
    torch.testing.assert_close(omega, torch.tensor([4 * np.pi, np.pi, 0.0, 0.0], dtype=torch.float32))


def test_real_and_complex_arithmetic_agree_with_their_gradients():
    embedding, times, x = make()
    turns = embedding.rotation(times).cosine_sine.unsqueeze(2)
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    first, second = rotate_pairs(one, turns), rotate_pairs_in_parts(other, turns)
    torch.testing.assert_close(first, second)
    first.pow(3).sum().backward()
    second.pow(3).sum().backward()
    torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("turning_heads", [1, 2, 3])
def test_turning_in_place_equals_turning_a_copy(turning_heads):
    embedding, times, x = make()
    turns = embedding.rotation(times).cosine_sine
    expected = torch.cat((rotate_pairs(x, turns.unsqueeze(2))[:, :, :turning_heads], x[:, :, turning_heads:]), dim=2)
    found = rotate_heads(x.flatten(2).clone(), turns, 3, turning_heads)
    torch.testing.assert_close(found, expected)
    # A projection that is no dense block goes another way.
    sparse = torch.stack((x.flatten(2), x.flatten(2)), dim=-1)[..., 0]
    torch.testing.assert_close(rotate_heads(sparse, turns, 3, turning_heads), expected)
    assert torch.equal(sparse, x.flatten(2))


def test_gradients_of_both_forms_match_finite_differences():
    embedding, times, x = make()
    turns = embedding.rotation(times).cosine_sine
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: rotate_pairs(x, turns.unsqueeze(2)), (x,))
    assert torch.autograd.gradcheck(lambda x: rotate_heads(x.flatten(2) * 1.0, turns, 3, 2), (x,))
    assert torch.autograd.gradgradcheck(lambda x: rotate_pairs(x, turns.unsqueeze(2)), (x,))


def test_the_opposite_rotation_turns_back():
    embedding, times, x = make()
    rotation = embedding.rotation(times)
    there = RotaryTimeEmbedding.rotate(x, rotation)
    torch.testing.assert_close(RotaryTimeEmbedding.rotate(there, rotation.inverse()), x)
    torch.testing.assert_close(RotaryTimeEmbedding.rotate(there, embedding.invert(embedding(times))), x)


@given(st.floats(0.0, 1e5), st.floats(-1.0, 1.0))
def test_products_depend_on_time_differences_only(shift, difference):
    embedding = RotaryTimeEmbedding(8, 8, t_min=0.1, t_max=4.0)
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 8, generator=generator, dtype=torch.float64)

    def product(query_time: float, key_time: float) -> float:
        times = torch.tensor([[query_time], [key_time]], dtype=torch.float64)
        turns = embedding.double().rotation(times).cosine_sine.unsqueeze(2)
        return float((rotate_pairs(query, turns[:1]) * rotate_pairs(key, turns[1:])).sum())

    assert product(shift, shift + difference) == pytest.approx(product(0.0, difference), abs=1e-4)


def test_double_times_keep_the_angle_of_short_periods():
    embedding = RotaryTimeEmbedding(4, 4, t_min=1e-4, t_max=1.0)
    times = torch.tensor([[0.123456789, 0.987654321, 1234.5]], dtype=torch.float64)
    found = embedding.rotation(times).cosine_sine
    assert found.dtype == torch.float32
    angles = times.numpy()[..., None] * embedding.omega.double().numpy()
    np.testing.assert_allclose(found[..., 0].numpy(), np.cos(angles), atol=3e-7)
    np.testing.assert_allclose(found[..., 1].numpy(), np.sin(angles), atol=3e-7)


def test_angles_stay_in_single_precision_under_autocast_and_in_a_half_precision_module():
    times = torch.rand(1, 20, generator=torch.Generator().manual_seed(0))
    embedding = RotaryTimeEmbedding(8, 8, t_min=0.01, t_max=1.0)
    expected = embedding.rotation(times).cosine_sine
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(embedding.rotation(times).cosine_sine, expected)
        assert embedding(times).dtype == torch.float32
    for half in (embedding.bfloat16(), embedding.half()):
        assert half.omega.dtype == torch.float32
        assert torch.equal(half.rotation(times).cosine_sine, expected)


def test_half_precision_values_keep_their_dtype():
    embedding, times, x = make(torch.float32)
    turns = embedding.rotation(times)
    expected = RotaryTimeEmbedding.rotate(x, turns)
    found = RotaryTimeEmbedding.rotate(x.bfloat16(), turns)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.03, atol=0.03)


def test_both_forms_hold_the_same_rotation():
    embedding, times, _ = make()
    cosine, sine = embedding(times).chunk(2, dim=-1)
    compact = embedding.rotation(times)
    assert isinstance(compact, Rotation)
    torch.testing.assert_close(compact.cosine_sine[..., 0].repeat_interleave(2, -1), cosine[..., :8])
    torch.testing.assert_close(compact.cosine_sine[..., 1].repeat_interleave(2, -1), sine[..., :8])
    assert torch.all(cosine[..., 8:] == 1)
    assert torch.all(sine[..., 8:] == 0)


def test_sinusoidal_embedding_is_sines_then_cosines():
    times = torch.rand(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    embedding = SinusoidalTimeEmbedding(6, t_min=0.1, t_max=2.0)
    angles = times.numpy()[..., None] * embedding.omega.double().numpy()
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    np.testing.assert_allclose(embedding(times).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((7, 4, 0.1, 1.0), "head_dim"),
        ((8, 3, 0.1, 1.0), "rotate_dim"),
        ((8, 10, 0.1, 1.0), "at most head_dim"),
        ((8, 4, 0.0, 1.0), "t_min"),
        ((8, 4, 2.0, 1.0), "t_min"),
    ],
)
def test_impossible_sizes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RotaryTimeEmbedding(*arguments)


def test_sinusoidal_width_must_be_even():
    with pytest.raises(ValueError, match="even"):
        SinusoidalTimeEmbedding(5, 0.1, 1.0)
