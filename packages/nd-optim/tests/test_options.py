"""Options: what is refused, with which words, and that each group has its own."""

import inspect
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nd_optim import SparseLamb


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(shape or (2, 2)))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"lr": -1e-3}, ValueError),
        ({"lr": math.nan}, ValueError),
        ({"lr": math.inf}, ValueError),
        ({"lr": "fast"}, TypeError),
        ({"lr": torch.tensor([0.1, 0.2])}, ValueError),
        ({"lr": torch.tensor(math.nan)}, ValueError),
        ({"betas": (1.0, 0.9)}, ValueError),
        ({"betas": (0.9, -0.1)}, ValueError),
        ({"betas": (0.9, math.nan)}, ValueError),
        ({"betas": 0.9}, TypeError),
        ({"betas": (0.9,)}, TypeError),
        ({"eps": -1e-9}, ValueError),
        ({"eps": math.nan}, ValueError),
        ({"eps": math.inf}, ValueError),
        ({"weight_decay": -0.1}, ValueError),
        ({"weight_decay": math.nan}, ValueError),
        ({"weight_decay": True}, TypeError),
        ({"clamp_value": -1.0}, ValueError),
        ({"clamp_value": math.nan}, ValueError),
        ({"sparse": 1}, TypeError),
        ({"adam": None}, TypeError),
        ({"debias": "yes"}, TypeError),
        ({"maximize": 0}, TypeError),
        ({"capturable": 0}, TypeError),
        ({"foreach": "auto"}, TypeError),
        ({"legacy": True, "debias": True}, ValueError),
    ],
)
def test_senseless_options_are_refused_for_the_whole_and_for_one_group(
    options: dict[str, Any], error: type[Exception]
) -> None:
    name = next(iter(options))
    with pytest.raises(error, match=name):
        SparseLamb([parameter()], **options)
    with pytest.raises(error, match=name):
        SparseLamb([{"params": [parameter()]}, {"params": [parameter()], **options}])
    optimizer = SparseLamb([parameter()])
    with pytest.raises(error, match=name):
        optimizer.add_param_group({"params": [parameter()], **options})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.0},
        {"lr": np.float32(0.1)},
        {"lr": torch.tensor(0.1)},
        {"lr": torch.tensor([0.1])},
        {"betas": [0.0, 0.0]},
        {"eps": 0},
        {"clamp_value": 0},
        {"clamp_value": math.inf},
        {"weight_decay": 3},
    ],
)
@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize("path", [{}, {"foreach": True}, {"sparse": True}, {"legacy": True}])
def test_the_edges_of_each_range_are_taken(options: dict[str, Any], path: dict[str, Any], adam: bool) -> None:
    weight = parameter()
    weight.grad = torch.ones(2, 2)
    SparseLamb([weight], adam=adam, **options, **path).step()
    assert weight.shape == (2, 2)
    assert bool(weight.isfinite().all())


@pytest.mark.parametrize(("name", "meant"), [("sprase", "sparse"), ("weight_decy", "weight_decay"), ("beta", "betas")])
def test_a_misspelt_option_of_a_group_is_refused_with_the_nearest_name(name: str, meant: str) -> None:
    with pytest.raises(TypeError, match=f"unknown option '{name}'; did you mean '{meant}'"):
        SparseLamb([{"params": [parameter()], name: True}])


def test_names_that_are_no_options_may_sit_in_a_group() -> None:
    extra = {"name": "readout", "initial_lr": 1.0, "max_lr": 1.0, "min_lr": 0.0, "max_momentum": 0.9, "lr_scale": 0.5}
    group = SparseLamb([{"params": [parameter()], **extra}]).param_groups[0]
    assert {key: group[key] for key in extra} == extra


def test_the_signature_starts_with_the_names_and_defaults_that_users_know() -> None:
    parameters = inspect.signature(SparseLamb).parameters
    known = {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-6,
        "weight_decay": 0.0,
        "clamp_value": 10.0,
        "adam": False,
        "debias": False,
        "sparse": False,
    }
    assert list(parameters)[: len(known) + 1] == ["params", *known]
    assert {name: parameters[name].default for name in known} == known
    added = [value for name, value in parameters.items() if name not in known and name != "params"]
    assert all(value.kind is inspect.Parameter.KEYWORD_ONLY for value in added)


def test_every_option_is_in_every_group_and_in_the_state() -> None:
    names = [name for name in inspect.signature(SparseLamb).parameters if name != "params"]
    optimizer = SparseLamb([{"params": [parameter()]}, {"params": [parameter()], "sparse": True, "clamp_value": 3.0}])
    for group in optimizer.state_dict()["param_groups"]:
        assert set(names) <= set(group)
    assert optimizer.state_dict()["param_groups"][1]["clamp_value"] == 3.0
    assert optimizer.state_dict()["param_groups"][0]["clamp_value"] == 10.0


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.2},
        {"betas": (0.5, 0.5)},
        {"eps": 0.5},
        {"weight_decay": 0.5},
        {"clamp_value": 0.1},
        {"adam": True},
        {"debias": True},
        {"sparse": True},
        {"maximize": True},
        {"legacy": True, "sparse": True, "weight_decay": 0.5},
    ],
)
def test_each_group_steps_by_its_own_options(options: dict[str, Any]) -> None:
    def run(common: dict[str, Any], of_group: dict[str, Any]) -> torch.Tensor:
        weight = parameter(3, 2)
        optimizer = SparseLamb([{"params": [parameter()]}, {"params": [weight], **of_group}], **common)
        for scale in (1.0, -0.5):
            weight.grad = scale * torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.5, 0.0]])
            optimizer.step()
        return weight.detach()

    assert torch.equal(run({}, options), run(options, {}))
    assert not torch.equal(run({}, options), run({}, {}))


def test_named_parameters_are_called_by_name_in_errors() -> None:
    layer = nn.Embedding(3, 2, sparse=True)
    optimizer = SparseLamb(layer.named_parameters())
    layer(torch.tensor([1])).sum().backward()
    with pytest.raises(TypeError, match=r"parameter 'weight' of group 0 \(shape \(3, 2\)\)"):
        optimizer.step()
