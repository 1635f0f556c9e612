"""What every optimizer of this package owes its users. A new one joins by a line in ``OPTIMIZERS``."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nd_optim import SparseLamb

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "SparseLamb": SparseLamb,
    "SparseLamb, decay and correction": partial(SparseLamb, weight_decay=0.1, debias=True),
    "SparseLamb, together": partial(SparseLamb, weight_decay=0.1, foreach=True),
    "SparseLamb, capturable": partial(SparseLamb, weight_decay=0.1, capturable=True),
    "SparseLamb, adam": partial(SparseLamb, adam=True, debias=True),
    "SparseLamb, sparse": partial(SparseLamb, weight_decay=0.1, sparse=True),
    "SparseLamb, legacy": partial(SparseLamb, weight_decay=0.1, legacy=True),
    "SparseLamb, legacy and sparse": partial(SparseLamb, weight_decay=0.1, legacy=True, sparse=True),
}


@pytest.fixture(params=OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def build(request: pytest.FixtureRequest) -> Callable[..., Optimizer]:
    return request.param


def small_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Embedding(12, 6), nn.Linear(6, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 2))


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    indices = torch.randint(0, 12, (16,), generator=generator)
    return indices, torch.stack([(indices % 3).float() - 1, (indices % 2).float()], dim=1)


def loss_of(model: nn.Module, step: int) -> Tensor:
    indices, targets = batch(step)
    return nn.functional.mse_loss(model(indices), targets)


def train(model: nn.Module, optimizer: Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def snapshot(model: nn.Module, optimizer: Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    return copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())


def assert_unchanged(model: nn.Module, optimizer: Optimizer, before: tuple[dict[str, Any], dict[str, Any]]) -> None:
    after = snapshot(model, optimizer)
    assert all(torch.equal(after[0][key], value) for key, value in before[0].items())
    assert after[1]["state"].keys() == before[1]["state"].keys()
    for key, state in before[1]["state"].items():
        assert all(torch.equal(after[1]["state"][key][name], value) for name, value in state.items())


def test_it_learns(build: Callable[..., Optimizer]) -> None:
    model = small_model()
    optimizer = build(model.parameters(), lr=0.02)
    start = loss_of(model, 0).item()
    train(model, optimizer, 0, 200)
    assert loss_of(model, 0).item() < 0.3 * start


def test_it_is_a_torch_optimizer_with_hooks_and_profiling(build: Callable[..., Optimizer]) -> None:
    model = small_model()
    optimizer = build(model.parameters(), lr=0.01)
    assert isinstance(optimizer, Optimizer)
    calls = []
    optimizer.register_step_pre_hook(lambda *arguments: calls.append("before"))
    optimizer.register_step_post_hook(lambda *arguments: calls.append("after"))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profile:
        train(model, optimizer, 0, 1)
    assert calls == ["before", "after"]
    name = type(optimizer).__name__
    assert f"Optimizer.step#{name}.step" in {event.key for event in profile.key_averages()}


def test_a_closure_runs_with_gradients_and_its_loss_comes_back(build: Callable[..., Optimizer]) -> None:
    plain, closed = small_model(), small_model()
    train(plain, build(plain.parameters(), lr=0.01), 0, 3)
    optimizer = build(closed.parameters(), lr=0.01)
    for step in range(3):

        def closure(step: int = step) -> Tensor:
            assert torch.is_grad_enabled()
            optimizer.zero_grad()
            loss = loss_of(closed, step)
            loss.backward()
            return loss

        expected = loss_of(closed, step).item()
        with torch.no_grad():
            assert optimizer.step(closure).item() == expected
        assert not any(parameter.grad.requires_grad for parameter in closed.parameters())
    assert_same_weights(plain, closed)


def test_a_step_makes_no_graph_and_keeps_leaves(build: Callable[..., Optimizer]) -> None:
    model = small_model()
    train(model, build(model.parameters(), lr=0.01), 0, 2)
    assert all(parameter.is_leaf and parameter.requires_grad for parameter in model.parameters())


def test_saved_and_loaded_it_continues_bit_for_bit(build: Callable[..., Optimizer], tmp_path: Any) -> None:
    whole = small_model()
    train(whole, build(whole.parameters(), lr=0.01), 0, 8)
    first = small_model()
    optimizer = build(first.parameters(), lr=0.01)
    train(first, optimizer, 0, 3)
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "checkpoint.pt")
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    second = small_model(seed=1)
    second.load_state_dict(checkpoint["model"])
    optimizer = build(second.parameters(), lr=0.5)
    optimizer.load_state_dict(checkpoint["optimizer"])
    train(second, optimizer, 3, 8)
    assert_same_weights(whole, second)


def test_parameters_without_gradient_are_left_alone(build: Callable[..., Optimizer]) -> None:
    model = small_model()
    optimizer = build(model.parameters(), lr=0.01)
    loss_of(model, 0).backward()
    frozen = model[1].weight
    frozen.grad = None
    before = frozen.detach().clone()
    optimizer.step()
    assert torch.equal(frozen, before)
    assert not optimizer.state[frozen]


def test_maximize_equals_minimizing_the_negative(build: Callable[..., Optimizer]) -> None:
    up, down = small_model(), small_model()
    climbing, descending = build(up.parameters(), lr=0.01, maximize=True), build(down.parameters(), lr=0.01)
    for step in range(4):
        climbing.zero_grad()
        loss_of(up, step).backward()
        climbing.step()
        descending.zero_grad()
        (-loss_of(down, step)).backward()
        descending.step()
    assert_same_weights(up, down)


def test_a_group_added_in_mid_run_starts_fresh_and_leaves_the_others_alone(build: Callable[..., Optimizer]) -> None:
    model, reference = small_model(), small_model()
    body, head = list(model[:4].parameters()), list(model[4].parameters())
    optimizer = build(body, lr=0.01)
    train(model, optimizer, 0, 2)
    optimizer.add_param_group({"params": head, "lr": 0.0})
    train(model, optimizer, 2, 4)
    assert torch.equal(model[4].weight, reference[4].weight)  # at a learning rate of 0
    optimizer.param_groups[1]["lr"] = 0.01
    train(model, optimizer, 4, 5)
    assert not torch.equal(model[4].weight, reference[4].weight)


def test_a_one_cycle_schedule_drives_rate_and_momentum(build: Callable[..., Optimizer]) -> None:
    model, reference = small_model(), small_model()
    optimizer, manual = build(model.parameters(), lr=0.01), build(reference.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=10)
    rates = []
    for step in range(10):
        manual.param_groups[0].update(lr=optimizer.param_groups[0]["lr"], betas=optimizer.param_groups[0]["betas"])
        rates.append(optimizer.param_groups[0]["lr"])
        train(model, optimizer, step, step + 1)
        train(reference, manual, step, step + 1)
        if step < 9:
            schedule.step()
    assert max(rates) == pytest.approx(0.05)
    assert optimizer.param_groups[0]["betas"][0] == pytest.approx(0.95)
    assert_same_weights(model, reference)


def test_clipped_gradients_are_what_it_steps_on(build: Callable[..., Optimizer]) -> None:
    model, reference = small_model(), small_model()
    optimizer, manual = build(model.parameters(), lr=0.01), build(reference.parameters(), lr=0.01)
    for step in range(3):
        optimizer.zero_grad()
        manual.zero_grad()
        loss_of(model, step).backward()
        loss_of(reference, step).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        for parameter in reference.parameters():
            parameter.grad.mul_(0.1 / (norm + 1e-6))
        optimizer.step()
        manual.step()
    for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


def test_a_step_that_the_gradient_scaler_skips_leaves_no_trace(build: Callable[..., Optimizer]) -> None:
    model = small_model()
    optimizer = build(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    for step in range(6):
        before = snapshot(model, optimizer)
        optimizer.zero_grad()
        scaler.scale(loss_of(model, step)).backward()
        overflow = step in (0, 3)
        if overflow:
            model[1].weight.grad[0, 0] = torch.inf
        scaler.step(optimizer)
        scaler.update()
        if overflow:
            assert_unchanged(model, optimizer, before)
        else:
            assert not torch.equal(model[1].weight, before[0]["1.weight"])


def test_a_run_under_the_gradient_scaler_equals_a_run_without(build: Callable[..., Optimizer]) -> None:
    plain, scaled = small_model(), small_model()
    train(plain, build(plain.parameters(), lr=0.01), 0, 4)
    optimizer, scaler = build(scaled.parameters(), lr=0.01), torch.amp.GradScaler("cpu", init_scale=2.0**8)
    for step in range(4):
        optimizer.zero_grad()
        scaler.scale(loss_of(scaled, step)).backward()
        scaler.step(optimizer)
        scaler.update()
    assert_same_weights(plain, scaled)  # a power of two scales without rounding


def test_a_tensor_as_learning_rate_equals_a_number(build: Callable[..., Optimizer]) -> None:
    numbers, tensors = small_model(), small_model()
    train(numbers, build(numbers.parameters(), lr=0.125), 0, 4)
    train(tensors, build(tensors.parameters(), lr=torch.tensor(0.125)), 0, 4)
    for mine, theirs in zip(numbers.parameters(), tensors.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


def test_complex_gradients_are_refused(build: Callable[..., Optimizer]) -> None:
    parameter = nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))
    parameter.grad = torch.ones_like(parameter)
    with pytest.raises(TypeError, match="complex"):
        build([parameter], lr=0.01).step()


@pytest.mark.parametrize("lr", [-1.0, float("nan")])
def test_a_senseless_learning_rate_is_refused(build: Callable[..., Optimizer], lr: float) -> None:
    with pytest.raises(ValueError, match="lr"):
        build([nn.Parameter(torch.ones(2))], lr=lr)


def test_two_equal_runs_are_equal_to_the_bit(build: Callable[..., Optimizer]) -> None:
    one, two = small_model(), small_model()
    for model in (one, two):
        train(model, build(model.parameters(), lr=0.01), 0, 5)
    assert_same_weights(one, two)
