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

SCALES: Mapping[Scale, ValueScale] = MappingProxyType(
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
