"""Checks of splits: are they there, apart from each other, inside the recording, and long enough for windows."""

from itertools import combinations

import numpy as np

from nd_data import Interval
from nd_data.interval_union import merged
from nd_data.samplers.interval_table import TIME_TOLERANCE
from nd_train.doctor.findings import Findings
from nd_train.doctor.recordings import SPLITS, Recording

# Of a split's time: how much may lie in intervals that are too short for a window.
MOST_LOST = 0.5
FEWEST_WINDOWS = 10


def check_splits(recordings: list[Recording], window_length: float | None, findings: Findings) -> None:
    """Presence, overlap, extent and window length of every split.

    Args:
        recordings: All of the run.
        window_length: Seconds of a window; None where the model could not be built.
        findings: Where to note.
    """
    _check_presence(recordings, findings)
    for recording in recordings:
        _check_overlap(recording, findings)
        _check_extent(recording, findings)
    findings.settle("splits leak", "no time is in two of train, valid and test")
    findings.settle("splits extent", "every split lies within its recording")
    if window_length is not None:
        for split in SPLITS:
            _check_windows(recordings, split, window_length, findings)
        findings.settle("splits windows", f"windows of {window_length:g} s fit into every split")


def _check_presence(recordings: list[Recording], findings: Findings) -> None:
    lacking = {split: [one.name for one in recordings if split not in one.splits] for split in SPLITS}
    named = "store it as {0}_domain (nd-data's set_{0}_domain), or leave these recordings out of the configuration"
    if lacking["train"]:
        findings.problem("splits present", "no train split", where=lacking["train"], advice=named.format("train"))
    if lacking["valid"] and lacking["test"]:
        where = sorted({*lacking["valid"], *lacking["test"]})
        what = "neither valid nor test is in all recordings: nothing could be scored"
        findings.problem("splits present", what, where=where, advice=named.format("valid"))
    elif lacking["valid"]:
        what = "no valid split: the run takes its last step's weights, not its best"
        findings.warning("splits present", what, where=lacking["valid"], advice=named.format("valid"))
    elif lacking["test"]:
        what = "no test split: the run ends with scores of valid, which chose the checkpoint"
        findings.warning("splits present", what, where=lacking["test"], advice=named.format("test"))
    for recording in recordings:
        for split, why in recording.unreadable.items():
            advice = "mend the recording or the configuration's sampling_intervals"
            findings.problem(f"splits {split}", why, where=recording.name, advice=advice)
    seconds = {split: sum(one.seconds(split) for one in recordings) for split in SPLITS}
    lengths = ", ".join(f"{split} {_duration(length)}" for split, length in seconds.items() if length)
    findings.settle("splits present", f"{len(recordings)} recordings: {lengths}")


def _check_overlap(recording: Recording, findings: Findings) -> None:
    domains = _stored(recording)
    for one, other in combinations([split for split in SPLITS if split in domains], 2):
        shared = domains[one] & domains[other]
        shared = shared.select_by_mask(shared.end - shared.start > TIME_TOLERANCE)
        if len(shared):
            seconds = float(np.sum(shared.end - shared.start))
            findings.problem(
                "splits leak",
                f"{one} and {other} share {seconds:.6g} s, first [{shared.start[0]:.6g}, {shared.end[0]:.6g})",
                where=recording.name,
                advice="store splits that do not overlap: scores on held-out time mean nothing otherwise",
            )


def _check_extent(recording: Recording, findings: Findings) -> None:
    known = None if recording.known is None else recording.known.intervals.get("domain")
    domain = recording.data.domain if known is None else known.interval()
    if domain is None or not len(domain):
        findings.problem(
            "splits extent", "no domain", where=recording.name, advice="store the recording's domain, an Interval"
        )
        return
    for split, intervals in _stored(recording).items():
        outside = intervals.difference(merged(domain))
        outside = outside.select_by_mask(outside.end - outside.start > TIME_TOLERANCE)
        if len(outside):
            findings.warning(
                "splits extent",
                f"{split} leaves the recording's domain, first in [{outside.start[0]:.6g}, {outside.end[0]:.6g})",
                where=recording.name,
                advice="cut the split to the domain: there is no data outside",
            )


def _check_windows(recordings: list[Recording], split: str, window_length: float, findings: Findings) -> None:
    having = [one for one in recordings if split in one.sampling]
    if not having:
        return
    total = usable = 0.0
    none: list[str] = []
    short: list[str] = []
    for recording in having:
        intervals = merged(recording.sampling[split])
        lengths = np.asarray(intervals.end - intervals.start, dtype=np.float64)
        fits = lengths >= window_length - TIME_TOLERANCE
        total += float(lengths.sum())
        usable += float(lengths[fits].sum())
        if not fits.any():
            none.append(recording.name)
        elif lengths[fits].sum() < (1 - MOST_LOST) * lengths.sum():
            short.append(recording.name)
    shorter = f"shorten model.network.sequence_length (now {window_length:g} s), or store longer intervals in {split}"
    if len(none) == len(having):
        findings.problem("splits windows", f"no interval of {split} is as long as a window", where=none, advice=shorter)
        return
    if none:
        findings.warning("splits windows", f"no interval of {split} is as long as a window", where=none, advice=shorter)
    if short:
        what = f"more than half of {split} lies in intervals shorter than a window and is never used"
        findings.warning("splits windows", what, where=short, advice=shorter)
    windows = usable / window_length
    if windows < FEWEST_WINDOWS:
        what = f"{split} holds {usable:.3g} s, about {windows:.0f} windows of {window_length:g} s in all"
        advice = "give this split more time: a score or a model of so little says nothing"
        findings.warning("splits windows", what, advice=advice)
    findings.figures[f"{split}_time"] = f"{_duration(usable)} in windows, of {_duration(total)}"


def _stored(recording: Recording) -> dict[str, Interval]:
    """The splits as stored, before the configuration's operations."""
    found = {}
    for split in SPLITS:
        name = f"{split}_domain"
        known = None if recording.known is None else recording.known.intervals.get(name)
        intervals = known.interval() if known is not None else getattr(recording.data, name, None)
        if isinstance(intervals, Interval):
            found[split] = merged(intervals)
    return found


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
