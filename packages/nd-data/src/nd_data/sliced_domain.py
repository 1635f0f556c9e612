"""A domain and the windows that were cut from it, worked out when it is first asked for.

Most windows are read and never asked for their domain; working it out costs as much as cutting them.
"""

import copy
from typing import NamedTuple

import numpy as np

from nd_data.interval import Interval, unchecked_interval
from nd_data.storage.layout import StoredGroup
from nd_data.stored_rows import Window


class SlicedDomain(NamedTuple):
    """A domain that is not worked out yet.

    Args:
        base: The domain to start from: intervals, their place in a file, or one interval as (start, end).
        windows: The windows to cut, in this order.
    """

    base: "Interval | StoredGroup | tuple[float, float]"
    windows: tuple[Window, ...] = ()

    def cut(self, window: Window) -> "SlicedDomain":
        """The same with one more window."""
        return SlicedDomain(self.base, (*self.windows, window))

    def bounds(self) -> tuple[float, float, int]:
        """First start, last end and number of intervals."""
        if not self.windows and not isinstance(self.base, Interval | StoredGroup):
            return (*self.base, 1)
        domain = self.interval() if self.windows else stored_or_given(self.base)
        if len(domain) == 0:
            return 0.0, 0.0, 0
        return float(domain.start[0]), float(domain.end[-1]), len(domain)

    def interval(self) -> Interval:
        """The domain, as a new object."""
        domain = stored_or_given(self.base)
        if len(domain) == 1:
            return _single(float(domain.start[0]), float(domain.end[0]), self.windows)
        out = unchecked_interval(domain.start.copy(), domain.end.copy())
        for window in self.windows:
            out = out & Interval(window.start, window.end)
            if window.reset_origin:
                out = unchecked_interval(out.start - window.start, out.end - window.start)
        return out


def _single(start: float, end: float, windows: tuple[Window, ...]) -> Interval:
    # The usual case by far: one interval, without the detour over arrays.
    for window in windows:
        touches = start == end or window.start == window.end
        start, end = max(start, window.start), min(end, window.end)
        if start > end or (start == end and not touches):
            return unchecked_interval(np.zeros(0), np.zeros(0))
        if window.reset_origin:
            start, end = start - window.start, end - window.start
    return unchecked_interval(np.array([start]), np.array([end]))


def cut_domain(domain: Interval | SlicedDomain, window: Window) -> SlicedDomain:
    """Cut a window from a domain, now or later: what the window is cut from may change afterwards."""
    if isinstance(domain, SlicedDomain):
        return domain.cut(window)
    return SlicedDomain(unchecked_interval(domain.start.copy(), domain.end.copy()), (window,))


def stored_or_given(base: Interval | StoredGroup | tuple[float, float]) -> Interval:
    """The intervals to start from, read from the file at most once a process."""
    if isinstance(base, Interval):
        return base
    if isinstance(base, StoredGroup):
        domain = base.cache.get("interval")
        if not isinstance(domain, Interval):
            domain = base.cache["interval"] = checked_domain(Interval.from_stored(base), base.where())
        return domain
    return unchecked_interval(np.array([base[0]]), np.array([base[1]]))


def checked_domain(domain: object, where: str = "the domain") -> Interval:
    """A domain whose intervals are in order and do not overlap.

    Raises:
        ValueError: it is no Interval, or its intervals overlap.
    """
    if not isinstance(domain, Interval):
        raise ValueError(f"{where} must be an Interval, got {type(domain).__name__}")
    if not domain.is_disjoint():
        raise ValueError(f"{where} has intervals that overlap: they must be disjoint")
    if not domain.is_sorted():
        return copy.copy(domain).sort()
    return domain


__all__ = ["SlicedDomain", "checked_domain", "cut_domain"]
