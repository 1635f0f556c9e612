"""Typed reading of a configuration value by value: what does not fit is noted with its place, and reading goes on.

So that one error can list all that is wrong with a configuration.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from nd_data.configuration_source import ConfigurationSource, ValuePath
from nd_data.nearest_names import name_hint


class Cursor:
    """One value of a configuration, its place, and the list of problems it shares with all others.

    Args:
        source: The configuration.
        path: The way to the value.
        value: The value.
        problems: Where to note what does not fit.
    """

    __slots__ = ("path", "problems", "source", "value")

    def __init__(self, source: ConfigurationSource, path: ValuePath, value: Any, problems: list[str]) -> None:
        self.source = source
        self.path = path
        self.value = value
        self.problems = problems

    @property
    def where(self) -> str:
        """File and line, or the way through the Python objects."""
        return self.source.where(self.path)

    @property
    def label(self) -> str:
        """The name of the value in an error, as in ``multitask_readout[0].weights``."""
        text = ""
        for part in self.path:
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
        return text or "the configuration"

    def report(self, message: str) -> None:
        """Note a problem with this value."""
        self.problems.append(f"{self.where}: {message}")

    def child(self, part: str | int) -> "Cursor":
        """A member of this value."""
        return Cursor(self.source, (*self.path, part), self.value[part], self.problems)

    def mapping(self, *, allowed: Iterable[str] | None = None, required: Iterable[str] = ()) -> dict[str, "Cursor"]:
        """The members of a mapping with text keys; unknown and missing keys are noted and left out.

        Args:
            allowed: The keys there may be; any text if absent.
            required: The keys there must be.
        """
        if not isinstance(self.value, dict):
            self.report(f"{self.label} must be a mapping, got {_kind(self.value)}")
            return {}
        members = {}
        names = None if allowed is None else list(allowed)
        for key in self.value:
            if not isinstance(key, str):
                self.report(f"keys of {self.label} must be text, got {key!r}")
            elif names is not None and key not in names:
                self.child(key).report(
                    f"unknown key {key!r} in {self.label}; {name_hint(key, names, noun='valid keys')}"
                )
            else:
                members[key] = self.child(key)
        for key in required:
            if key not in self.value:
                self.report(f"{self.label} needs the key {key!r}")
        return members

    def members(self) -> list["Cursor"]:
        """The members of a list."""
        if not isinstance(self.value, list):
            self.report(f"{self.label} must be a list, got {_kind(self.value)}")
            return []
        return [self.child(position) for position in range(len(self.value))]

    def text(self) -> str | None:
        """A text that is not empty. Names that YAML reads as a number or a date count as they are written."""
        value = self.value
        if value is not None and not isinstance(value, (str, bool, float, list, dict)):
            value = self.source.text(self.path) or str(value)
        if not isinstance(value, str) or not value:
            self.report(f"{self.label} must be text, got {_kind(value)}")
            return None
        return value

    def texts(self) -> tuple[str, ...]:
        """A list of texts that is not empty."""
        members = self.members()
        if isinstance(self.value, list) and not members:
            self.report(f"{self.label} must not be empty")
        return tuple(text for member in members if (text := member.text()) is not None)

    def number(self, *, above: float | None = None, at_least: float | None = None) -> float | None:
        """A finite number.

        Args:
            above: It must exceed this.
            at_least: It must not fall below this.
        """
        value = self.value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            hint = ""
            if isinstance(value, str) and _is_number(value):
                hint = f"; YAML reads {value} as text: write {float(value)!r}, without quotes"
            self.report(f"{self.label} must be a number, got {_kind(value)}{hint}")
            return None
        if not math.isfinite(value):
            self.report(f"{self.label} must be finite, got {value}")
        elif above is not None and not value > above:
            self.report(f"{self.label} must be above {above:g}, got {value}")
        elif at_least is not None and not value >= at_least:
            self.report(f"{self.label} must be at least {at_least:g}, got {value}")
        else:
            return float(value)
        return None

    def numbers(self) -> list[float]:
        """A number or a list of numbers that is not empty."""
        members: Sequence[Cursor] = [self] if not isinstance(self.value, list) else self.members()
        if not members:
            self.report(f"{self.label} must not be empty")
        return [number for member in members if (number := member.number()) is not None]


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, (dict, list)):
        return ("a mapping" if isinstance(value, dict) else "a list") if value else f"an empty {type(value).__name__}"
    return f"the text {value!r}" if isinstance(value, str) else f"{value!r}"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
