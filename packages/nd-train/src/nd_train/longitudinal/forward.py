"""Step 3, the forward pass: call the model, and give its output one shape.

B sequences, T steps, K outcomes, C classes.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def forward_model(
    model: nn.Module, inputs: Mapping[str, Any], *, steps: tuple[int, int], num_outcomes: int, num_classes: int
) -> Tensor:
    """Call a model with the inputs that it takes.

    Args:
        model: Takes tensors by keyword. A model without ``**keywords`` gets only those that it names.
        inputs: What `unpack_batch` gives.
        steps: (B, T).
        num_outcomes: K.
        num_classes: 1 or 2: one number a outcome; more: C logits.

    Returns:
        (B, T, K), or (B, T, K, C) for more than two classes. A model that predicts only a last step: (B, 1, K) or
        (B, 1, K, C).

    Raises:
        TypeError: the model returns no tensor, or needs an input that the batch lacks.
        ValueError: an output of another shape.
    """
    output = model(**_accepted(model, inputs))
    if not hasattr(output, "reshape"):
        raise TypeError(f"{type(model).__name__} returned {type(output).__name__}, expected one tensor")
    return shaped_output(
        output, steps=steps, num_outcomes=num_outcomes, num_classes=num_classes, name=type(model).__name__
    )


def shaped_output(
    output: Tensor, *, steps: tuple[int, int], num_outcomes: int, num_classes: int, name: str = "the model"
) -> Tensor:
    """An output as (B, T, K[, C]), from that shape, from one with K and C merged or squeezed, or of one step.

    Raises:
        ValueError: the output has another number of entries.
    """
    batch_size, length = steps
    tail = (num_outcomes, num_classes) if num_classes > 2 else (num_outcomes,)
    width = num_outcomes * (num_classes if num_classes > 2 else 1)
    if output.shape[:2] == (batch_size, length) and output.numel() == batch_size * length * width:
        return output.reshape(batch_size, length, *tail)
    if output.ndim and output.shape[0] == batch_size and output.numel() == batch_size * width:
        return output.reshape(batch_size, 1, *tail)
    classes = f", num_classes {num_classes}" if num_classes > 2 else ""
    raise ValueError(
        f"{name} returned shape {tuple(output.shape)}; expected {(batch_size, length, *tail)}, or "
        f"{(batch_size, *tail)} for the last step (num_outcomes {num_outcomes}{classes})"
    )


def _accepted(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(model.forward).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(inputs)
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.VAR_POSITIONAL
    ]
    missing = [name for name in needed if name not in inputs]
    if missing:
        raise TypeError(
            f"{type(model).__name__} needs {', '.join(map(repr, missing))}; "
            f"the batch gives {', '.join(map(repr, sorted(map(str, inputs))))}"
        )
    return {name: value for name, value in inputs.items() if name in parameters}
