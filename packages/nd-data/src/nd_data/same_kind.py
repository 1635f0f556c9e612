"""Containers like a given one with other members, so that a batch has the structure of its windows."""

import copy
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any


def mapping_like(first: Mapping[Any, Any], members: dict[Any, Any]) -> Mapping[Any, Any]:
    """A mapping of the same kind with other values, or a plain dictionary where the kind cannot hold them.

    Args:
        first: For instance an ``OrderedDict``; it stays as it is.
        members: Values for all of its keys.
    """
    if type(first) is dict:
        return members
    try:
        if isinstance(first, MutableMapping):
            out = copy.copy(first)  # a defaultdict keeps its default
            out.update(members)
            return out
        made: Mapping[Any, Any] = type(first)(members)  # type: ignore[call-arg]  # most kinds take one
    except (TypeError, ValueError):
        return members
    return made


def has_members(value: object) -> bool:
    """Whether a value is a sequence to go into: no text, and no array."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def sequence_like(first: Sequence[Any], members: list[Any]) -> Sequence[Any]:
    """A sequence of the same kind with other members, or a list where the kind cannot hold them; so for plain tuples.

    Args:
        first: For instance a named tuple or a ``deque``; it stays as it is.
        members: As many as it has.
    """
    if type(first) is list:
        return members
    if isinstance(first, tuple):
        return type(first)(*members) if hasattr(first, "_fields") else members
    try:
        if isinstance(first, MutableSequence):
            out = copy.copy(first)
            for place, member in enumerate(members):
                out[place] = member
            return out
        made: Sequence[Any] = type(first)(members)  # type: ignore[call-arg]  # most kinds take one
    except (TypeError, ValueError):
        return members
    return made


__all__ = ["has_members", "mapping_like", "sequence_like"]
