"""What a conversion took over and what it left behind, as a table and as JSON."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nd_data.__about__ import __version__


@dataclass(frozen=True, slots=True)
class ReportLine:
    """What became of one object of the source.

    Attributes:
        source: Where it is in the source, for instance ``acquisition/Position/x``.
        kind: Its type there.
        target: Where it is in the recording, for instance ``acquisition.Position.x``; None where it was not mapped.
        detail: What was written, or why nothing was.
    """

    source: str
    kind: str
    target: str | None
    detail: str


@dataclass(slots=True)
class RecordingReport:
    """What one source became.

    Attributes:
        recording_id: ``<brainset>/<session>``.
        source: The file that was read.
        path: The recording that was written.
        lines: One for each object of the source.
        notes: What else a user should know, in sentences.
        domain: Start and end in seconds of each interval of the recording's domain.
        splits: Name of the split to the start and end of each of its intervals.
    """

    recording_id: str
    source: Path
    path: Path
    lines: list[ReportLine] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    domain: list[tuple[float, float]] = field(default_factory=list)
    splits: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def mapped(self) -> list[ReportLine]:
        """What was taken over."""
        return [line for line in self.lines if line.target is not None]

    @property
    def not_mapped(self) -> list[ReportLine]:
        """What was left behind."""
        return [line for line in self.lines if line.target is None]

    @property
    def report_path(self) -> Path:
        """Where the report is kept as JSON: ``<session>.conversion.json`` beside the recording."""
        return report_path(self.path)

    def add(self, source: str, kind: str, target: str | None, detail: str) -> None:
        """Add a line."""
        self.lines.append(ReportLine(source, kind, target, detail))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "nd_data": __version__,
            "recording": self.recording_id,
            "source": self.source.name,
            "domain": self.domain,
            "splits": self.splits,
            "mapped": [asdict(line) for line in self.mapped],
            "not_mapped": [asdict(line) for line in self.not_mapped],
            "notes": self.notes,
        }

    def save(self) -> None:
        """Write the report beside the recording; it takes its place only once it is complete."""
        temporary = self.report_path.with_name(f".{self.report_path.name}.{os.getpid()}.partial")
        try:
            temporary.write_text(json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            temporary.replace(self.report_path)
        finally:
            temporary.unlink(missing_ok=True)

    def __str__(self) -> str:
        splits = [
            f"{name}: {counted(len(bounds), 'interval')}, {sum(end - start for start, end in bounds):.3f} s"
            for name, bounds in self.splits.items()
        ]
        parts = [
            f"{self.source} -> {self.path}",
            f"mapped ({len(self.mapped)}):",
            *aligned([(line.source, line.kind, line.target or "", line.detail) for line in self.mapped]),
            f"not mapped ({len(self.not_mapped)}):",
            *aligned([(line.source, line.kind, line.detail) for line in self.not_mapped]),
            f"splits: {'; '.join(splits) or 'none'}",
            *(f"note: {note}" for note in self.notes),
        ]
        return "\n".join(parts)


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What became of all sources of one conversion; printed, it is a table for each.

    Attributes:
        recordings: One report a recording, in the order of the sources.
    """

    recordings: tuple[RecordingReport, ...]

    @property
    def paths(self) -> list[Path]:
        """The recordings that were written."""
        return [recording.path for recording in self.recordings]

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.recordings))


def counted(count: int, noun: str) -> str:
    """A number of things, "1 interval" or "2 intervals"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def report_path(recording_path: Path) -> Path:
    """Where the report of a recording is kept."""
    return recording_path.with_name(f"{recording_path.stem}.conversion.json")


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of text as indented lines, columns below each other."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  " + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]


__all__ = ["ConversionReport", "RecordingReport", "ReportLine"]
