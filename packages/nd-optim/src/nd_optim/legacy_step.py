"""The step of torch_brain 0.1.2's SparseLamb, number for number, for recipes that were published with it.

It differs from the other steps in what the README lists; nothing new should be trained with it.
"""

from typing import Any

import torch
from torch import Tensor

from nd_optim.dense_step import trust_ratio
from nd_optim.group_options import LambOptions


def step_legacy(
    parameter: Tensor, gradient: Tensor, state: dict[str, Any], options: LambOptions, *, sparse: bool
) -> None:
    """Step one tensor.

    Args:
        parameter: Changed in place. Shape: (V, W), or any when the step is dense.
        gradient: Same shape, dense.
        state: ``step``, ``exp_avg``, ``exp_avg_sq``, ``trust_ratio``, changed in place.
        options: Of the parameter's group.
        sparse: Move only the rows whose gradient is not zero.
    """
    moment, moment_sq = state["exp_avg"], state["exp_avg_sq"]
    state["step"] += 1
    gradient = gradient.to(moment.dtype)
    if options.maximize:
        gradient = -gradient
    moment.mul_(options.beta1).add_(gradient, alpha=1 - options.beta1)
    moment_sq.mul_(options.beta2).addcmul_(gradient, gradient, value=1 - options.beta2)
    touched = None
    if sparse:
        touched = gradient.abs().sum(dim=-1, keepdim=True) > 0
        # Known failure, kept: an untouched row forgets its history.
        moment.masked_fill_(~touched, 0)
        moment_sq.masked_fill_(~touched, 0)
    update = moment / moment_sq.sqrt().add_(options.eps)
    if options.weight_decay:
        update.add_(parameter, alpha=options.weight_decay)
    # Known failures, kept: one ratio for the table, untouched rows included; 1 / weight_decay on a pure-decay step.
    ratio = trust_ratio(torch.linalg.vector_norm(parameter), torch.linalg.vector_norm(update), options.clamp_value)
    state["trust_ratio"].copy_(ratio)
    change = update * (options.lr if options.adam else options.lr * ratio)
    if touched is not None:
        change.masked_fill_(~touched, 0)
    parameter.sub_(change)
