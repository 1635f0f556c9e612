"""One transform after another."""

from collections.abc import Callable, Sequence
from typing import Any


class Compose:
    """Apply transforms in order, each to the result of the one before.

    Args:
        transforms: Callables. All but the last take and return a `Data`; the last, often a model's tokenizer, may
            return anything.

    Example:
        >>> Compose([lambda x: x + 1, lambda x: 10 * x])(1)
        20
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, data: Any) -> Any:
        """Apply all transforms in order."""
        for transform in self.transforms:
            data = transform(data)
        return data

    def __repr__(self) -> str:
        return f"Compose({self.transforms!r})"
