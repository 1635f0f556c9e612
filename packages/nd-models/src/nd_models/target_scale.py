"""The scale in which a model learnt its continuous targets, and the way back to the units of the data.

Shape legend: `n` time points, `D` channels of a readout.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

TargetStatistics = dict[str, dict[str, list[float]]]
"""`{readout: {"mean": D numbers, "std": D numbers}}`, plain values; one number stands for all channels."""

_KEYS = ("mean", "std")


def checked_target_statistics(statistics: Any) -> TargetStatistics:
    """A copy of statistics, as plain values.

    Args:
        statistics: As `TargetStatistics`, with any numbers and sequences of them.

    Raises:
        ValueError: they are not of that form, a number is not finite, or a standard deviation is not above 0.

    >>> checked_target_statistics({"speed": {"mean": (1, ), "std": (2.0, )}})
    {'speed': {'mean': [1.0], 'std': [2.0]}}
    """
    if not isinstance(statistics, Mapping):
        raise ValueError(f"target statistics must be a mapping from readout to mean and std, got {statistics!r}")
    checked: TargetStatistics = {}
    for name, measured in statistics.items():
        if not isinstance(measured, Mapping) or set(measured) != set(_KEYS):
            raise ValueError(f"target statistics of {name!r} must be a mapping with 'mean' and 'std', got {measured!r}")
        try:
            numbers = {key: [float(number) for number in measured[key]] for key in _KEYS}
        except (TypeError, ValueError):
            raise ValueError(f"target statistics of {name!r} must be lists of numbers, got {measured!r}") from None
        if len(numbers["mean"]) != len(numbers["std"]) or not numbers["mean"]:
            raise ValueError(f"target statistics of {name!r} must hold as many means as deviations, got {measured!r}")
        if not all(map(math.isfinite, numbers["mean"])) or not all(0 < one < math.inf for one in numbers["std"]):
            raise ValueError(f"target statistics of {name!r} must be finite, and std above 0, got {measured!r}")
        checked[str(name)] = numbers
    return checked


def in_data_units(outputs: Any, statistics: Mapping[str, Mapping[str, list[float]]]) -> Any:
    """Outputs of a model in the units of the data: times the standard deviation, plus the mean.

    Args:
        outputs: What a model returned: by task, shape (n, D) each; a list of such dictionaries, one a window; or, of a
            model with one readout, a tensor of shape (..., D) or a list of them.
        statistics: What its targets were scaled by; tasks that are not among them stay as they are.

    Returns:
        The same in new tensors.

    Raises:
        ValueError: outputs without names, but statistics of several readouts.

    >>> in_data_units({"speed": torch.tensor([[0.5]])}, {"speed": {"mean": [10.0], "std": [4.0]}})["speed"]
    tensor([[12.]])
    """
    if isinstance(outputs, Mapping):
        return {
            task: _unscaled(values, statistics[task]) if task in statistics else values
            for task, values in outputs.items()
        }
    if isinstance(outputs, (list, tuple)):
        return [in_data_units(one, statistics) for one in outputs]
    if len(statistics) > 1:
        raise ValueError(
            f"outputs without the names of tasks, but statistics of {', '.join(map(repr, statistics))}: give outputs "
            "by task"
        )
    return _unscaled(outputs, next(iter(statistics.values()))) if statistics else outputs


def _unscaled(values: Tensor, measured: Mapping[str, list[float]]) -> Tensor:
    mean, std = (torch.tensor(measured[key], dtype=values.dtype, device=values.device) for key in _KEYS)
    return values * std + mean
