"""The scale on which a metric's values are spread evenly, where an interval is symmetric and stays within bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from nd_eval.metrics.statistic_metric import Scale


class ValueScale(NamedTuple):
    """An increasing function of a score, its derivative and its inverse, elementwise."""

    forward: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]


IDENTITY = ValueScale(lambda x: x, torch.ones_like, lambda x: x)

# A score this many standard errors from 0 is spread as a logarithm, a nearer one as it is.
_FAR = 4.0


def value_scale(name: Scale, standard_error: float) -> ValueScale:
    """The scale of a name, for a score of some standard error above 0.

    ``log_when_far`` is for a score without bounds whose spread grows with it, on either side of 0: the inverse
    hyperbolic sine of the score over four standard errors.
    """
    if name != "log_when_far":
        return _SCALES[name]
    unit = _FAR * standard_error
    return ValueScale(
        lambda x: torch.asinh(x / unit), lambda x: torch.rsqrt(x * x + unit * unit), lambda x: unit * torch.sinh(x)
    )


_SCALES: Mapping[Scale, ValueScale] = MappingProxyType(
    {
        "identity": IDENTITY,
        "log": ValueScale(torch.log, torch.reciprocal, torch.exp),
        "log_below_one": ValueScale(
            lambda x: -torch.log1p(-x), lambda x: torch.reciprocal(1.0 - x), lambda x: -torch.expm1(-x)
        ),
        "fisher": ValueScale(torch.atanh, lambda x: torch.reciprocal(1.0 - x * x), torch.tanh),
        "logit": ValueScale(torch.logit, lambda x: torch.reciprocal(x * (1.0 - x)), torch.sigmoid),
    }
)
