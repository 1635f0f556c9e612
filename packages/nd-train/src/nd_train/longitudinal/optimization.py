"""Step 8, the optimizer step: which parameters learn, with which optimizer, at which rate.

A module or parameter with ``mute_grad = True`` does not learn, nor does anything below it.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import nn

MUTE = "mute_grad"


def mute_parameters(model: nn.Module) -> list[str]:
    """Set ``requires_grad=False`` on everything that is muted by itself or by a module around it.

    Args:
        model: The model; its root may be muted too.

    Returns:
        Names of the muted parameters.
    """
    muted = [name for name, parameter in model.named_parameters() if _cause(model, name, parameter) is not None]
    for name in muted:
        model.get_parameter(name).requires_grad_(False)
    return muted


def muted_modules(model: nn.Module) -> Iterator[nn.Module]:
    """The outermost muted modules, which evaluation mode may be set on."""
    if getattr(model, MUTE, False):
        yield model
        return
    for child in model.children():
        yield from muted_modules(child)


def learning_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn, after muting.

    Raises:
        ValueError: the model has parameters and none of them learns; the error says why of each part.
    """
    mute_parameters(model)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    named = list(model.named_parameters())
    if named and not learning:
        causes: dict[str, int] = {}
        for name, parameter in named:
            cause = _cause(model, name, parameter) or "requires_grad=False"
            causes[cause] = causes.get(cause, 0) + 1
        listed = "; ".join(f"{count} by {cause}" for cause, count in causes.items())
        raise ValueError(f"none of the {len(named)} parameters of {type(model).__name__} learns: {listed}")
    return learning


def build_optimizer(
    parameters: list[nn.Parameter], *, optimizer: Literal["adamw", "sgd"], lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW or SGD over some parameters."""
    if optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
    return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay)


def rate_factor(
    schedule: Literal["linear", "cosine"],
    *,
    warmup_steps: int,
    total_steps: float = math.inf,
    start_factor: float,
    end_factor: float,
) -> Callable[[int], float]:
    """What `lr` is multiplied with at each optimizer step.

    ``linear`` rises from `start_factor` to `end_factor` in `warmup_steps` steps and stays there; ``cosine`` descends
    from there to 0 at `total_steps`.

    Raises:
        ValueError: ``cosine`` in a run without end.
    """
    if schedule == "cosine" and not math.isfinite(total_steps):
        raise ValueError("lr_scheduler='cosine' needs the run's length: set the trainer's max_epochs or max_steps")

    def factor(step: int) -> float:
        if step < warmup_steps:
            return start_factor + (end_factor - start_factor) * step / warmup_steps
        if schedule == "linear":
            return end_factor
        rest = max(total_steps - warmup_steps, 1)
        return end_factor * 0.5 * (1.0 + math.cos(math.pi * min((step - warmup_steps) / rest, 1.0)))

    return factor


def _cause(model: nn.Module, name: str, parameter: nn.Parameter) -> str | None:
    """What mutes a parameter, or None."""
    if getattr(parameter, MUTE, False):
        return f"{MUTE} on {name}"
    module, path = model, ""
    for part in name.split("."):
        if getattr(module, MUTE, False):
            return f"{MUTE} on {path or 'the model itself'}"
        if part not in dict(module.named_children()):
            break
        module, path = module.get_submodule(part), f"{path}.{part}".lstrip(".")
    return None
