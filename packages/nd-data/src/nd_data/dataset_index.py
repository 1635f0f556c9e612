"""The address of one window: which recording, from when, until when, and what to seed its random transforms with."""

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Self


class _FieldsAsArguments(type):
    """Makes a tuple class take its fields as arguments, where a tuple would take one iterable of them.

    The usual place for this is ``__new__``; but then Python code runs for every window, and an epoch has a million.
    """

    def __call__(cls, recording_id: str, start: float, end: float, seed: int | None = None) -> Any:
        return tuple.__new__(cls, (recording_id, start, end, seed))  # type: ignore[arg-type]  # cls is a tuple class


class DatasetIndex(tuple[str, float, float, int | None], metaclass=_FieldsAsArguments):
    """One window of one recording, half-open: ``start <= t < end``.

    Samplers yield these and `Dataset.__getitem__` takes them. An immutable value (inside a tuple, which is what Python
    makes fastest). Two are equal where they mean the same window, whatever their seeds.

    Args:
        recording_id: ``<brainset>/<session>``.
        start: Absolute start of the window in seconds.
        end: Absolute end of the window in seconds, not included.
        seed: What random transforms mix into their own seed for this window, from 0 to 2^63 - 1; samplers take another
            one for each epoch. Without one, transforms go on in the stream of their process.

    Example:
        >>> DatasetIndex("perich/c_20131003", 12.0, 13.0)
        DatasetIndex(recording_id='perich/c_20131003', start=12.0, end=13.0)
    """

    __slots__ = ()
    __match_args__ = ("recording_id", "start", "end", "seed")

    if TYPE_CHECKING:

        def __new__(cls, recording_id: str, start: float, end: float, seed: int | None = None) -> Self:
            """Make an index; what runs is `_FieldsAsArguments`."""

    recording_id: str = property(itemgetter(0))  # type: ignore[assignment]
    start: float = property(itemgetter(1))  # type: ignore[assignment]
    end: float = property(itemgetter(2))  # type: ignore[assignment]
    seed: int | None = property(itemgetter(3))  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatasetIndex) and self[:3] == other[:3]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:3])

    def __repr__(self) -> str:
        return f"DatasetIndex(recording_id={self.recording_id!r}, start={self.start!r}, end={self.end!r})"

    def __reduce__(self) -> tuple[type["DatasetIndex"], tuple[Any, ...]]:
        return DatasetIndex, tuple(self)


class _FieldsAsTuple(_FieldsAsArguments):
    __call__ = type.__call__


class _DrawnIndex(DatasetIndex, metaclass=_FieldsAsTuple):
    """A `DatasetIndex` that is made as tuples are, without a line of Python."""

    __slots__ = ()


_DrawnIndex.__name__ = _DrawnIndex.__qualname__ = "DatasetIndex"

dataset_index_of: Callable[[Iterable[Any]], DatasetIndex] = _DrawnIndex  # type: ignore[assignment]
"""Make an index from an iterable of its four fields, in less than half the time."""
