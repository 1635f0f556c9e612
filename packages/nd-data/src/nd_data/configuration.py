"""The configuration of a dataset: which recordings, which readouts with which weights, which intervals to sample.

It is checked as a whole before any recording is opened, and holds values only: nothing in it is ever run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from nd_data.configuration_cursor import Cursor
from nd_data.configuration_source import ConfigurationSource
from nd_data.interval_operations import Dilate, Intersect, IntervalOperation, MinimumLength, Subtract

ConfigurationLike = str | PathLike[str] | Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""The path of a YAML file, a list of entries, or a single entry."""

ENTRY_KEYS = ("selection", "config")
SELECTION_KEYS = ("brainset", "session", "sessions", "subject", "subjects", "exclude_sessions")
CONFIG_KEYS = ("readout", "multitask_readout", "sampling_intervals")
READOUT_KEYS = (
    "readout_id",
    "weights",
    "normalize_mean",
    "normalize_std",
    "timestamp_key",
    "value_key",
    "metrics",
    "eval_interval",
)
OPERATION_KEYS = ("intersect", "subtract", "dilate", "min_length")


@dataclass(frozen=True, slots=True)
class Selection:
    """Recordings of one brainset.

    Attributes:
        brainset: Name of the brainset.
        sessions: Only these, if given.
        subjects: Only those of these subjects, if given.
        exclude_sessions: Not these.
        where: Place in the configuration, for error messages.
    """

    brainset: str
    sessions: tuple[str, ...] | None = None
    subjects: tuple[str, ...] | None = None
    exclude_sessions: tuple[str, ...] = ()
    where: str = "configuration"


@dataclass(frozen=True, slots=True)
class ConfigurationEntry:
    """What holds for a group of recordings.

    Attributes:
        selections: Which recordings; None means all there are.
        config: The mapping that each sample carries as ``.config``.
        operations: What to do to the split's domain to get the sampling intervals, in order.
        where: Place in the configuration, for error messages.
    """

    selections: tuple[Selection, ...] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    operations: tuple[IntervalOperation, ...] = ()
    where: str = "configuration"


def read_configuration(config: ConfigurationLike) -> list[ConfigurationEntry]:
    """Read and check a whole configuration.

    Args:
        config: The path of a YAML file, a list of entries, or a single entry. An entry is a mapping with ``selection``
            (a list of mappings with ``brainset`` and, if wanted, one of ``session``, ``sessions``, ``subject``,
            ``subjects``, and ``exclude_sessions``; without ``selection`` all recordings are meant) and ``config``
            (``readout``: a mapping; ``multitask_readout``: a list of mappings; ``sampling_intervals``: a list of
            ``{intersect: path}``, ``{subtract: path}``, ``{dilate: seconds}``, ``{min_length: seconds}``).

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: neither a path nor a list nor a mapping.
        ValueError: the configuration is not valid. The message lists every problem with file, line and key.

    Example:
        >>> entries = read_configuration({"config": {"multitask_readout": [{"readout_id": "cursor_velocity_2d"}]}})
        >>> entries[0].selections is None, entries[0].config["multitask_readout"][0]["readout_id"]
        (True, 'cursor_velocity_2d')
    """
    source = ConfigurationSource.read(config)
    problems: list[str] = []
    top = Cursor(source, (), source.value, problems)
    if isinstance(source.value, list) and not source.value:
        top.report("the configuration is an empty list, expected at least one entry")
    members = [top] if not isinstance(source.value, list) else top.members()
    entries = [_entry(member) for member in members]
    if problems:
        if len(problems) == 1:
            raise ValueError(problems[0])
        raise ValueError(f"{len(problems)} problems in the configuration:\n" + "\n".join(f"- {p}" for p in problems))
    return entries


def _entry(cursor: Cursor) -> ConfigurationEntry:
    if isinstance(cursor.value, dict):
        misplaced = [key for key in cursor.value if key in CONFIG_KEYS]
        for key in misplaced:
            cursor.child(key).report(f"{key!r} belongs under 'config', not beside 'selection'")
        _refuse_code(cursor)
        members = _without(cursor, (*misplaced, "sampling_intervals_modifier")).mapping(allowed=ENTRY_KEYS)
    else:
        members = cursor.mapping(allowed=ENTRY_KEYS)
    selections = _selections(members["selection"]) if "selection" in members else None
    operations: tuple[IntervalOperation, ...] = ()
    config: dict[str, Any] = {}
    if "config" in members and members["config"].value is not None:
        config = members["config"].value
        operations = _config(members["config"])
    return ConfigurationEntry(selections, config, operations, cursor.where)


def _selections(cursor: Cursor) -> tuple[Selection, ...]:
    if isinstance(cursor.value, dict):
        cursor.report("selection must be a list of mappings: put a dash before 'brainset'")
        return ()
    members = cursor.members()
    if isinstance(cursor.value, list) and not members:
        cursor.report("selection is empty: name at least one brainset, or leave 'selection' out to take all recordings")
    return tuple(selection for member in members if (selection := _selection(member)) is not None)


