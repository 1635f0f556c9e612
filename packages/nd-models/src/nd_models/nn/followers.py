"""Whether somebody follows the operations of a layer one by one, so that our own shortcuts must stand aside."""

from typing import Any

import torch
from torch.autograd import forward_ad

# Nothing public tells; of a PyTorch that names it otherwise, the safe answer is that one may be active.
_transforms_are_active: Any = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)  # noqa: SLF001


def is_followed() -> bool:
    """Whether a compiler, a tracer, a function transform or forward-mode differentiation is at work here."""
    return bool(
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None  # noqa: SLF001 - torch.jit is deprecated
        or _transforms_are_active()
        or getattr(forward_ad, "_current_level", -1) >= 0
    )
