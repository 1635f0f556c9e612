"""Names of a package that are imported when they are first asked for (PEP 562): a page of help needs no torch."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """What a package's ``__getattr__`` and ``__dir__`` are to be.

    Args:
        package: The package's ``__name__``.
        homes: The module that each name is defined in.

    Example:
        >>> find, names = lazy_exports("nd_train", {"NeuralDecoder": "nd_train.neural_decoder"})
        >>> find("NeuralDecoder").__name__, "NeuralDecoder" in names()
        ('NeuralDecoder', True)
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return find, names
