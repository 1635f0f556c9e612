"""Parts of parts by a path of names, such as "spikes.timestamps"."""

from functools import lru_cache
from operator import attrgetter
from typing import Any, Self

from nd_data.array_dict import ArrayDict


class NestedAttributes:
    """Parts of parts by their paths, for what holds parts."""

    def get_nested_attribute(self, path: str) -> Any:
        """Look up a part of a part, such as "spikes.timestamps".

        Raises:
            AttributeError: a part of the path does not exist; the message lists what does.
        """
        return look_up(self, path)

    def set_nested_attribute(self, path: str, value: Any) -> Self:
        """Set a part of a part, such as "session.id", in place.

        Returns:
            This object.

        Raises:
            AttributeError: a part of the path but the last does not exist.
        """
        put(self, path, value)
        return self

    def has_nested_attribute(self, path: str) -> bool:
        """Whether a part of a part exists; arrays are not read to find out."""
        return leads_somewhere(self, path)


_getter = lru_cache(maxsize=4096)(attrgetter)


def look_up(owner: Any, path: str) -> Any:
    """What a path leads to.

    Raises:
        AttributeError: a part of the path does not exist; the message lists what does.
    """
    try:
        return _getter(path)(owner)
    except AttributeError:
        pass  # once more, for an error that names the part that is missing
    value = owner
    for name in path.split("."):
        try:
            value = getattr(value, name)
        except AttributeError as error:
            raise AttributeError(f"cannot look up '{path}': {error}") from None
    return value


def put(owner: Any, path: str, value: Any) -> None:
    """Set what a path leads to.

    Raises:
        AttributeError: a part of the path but the last does not exist.
    """
    parents, _, name = path.rpartition(".")
    setattr(look_up(owner, parents) if parents else owner, name, value)


def leads_somewhere(owner: Any, path: str) -> bool:
    """Whether a path leads to a part, or to a property of one; arrays are not read to find out."""
    value = owner
    *parents, last = path.split(".")
    for name in parents:
        if not holds_parts(value) or name not in value:
            return False
        value = getattr(value, name)
    if not last or not holds_parts(value):
        return False
    return last in value or isinstance(getattr(type(value), last, None), property)


def holds_parts(value: object) -> bool:
    """Whether a value is a container, in which a name may lead further."""
    return isinstance(value, ArrayDict) or getattr(type(value), "holds_parts", False)


__all__ = ["NestedAttributes", "leads_somewhere", "look_up", "put"]
