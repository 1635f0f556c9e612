"""The address of one window: which recording, from when, until when."""

from dataclasses import dataclass


@dataclass(slots=True, unsafe_hash=True)
class DatasetIndex:
    """One window of one recording, half-open: ``start <= t < end``.

    Samplers yield these and `Dataset.__getitem__` takes them. A value: treat it as immutable (it is not frozen
    because freezing triples the time to make one, and an epoch makes a million).

    Args:
        recording_id: ``<brainset>/<session>``.
        start: Absolute start of the window in seconds.
        end: Absolute end of the window in seconds, not included.

    Example:
        >>> DatasetIndex("perich/c_20131003", 12.0, 13.0)
        DatasetIndex(recording_id='perich/c_20131003', start=12.0, end=13.0)
    """

    recording_id: str
    start: float
    end: float
