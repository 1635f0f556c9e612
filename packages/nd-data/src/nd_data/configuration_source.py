"""A configuration as it was given, from a YAML file or from Python, with the place of each value for error messages.

YAML is read with the safe loader only: no tag ever makes a Python object.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ValuePath = tuple[str | int, ...]
"""The keys and positions that lead from the top of a configuration to a value."""


class ConfigurationSource:
    """Plain values and where they came from.

    Args:
        value: Dictionaries, lists, strings, numbers, booleans and None.
        name: What to call the source in an error.
        node: The YAML node of ``value``, if it came from YAML.
    """

    def __init__(self, value: Any, *, name: str, node: yaml.Node | None = None) -> None:
        self.value = value
        self.name = name
        self._node = node

    @classmethod
    def read(cls, config: Any) -> "ConfigurationSource":
        """Read a configuration from a YAML file's path, or take a list or mapping as it is.

        Raises:
            FileNotFoundError: there is no such file.
            TypeError: neither a path nor a list nor a mapping.
            ValueError: the file is not YAML, is empty, repeats a key, or asks for anything but plain values.
        """
        if isinstance(config, (str, os.PathLike)):
            return _read_yaml(Path(config))
        if isinstance(config, (Mapping, Sequence)):
            return cls(_plain(config), name="configuration")
        raise TypeError(f"config must be the path of a YAML file, a list or a mapping, got {type(config).__name__}")

    def where(self, path: ValuePath) -> str:
        """Name the place of a value: file and line, or the way through the Python objects."""
        node = self._node
        if node is None:
            return self.name + "".join(f"[{part!r}]" for part in path)
        line = node.start_mark.line
        for part in path:
            key_node, child = _child(node, part)
            if child is None:
                break
            node = child
            line = (key_node or child).start_mark.line
        return f"{self.name}, line {line + 1}"

    def text(self, path: ValuePath) -> str | None:
        """A scalar exactly as it is written in the YAML file, None if it is not one."""
        node = self._node
        for part in path:
            if node is None:
                return None
            _, node = _child(node, part)
        return node.value if isinstance(node, yaml.ScalarNode) else None


def _read_yaml(path: Path) -> ConfigurationSource:
    if not path.is_file():
        nearby = sorted(str(other) for other in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        found = f"; YAML files there: {', '.join(nearby)}" if nearby else ""
        raise FileNotFoundError(f"no configuration file at {path.absolute()}{found}")
    name = str(path)
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        try:
            node = loader.get_single_node()
            if node is None:
                raise ValueError(f"{name}: the configuration file is empty")
            _check_nodes(node, name)
            value = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{name}{line}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}: not valid YAML: {error}") from None
    return ConfigurationSource(value, name=name, node=node)


def _check_nodes(root: yaml.Node, name: str) -> None:
    """Refuse repeated keys, of which YAML silently keeps the last, and nodes that contain themselves."""
    checked: set[int] = set()
    open_nodes: set[int] = set()

    def check(node: yaml.Node) -> None:
        if id(node) in open_nodes:
            raise ValueError(f"{name}, line {node.start_mark.line + 1}: this value contains itself")
        if id(node) in checked:
            return
        open_nodes.add(id(node))
        if isinstance(node, yaml.MappingNode):
            seen: dict[Any, int] = {}
            for key_node, value_node in node.value:
                line = key_node.start_mark.line + 1
                if isinstance(key_node, yaml.ScalarNode):
                    if key_node.value in seen:
                        raise ValueError(
                            f"{name}, line {line}: key {key_node.value!r} was given before, in line "
                            f"{seen[key_node.value]}; keep one of them"
                        )
                    seen[key_node.value] = line
                check(value_node)
        elif isinstance(node, yaml.SequenceNode):
            for member in node.value:
                check(member)
        open_nodes.discard(id(node))
        checked.add(id(node))

    check(root)


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    """The key's node and the value's node of one member, None where there is none."""
    if isinstance(node, yaml.MappingNode):
        # Merged keys come first, those that override them last.
        for key_node, value_node in reversed(node.value):
            if key_node.value == str(part):
                return key_node, value_node
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    return None, None


def _plain(value: Any) -> Any:
    """A copy in plain dictionaries and lists, so that later changes to what was passed in change nothing here."""
    if isinstance(value, Mapping):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_plain(member) for member in value]
    return value
