"""Which rows of a table a gradient touches, whether it comes dense, row-sparse or with a list of its rows.

V rows of the table, K rows at hand. A row is touched when its gradient has an element that is not zero.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from nd_optim.shards import is_sharded, sharding_problem


class UnsupportedGradientError(TypeError, RuntimeError):
    """A gradient of a kind that this optimizer, or this parameter group, does not take.

    A ``TypeError`` because the caller passed the wrong kind of tensor; also a ``RuntimeError`` because that is what
    ``torch.optim`` raises for the same mistake, so existing handlers keep working.
    """


class RowGradient(NamedTuple):
    """The part of a gradient that a row-sparse step needs.

    Attributes:
        rows: Row numbers, int64, shape (K,), or None when ``values`` holds all V rows in order.
        values: The gradient's rows, shape (K, ...) or (V, ...).
        touched: Which of them have a non-zero element, bool, shape (K,) or (V,); None when all of them have.
    """

    rows: Tensor | None
    values: Tensor
    touched: Tensor | None


def gradient_rows(gradient: Tensor, listed: Tensor | None, *, static_shapes: bool) -> RowGradient:
    """Find the touched rows of a gradient.

    One pass over a dense gradient; none over it when its rows are listed or it is row-sparse. Rows that are listed but
    have a zero gradient are left out, so that the three forms of one gradient give one result.

    Args:
        gradient: Dense, shape (V, ...), or ``torch.sparse_coo`` with one sparse dimension.
        listed: Rows that may be touched (every touched row must be among them; repetitions and untouched ones do no
            harm), or a boolean mask of shape (V,); None looks for them. Ignored when the gradient is row-sparse.
        static_shapes: Keep every shape independent of the values (CUDA graphs, ``torch.compile``): the answer then
            may hold untouched rows too, and marks the touched ones.

    Returns:
        The rows, their gradient and which of them are touched.
    """
    # Only on a CPU is it free to count rows; elsewhere the host would wait for the device.
    count_is_free = gradient.device.type == "cpu" and not static_shapes
    if gradient.layout is torch.sparse_coo:
        gradient = gradient.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
    elif listed is None or (static_shapes and listed.dtype is torch.bool):
        touched = rows_with_nonzero(gradient)
        if static_shapes:
            return RowGradient(None, gradient, touched)
        rows = touched.nonzero().squeeze(1)
        if rows.numel() == gradient.shape[0]:
            return RowGradient(None, gradient, None)
        return RowGradient(rows, gradient.index_select(0, rows), None)
    else:
        rows = listed
        if count_is_free and rows.dtype is not torch.bool:
            # Through a mask: for a batch's many repeated indices this is far cheaper than sorting them.
            rows = torch.zeros(gradient.shape[0], dtype=torch.bool, device="cpu")
            rows[listed.reshape(-1).to(device="cpu", dtype=torch.int64)] = True
        if rows.dtype is torch.bool:
            rows = rows.nonzero()
        # Repetitions that remain are computed repeatedly and written with the same values.
        rows = rows.reshape(-1).to(device=gradient.device, dtype=torch.int64)
        values = gradient.index_select(0, rows)
    touched = rows_with_nonzero(values)
    if not count_is_free:
        return RowGradient(rows, values, touched)
    if bool(touched.all()):
        return RowGradient(rows, values, None)
    return RowGradient(rows[touched], values[touched], None)


def rows_with_nonzero(values: Tensor) -> Tensor:
    """Say which rows hold an element that is not zero (NaN is not zero). Shape: (K, ...) to (K,), bool."""
    if values.ndim == 1:
        return values != 0
    if values.numel() == 0:
        return torch.zeros(values.shape[0], dtype=torch.bool, device=values.device)
    flat = values.flatten(1)
    # Two reductions to extremes run at memory speed. A sum of squares would lose rows below 1e-23, and
    # (flat != 0).any(1) writes a boolean copy of the table.
    return (flat.amax(1) != 0) | (flat.amin(1) != 0)


def check_gradient(parameter: Tensor, *, sparse: bool, legacy: bool, name: object) -> None:
    """Refuse what cannot be stepped on, before anything has moved.

    Args:
        parameter: A parameter, with a gradient or without.
        sparse: Whether its group is row-sparse.
        legacy: Whether its group reproduces torch_brain 0.1.2.
        name: How to call it in an error.

    Raises:
        UnsupportedGradientError: the gradient is complex, sparse in a dense or legacy group, sparse in another way than
            by rows, or split over processes (DTensor) in a way that no step is made for.
        ValueError: a parameter without dimensions is in a sparse group.
    """
    gradient = parameter.grad
    if gradient is None:
        return
    if gradient.is_complex() or parameter.is_complex():
        raise UnsupportedGradientError(
            f"{name}: expected a real gradient, found {gradient.dtype}; optimize torch.view_as_real(parameter) instead"
        )
    if is_sharded(gradient) or is_sharded(parameter):
        problem = sharding_problem(parameter, gradient, sparse=sparse, legacy=legacy)
        if problem is not None:
            raise UnsupportedGradientError(f"{name}: {problem}")
    if sparse and parameter.ndim == 0:
        raise ValueError(f"{name}: a sparse group needs at least one dimension (its rows), found a scalar")
    if gradient.layout is torch.strided:
        return
    if legacy:
        raise UnsupportedGradientError(
            f"{name}: found a sparse gradient in a group with legacy=True; torch_brain 0.1.2 takes none, "
            "use legacy=False"
        )
    if not sparse:
        raise UnsupportedGradientError(
            f"{name}: found a sparse gradient ({gradient.layout}) in a dense group; give the parameter a group of its "
            "own with sparse=True, or let its layer make dense gradients (nn.Embedding(sparse=False))"
        )
    if gradient.layout is not torch.sparse_coo or gradient.sparse_dim() != 1:
        found = (
            f"{gradient.sparse_dim()} sparse dimensions" if gradient.layout is torch.sparse_coo else "another layout"
        )
        raise UnsupportedGradientError(
            f"{name}: expected a dense gradient or a row-sparse one (torch.sparse_coo with one sparse dimension), "
            f"found {gradient.layout} with {found}"
        )


def check_touched_rows(touched_rows: Mapping[Tensor, Tensor], tables: Mapping[Tensor, object]) -> None:
    """Refuse a ``touched_rows=`` that names no table of a sparse group, or rows that do not exist.

    Args:
        touched_rows: What was passed to ``step``.
        tables: Every parameter of the sparse groups, and how to call it in an error.

    Raises:
        TypeError: a value holds neither integers nor booleans.
        ValueError: a key is no parameter of a sparse group; a mask has another length than the table; or a row is
            outside the table (row numbers on a GPU are left to the GPU's own check, which does not make the host wait).
    """
    for parameter, rows in touched_rows.items():
        if parameter not in tables:
            existing = "; ".join(str(name) for name in tables.values()) or "there is none"
            found = f"a tensor of shape {tuple(parameter.shape)}"
            raise ValueError(
                f"touched_rows: expected parameters of groups with sparse=True ({existing}), found {found}"
            )
        name, count = tables[parameter], parameter.shape[0]
        if rows.is_floating_point() or rows.is_complex():
            raise TypeError(f"touched_rows of {name}: expected row numbers or a boolean mask, found {rows.dtype}")
        if rows.dtype is torch.bool:
            if rows.shape != (count,):
                raise ValueError(
                    f"touched_rows of {name}: expected a mask of shape ({count},), found {tuple(rows.shape)}"
                )
        elif rows.device.type == "cpu" and rows.numel() and not torch.compiler.is_compiling():
            low, high = (int(bound) for bound in rows.aminmax())
            if low < 0 or high >= count:
                raise ValueError(
                    f"touched_rows of {name}: expected row numbers from 0 to {count - 1}, "
                    f"found {low if low < 0 else high}"
                )
