"""A small file beside the recordings of a folder, which spares opening them for what a listing needs.

It holds what `nd_data.recording_metadata` knows of each recording, with the size and the time of change that the
recording had. It is a cache and nothing more: it may be deleted at any time, is made anew where it is damaged, and is
not missed where it cannot be written.

Layout: a line with a name, a version and the CRC-32 of all that follows; a line with a JSON mapping of recording to
``[size, time of change in ns, offset, length]``; and, at those offsets from the end of the second line, a JSON mapping
for each recording, whose intervals are base64 of little-endian float64. Nothing in it is ever run.
"""

import base64
import json
import logging
import os
import secrets
import time
import zlib
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from nd_data.recording_metadata import KnownIntervals, RecordingMetadata, read_metadata

INDEX_NAME = ".nd-data-index"

#: A file that changed so short a time ago may change again without its time of change telling: file systems count in
#: steps of up to two seconds.
SETTLED_AFTER_NS = 2_000_000_000

_MAGIC = b"nd-data-index 1"

logger = logging.getLogger(__name__)

Stamp = tuple[int, int]
"""Size in bytes and time of change in nanoseconds of a file."""


class MetadataIndex:
    """The metadata of the recordings in one folder, from the index where that is up to date, else from the files.

    Make one for one listing, and `save` it at the end. Several processes may do so at once: each writes a whole file
    under a name of its own and renames it, and what one of them misses is read again next time.

    Args:
        folder: The folder that holds the recordings.
        suffix: What follows a recording's name in its file's name.
    """

    def __init__(self, folder: str | os.PathLike[str], *, suffix: str = ".h5") -> None:
        self._folder = str(folder)
        self._suffix = suffix
        self._stored = _load(self._path)
        self._fresh: dict[str, tuple[Stamp, bytes]] = {}

    def find(self, name: str, paths: Collection[str] = ()) -> RecordingMetadata | None:
        """The metadata of a recording.

        Args:
            name: The file's name without suffix.
            paths: Intervals that are needed besides the domain and those of the splits.

        Returns:
            The metadata; None where the file is missing or is no recording, which opening it explains.
        """
        file = f"{self._folder}/{name}{self._suffix}"
        try:
            status = os.stat(file)  # noqa: PTH116 called for every recording, and five times as fast
        except OSError:
            return None
        known = self._known(name, (status.st_size, status.st_mtime_ns))
        if known is not None and known.covers(paths):
            return known
        more = [] if known is None else list(known.intervals)
        try:
            stamp, metadata = read_metadata(file, [*more, *paths])
        except (OSError, ValueError):
            return None
        if stamp[1] + SETTLED_AFTER_NS < time.time_ns():
            self._fresh[name] = (stamp, _encoded(metadata))
        return metadata

    def save(self) -> None:
        """Write the index anew if recordings were read for it; where it cannot be written, nothing happens.

        What it held of other recordings is kept, unless their files are gone.
        """
        if not self._fresh:
            return
        others = _load(self._path)  # another process may have written meanwhile
        kept = {
            name: (others.stamps[name], others.record(name))
            for name in others.stamps
            if name not in self._fresh and os.path.exists(f"{self._folder}/{name}{self._suffix}")  # noqa: PTH110
        }
        content = _content({**kept, **self._fresh})
        temporary = self._path.with_name(f"{INDEX_NAME}.{os.getpid()}.{secrets.token_hex(4)}.partial")
        try:
            with temporary.open("xb") as stream:
                stream.write(content)
            temporary.replace(self._path)
        except OSError as error:
            logger.debug("No index is kept beside the recordings in %s: %s", self._folder, error)
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        else:
            self._fresh.clear()

    @property
    def _path(self) -> Path:
        return Path(self._folder) / INDEX_NAME

    def _known(self, name: str, stamp: Stamp) -> RecordingMetadata | None:
        fresh = self._fresh.get(name)
        if fresh is not None and fresh[0] == stamp:
            return _decoded(fresh[1])
        return _decoded(self._stored.record(name)) if self._stored.stamps.get(name) == stamp else None


class _StoredIndex:
    """What an index file holds; its records are taken apart when they are asked for."""

    def __init__(self, stamps: dict[str, Stamp], places: dict[str, tuple[int, int]], records: memoryview) -> None:
        self.stamps = stamps
        self._places = places
        self._records = records

    def record(self, name: str) -> bytes:
        start, length = self._places[name]
        return bytes(self._records[start : start + length])


def _load(path: Path) -> _StoredIndex:
    """The index file, or an empty one where it is missing, damaged, or of another version."""
    try:
        content = path.read_bytes()
        table_at = content.index(b"\n") + 1
        magic, _, checksum = content[: table_at - 1].rpartition(b" ")
        view = memoryview(content)
        if magic == _MAGIC and int(checksum, 16) == zlib.crc32(view[table_at:]):
            records_at = content.index(b"\n", table_at) + 1
            entries = json.loads(content[table_at:records_at])
            return _StoredIndex(
                {name: (size, time_ns) for name, (size, time_ns, _, _) in entries.items()},
                {name: (start, length) for name, (_, _, start, length) in entries.items()},
                view[records_at:],
            )
    except (OSError, ValueError, TypeError, AttributeError):
        pass
    return _StoredIndex({}, {}, memoryview(b""))


def _content(recordings: dict[str, tuple[Stamp, bytes]]) -> bytes:
    table, start = {}, 0
    for name, (stamp, record) in sorted(recordings.items()):
        table[name] = [*stamp, start, len(record)]
        start += len(record)
    records = b"".join(record for _, (_, record) in sorted(recordings.items()))
    body = json.dumps(table, separators=(",", ":")).encode("ascii") + b"\n" + records
    return b"%s %08x\n%s" % (_MAGIC, zlib.crc32(body), body)


def _encoded(metadata: RecordingMetadata) -> bytes:
    intervals = {
        path: None if known is None else [_text(known.start), _text(known.end), known.complete]
        for path, known in metadata.intervals.items()
    }
    content = {
        "brainset": metadata.brainset_id,
        "session": metadata.session_id,
        "subject": metadata.subject_id,
        "units": metadata.unit_ids,
        "exclusive_splits": metadata.exclusive_splits,
        "intervals": intervals,
    }
    return json.dumps(content, separators=(",", ":")).encode("ascii") + b"\n"


def _decoded(record: bytes) -> RecordingMetadata | None:
    try:
        content = json.loads(record)
        units = content["units"]
        return RecordingMetadata(
            brainset_id=content["brainset"],
            session_id=content["session"],
            subject_id=content["subject"],
            unit_ids=None if units is None else tuple(units),
            exclusive_splits=content["exclusive_splits"],
            intervals={
                path: None if known is None else KnownIntervals(_times(known[0]), _times(known[1]), known[2])
                for path, known in content["intervals"].items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _text(times: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    return base64.b64encode(times.astype("<f8").tobytes()).decode("ascii")


def _times(text: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f8").astype(np.float64)


__all__ = ["INDEX_NAME", "MetadataIndex"]
