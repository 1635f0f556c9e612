"""The fast dropout against what dropout has to be."""

import pytest
import torch

from nd_models.nn import Dropout, dropout
from nd_models.nn.dropout import kept, random_mask


@pytest.mark.parametrize("probability", [1e-4, 0.05, 0.2, 0.4, 0.5, 0.601, 0.9, 0.99])
def test_the_share_dropped_and_the_mean_are_right(probability):
    torch.manual_seed(0)
    found = Dropout(probability)(torch.ones(1_000_003))
    count = len(found)
    deviation = (probability * (1 - probability) / count) ** 0.5
    assert abs(float((found == 0).double().mean()) - probability) < 5 * deviation
    assert abs(float(found.double().mean()) - 1.0) < 5 * deviation / (1 - probability)
    assert len(found.unique()) == 2


def test_runs_drop_by_the_levels_around_the_probability():
    """0.4 is 102.4 of 256: three runs of five drop 102 of 256 elements on average, two 103."""
    torch.manual_seed(0)
    found = kept((20_000, dropout._RUN), 0.4)
    assert found.dtype == torch.uint8
    mean = 1 - found.double().mean()
    assert abs(mean - 0.4) < 5 * (0.24 / found.numel()) ** 0.5
    # What runs vary by is what single elements do: their sum's variance, and a little for the two levels.
    shares = 1 - found.double().mean(1)
    levels = (0.4 * 256 % 1) * (1 - 0.4 * 256 % 1) / 256**2
    assert float(shares.var()) == pytest.approx(0.24 / dropout._RUN + levels, rel=0.05)


def test_neighbouring_elements_are_dropped_independently():
    torch.manual_seed(0)
    dropped = (random_mask(torch.empty(400_000), 0.3) == 0).double()
    for distance in (1, 2, 3, 4, 8):
        both = float((dropped[:-distance] * dropped[distance:]).mean())
        assert both == pytest.approx(0.09, abs=0.003)


def test_the_gradient_is_the_mask():
    torch.manual_seed(0)
    x = torch.randn(50, 7, requires_grad=True)
    dropped = Dropout(0.4)(x)
    dropped.sum().backward()
    torch.testing.assert_close(dropped, x * x.grad)


def test_the_same_seed_drops_the_same():
    x = torch.ones(1000)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        one = Dropout(0.5)(x)
        torch.manual_seed(3)
        other = Dropout(0.5)(x)
    assert torch.equal(one, other)


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (2, 0, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_shape_and_dtype_is_kept(shape, dtype):
    dropped = Dropout(0.5)(torch.ones(shape, dtype=dtype))
    assert dropped.shape == shape
    assert dropped.dtype == dtype


def test_nothing_is_dropped_outside_training_or_at_zero():
    x = torch.randn(100)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_everything_is_dropped_at_one():
    assert torch.equal(Dropout(1.0)(torch.ones(10)), torch.zeros(10))
