"""What the doctor finds: one line a check, with what to do about it, as a table or as JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

Level = Literal["problem", "warning", "ok"]

_ORDER: dict[Level, int] = {"problem": 0, "warning": 1, "ok": 2}
_STYLES: dict[Level, str] = {"problem": "bold red", "warning": "yellow", "ok": "green"}
_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        level: ``problem``: the run would fail or its scores mean nothing. ``warning``: worth a look before much time is
            spent. ``ok``: looked at, and fine.
        check: What was checked, such as ``targets constant``.
        what: What was found.
        where: Recordings or settings that it is about.
        advice: What to do about it; empty where there is nothing to do.
    """

    level: Level
    check: str
    what: str
    where: tuple[str, ...] = ()
    advice: str = ""


@dataclass
class Findings:
    """Everything that was found, and figures that were measured on the way."""

    found: list[Finding] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    """As one would say them."""
    estimates: dict[str, float] = field(default_factory=dict)
    """As numbers: seconds, bytes, counts."""

    def problem(self, check: str, what: str, *, where: str | Iterable[str] = (), advice: str) -> None:
        """Note what would fail or spoil the run."""
        self.found.append(Finding("problem", check, what, _names(where), advice))

    def warning(self, check: str, what: str, *, where: str | Iterable[str] = (), advice: str) -> None:
        """Note what is worth a look."""
        self.found.append(Finding("warning", check, what, _names(where), advice))

    def ok(self, check: str, what: str, *, where: str | Iterable[str] = ()) -> None:
        """Note what was looked at and is fine."""
        self.found.append(Finding("ok", check, what, _names(where)))

    def settle(self, check: str, what: str) -> None:
        """Note that a check is done and found nothing, unless it found something."""
        if not any(one.check == check for one in self.found):
            self.ok(check, what)

    def count(self, level: Level) -> int:
        """How many findings of a level there are, after `merged`."""
        return sum(one.level == level for one in self.merged())

    def merged(self) -> list[Finding]:
        """The findings, worst first; the same of several recordings is one, which names them all."""
        by_content: dict[tuple[str, str, str], list[Finding]] = {}
        for one in self.found:
            by_content.setdefault((one.level, one.check, one.advice), []).append(one)
        joined = []
        for (_, check, advice), same in by_content.items():
            first = same[0]
            # Several things about one recording stay apart where there are few.
            if len(same) <= _NAMED and len({one.what for one in same}) == len(same):
                joined += same
                continue
            where = tuple(dict.fromkeys(name for one in same for name in one.where))
            differing = len({one.what for one in same}) > 1
            what = f"{len(same)} times, first: {first.what}" if differing else first.what
            joined.append(Finding(first.level, check, what, where, advice))
        return sorted(joined, key=lambda one: _ORDER[one.level])

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values, for programs."""
        merged = self.merged()
        return {
            "format": "nd-train doctor",
            "version": 1,
            "problems": sum(one.level == "problem" for one in merged),
            "warnings": sum(one.level == "warning" for one in merged),
            "findings": [{**asdict(one), "where": list(one.where)} for one in merged],
            "figures": self.figures,
            "estimates": self.estimates,
        }


def findings_table(findings: Findings) -> Table:
    """A line for each finding: how bad, what was checked, what was found where, and what to do."""
    table = Table(show_lines=False, title="nd-train doctor")
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("found")
    table.add_column("what to do")
    for one in findings.merged():
        where = _listed(one.where)
        # As text: names of units and recordings may hold what rich takes for a style.
        table.add_row(
            Text(one.level, style=_STYLES[one.level]),
            Text(one.check),
            Text(f"{where}: {one.what}" if where else one.what),
            Text(one.advice),
        )
    return table


def figures_table(figures: Mapping[str, Any]) -> Table:
    """What the run will take."""
    table = Table(title="what the run takes", show_header=False)
    table.add_column()
    table.add_column()
    for name, value in figures.items():
        table.add_row(Text(name.replace("_", " ")), Text(str(value)))
    return table


def _names(where: str | Iterable[str]) -> tuple[str, ...]:
    return (where,) if isinstance(where, str) else tuple(where)


def _listed(where: tuple[str, ...]) -> str:
    more = f" and {len(where) - _NAMED} more" if len(where) > _NAMED else ""
    return ", ".join(where[:_NAMED]) + more
