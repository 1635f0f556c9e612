"""Ways to split a recording into training, validation and test time, none of which overlaps another."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nd_data.data import Data
from nd_data.ingest.interval_selection import LookUp, select_intervals, select_union
from nd_data.interval import Interval
from nd_data.interval_algebra import overlaps
from nd_data.samplers.interval_table import TIME_TOLERANCE
from nd_data.split_counts import split_counts

#: The splits, in the order in which time is dealt out.
SPLIT_NAMES = ("train", "valid", "test")

_INVALID_TIMES = "invalid_times"


@dataclass(frozen=True, kw_only=True)
class Splits(ABC):
    """What all ways to split have in common.

    Args:
        gap: Seconds between any two intervals of different splits. Where they are nearer, both give up as much, so that
            slow signals do not carry over from one split into the next.
        exclude: Times that belong to no split, each as ``PATH`` or ``PATH:COLUMN=VALUE``. None for ``invalid_times``,
            where the recording has them.

    Raises:
        ValueError: the gap is negative.
    """

    gap: float = 0.0
    exclude: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.gap < math.inf:
            raise ValueError(f"the gap between splits must be a number of seconds that is not negative, got {self.gap}")
        if isinstance(self.exclude, str):
            raise ValueError(f"exclude must be a list of texts, got the text {self.exclude!r}")

    def domains(self, look_up: LookUp, domain: Interval) -> dict[str, Interval]:
        """The times of each split.

        Args:
            look_up: Finds what a path leads to, for instance ``data.get_nested_attribute``.
            domain: Where the recording has data; no split leaves it.

        Returns:
            ``train``, ``valid`` and ``test`` to sorted, disjoint intervals; those without any time are left out where
            they were not asked for.

        Raises:
            ValueError: a path leads nowhere, splits overlap, or a split that was asked for has no time left.
        """
        shares = self._shares(look_up, domain, self._excluded(look_up))
        names = list(shares)
        start = np.concatenate([shares[name].start for name in names])
        end = np.concatenate([shares[name].end for name in names])
        owner = np.repeat(np.arange(len(names)), [len(shares[name]) for name in names])
        order = np.lexsort((end, start))
        start, end, owner = kept_apart(start[order], end[order], owner[order], self.gap)
        out = {}
        for number, name in enumerate(names):
            mine = owner == number
            if not mine.any():
                raise ValueError(
                    f"split {name!r} has no time: check the fractions, what is excluded, and the gap of {self.gap} s"
                )
            out[name] = Interval(start[mine], end[mine])
        return out

    @abstractmethod
    def _shares(self, look_up: LookUp, domain: Interval, excluded: Interval) -> dict[str, Interval]:
        """The times of each split that was asked for, before they are kept apart."""

    def _excluded(self, look_up: LookUp) -> Interval:
        if self.exclude is not None:
            return select_union(look_up, self.exclude)
        try:
            look_up(_INVALID_TIMES)
        except AttributeError:
            return Interval(np.zeros(0), np.zeros(0))
        return select_union(look_up, [_INVALID_TIMES])


@dataclass(frozen=True, kw_only=True)
class FractionSplits(Splits):
    """The first part of the time to train, the next to validate, the last to test.

    Args:
        train: Share of the time. The shares add up to one; a share of zero makes no such split.
        valid: Share of the time.
        test: Share of the time.
        within: Split these times, ``PATH`` or ``PATH:COLUMN=VALUE``, and not the whole recording. Gaps between
            intervals count for nothing.
        gap: See :class:`Splits`.
        exclude: See :class:`Splits`.

    Raises:
        ValueError: a share is negative, or they do not add up to one.

    Example:
        >>> from nd_data import Data, Interval
        >>> data = Data(wake=Interval([0.0, 50.0], [10.0, 80.0]), domain=Interval(0.0, 100.0))
        >>> _ = set_splits(data, FractionSplits(train=0.5, valid=0.25, test=0.25, within="wake", gap=2.0))
        >>> data.train_domain.end, data.valid_domain.start, data.valid_domain.end, data.test_domain.start
        (array([10., 59.]), array([61.]), array([69.]), array([71.]))
    """

    train: float = 0.7
    valid: float = 0.1
    test: float = 0.2
    within: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_fractions((self.train, self.valid, self.test))

    def _shares(self, look_up: LookUp, domain: Interval, excluded: Interval) -> dict[str, Interval]:
        times = domain if self.within is None else select_union(look_up, [self.within]) & domain
        times = times.difference(excluded)
        length = times.end - times.start
        total = float(length.sum())
        if not total > 0:
            where = "the domain" if self.within is None else repr(self.within)
            raise ValueError(f"there is no time to split in {where}, less what is excluded")
        fractions = checked_fractions((self.train, self.valid, self.test))
        borders = total * np.concatenate([[0.0], np.cumsum(list(fractions.values()))])
        before = np.cumsum(length) - length  # how much time lies before each interval
        shares = {}
        for name, first, last in zip(fractions, borders[:-1], borders[1:], strict=True):
            start = times.start + np.clip(first - before, 0.0, length)
            end = times.start + np.clip(last - before, 0.0, length)
            end = np.where(last - before >= length, times.end, end)
            keep = end - start > TIME_TOLERANCE
            shares[name] = Interval(start[keep], end[keep])
        return shares


@dataclass(frozen=True, kw_only=True)
class TrialSplits(Splits):
    """Whole trials, dealt out in the order of time or at random.

    Trials that leave the recording's domain or touch excluded times belong to no split.

    Args:
        train: Share of the trials. The shares add up to one; a share of zero makes no such split.
        valid: Share of the trials.
        test: Share of the trials.
        trials: Which intervals, ``PATH`` or ``PATH:COLUMN=VALUE``. They must not overlap.
        shuffle_seed: Deal them out at random, the same way for the same seed. None for the order of time.
        gap: See :class:`Splits`.
        exclude: See :class:`Splits`.

    Raises:
        ValueError: a share is negative, or they do not add up to one.
    """

    train: float = 0.7
    valid: float = 0.1
    test: float = 0.2
    trials: str = "trials"
    shuffle_seed: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_fractions((self.train, self.valid, self.test))

    def _shares(self, look_up: LookUp, domain: Interval, excluded: Interval) -> dict[str, Interval]:
        chosen = select_intervals(look_up, self.trials)
        order = np.lexsort((chosen.end, chosen.start))
        trials = Interval(chosen.start[order], chosen.end[order])
        row = np.searchsorted(domain.start, trials.start + TIME_TOLERANCE, side="right") - 1
        inside = (row >= 0) & (trials.end <= domain.end[np.clip(row, 0, None)] + TIME_TOLERANCE)
        inside &= trials.end > trials.start
        usable = Interval(trials.start[inside], trials.end[inside])
        touched = overlaps((usable.start, usable.end), (excluded.start, excluded.end))
        usable = usable.select_by_mask(~touched)
        overlap = np.flatnonzero(usable.start[1:] < usable.end[:-1] - TIME_TOLERANCE)
        if len(overlap):
            first = int(overlap[0])
            raise ValueError(
                f"{self.trials!r} overlap, first [{usable.start[first]:.9g}, {usable.end[first]:.9g}) and "
                f"[{usable.start[first + 1]:.9g}, {usable.end[first + 1]:.9g}): choose trials that do not, or split by "
                "fractions of the time"
            )
        fractions = checked_fractions((self.train, self.valid, self.test))
        if len(usable) < len(fractions):
            raise ValueError(
                f"{self.trials!r} has {len(usable)} trials inside the domain and outside excluded times: too few for "
                f"{len(fractions)} splits"
            )
        counts = split_counts(list(fractions.values()), len(usable)) if len(fractions) > 1 else [len(usable)]
        dealt = np.arange(len(usable))
        if self.shuffle_seed is not None:
            dealt = np.random.default_rng(self.shuffle_seed).permutation(len(usable))
        parts = np.split(dealt, np.cumsum(counts)[:-1])
        return {
            name: Interval(usable.start[np.sort(part)], usable.end[np.sort(part)])
            for name, part in zip(fractions, parts, strict=True)
        }


@dataclass(frozen=True, kw_only=True)
class NamedSplits(Splits):
    """The splits that the recording names itself.

    Args:
        train: The times to train on, each as ``PATH`` or ``PATH:COLUMN=VALUE``.
        valid: The times to validate on.
        test: The times to test on.
        gap: See :class:`Splits`.
        exclude: See :class:`Splits`.

    Raises:
        ValueError: nothing is named.
    """

    train: Sequence[str] = ()
    valid: Sequence[str] = ()
    test: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in SPLIT_NAMES:
            if isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be a list of texts, got the text {getattr(self, name)!r}")
        if not (self.train or self.valid or self.test):
            raise ValueError("name the intervals of at least one of train, valid and test")

    def _shares(self, look_up: LookUp, domain: Interval, excluded: Interval) -> dict[str, Interval]:
        shares = {}
        for name in SPLIT_NAMES:
            selections = getattr(self, name)
            if selections:
                times = (select_union(look_up, selections) & domain).difference(excluded)
                shares[name] = times.select_by_mask(times.end > times.start)
        return shares


def set_splits(data: Data, splits: Splits) -> dict[str, Interval]:
    """Set ``train_domain``, ``valid_domain`` and ``test_domain`` of a recording.

    Args:
        data: The recording; its old splits are replaced, those that do not come again are removed.
        splits: How to split it.

    Returns:
        The times of each split.

    Raises:
        ValueError: the recording has no domain, or cannot be split this way.
    """
    if data.domain is None:
        raise ValueError("data without a domain cannot be split")
    domains = splits.domains(data.get_nested_attribute, data.domain)
    for name in SPLIT_NAMES:
        if name in domains:
            setattr(data, f"{name}_domain", domains[name])
        elif f"{name}_domain" in data:
            delattr(data, f"{name}_domain")
    return domains


def checked_fractions(fractions: tuple[float, float, float]) -> dict[str, float]:
    """The shares that are not zero, by split.

    Raises:
        ValueError: a share is negative or not finite, or they do not add up to one.
    """
    if not all(0 <= fraction < math.inf for fraction in fractions) or abs(sum(fractions) - 1.0) > 1e-9:
        raise ValueError(
            f"the fractions of train, valid and test must add up to 1 and none be negative, got {list(fractions)}"
        )
    return {name: float(share) for name, share in zip(SPLIT_NAMES, fractions, strict=True) if share > 0}


def kept_apart(
    start: NDArray[np.float64], end: NDArray[np.float64], owner: NDArray[np.intp], gap: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Keep intervals of different owners a gap apart.

    Where neighbours of different owners are nearer than the gap, each gives up half of what is missing; an interval
    that would lose all of its time goes, and those beside it are looked at again.

    Args:
        start: Starts in seconds, sorted. Shape: (N,).
        end: Ends in seconds. Shape: (N,).
        owner: Whose each interval is. Shape: (N,).
        gap: Seconds.

    Returns:
        What is left of starts, ends and owners.

    Raises:
        ValueError: intervals of different owners overlap by more than the time tolerance.
    """
    while True:
        near = (owner[1:] != owner[:-1]) & (start[1:] < end[:-1])
        overlap = np.flatnonzero(near & (end[:-1] - start[1:] > TIME_TOLERANCE))
        if len(overlap):
            first = int(overlap[0])
            raise ValueError(
                f"the splits overlap, first [{start[first]:.9g}, {end[first]:.9g}) and [{start[first + 1]:.9g}, "
                f"{end[first + 1]:.9g}): results on one would leak into the other"
            )
        missing = np.where(owner[1:] != owner[:-1], np.clip(gap - (start[1:] - end[:-1]), 0.0, None), 0.0)
        new_start = start + np.concatenate([[0.0], missing / 2])
        new_end = end - np.concatenate([missing / 2, [0.0]])
        keep = new_end - new_start > TIME_TOLERANCE
        if keep.all():
            return new_start, new_end, owner
        # Without the shortest of those that vanish, its neighbours may keep more.
        gone = int(np.flatnonzero(~keep)[np.argmin((end - start)[~keep])])
        start, end, owner = np.delete(start, gone), np.delete(end, gone), np.delete(owner, gone)


__all__ = ["SPLIT_NAMES", "FractionSplits", "NamedSplits", "Splits", "TrialSplits", "set_splits"]
