"""Many recordings as one torch dataset whose items are windows of time."""

import copy
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nd_data.batch_form import PendingWindows, split_off_tokenizer
from nd_data.configuration import ConfigurationEntry, ConfigurationLike, read_configuration
from nd_data.data import Data
from nd_data.dataset_index import DatasetIndex
from nd_data.id_prefixes import (
    DEFAULT_PREFIX_FNS,
    default_session_id_prefix_fn,
    default_subject_id_prefix_fn,
    default_unit_id_prefix_fn,
)
from nd_data.interval import Interval
from nd_data.interval_operations import apply_operations, operation_paths
from nd_data.nearest_names import name_hint
from nd_data.opened_recording import OpenedRecording
from nd_data.random_seed import CURRENT_WINDOW, WindowDraws
from nd_data.recording_folder import RecordingFolder, select_recordings
from nd_data.recording_metadata import RecordingMetadata
from nd_data.split_domain import SplitDomain, check_exclusive_splits, split_intervals

__all__ = [
    "Dataset",
    "DatasetIndex",
    "default_session_id_prefix_fn",
    "default_subject_id_prefix_fn",
    "default_unit_id_prefix_fn",
]

logger = logging.getLogger(__name__)


class Dataset(torch.utils.data.Dataset[Any]):
    """Windows of many recordings, read from disk as they are asked for.

    An item is addressed by a `DatasetIndex`, which the samplers of `nd_data.samplers` make from
    `get_sampling_intervals`; so there is no length. A sample is a `Data` cut to the window, with

    - times relative to the window's start, and ``absolute_start``, the start in seconds of the recording,
    - ``config``, the configuration of the recording (shared by all its samples: do not change it),
    - ``units.id``, ``session.id`` and ``subject.id`` made unique over recordings by prefixes. ``units.id`` is one
      read-only array shared by all samples of the recording.

    Nothing but file names is read until a recording is first used. Listings (`get_unit_ids`, `get_sampling_intervals`,
    …) come from a small index beside the recordings, which they make where the folder can be written: only recordings
    that it does not know as they are now are opened, or all of them where a prefix function is not the default one.
    A dataset can be pickled, and can be used by workers started by fork, spawn or forkserver; open files stay behind.

    Args:
        root: Folder with recordings as ``<brainset>/<session>.h5``.
        config: Which recordings, readouts and sampling intervals: the path of a YAML file, a list of entries, or one
            entry; see `nd_data.configuration.read_configuration`.
        recording_id: A single recording, ``<brainset>/<session>``, instead of ``config``. Without either, all.
        split: Windows must lie in this split's domain (``train`` for ``train_domain``). Without it, anywhere.
        transform: Applied to each sample.
        unit_id_prefix_fn: Takes a recording, returns what to put before its unit ids.
        session_id_prefix_fn: Likewise for the session id.
        subject_id_prefix_fn: Likewise for the subject id.

    Raises:
        FileNotFoundError: the root, the configuration file or the recording does not exist.
        ValueError: both ``config`` and ``recording_id``, or a configuration that is not valid or names what is not
            there.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        config: ConfigurationLike | None = None,
        recording_id: str | None = None,
        split: str | None = None,
        transform: Callable[[Data], Any] | None = None,
        unit_id_prefix_fn: Callable[[Data], str] = default_unit_id_prefix_fn,
        session_id_prefix_fn: Callable[[Data], str] = default_session_id_prefix_fn,
        subject_id_prefix_fn: Callable[[Data], str] = default_subject_id_prefix_fn,
    ) -> None:
        super().__init__()
        if config is not None and recording_id is not None:
            raise ValueError(f"give config or recording_id, not both (recording_id is {recording_id!r})")
        self.root = root
        self.config = config
        self.split = split
        self.transform = transform
        self.unit_id_prefix_fn = unit_id_prefix_fn
        self.session_id_prefix_fn = session_id_prefix_fn
        self.subject_id_prefix_fn = subject_id_prefix_fn
        self._checks_leakage = True
        self._opened: dict[str, OpenedRecording] = {}
        self._folder = RecordingFolder(root)
        self._entry_of: dict[str, ConfigurationEntry]
        if recording_id is not None:
            self._entry_of = {self._folder.check(recording_id): ConfigurationEntry()}
        else:
            entries = [ConfigurationEntry()] if config is None else read_configuration(config)
            self._entry_of = select_recordings(self._folder, entries, self._subjects_of)

    @property
    def recording_ids(self) -> list[str]:
        """The recordings, in the order of the configuration."""
        return list(self._entry_of)

    def __getitem__(self, index: DatasetIndex) -> Any:
        if not isinstance(index, DatasetIndex):
            raise TypeError(
                f"a Dataset is indexed by DatasetIndex(recording_id, start, end), got {type(index).__name__}: give the "
                "DataLoader one of the samplers of nd_data.samplers"
            )
        return self._transformed(index, self.transform)

    def __getitems__(self, indices: Sequence[DatasetIndex]) -> Sequence[Any]:
        # What torch's DataLoader asks for where it makes batches. The tokens of these windows are made when they are
        # looked at, unless `collate` gets the windows first and the tokenizer can make the whole batch.
        split = split_off_tokenizer(self.transform) if type(self).__getitem__ is Dataset.__getitem__ else None
        if split is None or not all(isinstance(index, DatasetIndex) for index in indices):
            return [self[index] for index in indices]
        before, tokenize, tokenize_batch = split
        return PendingWindows([self._transformed(index, before) for index in indices], tokenize, tokenize_batch)

    def _transformed(self, index: DatasetIndex, transform: Callable[[Data], Any] | None) -> Any:
        sample = self.get(index.recording_id, index.start, index.end)
        if transform is None:
            return sample
        if index.seed is None:
            return transform(sample)
        outer = CURRENT_WINDOW.set(WindowDraws(index))
        try:
            return transform(sample)
        finally:
            CURRENT_WINDOW.reset(outer)

    def get(self, recording_id: str, start: float, end: float) -> Data:
        """Cut a window out of a recording, before the transform.

        Args:
            recording_id: ``<brainset>/<session>``.
            start: Seconds.
            end: Seconds, not included.

        Raises:
            KeyError: the recording is not in the dataset.
            ValueError: the window leaves the split.
        """
        recording = self._recording(recording_id)
        if self._checks_leakage and recording.domain is not None:
            start, end = recording.domain.checked(start, end)
        return recording.source.slice(start, end)

    def open_recording(self, recording_id: str) -> Data:
        """A whole recording, lazy and with absolute times, whatever the split.

        Nothing is checked for leakage here: it is for what is no sample, such as counting spikes.

        Args:
            recording_id: ``<brainset>/<session>``.

        Raises:
            KeyError: the recording is not in the dataset.
        """
        return copy.copy(self._recording(recording_id).data)

    def get_recording_data(self, recording_id: str) -> Data:
        """A whole recording; with a split, only what lies in its sampling intervals.

        Times stay absolute. With a split, regular time series become irregular ones, because what is left may have
        gaps. This may read the whole recording into memory.

        Args:
            recording_id: ``<brainset>/<session>``.

        Raises:
            KeyError: the recording is not in the dataset.
        """
        data = self._recording(recording_id).data
        if self.split is None:
            return copy.copy(data)
        return data.select_by_interval(self._sampling_intervals(recording_id))

    def get_sampling_intervals(self) -> dict[str, Interval]:
        """The intervals that windows may be drawn from, for each recording.

        They are the split's domain, or the recording's without a split, after the operations that the configuration
        lists under ``sampling_intervals``.

        Raises:
            ValueError: a recording has no such split, no recording has any time in it, or an operation names intervals
                that are not there.
        """
        paths = {recording_id: operation_paths(entry.operations) for recording_id, entry in self._entry_of.items()}
        intervals = {}
        for recording_id, metadata in self._folder.metadata(self._entry_of, paths):
            listed = None if metadata is None else self._listed_sampling_intervals(recording_id, metadata)
            intervals[recording_id] = self._sampling_intervals(recording_id) if listed is None else listed
        empty = [recording_id for recording_id, interval in intervals.items() if len(interval) == 0]
        where = "the recording's domain" if self.split is None else f"split {self.split!r}"
        if len(empty) == len(intervals):
            named = ", ".join(map(repr, empty[:5])) + (", …" if len(empty) > 5 else "")
            raise ValueError(
                f"{where} is empty in every recording ({named}), "
                "or the configuration's sampling_intervals leave nothing of it"
            )
        if empty:
            logger.warning("Nothing to sample in %s of %d recordings: %s", where, len(empty), ", ".join(empty))
        return intervals

    def get_unit_ids(self) -> list[str]:
        """All unit ids with their prefixes, sorted, each once."""
        unit_ids: set[str] = set()
        for _, ids in self._listed_ids(lambda known: known.unit_ids, self._unit_ids_of, self.unit_id_prefix_fn):
            unit_ids.update(ids)
        return sorted(unit_ids)

    def get_session_ids(self) -> list[str]:
        """All session ids with their prefixes, sorted, each once; recordings that share one are named in the log."""
        recording_of: dict[str, str] = {}
        for recording_id, session_id in self.get_session_id_dict().items():
            first = recording_of.setdefault(session_id, recording_id)
            if first != recording_id:
                logger.warning("Recordings %r and %r share the session id %r", first, recording_id, session_id)
        return sorted(recording_of)

    def get_session_id_dict(self) -> dict[str, str]:
        """The session id of each recording, with its prefix: what its windows, and so its scores, are known by.

        It is the recording's id wherever a file has the name of the session that it stores.
        """
        listed = self._listed_ids(
            lambda known: [known.session_id], lambda one: [self._id_of(one, "session")], self.session_id_prefix_fn
        )
        return {recording_id: session_id for recording_id, (session_id,) in listed}

    def get_subject_ids(self) -> list[str]:
        """All subject ids with their prefixes, sorted, each once."""
        listed = self._listed_ids(
            lambda known: [known.subject_id], lambda one: [self._id_of(one, "subject")], self.subject_id_prefix_fn
        )
        return sorted({subject_id for _, ids in listed for subject_id in ids})

    def get_brainset_ids(self) -> list[str]:
        """All brainset ids, sorted, each once."""
        listed = self._listed_ids(lambda known: [known.brainset_id], lambda one: [self._id_of(one, "brainset")], None)
        return sorted({brainset_id for _, ids in listed for brainset_id in ids})

    def get_recording_config_dict(self) -> dict[str, dict[str, Any]]:
        """A copy of the configuration of each recording."""
        return {recording_id: copy.deepcopy(entry.config) for recording_id, entry in self._entry_of.items()}

    def disable_data_leakage_check(self) -> None:
        """Let windows leave their split, and splits overlap, with a warning.

        Results on held-out time mean nothing if training windows reach into it.
        """
        self._checks_leakage = False
        warnings.warn(
            f"the data leakage check is off: windows may now leave the split {self.split!r}, and held-out results may "
            "be worth nothing",
            stacklevel=2,
        )

    def __repr__(self) -> str:
        return f"Dataset(root={str(self.root)!r}, recordings={len(self._entry_of)}, split={self.split!r})"

    def _recording(self, recording_id: str) -> OpenedRecording:
        recording = self._opened.get(recording_id)
        return self._open(recording_id) if recording is None else recording

    def _open(self, recording_id: str) -> OpenedRecording:
        if recording_id not in self._entry_of:
            hint = name_hint(recording_id, self._entry_of, noun="recordings of this dataset")
            raise KeyError(f"unknown recording {recording_id!r}; {hint}")
        stored = self._load(recording_id)
        # What was read of the data that windows are cut from is cut with every window; so what is only looked at once
        # is read from `stored`.
        data = copy.copy(stored)
        try:
            domain = None
            if self.split is not None:
                domain = SplitDomain(split_intervals(stored, self.split), split=self.split, recording_id=recording_id)
                if self._checks_leakage:
                    check_exclusive_splits(stored)
            self._set_prefixed_ids(data, stored)
        except ValueError as error:
            raise ValueError(f"recording {recording_id!r}: {error} (file {self._folder.path(recording_id)})") from None
        data.config = self._entry_of[recording_id].config
        recording = self._opened[recording_id] = OpenedRecording.ready(data, domain)
        return recording

    def _load(self, recording_id: str) -> Data:
        return Data.load(self._folder.path(recording_id))

    def _set_prefixed_ids(self, data: Data, stored: Data) -> None:
        """Put the prefixes before the ids once, so that every window just carries them along."""
        if "units" in data:
            prefix = self._prefix(self.unit_id_prefix_fn, stored, "units")
            unit_ids: NDArray[np.str_] = np.strings.add(prefix, data.units.id.astype(np.str_))
            data.units.id = unit_ids
        if "session" in data:
            prefix = self._prefix(self.session_id_prefix_fn, stored, "session")
            data.session.id = f"{prefix}{data.session.id}"
        if "subject" in data:
            prefix = self._prefix(self.subject_id_prefix_fn, stored, "subject")
            data.subject.id = f"{prefix}{data.subject.id}"

    def _prefix(self, prefix_fn: Callable[[Data], str], stored: Data, holder: str) -> str:
        try:
            return prefix_fn(stored)
        except AttributeError as error:
            argument = f"{holder.removesuffix('s')}_id_prefix_fn"
            raise ValueError(
                f"{argument} cannot make a prefix: {error}. Store brainset.id and session.id, or pass another "
                f"{argument}"
            ) from None

    def _sampling_intervals(self, recording_id: str) -> Interval:
        data = copy.copy(self._recording(recording_id).data)
        try:
            stored = copy.copy(split_intervals(data, self.split)).materialize()
            return apply_operations(stored, self._entry_of[recording_id].operations, data)
        except ValueError as error:
            raise ValueError(f"recording {recording_id!r}: {error} (file {self._folder.path(recording_id)})") from None

    def _id_of(self, recording_id: str, holder: str) -> str:
        try:
            return str(self._recording(recording_id).data.get_nested_attribute(f"{holder}.id"))
        except AttributeError:
            path = self._folder.path(recording_id)
            raise ValueError(f"recording {recording_id!r} has no {holder}.id (file {path})") from None

    def _unit_ids_of(self, recording_id: str) -> list[str]:
        units = getattr(self._recording(recording_id).data, "units", None)
        if units is None:
            raise ValueError(f"recording {recording_id!r} has no units (file {self._folder.path(recording_id)})")
        unit_ids: list[str] = units.id.tolist()
        return unit_ids

    def _listed_ids(
        self,
        known_ids: Callable[[RecordingMetadata], Sequence[str | None] | None],
        opened_ids: Callable[[str], Sequence[str]],
        prefix_fn: Callable[[Data], str] | None,
    ) -> Iterator[tuple[str, Sequence[str]]]:
        """Ids of each recording from the index, and where that does not have them, from the opened recording."""
        if prefix_fn is not None and prefix_fn not in DEFAULT_PREFIX_FNS:
            # Nobody knows what of a recording it looks at.
            yield from ((recording_id, opened_ids(recording_id)) for recording_id in self._entry_of)
            return
        for recording_id, metadata in self._folder.metadata(self._entry_of):
            ids = None if metadata is None else metadata.with_prefix(known_ids(metadata), prefix_fn)
            yield recording_id, opened_ids(recording_id) if ids is None else ids

    def _listed_sampling_intervals(self, recording_id: str, metadata: RecordingMetadata) -> Interval | None:
        """Sampling intervals from the index; None where only the opened recording has them, or can refuse them."""
        if self.split is not None and self._checks_leakage and not metadata.exclusive_splits:
            return None
        domain = metadata.intervals.get("domain" if self.split is None else f"{self.split}_domain")
        if domain is None or not domain.complete:
            return None
        operations = self._entry_of[recording_id].operations
        if not operations:
            return domain.interval()
        data = metadata.part(operation_paths(operations))
        return None if data is None else apply_operations(domain.interval(), operations, data)

    def _subjects_of(self, recording_ids: Sequence[str]) -> dict[str, str]:
        subjects = {}
        for recording_id, metadata in self._folder.metadata(recording_ids):
            subject = None if metadata is None else metadata.subject_id
            subjects[recording_id] = self._subject_of(recording_id) if subject is None else subject
        return subjects

    def _subject_of(self, recording_id: str) -> str:
        data = self._load(recording_id)
        if not data.has_nested_attribute("subject.id"):
            path = self._folder.path(recording_id)
            raise ValueError(f"recording {recording_id!r} has no subject.id to select it by (file {path})")
        return str(data.subject.id)
