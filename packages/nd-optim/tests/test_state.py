"""Saving and loading: a run continues bit for bit, nothing is lost or shared, and what does not fit is refused."""

import copy
import io
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nd_optim import SparseLamb

SETTINGS: list[dict[str, Any]] = [
    {},
    {"debias": True, "weight_decay": 0.1},
    {"foreach": True, "weight_decay": 0.1},
    {"capturable": True, "debias": True},
    {"adam": True, "debias": True},
    {"legacy": True, "weight_decay": 0.1},
    {"lr": torch.tensor(0.01)},
]
DTYPES = [torch.float32, torch.bfloat16, torch.float64]


class Run:
    """A small training run on random gradients: a dense matrix, a bias and a table."""

    def __init__(self, dtype: torch.dtype = torch.float32, **options: Any) -> None:
        generator = torch.Generator().manual_seed(0)
        shapes = [(4, 3), (3,), (10, 3)]
        self.parameters = [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]
        groups = [{"params": self.parameters[:2]}, {"params": self.parameters[2:], "sparse": True, "clamp_value": 0.5}]
        self.optimizer = SparseLamb(groups, **{"lr": 0.05, **options})

    def steps(self, first: int, last: int) -> None:
        for step in range(first, last):
            generator = torch.Generator().manual_seed(step)
            for parameter in self.parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            self.parameters[2].grad[torch.arange(10) % 3 != step % 3] = 0
            if step % 4 == 2:
                self.parameters[0].grad.zero_()
            self.optimizer.step()

    def assert_equal(self, other: "Run") -> None:
        for mine, theirs in zip(self.parameters, other.parameters, strict=True):
            assert torch.equal(mine, theirs)
            state, other_state = self.optimizer.state[mine], other.optimizer.state[theirs]
            assert state.keys() == other_state.keys()
            for key, value in state.items():
                assert value.dtype == other_state[key].dtype
                assert torch.equal(value, other_state[key])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", SETTINGS)
def test_a_reloaded_run_continues_bit_for_bit(options: dict[str, Any], dtype: torch.dtype, tmp_path: Path) -> None:
    whole = Run(dtype, **options)
    whole.steps(0, 11)
    for stop in (0, 1, 3, 7):
        first = Run(dtype, **options)
        first.steps(0, stop)
        torch.save({"weights": first.parameters, "optimizer": first.optimizer.state_dict()}, tmp_path / "checkpoint.pt")
        checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        second = Run(dtype, lr=0.7)  # every other option comes from the checkpoint
        for parameter, weight in zip(second.parameters, checkpoint["weights"], strict=True):
            parameter.data.copy_(weight)
        second.optimizer.load_state_dict(checkpoint["optimizer"])
        second.steps(stop, 11)
        second.assert_equal(whole)


def test_a_loaded_state_shares_no_memory_with_its_source() -> None:
    first, second = Run(), Run()
    first.steps(0, 2)
    state = first.optimizer.state_dict()
    kept = copy.deepcopy(state)
    second.optimizer.load_state_dict(state)
    second.steps(2, 4)
    for key, value in kept["state"][2].items():
        assert torch.equal(state["state"][2][key], value)


def test_copies_and_pickles_of_the_optimizer_keep_its_state() -> None:
    run = Run(debias=True)
    run.steps(0, 3)
    buffer = io.BytesIO(pickle.dumps(run.optimizer))
    for copied in (copy.deepcopy(run.optimizer), pickle.load(buffer)):  # noqa: S301 -- our own bytes, just written
        states = [dict(state) for state in copied.state.values()]
        expected = [dict(state) for state in run.optimizer.state.values()]
        for state, other in zip(states, expected, strict=True):
            assert state.keys() == other.keys()
            assert all(torch.equal(state[key], other[key]) for key in state)


