"""LAMB for whole tensors (You et al. 2020, arXiv 1904.00962, Algorithm 2): one tensor, one trust ratio.

Two forms of one arithmetic: tensor by tensor with numbers on the host, which suits a CPU's caches, and lists of tensors
with every scalar on the device, which suits GPUs, CUDA graphs and ``torch.compile``.
"""

# ruff: noqa: SLF001 -- torch.optim's own optimizers are written with torch._foreach_*; it has no public spelling
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nd_optim.group_options import LambOptions
from nd_optim.shards import Norms

_INFINITELY_MANY = torch.tensor(math.inf, device="cpu")


def step_tensor(
    parameter: Tensor, gradient: Tensor, state: dict[str, Any], options: LambOptions, *, scratch: Tensor
) -> None:
    """Step one CPU tensor.

    Args:
        parameter: Changed in place, any shape with at least one element.
        gradient: Same shape.
        state: ``step``, ``exp_avg``, ``exp_avg_sq`` and ``trust_ratio`` of the parameter, changed in place.
        options: Of the parameter's group.
        scratch: Room for the update: at least as many elements as the parameter has, in the moments' dtype. Fresh
            memory for every tensor would cost as much time as the arithmetic.
    """
    moment = state["exp_avg"]
    state["step"] += 1
    gradient = _in_moments_dtype(gradient, moment, maximize=options.maximize)
    weight = parameter.to(moment.dtype)
    update = scratch[: parameter.numel()].view(parameter.shape)
    decay = float(options.lr) * options.weight_decay
    # Where nothing was measured there is nothing to trust: what momentum remains coasts at the last ratio, and the
    # decay acts as it is. Dividing by the norm of this step would blow either up to a full step.
    coasting = not options.adam and _is_zero(gradient)
    if options.weight_decay and not coasting:
        torch.mul(weight, options.weight_decay, out=update)
    else:
        update.zero_()
    _add_adam_step(update, gradient, state, options)

    if coasting:
        ratio = float(state["trust_ratio"])
        weight = weight.mul_(1 - decay) if decay else weight
    elif options.adam:
        ratio = 1.0
    else:
        weight_norm = min(float(torch.linalg.vector_norm(weight)), options.clamp_value)
        update_norm = float(torch.linalg.vector_norm(update))
        # A norm of NaN is not 0: it must reach the weights, where it is seen.
        ratio = weight_norm / update_norm if weight_norm != 0 and update_norm != 0 else 1.0
        state["trust_ratio"].fill_(ratio)
    weight.add_(update, alpha=-float(options.lr) * ratio)
    if weight is not parameter:
        parameter.copy_(weight)


def step_tensors(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    states: Sequence[dict[str, Any]],
    options: LambOptions,
    *,
    norms_of_wholes: Callable[[Norms], Norms] | None = None,
) -> None:
    """Step tensors of one device and one dtype together, without a wait for the device.

    Args:
        parameters: Changed in place, any shapes with at least one element.
        gradients: Same shapes.
        states: As in ``step_tensor``, one a parameter.
        options: Of the parameters' group.
        norms_of_wholes: Where the tensors are parts of tensors that are split over processes: makes the norms of those
            out of the norms of the parts.
    """
    moments, moments_sq = [state["exp_avg"] for state in states], [state["exp_avg_sq"] for state in states]
    steps, ratios = [state["step"] for state in states], [state["trust_ratio"] for state in states]
    torch._foreach_add_(steps, 1)
    gradients = [
        _in_moments_dtype(gradient, moment, maximize=options.maximize)
        for gradient, moment in zip(gradients, moments, strict=True)
    ]
    weights = [parameter.to(moment.dtype) for parameter, moment in zip(parameters, moments, strict=True)]
    torch._foreach_lerp_(moments, gradients, 1 - options.beta1)
    torch._foreach_mul_(moments_sq, options.beta2)
    torch._foreach_addcmul_(moments_sq, gradients, gradients, value=1 - options.beta2)
    denominators = torch._foreach_sqrt(moments_sq)
    if options.debias:
        torch._foreach_div_(denominators, [value**0.5 for value in _bias_corrections(steps, options.beta2)])
        torch._foreach_add_(denominators, options.eps)
        updates = torch._foreach_div(moments, denominators)
        torch._foreach_div_(updates, _bias_corrections(steps, options.beta1))
    else:
        torch._foreach_add_(denominators, options.eps)
        updates = torch._foreach_div(moments, denominators)
    if options.weight_decay:
        torch._foreach_add_(updates, weights, alpha=options.weight_decay)
    if options.adam:
        scale: Any = -options.lr  # a number or a tensor
        torch._foreach_mul_(updates, [scale] * len(updates))
        torch._foreach_add_(weights, updates)
    else:
        last = torch.stack(list(ratios))
        norms = (
            torch.stack(torch._foreach_norm(weights)),
            torch.stack(torch._foreach_norm(updates)),
            # The largest magnitude, since the square of a small gradient may underflow to zero.
            torch.stack(torch._foreach_norm(gradients, torch.inf)),
        )
        weight_norms, update_norms, largest = norms if norms_of_wholes is None else norms_of_wholes(norms)
        ratio = trust_ratio(weight_norms, update_norms, options.clamp_value)
        informed = largest != 0
        ratio = torch.where(informed, ratio.to(last.dtype), last)
        torch._foreach_copy_(ratios, list(ratio.unbind()))
        if options.weight_decay:
            # `updates` holds the decay at the ratio; where the gradient is zero it belongs at 1 (see step_tensor).
            excess = torch.where(informed, torch.zeros_like(ratio), ratio - 1)
            torch._foreach_mul_(weights, list((1 + options.lr * options.weight_decay * excess).unbind()))
        torch._foreach_mul_(updates, list((-options.lr * ratio).unbind()))
        torch._foreach_add_(weights, updates)
    if weights[0] is not parameters[0]:
        torch._foreach_copy_(list(parameters), weights)


