"""When a layer may be computed as a whole by our own code for CPU, and the switch that forbids it.

The fused layers keep their input and recompute the rest while they go back, in blocks that stay in the cache. Nobody
can look between their parts, so they stand aside for whoever wants to: forward hooks, other layers in the place of
plain ones (LoRA), autocast, `torch.compile`, function transforms.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from nd_models.nn.followers import is_followed

_allowed: ContextVar[bool] = ContextVar("fused layers", default=True)

_PLAIN = (nn.Linear, nn.LayerNorm)
_TENSORS = (Tensor, nn.Parameter)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# Nothing public tells; of a PyTorch that names it otherwise, the safe answer is that there is one.
_has_global_hook: Any = getattr(torch_module, "_has_any_global_hook", lambda: True)


@contextmanager
def plain_layers() -> Iterator[None]:
    """Compute every layer by PyTorch's own operations within this context.

    For gradients of gradients, which the fused layers do not have, and for comparisons.

    >>> with plain_layers():
    ...     is_fusible(torch.zeros(2, 4), nn.Linear(4, 4))
    False
    """
    with _layers(allowed=False):
        yield


def as_now() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Contexts for a forward pass and for its repetition elsewhere (activation checkpointing): both as it is here."""
    return nullcontext(), _layers(allowed=_allowed.get())


@contextmanager
def _layers(*, allowed: bool) -> Iterator[None]:
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Mark the way back of a fused layer: it refuses gradients of gradients, rather than give wrong ones in silence."""

    @functools.wraps(backward)
    def checked(context: Any, *gradients: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the fused layers have no gradients of gradients (create_graph=True): run the forward pass within "
                "nd_models.nn.plain_layers()"
            )
        with torch.autocast("cpu", enabled=False):  # whoever goes back within one: the layer went forward without
            return backward(context, *gradients)

    return checked


def is_fusible(
    x: Tensor, *plain: nn.Module, unbiased: Iterable[nn.Module] = (), watched: Iterable[nn.Module] = ()
) -> bool:
    """Whether a fused form may take the place of layers.

    Args:
        x: What goes in.
        plain: The layers that must be PyTorch's own `Linear` and `LayerNorm`, with weight and bias.
        unbiased: Those that must be PyTorch's own, without a bias.
        watched: Other layers that would be passed over.
    """
    return (
        not is_followed()
        and _allowed.get()
        and _is_plain_tensor(x)
        and not torch.is_autocast_enabled("cpu")
        and not _has_global_hook()
        and all(_is_plain_layer(layer, biased=True) for layer in plain)
        and all(_is_plain_layer(layer, biased=False) for layer in unbiased)
        and not any(_has_hooks(layer) for layer in watched)
    )


def _is_plain_layer(layer: nn.Module, *, biased: bool) -> bool:
    # Not the attributes: parametrized or pruned weights are no parameters of these names.
    weight, bias = (layer._parameters.get(name) for name in ("weight", "bias"))  # noqa: SLF001
    return (
        type(layer) in _PLAIN
        and weight is not None
        and _is_plain_tensor(weight)
        and (bias is not None) == biased
        and (bias is None or _is_plain_tensor(bias))
        and not _has_hooks(layer)
    )


def _is_plain_tensor(x: Tensor) -> bool:
    # Not a subclass, as the parts of weights that are split over processes are.
    return type(x) in _TENSORS and x.dtype == torch.float32 and x.device.type == "cpu"


def _has_hooks(layer: nn.Module) -> bool:
    return any(getattr(layer, kind) for kind in _HOOKS)
