"""Packages that are imported when they are used, and the error where they are not installed."""

import importlib
from typing import Any


def required(module: str, install: str, purpose: str) -> Any:
    """Import a package that only some need.

    Args:
        module: What to import.
        install: What to install, as pip names it.
        purpose: What needs it.

    Raises:
        ModuleNotFoundError: it is not installed; the error says what to install.

    >>> required("json", "json", "reading JSON").loads("1")
    1
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".", maxsplit=1)[0]:
            raise
        package = module.partition(".")[0]
        raise ModuleNotFoundError(
            f"{purpose} needs {package}, which is not installed: pip install '{install}'", name=error.name
        ) from None