def test_groups_survive_json() -> None:
    run = Run(debias=True)
    groups = json.loads(json.dumps(run.optimizer.state_dict()["param_groups"]))
    other = Run()
    other.optimizer.load_state_dict({"state": {}, "param_groups": groups})
    assert other.optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    assert other.optimizer.param_groups[0]["debias"] is True


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    small, run = Run(), Run(weight_decay=0.25)
    small.steps(0, 2)
    run.steps(0, 2)
    before = copy.deepcopy(run.optimizer.state_dict())

    def refuse(state: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            run.optimizer.load_state_dict(state)
        after = run.optimizer.state_dict()
        assert after["param_groups"] == before["param_groups"]
        for index, values in before["state"].items():
            assert all(torch.equal(value, after["state"][index][key]) for key, value in values.items())

    wrong = small.optimizer.state_dict()
    wrong["state"][2]["exp_avg"] = torch.zeros(9, 3)
    refuse(wrong, r"parameter 0 of group 1 \(shape \(10, 3\)\): the saved exp_avg has shape \(9, 3\)")
    wrong = small.optimizer.state_dict()
    wrong["param_groups"] = copy.deepcopy(wrong["param_groups"])
    wrong["param_groups"][1]["eps"] = float("nan")
    refuse(wrong, "eps")
    wrong = small.optimizer.state_dict()
    wrong["param_groups"] = wrong["param_groups"][:1]
    refuse(wrong, "number of parameter groups")


def test_hooks_on_loading_see_and_may_change_an_open_state() -> None:
    source, run = Run(), Run()
    source.steps(0, 2)
    calls = []

    def double_the_moments(optimizer: Any, state_dict: dict[str, Any]) -> dict[str, Any]:
        calls.append("before")
        changed = copy.deepcopy(state_dict)
        changed["state"][0]["exp_avg"] *= 2
        return changed

    run.optimizer.register_load_state_dict_pre_hook(double_the_moments)
    run.optimizer.register_load_state_dict_post_hook(lambda optimizer: calls.append("after"))
    run.optimizer.load_state_dict(source.optimizer.state_dict())
    assert calls == ["before", "after"]
    loaded, original = run.optimizer.state[run.parameters[0]], source.optimizer.state[source.parameters[0]]
    assert torch.equal(loaded["exp_avg"], 2 * original["exp_avg"])


def test_a_state_of_the_peer_loads_with_its_history() -> None:
    """torch_brain 0.1.2 saves one integer count, two norms and a ratio; three options are missing in its groups."""
    moment = torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, 0.0]])
    saved = {
        "step": 7,
        "exp_avg": moment,
        "exp_avg_sq": moment**2,
        "weight_norm": torch.tensor(3.0),
        "adam_norm": torch.tensor(4.0),
        "trust_ratio": torch.tensor(0.75),
    }
    group = {"lr": 0.5, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.1}
    state = {
        "state": {0: saved, 1: saved},
        "param_groups": [{**group, "sparse": False, "params": [0]}, {**group, "sparse": True, "params": [1]}],
    }
    dense, table = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(3, 2))
    optimizer = SparseLamb([{"params": [dense]}, {"params": [table], "clamp_value": 4.0}], adam=True)
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert optimizer.param_groups[0]["adam"] is True
    assert optimizer.param_groups[1]["clamp_value"] == 4.0
    assert optimizer.param_groups[1]["sparse"] is True
    assert set(optimizer.state[dense]) == {"step", "exp_avg", "exp_avg_sq", "trust_ratio"}
    assert float(optimizer.state[dense]["step"]) == 7
    assert float(optimizer.state[dense]["trust_ratio"]) == 0.75
    assert torch.equal(optimizer.state[table]["exp_avg"], moment)
    assert optimizer.state[table]["row_steps"].tolist() == [7, 0, 7]


def test_a_parameter_that_changed_shape_is_refused_before_anything_moves() -> None:
    run = Run()
    run.steps(0, 1)
    before = run.parameters[0].detach().clone()
    run.parameters[2].data = torch.zeros(12, 3)
    run.parameters[2].grad = torch.ones(12, 3)
    with pytest.raises(ValueError, match=r"group 1 \(shape \(12, 3\)\): its exp_avg has shape \(10, 3\)"):
        run.optimizer.step()
    assert torch.equal(run.parameters[0], before)
    del run.optimizer.state[run.parameters[2]]
    run.optimizer.step()
    assert not bool(run.parameters[2].isclose(torch.zeros(())).any())
