"""The time that belongs to a split, and the check that a window stays within it."""

from bisect import bisect_right
from itertools import combinations

from nd_data.data import Data
from nd_data.interval import Interval
from nd_data.interval_union import merge_intervals, merged
from nd_data.nearest_names import name_hint
from nd_data.samplers.interval_table import TIME_TOLERANCE

_SUFFIX = "_domain"
_EXCLUSIVE_SPLITS = ("train", "valid", "test")


class SplitDomain:
    """Where windows of one split of one recording may lie.

    Neighbouring intervals with nothing between them count as one.

    Args:
        domain: The split's intervals.
        split: Its name.
        recording_id: The recording's id, for error messages.
    """

    __slots__ = ("_end", "_start", "recording_id", "split")

    def __init__(self, domain: Interval, *, split: str, recording_id: str) -> None:
        self.split = split
        self.recording_id = recording_id
        start, end = merge_intervals(domain.start, domain.end, gap=TIME_TOLERANCE)
        # Lists, because bisecting them costs a tenth of a microsecond and every window pays for it.
        self._start: list[float] = start.tolist()
        self._end: list[float] = end.tolist()

    def checked(self, start: float, end: float) -> tuple[float, float]:
        """Return a window that lies in the domain.

        A window that leaves it by no more than the time tolerance is rounding, and is cut back to the domain.

        Args:
            start: Seconds.
            end: Seconds.

        Raises:
            ValueError: it leaves the domain.
        """
        row = bisect_right(self._start, start + TIME_TOLERANCE) - 1
        if row >= 0 and start <= end <= self._end[row] + TIME_TOLERANCE:
            start = max(start, self._start[row])
            return start, max(start, min(end, self._end[row]))
        raise ValueError(self._leak(row, start, end))

    def _leak(self, row: int, start: float, end: float) -> str:
        nearest = ""
        if self._start:
            row = max(row, 0)
            if row + 1 < len(self._start) and self._end[row] <= start:
                row += 1
            nearest = f", whose nearest interval is [{self._start[row]:.9g}, {self._end[row]:.9g})"
        return (
            f"recording {self.recording_id!r}: the window [{start:.9g}, {end:.9g}) leaves the {self.split!r} "
            f"split{nearest}. Draw windows from dataset.get_sampling_intervals(), or call "
            "dataset.disable_data_leakage_check() if this is meant."
        )


def split_intervals(data: Data, split: str | None) -> Interval:
    """The stored intervals of a split, or of the whole recording without one.

    Args:
        data: The recording.
        split: Its name, ``train`` for ``train_domain``.

    Raises:
        ValueError: there is no such split; the message lists those that exist.
    """
    if split is None:
        if data.domain is None:
            raise ValueError("the recording has no domain, so there is nothing to sample from; store one")
        return data.domain
    splits = split_names(data)
    if split not in splits:
        raise ValueError(f"unknown split {split!r}; {name_hint(split, splits, noun='existing splits')}")
    intervals: Interval = getattr(data, split + _SUFFIX)
    return intervals


def split_names(data: Data) -> list[str]:
    """The splits of a recording: ``x`` for every `Interval` called ``x_domain``."""
    return sorted(
        key.removesuffix(_SUFFIX)
        for key in data.keys()  # noqa: SIM118  # not a mapping
        if key.endswith(_SUFFIX) and isinstance(getattr(data, key), Interval)
    )


def check_exclusive_splits(data: Data) -> None:
    """Refuse a recording whose train, valid and test splits overlap.

    Raises:
        ValueError: two of them share more than the time tolerance.
    """
    existing = [split for split in _EXCLUSIVE_SPLITS if split in split_names(data)]
    domains = {split: merged(split_intervals(data, split)) for split in existing}
    for one, other in combinations(existing, 2):
        shared = domains[one] & domains[other]
        shared = shared.select_by_mask(shared.end - shared.start > TIME_TOLERANCE)
        if len(shared):
            raise ValueError(
                f"splits {one!r} and {other!r} overlap, first in [{shared.start[0]:.9g}, {shared.end[0]:.9g}): results "
                "on one would leak into the other; store splits that do not overlap"
            )