def trust_ratio(weight_norm: Tensor, update_norm: Tensor, clamp_value: float) -> Tensor:
    """φ(‖w‖) / ‖u‖ with φ(x) = min(x, clamp_value), and 1 where either is zero. Any shape, elementwise."""
    weight_norm = weight_norm.clamp(max=clamp_value)
    ratio = weight_norm / update_norm
    return torch.where((weight_norm != 0) & (update_norm != 0), ratio, torch.ones_like(ratio))


def bias_correction(steps: Tensor, beta: float) -> Tensor:
    """1 − βᵗ for each of the steps t ≥ 1, as −expm1(t·ln β), which keeps float32 digits where βᵗ is close to 1."""
    return -torch.expm1(steps * (math.log(beta) if beta > 0 else -math.inf))


def _add_adam_step(update: Tensor, gradient: Tensor, state: dict[str, Any], options: LambOptions) -> None:
    # Brings the moments up to date and adds the Adam step m / (sqrt(v) + eps) that follows from them.
    moment, moment_sq = state["exp_avg"], state["exp_avg_sq"]
    if all(_is_plain(tensor) for tensor in (gradient, moment, moment_sq)):
        # torch's Adam in one pass over memory, "descending" from the update at a learning rate of -1. Its bias
        # correction, 1 - beta**step, is none after infinitely many steps.
        torch._fused_adam_(
            [update],
            [gradient],
            [moment],
            [moment_sq],
            [],
            [state["step"] if options.debias else _INFINITELY_MANY],
            lr=-1.0,
            beta1=options.beta1,
            beta2=options.beta2,
            weight_decay=0.0,
            eps=options.eps,
            amsgrad=False,
            maximize=False,
        )
        return
    moment.lerp_(gradient, 1 - options.beta1)
    moment_sq.mul_(options.beta2).addcmul_(gradient, gradient, value=1 - options.beta2)
    if options.debias:
        step = float(state["step"])
        denominator = moment_sq.sqrt().div_(math.sqrt(1 - options.beta2**step)).add_(options.eps)
        update.addcdiv_(moment, denominator, value=1 / (1 - options.beta1**step))
    else:
        update.addcdiv_(moment, moment_sq.sqrt().add_(options.eps))


def _is_plain(tensor: Tensor) -> bool:
    # What the fused kernel reads through bare pointers: elements in one order, of one dtype.
    return tensor.is_contiguous() and tensor.dtype in (torch.float32, torch.float64)


def _bias_corrections(steps: Sequence[Tensor], beta: float) -> list[Any]:
    if steps[0].device.type == "cpu" and not torch.compiler.is_compiling():
        return [1 - beta ** float(step) for step in steps]
    return [bias_correction(step, beta) for step in steps]


def _in_moments_dtype(gradient: Tensor, moment: Tensor, *, maximize: bool) -> Tensor:
    gradient = gradient.to(moment.dtype)
    return -gradient if maximize else gradient


def _is_zero(gradient: Tensor) -> bool:
    # One row answers for almost every gradient; only if it is zero is the rest worth reading.
    return not (bool(gradient[0].any()) if gradient.ndim else False) and not bool(gradient.any())
