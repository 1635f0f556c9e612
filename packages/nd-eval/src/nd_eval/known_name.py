"""Telling a name that exists from one that does not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The nearest of the names, as words for an error's message with a space before them; nothing if none is near."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def known_name(name: str, names: Iterable[str], kind: str) -> str:
    """The name, if it is among the names.

    Args:
        name: What was asked for.
        names: What there is.
        kind: What it is a name of, for the error.

    Raises:
        KeyError: it is not; the message lists those there are and the nearest.
    """
    names = list(names)
    if name not in names:
        raise KeyError(
            f"there is no {kind} {name!r}{did_you_mean(name, names)}; there are {', '.join(names) or 'none'}"
        )
    return name
