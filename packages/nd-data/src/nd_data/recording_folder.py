"""The recordings under a folder, ``<root>/<brainset>/<session>.h5``, and which of them a configuration selects."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from nd_data.configuration import ConfigurationEntry, Selection
from nd_data.metadata_index import MetadataIndex
from nd_data.nearest_names import name_hint
from nd_data.recording_metadata import RecordingMetadata

_SUFFIX = ".h5"


class RecordingFolder:
    """Lists recordings by name, and knows what an index beside them says of each; opens none that is up to date there.

    Args:
        root: The folder of brainsets.

    Raises:
        FileNotFoundError: there is no such folder.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(
                f"no folder {self.root.absolute()}; expected one with recordings as <brainset>/<session>{_SUFFIX}"
            )

    @cached_property
    def brainsets(self) -> dict[str, list[str]]:
        """The sessions of each brainset, both in alphabetical order; folders without recordings do not count."""
        folders = sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir())
        sessions = {folder: self._sessions(folder) for folder in folders}
        return {brainset: names for brainset, names in sessions.items() if names}

    def path(self, recording_id: str) -> Path:
        """The file of a recording."""
        return self.root / f"{recording_id}{_SUFFIX}"

    def check(self, recording_id: str) -> str:
        """Return a recording's id if its file exists.

        Raises:
            FileNotFoundError: it does not; the message names the nearest.
        """
        if not self.path(recording_id).is_file():
            hint = name_hint(recording_id, self.recording_ids(), noun="existing recordings")
            raise FileNotFoundError(
                f"no recording {recording_id!r}: there is no file {self.path(recording_id).absolute()}; {hint}"
            )
        return recording_id

    def recording_ids(self) -> list[str]:
        """All recordings."""
        return [f"{brainset}/{session}" for brainset, sessions in self.brainsets.items() for session in sessions]

    def metadata(
        self, recording_ids: Iterable[str], paths: Mapping[str, Sequence[str]] | None = None
    ) -> Iterator[tuple[str, RecordingMetadata | None]]:
        """What is known of recordings without opening them, from the index in each folder of recordings.

        Args:
            recording_ids: Which recordings.
            paths: For each recording, the intervals that are needed besides the domain and those of the splits.

        Yields:
            Recording id and metadata, in the order given; None in place of the metadata where only opening the
            recording can say what is wrong with it.
        """
        indexes: dict[str, MetadataIndex] = {}
        try:
            for recording_id in recording_ids:
                folder, _, name = recording_id.rpartition("/")
                index = indexes.get(folder)
                if index is None:
                    index = indexes[folder] = MetadataIndex(self.root / folder, suffix=_SUFFIX)
                yield recording_id, index.find(name, paths[recording_id] if paths else ())
        finally:
            for index in indexes.values():
                index.save()

    def _sessions(self, brainset: str) -> list[str]:
        names = (entry.name for entry in os.scandir(self.root / brainset))
        return sorted(
            name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX) and not name.startswith(".")
        )


def select_recordings(
    folder: RecordingFolder,
    entries: Sequence[ConfigurationEntry],
    subjects_of: Callable[[Sequence[str]], Mapping[str, str]],
) -> dict[str, ConfigurationEntry]:
    """Find the recordings that a configuration means.

    Args:
        folder: Where they are.
        entries: The configuration.
        subjects_of: The subject of each of some recordings; called only where subjects are selected.

    Returns:
        Recording id to its entry, in the order of the configuration.

    Raises:
        ValueError: an unknown brainset, session or subject, a selection that leaves nothing, or a recording that is
            selected twice.
    """
    entry_of: dict[str, ConfigurationEntry] = {}
    selected_at: dict[str, str] = {}
    for entry in entries:
        if entry.selections is None:
            chosen = [(entry.where, recording_id) for recording_id in folder.recording_ids()]
            if not chosen:
                raise ValueError(
                    f"there are no recordings under {folder.root.absolute()}: expected files "
                    f"<brainset>/<session>{_SUFFIX}"
                )
        else:
            chosen = [
                (selection.where, f"{selection.brainset}/{session}")
                for selection in entry.selections
                for session in _sessions(folder, selection, subjects_of)
            ]
        for where, recording_id in chosen:
            if recording_id in entry_of:
                raise ValueError(
                    f"{where}: recording {recording_id!r} is already selected at {selected_at[recording_id]}; "
                    "select it once"
                )
            entry_of[recording_id] = entry
            selected_at[recording_id] = where
    return entry_of


def _sessions(
    folder: RecordingFolder, selection: Selection, subjects_of: Callable[[Sequence[str]], Mapping[str, str]]
) -> list[str]:
    brainset, where = selection.brainset, selection.where
    existing = folder.brainsets.get(brainset)
    if existing is None:
        hint = name_hint(brainset, folder.brainsets, noun="existing brainsets")
        raise ValueError(f"{where}: no recordings of brainset {brainset!r} under {folder.root.absolute()}; {hint}")
    sessions = existing
    if selection.sessions is not None:
        _check_known(selection.sessions, existing, f"{where}: unknown session", f"in brainset {brainset!r}", "sessions")
        sessions = sorted(set(selection.sessions))
    if selection.subjects is not None:
        subject_of = subjects_of([f"{brainset}/{session}" for session in existing])
        subjects = {session: subject_of[f"{brainset}/{session}"] for session in existing}
        _check_known(
            selection.subjects, subjects.values(), f"{where}: unknown subject", f"in brainset {brainset!r}", "subjects"
        )
        sessions = [session for session in existing if subjects[session] in selection.subjects]
    _check_known(
        selection.exclude_sessions,
        existing,
        f"{where}: exclude_sessions names an unknown session",
        f"in brainset {brainset!r}",
        "sessions",
    )
    sessions = [session for session in sessions if session not in selection.exclude_sessions]
    if not sessions:
        raise ValueError(f"{where}: exclude_sessions leaves no session of brainset {brainset!r}")
    return sessions


def _check_known(names: Sequence[str], existing: Iterable[str], what: str, place: str, noun: str) -> None:
    known = set(existing)
    for name in names:
        if name not in known:
            raise ValueError(f"{what} {name!r} {place}; {name_hint(name, known, noun=f'existing {noun}')}")
