"""The declarative operations that turn a split's domain into sampling intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

from nd_data.data import Data
from nd_data.interval import Interval
from nd_data.interval_paths import interval_at
from nd_data.interval_union import merged


@dataclass(frozen=True, slots=True)
class Intersect:
    """Keep what also lies in the intervals at ``path``."""

    path: str


@dataclass(frozen=True, slots=True)
class Subtract:
    """Take out what lies in the intervals at ``path``."""

    path: str


@dataclass(frozen=True, slots=True)
class Dilate:
    """Extend each interval by ``seconds`` on both sides; neighbours meet halfway."""

    seconds: float


@dataclass(frozen=True, slots=True)
class MinimumLength:
    """Keep intervals of at least ``seconds``."""

    seconds: float


IntervalOperation = Intersect | Subtract | Dilate | MinimumLength


def operation_paths(operations: Sequence[IntervalOperation]) -> list[str]:
    """The intervals of a recording that operations need, by path."""
    return [operation.path for operation in operations if isinstance(operation, Intersect | Subtract)]


def apply_operations(domain: Interval, operations: Sequence[IntervalOperation], data: Data) -> Interval:
    """Apply operations in order to a split's domain.

    The result never leaves the domain: what a dilation adds outside is cut off again, so that no operation can let
    another split's data in.

    Args:
        domain: The split's domain, or the recording's.
        operations: What to do, in order.
        data: The recording, where the paths lead.

    Returns:
        Sorted, disjoint intervals; ``domain`` itself without operations.

    Raises:
        ValueError: a path leads nowhere or not to an `Interval`; the message lists those that exist.
    """
    if not operations:
        return domain
    allowed = merged(domain)
    intervals = allowed
    for operation in operations:
        match operation:
            case Intersect(path):
                intervals = intervals & merged(interval_at(data, path))
            case Subtract(path):
                intervals = intervals.difference(merged(interval_at(data, path)))
            case Dilate(seconds):
                intervals = intervals.dilate(seconds) & allowed
            case MinimumLength(seconds):
                intervals = intervals.select_by_mask(intervals.end - intervals.start >= seconds)
    return intervals
