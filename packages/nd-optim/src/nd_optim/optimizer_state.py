"""What SparseLamb remembers of a parameter: made at its first gradient, put back in place when a state is loaded.

Dense: ``step`` (), ``trust_ratio`` (), ``exp_avg`` and ``exp_avg_sq`` as the parameter. Row-sparse: ``row_steps`` (V,)
int64 in place of ``step`` and ``trust_ratio``. Moments of half-precision parameters are float32.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nd_optim.shards import is_sharded, placed_like, row_counts

_MOMENTS = ("exp_avg", "exp_avg_sq")
_RECORDS_OF_THE_PEER = ("weight_norm", "adam_norm")


def prepare_state(parameter: Tensor, state: dict[str, Any], group: Mapping[str, Any], name: object) -> None:
    """Add what is missing of a parameter's state.

    Args:
        parameter: The parameter.
        state: Its state, changed in place; empty before the first gradient.
        group: Its parameter group.
        name: How to call it in an error.

    Raises:
        ValueError: the parameter has another shape than when its state was made.
    """
    for key in _MOMENTS:
        if key not in state:
            state[key] = torch.zeros_like(parameter, dtype=_moments_dtype(parameter, group))
        elif state[key].shape != parameter.shape:
            raise ValueError(
                f"{name}: its {key} has shape {tuple(state[key].shape)}; after changing a parameter's shape, delete "
                "optimizer.state[parameter] or build the optimizer anew"
            )
    if _counts_rows(group):
        if "row_steps" not in state:
            state["row_steps"] = _row_steps(parameter)
        return
    if "step" not in state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=_step_device(parameter, group))
    if "trust_ratio" not in state:
        state["trust_ratio"] = torch.ones((), dtype=_moments_dtype(parameter, group), device=parameter.device)


def place_state(parameter: Tensor, saved: Mapping[str, Any], group: Mapping[str, Any], name: object) -> dict[str, Any]:
    """Copy a saved state to where and how the parameter needs it, without losing a bit.

    Args:
        parameter: The parameter.
        saved: Its state as saved by SparseLamb; or by torch_brain 0.1.2, whose one count then serves as the count of
            every row with a history and whose recorded norms are dropped.
        group: Its parameter group.
        name: How to call it in an error.

    Returns:
        The state, sharing no memory with ``saved``.

    Raises:
        ValueError: the saved moments have another shape than the parameter.
    """
    state: dict[str, Any] = {}
    for key, value in saved.items():
        if key in _MOMENTS:
            if value.shape != parameter.shape:
                raise ValueError(
                    f"{name}: the saved {key} has shape {tuple(value.shape)}; a state belongs to parameters of the "
                    "same shapes in the same order"
                )
            moment = torch.empty_like(parameter, dtype=_moments_dtype(parameter, group))
            state[key] = moment.copy_(placed_like(value, parameter))
        elif key == "row_steps":
            state[key] = _row_steps(parameter).copy_(placed_like(value, parameter))
        elif key == "step" and _counts_rows(group):
            with_history = (saved["exp_avg_sq"] != 0).reshape(parameter.shape[0], -1).any(dim=1)
            state["row_steps"] = _row_steps(parameter).copy_(placed_like(with_history * int(value), parameter))
        elif key == "step":
            state[key] = torch.tensor(float(value), dtype=torch.float32, device=_step_device(parameter, group))
        elif key == "trust_ratio":
            dtype = _moments_dtype(parameter, group)
            state[key] = torch.tensor(float(value), dtype=dtype, device=parameter.device)
        elif key not in _RECORDS_OF_THE_PEER:
            state[key] = value.clone() if isinstance(value, Tensor) else value
    return state


def _counts_rows(group: Mapping[str, Any]) -> bool:
    return bool(group["sparse"]) and not group["legacy"]


def _row_steps(parameter: Tensor) -> Tensor:
    if is_sharded(parameter):
        return row_counts(parameter)
    return torch.zeros(parameter.shape[0], dtype=torch.int64, device=parameter.device)


def _moments_dtype(parameter: Tensor, group: Mapping[str, Any]) -> torch.dtype:
    # torch_brain 0.1.2 keeps them in the parameter's own dtype.
    if parameter.dtype in (torch.float16, torch.bfloat16) and not group["legacy"]:
        return torch.float32
    return parameter.dtype


def _step_device(parameter: Tensor, group: Mapping[str, Any]) -> torch.device:
    # On the host unless a CUDA graph must count: reading it then never waits for the device.
    return parameter.device if group["capturable"] else torch.device("cpu")
