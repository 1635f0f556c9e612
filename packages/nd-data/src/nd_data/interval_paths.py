"""Intervals of a recording by their path, as configurations name them."""

from collections.abc import Iterator

from nd_data.data import Data
from nd_data.interval import Interval
from nd_data.nearest_names import name_hint


def interval_at(data: Data, path: str) -> Interval:
    """The intervals at a path such as ``movement_periods.reach_period``.

    Args:
        data: A recording or a window of one.
        path: Attribute names joined by dots.

    Raises:
        ValueError: the path leads nowhere, or not to an `Interval`; the message lists the paths that do.
    """
    try:
        found = data.get_nested_attribute(path)
    except AttributeError:
        hint = name_hint(path, interval_paths(data), noun="existing intervals")
        raise ValueError(f"there are no intervals {path!r} in {_name(data)}; {hint}") from None
    if not isinstance(found, Interval):
        hint = name_hint(path, interval_paths(data), noun="existing intervals")
        raise ValueError(f"{path!r} is a {type(found).__name__}, expected an Interval; {hint}")
    return found


def interval_paths(data: Data) -> list[str]:
    """The paths of all intervals in a recording, domains of splits included."""
    return sorted(_walk(data, ""))


def _name(data: Data) -> str:
    return f"recording {data.session.id!r}" if data.has_nested_attribute("session.id") else "the recording"


def _walk(data: Data, prefix: str) -> Iterator[str]:
    for key in data.keys():  # noqa: SIM118  # not a mapping
        value = getattr(data, key)
        if isinstance(value, Interval):
            yield prefix + key
        elif isinstance(value, Data):
            yield from _walk(value, f"{prefix}{key}.")
