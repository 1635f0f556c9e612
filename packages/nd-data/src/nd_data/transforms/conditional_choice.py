"""One of two transforms, by a condition on the data."""

from collections.abc import Callable
from typing import Any

import numpy as np


class ConditionalChoice:
    """Apply one transform where a condition holds and another where it does not.

    Args:
        condition: Takes the data, returns True or False.
        true_transform: Applied where it holds.
        false_transform: Applied where it does not.

    Raises:
        ValueError: when called, if the condition returns anything but a truth value.

    Example:
        >>> ConditionalChoice(lambda x: x > 2, lambda x: 0, lambda x: -x)(1)
        -1
    """

    def __init__(
        self,
        condition: Callable[[Any], bool],
        true_transform: Callable[[Any], Any],
        false_transform: Callable[[Any], Any],
    ) -> None:
        self.condition = condition
        self.true_transform = true_transform
        self.false_transform = false_transform

    def __call__(self, data: Any) -> Any:
        """Apply the transform that the condition calls for."""
        holds = self.condition(data)
        if not isinstance(holds, (bool, np.bool_)):
            raise ValueError(f"the condition must return True or False, got {type(holds).__name__}")
        return self.true_transform(data) if holds else self.false_transform(data)
