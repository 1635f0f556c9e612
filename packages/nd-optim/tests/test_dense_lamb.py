"""Dense steps against LAMB in NumPy and torch's Adam, and in the corners: zero gradients, layouts, half precision."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nd_optim import SparseLamb

# one by one on the host; as lists; as lists of one, with every count on the device
PATHS: list[dict[str, Any]] = [{}, {"foreach": True}, {"foreach": False, "capturable": True}]
SHAPES = [(7, 5), (5,), (3, 2, 4), (1,), ()]


def random_parameters(seed: int, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [
        nn.Parameter((scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype))
        for shape in SHAPES
    ]


def give_random_gradients(parameters: list[nn.Parameter], generator: torch.Generator, scale: float = 1.0) -> None:
    for parameter in parameters:
        gradient = scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.grad = gradient.to(parameter.dtype)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "options",
    [
        {"adam": adam, "debias": debias, "weight_decay": decay, "clamp_value": clamp}
        for adam, debias, decay, clamp in itertools.product([False, True], [False, True], [0.0, 0.1], [0.5, math.inf])
    ],
)
def test_dense_steps_equal_lamb_in_numpy(path: dict[str, Any], options: dict[str, Any], numpy_lamb: Any) -> None:
    options = {"lr": 0.03, "betas": (0.8, 0.98), "eps": 1e-5, **options}
    parameters = random_parameters(0)
    expected = [numpy_lamb(parameter.detach().numpy(), **options) for parameter in parameters]
    optimizer = SparseLamb(parameters, **options, **path)
    generator = torch.Generator().manual_seed(1)
    for _ in range(12):
        give_random_gradients(parameters, generator)
        optimizer.step()
        for parameter, oracle in zip(parameters, expected, strict=True):
            weight = oracle.step(parameter.grad.numpy())
            np.testing.assert_allclose(parameter.detach().numpy(), weight, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("path", PATHS)
def test_dense_float32_steps_stay_within_rounding_of_numpy(path: dict[str, Any], numpy_lamb: Any) -> None:
    parameters = random_parameters(2, torch.float32)
    options = {"lr": 0.01, "weight_decay": 0.05, "debias": True}
    expected = [numpy_lamb(parameter.detach().numpy(), **options) for parameter in parameters]
    optimizer = SparseLamb(parameters, **options, **path)
    generator = torch.Generator().manual_seed(3)
    for _ in range(50):
        give_random_gradients(parameters, generator, scale=1e-2)
        optimizer.step()
        for parameter, oracle in zip(parameters, expected, strict=True):
            weight = oracle.step(parameter.grad.double().numpy())
            np.testing.assert_allclose(parameter.detach().numpy(), weight, rtol=2e-5, atol=2e-6)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_options_and_any_zero_gradients_follow_the_equations(data: st.DataObject, numpy_lamb: Any) -> None:
    options = {
        "lr": data.draw(st.just(0.0) | st.floats(0, 0.5), "lr"),
        "betas": (data.draw(st.floats(0, 0.99), "beta1"), data.draw(st.floats(0, 0.9999), "beta2")),
        "weight_decay": data.draw(st.sampled_from([0.0, 1e-4, 0.3]), "weight_decay"),
        "clamp_value": data.draw(st.sampled_from([0.0, 0.1, 10.0, math.inf]), "clamp_value"),
        "debias": data.draw(st.booleans(), "debias"),
    }
    path = data.draw(st.sampled_from(PATHS), "path")
    zero_gradient = data.draw(st.lists(st.booleans(), min_size=6, max_size=6), "zero_gradient")
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32 - 1), "seed"))
    parameter = nn.Parameter(torch.randn(4, 3, generator=generator, dtype=torch.float64))
    oracle = numpy_lamb(parameter.detach().numpy(), **options)
    optimizer = SparseLamb([parameter], **options, **path)
    for zero in zero_gradient:
        gradient = torch.randn(4, 3, generator=generator, dtype=torch.float64)
        gradient[0] = 0  # a zero first row alone is no zero gradient
        parameter.grad = torch.zeros_like(gradient) if zero else gradient
        optimizer.step()
        np.testing.assert_allclose(
            parameter.detach().numpy(), oracle.step(parameter.grad.numpy()), rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(optimizer.state[parameter]["trust_ratio"].item(), oracle.ratio, rtol=1e-9)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam_with_bias_correction_equals_torch_adamw(path: dict[str, Any], weight_decay: float) -> None:
    ours, theirs = random_parameters(4, torch.float32), random_parameters(4, torch.float32)
    options: dict[str, Any] = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": weight_decay}
    optimizers = [SparseLamb(ours, adam=True, debias=True, **options, **path), torch.optim.AdamW(theirs, **options)]
    if weight_decay == 0:
        optimizers[1] = torch.optim.Adam(theirs, **options)
    generator = torch.Generator().manual_seed(5)
    for _ in range(30):
        give_random_gradients(ours, generator)
        for mine, other in zip(ours, theirs, strict=True):
            other.grad = mine.grad
        for optimizer in optimizers:
            optimizer.step()
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=3e-6, atol=3e-7)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("adam", [False, True])
def test_a_weight_that_never_had_a_gradient_shrinks_by_its_decay_alone(path: dict[str, Any], adam: bool) -> None:
    start = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parameter = nn.Parameter(start.clone())
    parameter.grad = torch.zeros_like(start)
    optimizer = SparseLamb([parameter], lr=0.1, weight_decay=0.01, adam=adam, **path)
    for _ in range(20):
        optimizer.step()
    torch.testing.assert_close(parameter.detach(), start * (1 - 0.1 * 0.01) ** 20, rtol=1e-12, atol=0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_when_gradients_stop_momentum_runs_out_and_only_decay_remains(
    path: dict[str, Any], weight_decay: float
) -> None:
    lr = 0.01
    parameter = random_parameters(6)[0]
    optimizer = SparseLamb([parameter], lr=lr, weight_decay=weight_decay, **path)
    generator = torch.Generator().manual_seed(7)
    for _ in range(10):
        give_random_gradients([parameter], generator)
        optimizer.step()
    before, state = parameter.detach().clone(), optimizer.state[parameter]
    momentum = state["exp_avg"] / (state["exp_avg_sq"].sqrt() + 1e-6)
    # Each step leaves at most 0.9 / sqrt(0.999) of the Adam step before it: a geometric sum bounds the whole coast.
    factor = 0.9 / math.sqrt(0.999)
    coast = lr * float(state["trust_ratio"]) * float(momentum.norm()) * factor / (1 - factor)
    parameter.grad = torch.zeros_like(before)
    steps = 400
    for _ in range(steps):
        optimizer.step()
    kept = before * (1 - lr * weight_decay) ** steps
    assert float((parameter.detach() - kept).norm()) <= coast
    # A plain trust ratio rescales what is left of the momentum to full length: lr * norm a step, while it lasts.
    assert coast < 0.05 * steps * lr * float(before.norm())


@pytest.mark.parametrize("path", PATHS)
def test_a_zero_weight_takes_the_plain_adam_step(path: dict[str, Any]) -> None:
    parameter = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    parameter.grad = torch.tensor([1.0, -2.0, 0.0], dtype=torch.float64)
    SparseLamb([parameter], lr=0.1, eps=0.5, weight_decay=0.3, debias=True, **path).step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([-0.1 / 1.5, 0.2 / 2.5, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_have_float32_moments(path: dict[str, Any], dtype: torch.dtype, numpy_lamb: Any) -> None:
    parameters = random_parameters(8, dtype)
    optimizer = SparseLamb(parameters, lr=0.1, weight_decay=0.1, **path)
    generator = torch.Generator().manual_seed(9)
    for _ in range(5):
        give_random_gradients(parameters, generator)
        expected = []
        for parameter in parameters:
            oracle = numpy_lamb(parameter.detach().double().numpy(), lr=0.1, weight_decay=0.1)
            if parameter in optimizer.state:
                oracle.first = optimizer.state[parameter]["exp_avg"].double().numpy()
                oracle.second = optimizer.state[parameter]["exp_avg_sq"].double().numpy()
            expected.append(oracle.step(parameter.grad.double().numpy()))
        optimizer.step()
        for parameter, weight in zip(parameters, expected, strict=True):
            assert parameter.dtype == dtype
            assert optimizer.state[parameter]["exp_avg"].dtype == torch.float32
            # One rounding of the new weight, and nothing else, separates it from float64.
            spacing = torch.finfo(dtype).eps * np.abs(weight) + 1e-6
            assert np.all(np.abs(parameter.detach().double().numpy() - weight) <= 0.51 * spacing)


@pytest.mark.parametrize("path", PATHS)
def test_memory_layout_does_not_change_the_step(path: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(10)
    weight, gradients = torch.randn(6, 5, generator=generator), torch.randn(4, 6, 5, generator=generator)
    plain, mixed, transposed = (nn.Parameter(layout) for layout in (weight, weight.clone(), weight.T.contiguous().T))
    optimizer = SparseLamb([plain, mixed, transposed], lr=0.1, weight_decay=0.1, debias=True, **path)
    for gradient in gradients:
        plain.grad = gradient
        mixed.grad = gradient.T.contiguous().T
        transposed.grad = gradient.T.contiguous().T
        optimizer.step()
    torch.testing.assert_close(mixed, plain, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(transposed, plain, rtol=1e-6, atol=1e-7)


def test_the_gradient_is_left_as_it_was() -> None:
    parameters = random_parameters(11)
    generator = torch.Generator().manual_seed(12)
    for options in ({}, {"foreach": True}, {"maximize": True}, {"legacy": True}, {"sparse": True}):
        optimizer = SparseLamb(parameters[:4], weight_decay=0.1, **options)
        give_random_gradients(parameters, generator)
        copies = [parameter.grad.clone() for parameter in parameters]
        optimizer.step()
        for parameter, copy in zip(parameters, copies, strict=True):
            assert torch.equal(parameter.grad, copy)


@pytest.mark.parametrize("path", PATHS)
def test_empty_tensors_and_missing_gradients_are_passed_over(path: dict[str, Any]) -> None:
    empty, idle, busy = nn.Parameter(torch.empty(0, 3)), nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    empty.grad, busy.grad = torch.empty(0, 3), torch.ones(2)
    optimizer = SparseLamb([empty, idle, busy], **path)
    optimizer.step()
    assert idle not in optimizer.state
    assert torch.equal(idle, torch.ones(2))
    assert not torch.equal(busy, torch.ones(2))


@pytest.mark.parametrize("sparse", [False, True])
def test_a_default_device_set_by_the_user_does_not_matter(sparse: bool) -> None:
    parameter = nn.Parameter(torch.ones(4, 2))
    parameter.grad = torch.eye(4, 2)
    optimizer = SparseLamb([parameter], sparse=sparse)
    with torch.device("meta"):
        optimizer.step()
        optimizer.step(touched_rows={parameter: torch.arange(2, device="cpu")} if sparse else None)
    assert not bool((parameter[:2] == 1).all())


def test_a_nan_in_the_gradient_is_seen_in_the_weight() -> None:
    for path in PATHS:
        parameter = nn.Parameter(torch.ones(3, 2))
        parameter.grad = torch.tensor([[0.0, 0.0], [torch.nan, 0.0], [0.0, 0.0]])
        SparseLamb([parameter], **path).step()
        assert bool(parameter.isnan().all())


def largest_difference(left: list[nn.Parameter], right: list[nn.Parameter]) -> float:
    return max(float((a.detach() - b.detach()).abs().max()) for a, b in zip(left, right, strict=True))


def test_together_and_one_by_one_give_the_same_run() -> None:
    runs: list[list[nn.Parameter]] = []
    states: list[list[dict[str, Tensor]]] = []
    for foreach in (None, False, True):
        parameters = [*random_parameters(13, torch.float32), *random_parameters(14, torch.float64)]
        optimizer = SparseLamb(parameters, lr=0.01, weight_decay=0.1, debias=True, foreach=foreach)
        generator = torch.Generator().manual_seed(15)
        for step in range(20):
            give_random_gradients(parameters, generator)
            if step % 4 == 3:
                parameters[0].grad.zero_()
            optimizer.step()
        runs.append(parameters)
        states.append([optimizer.state[parameter] for parameter in parameters])
    assert largest_difference(runs[0], runs[1]) == 0
    assert largest_difference(runs[0], runs[2]) < 1e-6
    for one, other in zip(states[0], states[2], strict=True):
        assert one.keys() == other.keys()
        for key in one:
            torch.testing.assert_close(one[key], other[key], rtol=1e-5, atol=1e-7)
