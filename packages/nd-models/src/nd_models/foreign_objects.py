"""Stand-ins for the objects of classes that a file names: they hold what the file says about them and do nothing."""

import re
from collections.abc import Mapping
from typing import Any, Self

_DEEPEST = 100
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")

DICTIONARIES = frozenset(
    {
        "collections.defaultdict",
        "lightning.fabric.utilities.data.AttributeDict",
        "lightning.pytorch.utilities.parsing.AttributeDict",
        "lightning_fabric.utilities.data.AttributeDict",
        "pytorch_lightning.utilities.parsing.AttributeDict",
    }
)
"""Classes of which only the items matter: a plain dictionary takes their place."""


class ForeignObject:
    """What a file says about an object of a class, or about a call of a function, that is neither imported nor called.

    Attributes:
        foreign_name: The name of the class or function, `module.name`.
        arguments: What it would have been called with.
        state: What the object would have been filled with; None where with nothing.
    """

    foreign_name = ""
    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> Self:
        """Take down what the class or function would have been called with."""
        taken_down = super().__new__(cls)
        taken_down.arguments = arguments
        taken_down.state = None
        return taken_down

    def __init__(self, *arguments: Any) -> None:
        """Nothing is left to do."""

    def __setstate__(self, state: Any) -> None:
        """Take down what the object would have been filled with."""
        self.state = state

    def __repr__(self) -> str:
        return f"<{self.foreign_name}, not loaded>"


class _PlainDictionary(dict[Any, Any]):
    def __new__(cls, *_: Any) -> Any:
        return {}


def stand_in(name: str) -> type:
    """The class whose instances stand for whatever the file makes of `name`, `module.name`."""
    if name in DICTIONARIES:
        return type("PlainDictionary", (_PlainDictionary,), {})
    return type("ForeignObject", (ForeignObject,), {"foreign_name": name})


def plain(value: Any) -> Any:
    """Mappings, lists and values in place of the stand-ins for OmegaConf's containers and nodes, and for paths.

    Args:
        value: What a file holds; it is not altered.

    Returns:
        A copy of its mappings, lists and tuples (as lists), with all other values as they are. Other stand-ins stay.

    Raises:
        ValueError: it is nested too deeply, or in itself.
    """
    return _plain(value, {}, 0)


def _plain(value: Any, known: dict[int, Any], depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError(f"values are nested more than {_DEEPEST} deep, or in themselves")
    if isinstance(value, ForeignObject):
        inside = _of_omegaconf(value)
        if inside is not value:
            return _plain(inside, known, depth + 1)
        if value.foreign_name.startswith("pathlib.") and all(isinstance(part, str) for part in value.arguments):
            return "/".join(value.arguments).replace("//", "/", 1)
        return value
    if not isinstance(value, (Mapping, list, tuple)):
        return value
    # What many refer to is copied once: copies of copies could grow without end.
    if id(value) not in known:
        if isinstance(value, Mapping):
            known[id(value)] = {key: _plain(inner, known, depth + 1) for key, inner in value.items()}
        else:
            known[id(value)] = [_plain(inner, known, depth + 1) for inner in value]
    return known[id(value)]


def _of_omegaconf(value: ForeignObject) -> Any:
    # A container keeps its nodes in _content (or what it refers to, "${…}"), a node its value in _val.
    if value.foreign_name.startswith("omegaconf.") and isinstance(value.state, Mapping):
        for key in ("_content", "_val"):
            if key in value.state:
                return value.state[key]
    return value


def resolved(value: Any, root: Any) -> Any:
    """Follow references `${a.b}` from the root, as OmegaConf does when a value is read.

    Args:
        value: Plain values.
        root: Where paths begin.

    Returns:
        A copy with references replaced; what is no path, or leads nowhere, stays as it is written.

    >>> resolved({"dim": "${size.dim}", "name": "a"}, {"size": {"dim": 64}})
    {'dim': 64, 'name': 'a'}
    """
    for _ in range(_DEEPEST):
        reference = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if reference is None:
            break
        found = root
        for part in reference[1].split("."):
            if not isinstance(found, Mapping) or part not in found:
                return value
            found = found[part]
        value = found
    if isinstance(value, Mapping):
        return {key: resolved(inner, root) for key, inner in value.items()}
    return [resolved(inner, root) for inner in value] if isinstance(value, list) else value
