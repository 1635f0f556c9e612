"""The options of one parameter group: their names, what they may be, and how a step reads them.

Checked when a group is added or loaded, not at every step: schedulers may write any number in between.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

from torch import Tensor

OPTION_NAMES = (
    "lr",
    "betas",
    "eps",
    "weight_decay",
    "clamp_value",
    "adam",
    "debias",
    "sparse",
    "maximize",
    "foreach",
    "capturable",
    "legacy",
)

_FLAGS = ("adam", "debias", "sparse", "maximize", "capturable", "legacy")


class LambOptions(NamedTuple):
    """What the arithmetic of one group needs to know, read from the group at each step."""

    lr: float | Tensor
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    clamp_value: float
    adam: bool
    debias: bool
    maximize: bool
    capturable: bool

    @classmethod
    def of(cls, group: Mapping[str, Any]) -> "LambOptions":
        """Read the options of a parameter group."""
        lr = group["lr"]
        beta1, beta2 = group["betas"]
        return cls(
            lr=lr.reshape(()) if isinstance(lr, Tensor) else lr,
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            clamp_value=group["clamp_value"],
            adam=group["adam"],
            debias=group["debias"],
            maximize=group["maximize"],
            capturable=group["capturable"],
        )


def check_options(group: Mapping[str, Any]) -> None:
    """Refuse a group whose options make no sense.

    Args:
        group: A parameter group, or the defaults; every name in ``OPTION_NAMES`` must be there.

    Raises:
        TypeError: an option has the wrong type, or a name is a misspelt option.
        ValueError: an option is out of its range or NaN, or two options exclude each other.
    """
    _refuse_misspelt_names(group)
    _check_learning_rate(group["lr"])
    betas = group["betas"]
    if not isinstance(betas, Sequence) or len(betas) != 2:
        raise TypeError(f"betas: expected two numbers, found {betas!r}")
    for position, beta in enumerate(betas):
        if not 0.0 <= _number(f"betas[{position}]", beta) < 1.0:
            raise ValueError(f"betas[{position}]: expected 0 <= beta < 1, found {beta!r}")
    for name in ("eps", "weight_decay", "clamp_value"):
        value = _number(name, group[name])
        # The clamp may be infinite: that is how it is switched off.
        if not value >= 0.0 or (math.isinf(value) and name != "clamp_value"):
            raise ValueError(f"{name}: expected a number >= 0, found {group[name]!r}")
    for name in _FLAGS:
        if not isinstance(group[name], bool):
            raise TypeError(f"{name}: expected True or False, found {group[name]!r}")
    if not isinstance(group["foreach"], bool | None):
        raise TypeError(f"foreach: expected True, False or None (choose by device), found {group['foreach']!r}")
    if group["legacy"] and group["debias"]:
        raise ValueError(
            "legacy=True with debias=True: torch_brain 0.1.2, whose numbers legacy=True reproduces, has no bias "
            "correction; use legacy=False for a corrected run, or debias=False"
        )


def _check_learning_rate(lr: Any) -> None:
    if isinstance(lr, Tensor):
        if lr.numel() != 1:
            raise ValueError(f"lr: expected a tensor of one element, found shape {tuple(lr.shape)}")
        lr = lr.item()
    value = _number("lr", lr)
    if not (value >= 0.0 and math.isfinite(value)):
        raise ValueError(f"lr: expected a finite number >= 0, found {lr!r}")


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: expected a number, found {value!r} of type {type(value).__name__}")
    return float(value)


def _refuse_misspelt_names(group: Mapping[str, Any]) -> None:
    # Unknown names are legal in torch.optim (schedulers keep 'initial_lr' there, users a 'name'), so only what looks
    # like an option with a slip of the finger is refused: it would otherwise train with the default, in silence.
    for name in group:
        nearest = [] if name in OPTION_NAMES else difflib.get_close_matches(name, OPTION_NAMES, n=1, cutoff=0.8)
        if nearest:
            raise TypeError(
                f"parameter group: unknown option {name!r}; did you mean {nearest[0]!r}? "
                f"The options are {', '.join(OPTION_NAMES)}"
            )
