"""LAMB for the rows of a table, each a small parameter of its own: own moments, own step count, own trust ratio.

V rows of the table, K rows at hand, W elements a row.
"""

from typing import Any

import torch
from torch import Tensor

from nd_optim.dense_step import bias_correction, trust_ratio
from nd_optim.gradient_rows import RowGradient
from nd_optim.group_options import LambOptions


def step_rows(parameter: Tensor, gradient: RowGradient, state: dict[str, Any], options: LambOptions) -> None:
    """Step the touched rows and leave every other row, its moments and its count alone.

    A row's step depends on nothing outside the row: not on the rows beside it in the batch, nor on V.

    Args:
        parameter: The table, shape (V, ...), changed in place.
        gradient: The rows at hand.
        state: ``row_steps`` (V,), ``exp_avg`` and ``exp_avg_sq`` (V, ...) of the table, changed in place.
        options: Of the table's group.
    """
    rows, values, touched = gradient
    values = _flat(values).to(state["exp_avg"].dtype)
    if options.maximize:
        values = -values
    # Copies of the rows, so everything below may work in place: fresh memory costs more than the arithmetic.
    weight = _flat(_copy(parameter, rows)).to(values.dtype)
    steps = _copy(state["row_steps"], rows).add_(1)
    moment = _flat(_copy(state["exp_avg"], rows)).lerp_(values, 1 - options.beta1)
    moment_sq = _flat(_copy(state["exp_avg_sq"], rows)).mul_(options.beta2)
    moment_sq.addcmul_(values, values, value=1 - options.beta2)

    update = moment_sq.sqrt()
    if options.debias:
        counts = steps.to(update.dtype).unsqueeze(1)
        update.div_(bias_correction(counts, options.beta2).sqrt()).add_(options.eps)
        torch.div(moment, update, out=update).div_(bias_correction(counts, options.beta1))
    else:
        torch.div(moment, update.add_(options.eps), out=update)
    if options.weight_decay:
        update.add_(weight, alpha=options.weight_decay)
    if options.adam:
        weight.sub_(update.mul_(options.lr))
    else:
        weight_norm = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
        update_norm = torch.linalg.vector_norm(update, dim=1, keepdim=True)
        ratio = trust_ratio(weight_norm, update_norm, options.clamp_value)
        weight.sub_(update.mul_(options.lr * ratio))

    _put(parameter, rows, weight, touched)
    _put(state["exp_avg"], rows, moment, touched)
    _put(state["exp_avg_sq"], rows, moment_sq, touched)
    _put(state["row_steps"], rows, steps, touched)


def _copy(table: Tensor, rows: Tensor | None) -> Tensor:
    return table.clone() if rows is None else table.index_select(0, rows)


def _flat(values: Tensor) -> Tensor:
    # (K, ...) to (K, W); the rows of a vector are its elements.
    return values.unsqueeze(1) if values.ndim == 1 else values.flatten(1)


def _put(table: Tensor, rows: Tensor | None, new: Tensor, touched: Tensor | None) -> None:
    new = new.to(table.dtype).view(new.shape[0], *table.shape[1:])
    if touched is not None:
        new = torch.where(touched.view(-1, *[1] * (table.ndim - 1)), new, _copy(table, rows))
    if rows is None:
        table.copy_(new)
    else:
        table.index_copy_(0, rows, new)
