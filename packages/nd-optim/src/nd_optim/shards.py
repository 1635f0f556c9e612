"""Parameters split over processes (`torch.distributed.tensor.DTensor`, as FSDP2 makes them): each process its part.

A trust ratio needs norms of the whole tensor: the squares of the parts' norms are added up over the processes, for all
tensors of a group together. The rows of a table are stepped where they are, since each is whole in one process.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Norms = tuple[Tensor, Tensor, Tensor]
"""Of each of P tensors: norms of weight and update, and the largest magnitude in the gradient. Shape of each: (P,)."""


def is_sharded(tensor: Any) -> bool:
    """Whether a tensor is a DTensor: each process holds a part of it."""
    return hasattr(tensor, "device_mesh")


def sharding_problem(parameter: Any, gradient: Any, *, sparse: bool, legacy: bool) -> str | None:
    """What keeps a parameter and its gradient, one of them a DTensor, from being stepped; None where nothing does."""
    if not (is_sharded(parameter) and is_sharded(gradient)):
        which = "the parameter" if is_sharded(parameter) else "the gradient"
        return f"found that {which} is a DTensor and the other is not; expected both or neither"
    if legacy:
        return "found a DTensor in a group with legacy=True; torch_brain 0.1.2 takes none, use legacy=False"
    if any(placement.is_partial() for placement in parameter.placements):
        return "found a parameter with a partial placement, which is no value yet; expected shards or replicas"
    if sparse and any(placement.is_shard() and not placement.is_shard(0) for placement in parameter.placements):
        return (
            f"found a table split within its rows ({parameter.placements}), but each row needs a norm of its own; "
            "split it by rows, Shard(0), as fully_shard does"
        )
    return None


def local_part(tensor: Any, like: Any | None = None) -> Tensor:
    """This process's part of a DTensor, sharing its memory; or of a gradient, brought to where the parameter is."""
    if like is not None and tensor.placements != like.placements:
        tensor = tensor.redistribute(like.device_mesh, like.placements)
    part: Tensor = tensor.to_local()
    return part


def local_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's state with this process's part of whatever is split."""
    return {key: local_part(value) if is_sharded(value) else value for key, value in state.items()}


def local_rows(rows: Tensor, parameter: Any) -> Tensor:
    """Which rows of this process's part are among the rows of a table.

    Args:
        rows: Row numbers of the whole table, integers, or a boolean mask of shape (V,).
        parameter: The table, split by rows.

    Returns:
        Row numbers within the part, or a mask of its rows.
    """
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    shape, offset = compute_local_shape_and_global_offset(parameter.shape, parameter.device_mesh, parameter.placements)
    first, count = offset[0], shape[0]
    if rows.dtype is torch.bool:
        return rows[first : first + count]
    return rows[(rows >= first) & (rows < first + count)] - first


def row_counts(parameter: Any) -> Tensor:
    """A zero for each row of a table, int64, split like the table. Shape: (V,)."""
    from torch.distributed.tensor import zeros

    counts: Tensor = zeros(
        parameter.shape[0], dtype=torch.int64, device_mesh=parameter.device_mesh, placements=parameter.placements
    )
    return counts


def placed_like(value: Tensor, parameter: Tensor) -> Tensor:
    """A saved tensor as the parameter is: whole, or split as it is.

    Args:
        value: Whole (the same in each process) or a DTensor.
        parameter: Whole or a DTensor, of the same first dimensions.
    """
    if is_sharded(value) and getattr(value, "placements", None) != getattr(parameter, "placements", None):
        value = value.full_tensor()  # type: ignore[attr-defined]  # of DTensor
    if not is_sharded(parameter) or is_sharded(value):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    value = value.to(parameter.device)
    # Every process has the whole: nothing has to travel.
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def norms_over_processes(parameter: Any) -> Callable[[Norms], Norms]:
    """How to make norms of whole tensors out of norms of this process's parts.

    Args:
        parameter: One of the tensors; all are split alike.

    Returns:
        A function that every process calls at the same time, with norms of as many tensors. One exchange for each
        dimension of the mesh over which the tensors are split.
    """
    groups = [
        parameter.device_mesh.get_group(dimension)
        for dimension, placement in enumerate(parameter.placements)
        if placement.is_shard()
    ]

    def whole(norms: Norms) -> Norms:
        weight, update, largest = norms
        # In float64 the squares neither overflow nor vanish.
        parts = torch.stack([weight.double().square(), update.double().square(), (largest != 0).double()])
        for group in groups:
            torch.distributed.all_reduce(parts, group=group)
        return parts[0].sqrt().to(weight.dtype), parts[1].sqrt().to(update.dtype), parts[2].to(largest.dtype)

    return whole


def stand_in_for_nothing(state: Mapping[str, Any], part: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """A weight, gradient and state of one zero, for a process that has no part of a tensor but counts its steps.

    Args:
        state: The state whose ``step`` and ``trust_ratio`` go on being those of the tensor.
        part: The empty part.
    """
    zero = part.new_zeros(1)
    moments = state["exp_avg"].new_zeros(1)
    # A second moment of one: an update of zero over zero would be no number.
    return zero, part.new_zeros(1), {**state, "exp_avg": moments, "exp_avg_sq": torch.ones_like(moments)}


Shards = Sequence[tuple[Tensor, Tensor, dict[str, Any]]]
"""Parameter, gradient and state of several DTensors."""


def shards_split_alike(work: Shards) -> list[list[tuple[Tensor, Tensor, dict[str, Any]]]]:
    """Group DTensors that can be stepped together: of one mesh, placement and dtype. The order is kept."""
    alike: dict[Any, list[tuple[Tensor, Tensor, dict[str, Any]]]] = {}
    for item in work:
        parameter: Any = item[0]
        # A scalar cannot be split by rows: whether a dimension is there does not matter, the placements say it.
        key = (parameter.device_mesh, tuple(parameter.placements), parameter.dtype)
        alike.setdefault(key, []).append(item)
    return list(alike.values())
