"""Recordings on disk: what lies where in a file, who may hold it open, and how it is written."""

from nd_data.storage.layout import StoredArray, StoredGroup, read_layout
from nd_data.storage.open_files import OPEN_FILES, OpenFiles, RecordingFile
from nd_data.storage.writing import write_recording

__all__ = [
    "OPEN_FILES",
    "OpenFiles",
    "RecordingFile",
    "StoredArray",
    "StoredGroup",
    "read_layout",
    "write_recording",
]
