"""Optimizers by name: a fixed table, so that a configuration never names code to import."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import nn

from nd_data.nearest_names import name_hint
from nd_models import DecoderModel
from nd_optim import SparseLamb

ParameterGroups = list[dict[str, Any]]

OptimizerFactory = Callable[..., torch.optim.Optimizer]
"""Takes parameter groups, ``lr=`` and more keywords; any optimizer's class is one."""

CUSTOM = "custom"
"""What a checkpoint calls an optimizer that was given as a callable."""

OptimizerName = Literal[
    "sparse_lamb",
    "adamw",
    "adam",
    "adamax",
    "nadam",
    "radam",
    "adafactor",
    "adagrad",
    "adadelta",
    "rmsprop",
    "rprop",
    "asgd",
    "sgd",
]

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sparse_lamb": SparseLamb,
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adafactor": torch.optim.Adafactor,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop,
    "asgd": torch.optim.ASGD,
    "sgd": torch.optim.SGD,
}
"""The optimizers that a configuration can name."""


def check_optimizer(optimizer: str | OptimizerFactory, arguments: Mapping[str, Any]) -> None:
    """Refuse a name that is not in the table, and arguments that the optimizer does not have.

    Raises:
        ValueError: with what there is.
    """
    if callable(optimizer) or optimizer == CUSTOM:
        return
    if optimizer not in OPTIMIZERS:
        raise ValueError(
            f"optimizer: expected a name of the table, or in Python a callable, found {optimizer!r}; "
            f"{name_hint(str(optimizer), OPTIMIZERS, noun='the table has')}"
        )
    known = [name for name in inspect.signature(OPTIMIZERS[optimizer]).parameters if name not in _SET_HERE]
    for name in arguments:
        if name not in known:
            hint = name_hint(name, known, noun=f"{optimizer} takes")
            if name in ("lr", "weight_decay"):
                hint = f"{name} is an argument of the decoder itself"
            raise ValueError(f"optimizer_arguments: found {name!r}; {hint}")


def decoder_groups(model: DecoderModel, weight_decay: float) -> ParameterGroups:
    """The parameters of a decoder in groups: what steps row by row, and what decays.

    Args:
        model: With its vocabularies.
        weight_decay: Of matrices only; biases, norms, and embeddings of units and sessions have none.
    """
    parameters = dict(model.named_parameters())
    embeddings = _of_parts(parameters, model.embedding_parts)
    readouts = _of_parts(parameters, model.readout_parts)
    known = {id(parameter) for parameter in (*embeddings, *readouts)}
    others = [parameter for parameter in parameters.values() if id(parameter) not in known]
    groups: ParameterGroups = [
        {"params": embeddings, "sparse": True, "weight_decay": 0.0},
        {"params": [p for p in readouts if p.ndim > 1], "sparse": True, "weight_decay": weight_decay},
        # A row of a vector is one number: a step in proportion to its size would never change its sign.
        {"params": [p for p in readouts if p.ndim <= 1], "sparse": True, "adam": True, "weight_decay": 0.0},
        {"params": [p for p in others if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(
    optimizer: str | OptimizerFactory, groups: ParameterGroups, *, lr: float, arguments: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """Make an optimizer of parameter groups.

    Args:
        optimizer: A name of `OPTIMIZERS`, or what makes one.
        groups: Parameters with options. What only `SparseLamb` knows (``sparse``, ``adam``), and ``weight_decay`` where
            an optimizer's class has none, is left out.
        lr: Learning rate.
        arguments: More of the optimizer's own.

    Raises:
        ValueError: the optimizer of a checkpoint was a callable, which a checkpoint does not hold.
        TypeError: the callable returned something else.
    """
    if optimizer == CUSTOM:
        raise ValueError(
            "optimizer: this decoder was trained by an optimizer of your own, which its checkpoint does not hold; pass "
            "it again, as in NeuralDecoder.load_from_checkpoint(path, optimizer=…)"
        )
    make: OptimizerFactory = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    if make is not SparseLamb:
        unknown = {"sparse", "adam"}
        if isinstance(make, type) and "weight_decay" not in inspect.signature(make).parameters:
            unknown.add("weight_decay")
        groups = [{key: value for key, value in group.items() if key not in unknown} for group in groups]
    made = make(groups, lr=lr, **arguments)
    if not isinstance(made, torch.optim.Optimizer):
        raise TypeError(f"optimizer: the callable must return a torch optimizer, found {type(made).__name__}")
    return made


def _of_parts(parameters: Mapping[str, nn.Parameter], parts: tuple[str, ...]) -> list[nn.Parameter]:
    return [
        parameter
        for name, parameter in parameters.items()
        if any(name == part or name.startswith(f"{part}.") for part in parts)
    ]


_SET_HERE = ("self", "params", "lr", "weight_decay", "sparse")