def _selection(cursor: Cursor) -> Selection | None:
    members = cursor.mapping(allowed=SELECTION_KEYS, required=("brainset",))
    filters = [key for key in ("session", "sessions", "subject", "subjects") if key in members]
    if len(filters) > 1:
        cursor.report(f"{' and '.join(map(repr, filters))} cannot be given together in one selection: keep one")
    brainset = members["brainset"].text() if "brainset" in members else None
    if brainset is None:
        return None
    chosen: dict[str, tuple[str, ...] | None] = {"session": None, "subject": None}
    for kind in chosen:
        if kind in members:
            one = members[kind].text()
            chosen[kind] = () if one is None else (one,)
        if f"{kind}s" in members:
            chosen[kind] = members[f"{kind}s"].texts()
    excluded = members["exclude_sessions"].texts() if "exclude_sessions" in members else ()
    return Selection(brainset, chosen["session"], chosen["subject"], excluded, cursor.where)


def _config(cursor: Cursor) -> tuple[IntervalOperation, ...]:
    _refuse_code(cursor)
    members = _without(cursor, ("sampling_intervals_modifier",)).mapping(allowed=CONFIG_KEYS)
    if "readout" in members:
        _readout(members["readout"])
    if "multitask_readout" in members:
        _multitask_readout(members["multitask_readout"])
    return _operations(members["sampling_intervals"]) if "sampling_intervals" in members else ()


def _multitask_readout(cursor: Cursor) -> None:
    first_with: dict[str, int] = {}
    readouts = cursor.members()
    if isinstance(cursor.value, list) and not readouts:
        cursor.report("multitask_readout is empty: give at least one readout")
    for position, readout in enumerate(readouts):
        readout_id = _readout(readout)
        if readout_id is not None and first_with.setdefault(readout_id, position) != position:
            readout.report(f"readout {readout_id!r} is given twice, first as number {first_with[readout_id] + 1}")


def _readout(cursor: Cursor) -> str | None:
    members = cursor.mapping(allowed=READOUT_KEYS, required=("readout_id",))
    readout_id = members["readout_id"].text() if "readout_id" in members else None
    for key in ("timestamp_key", "value_key", "eval_interval"):
        if key in members:
            members[key].text()
    if "weights" in members:
        for weight in members["weights"].mapping().values():
            weight.number(at_least=0)
    if "normalize_mean" in members:
        members["normalize_mean"].numbers()
    if "normalize_std" in members and not all(members["normalize_std"].numbers()):
        members["normalize_std"].report(f"{members['normalize_std'].label} must not be 0")
    if "metrics" in members:
        for metric in members["metrics"].members():
            _metric(metric)
    return readout_id


def _metric(cursor: Cursor) -> None:
    """A name, or ``{metric: {_target_: name, …}}``; which names there are is the evaluation's to say."""
    if not isinstance(cursor.value, dict):
        cursor.text()
        return
    metric = cursor.mapping(required=("metric",)).get("metric")
    if metric is None:
        return
    if isinstance(metric.value, dict):
        target = metric.mapping(required=("_target_",)).get("_target_")
        if target is not None:
            target.text()
    else:
        metric.text()


def _operations(cursor: Cursor) -> tuple[IntervalOperation, ...]:
    return tuple(operation for member in cursor.members() if (operation := _operation(member)) is not None)


def _operation(cursor: Cursor) -> IntervalOperation | None:
    members = cursor.mapping(allowed=OPERATION_KEYS)
    if isinstance(cursor.value, dict) and len(cursor.value) != 1:
        cursor.report(f"{cursor.label} must hold one operation, got {len(cursor.value)}: give each its own dash")
        return None
    for name, member in members.items():
        if name in ("intersect", "subtract"):
            path = member.text()
            if path is not None:
                return Intersect(path) if name == "intersect" else Subtract(path)
        else:
            seconds = member.number(above=0)
            if seconds is not None:
                return Dilate(seconds) if name == "dilate" else MinimumLength(seconds)
    return None


def _refuse_code(cursor: Cursor) -> None:
    if isinstance(cursor.value, dict) and "sampling_intervals_modifier" in cursor.value:
        cursor.child("sampling_intervals_modifier").report(
            "'sampling_intervals_modifier' holds code, which is never run. Write 'sampling_intervals' instead: a list "
            "of {intersect: path}, {subtract: path}, {dilate: seconds} and {min_length: seconds}, applied in order to "
            "the split's domain"
        )


def _without(cursor: Cursor, keys: Sequence[str]) -> Cursor:
    if not isinstance(cursor.value, dict):
        return cursor
    kept = {key: value for key, value in cursor.value.items() if key not in keys}
    return Cursor(cursor.source, cursor.path, kept, cursor.problems)
