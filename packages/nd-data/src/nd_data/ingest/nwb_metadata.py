"""Who, when and where: the session and the subject of an NWB file as plain values."""

from datetime import datetime
from typing import Any

import numpy as np

from nd_data.ingest.nwb_columns import TEXT_SEPARATOR

_SESSION_FIELDS = (
    "session_id",
    "identifier",
    "session_start_time",
    "timestamps_reference_time",
    "session_description",
    "experiment_description",
    "experimenter",
    "institution",
    "lab",
    "keywords",
    "notes",
    "protocol",
    "pharmacology",
    "surgery",
    "virus",
    "slices",
    "stimulus_notes",
    "data_collection",
    "related_publications",
    "source_script",
    "was_generated_by",
)
_SUBJECT_FIELDS = (
    "subject_id",
    "species",
    "sex",
    "age",
    "age__reference",
    "date_of_birth",
    "strain",
    "genotype",
    "weight",
    "description",
)

#: HDF5 holds attributes of less than 64 kB.
_LONGEST_BYTES = 60_000

_NWB_NAMES = {"session_id": "nwb_session_id", "subject_id": "id"}


def session_values(nwb: Any) -> tuple[dict[str, Any], list[str]]:
    """What is known of the session, empty fields left out, and remarks for the report.

    Times are ISO 8601. The session's own id is ``nwb_session_id``: ``id`` is the recording's.
    """
    return _values(nwb, _SESSION_FIELDS)


def subject_values(nwb: Any) -> tuple[dict[str, Any], list[str]]:
    """What is known of the subject, empty fields left out, with its id as ``id``, and remarks for the report."""
    return ({}, []) if nwb.subject is None else _values(nwb.subject, _SUBJECT_FIELDS)


def _values(owner: Any, fields: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    values, remarks = {}, []
    for field in fields:
        value = plain_value(getattr(owner, field, None))
        if value is None:
            continue
        if len(str(value).encode()) > _LONGEST_BYTES:
            remarks.append(f"{field!r} not mapped: it is longer than {_LONGEST_BYTES} bytes")
            continue
        values[_NWB_NAMES.get(field, field)] = value
    return values, remarks


def plain_value(value: Any) -> str | float | None:
    """A field as text or a number; None where it is empty. Lists of texts are joined."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, int | float | np.number):
        return float(value)
    if isinstance(value, str | bytes):
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return text.replace("\0", "").strip() or None
    parts = [plain_value(item) for item in np.asarray(value, dtype=object).ravel()]
    return TEXT_SEPARATOR.join(str(part) for part in parts if part is not None) or None


__all__ = ["session_values", "subject_values"]
