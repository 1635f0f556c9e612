"""When a layer may be computed as a whole by our own code for CPU, and the switch that forbids it.

The fused layers keep their input and recompute the rest while they go back, in blocks that stay in the cache. Nobody
can look between their parts, so they stand aside for whoever wants to: forward hooks, other layers in the place of
plain ones (LoRA), autocast, `torch.compile`, function transforms.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

_allowed: ContextVar[bool] = ContextVar("fused layers", default=True)

_PLAIN = (nn.Linear, nn.LayerNorm)


@contextmanager
def plain_layers() -> Iterator[None]:
    """Compute every layer by PyTorch's own operations within this context.

    For gradients of gradients, which the fused layers do not have, and for comparisons.

    >>> with plain_layers():
    ...     is_fusible(torch.zeros(2, 4), nn.Linear(4, 4))
    False
    """
    token = _allowed.set(False)
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
        return backward(context, *gradients)

    return checked


def is_fusible(x: Tensor, *plain: nn.Module, watched: Iterable[nn.Module] = ()) -> bool:
    """Whether a fused form may take the place of layers.

    Args:
        x: What goes in.
        plain: The layers that must be PyTorch's own, `Linear` and `LayerNorm`.
        watched: Other layers that would be passed over.
    """
    return (
        _allowed.get()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and type(x) in (Tensor, nn.Parameter)
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()  # noqa: SLF001 - nothing public tells
        and not torch_module._has_any_global_hook()  # type: ignore[no-untyped-call]  # noqa: SLF001
        and all(type(layer) in _PLAIN and _holds_single_precision(layer) for layer in plain)
        and not any(_has_hooks(layer) for layer in (*plain, *watched))
    )


def _holds_single_precision(layer: nn.Module) -> bool:
    return all(parameter.dtype == torch.float32 for parameter in layer.parameters(recurse=False))


def _has_hooks(layer: nn.Module) -> bool:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(layer, kind) for kind in kinds)
