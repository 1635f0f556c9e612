"""Checks of units and their spikes: ids, silent units by split, rates, and windows without any spike.

S spikes, U units.
"""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nd_train.doctor.findings import Findings
from nd_train.doctor.recordings import FloatArray, Recording, counts_in_windows, each_split, within

MOST_SILENT = 0.5
"""Share of a recording's units that may be silent throughout before it is worth a look."""
MOST_UNTRAINED = 0.01
"""Share of a split's spikes that may come from units that never spike in train."""
FASTEST = 300.0
"""Spikes a second of one unit, on average over a split, that no neuron keeps up."""
SLOWEST = 1e-3
"""Spikes a second of the median unit that has any, below which times are probably not in seconds."""
MOST_EMPTY = 0.2
"""Share of windows that may be without any spike."""


def check_unit_ids(recordings: list[Recording], findings: Findings) -> None:
    """Ids of units within a recording, and of sessions over recordings."""
    sessions: dict[str, str] = {}
    for recording in recordings:
        if not recording.unit_ids:
            advice = "store units.id, one text for each unit"
            findings.problem("units ids", "no units", where=recording.name, advice=advice)
        repeated = [unit for unit, count in Counter(recording.unit_ids).items() if count > 1]
        if repeated:
            findings.problem(
                "units ids",
                f"{len(repeated)} ids stand for several units, such as {repeated[0]!r}",
                where=recording.name,
                advice="give every unit an id of its own: units of one id share one embedding",
            )
        _check_session(recording, sessions, findings)
    total = sum(len(recording.unit_ids) for recording in recordings)
    findings.settle("units ids", f"{total:,} units in {len(recordings)} recordings, each with an id of its own")


def _check_session(recording: Recording, sessions: dict[str, str], findings: Findings) -> None:
    known = recording.known
    if known is None or known.session_id is None or known.brainset_id is None:
        return
    session = f"{known.brainset_id}/{known.session_id}"
    first = sessions.setdefault(session, recording.name)
    if first != recording.name:
        findings.problem(
            "units ids",
            f"its session id {session!r} is that of {first} too: their units and sessions count as the same",
            where=recording.name,
            advice="give every recording a brainset.id and session.id of its own",
        )


def check_spikes(recording: Recording, window_length: float | None, findings: Findings) -> None:
    """Spikes of one recording: order, units, rates, silence by split.

    Args:
        recording: It is opened, and all its spikes are read.
        window_length: Seconds of a window.
        findings: Where to note.
    """
    if "spikes" not in recording.data:
        return
    try:
        times = np.asarray(recording.data.spikes.timestamps, dtype=np.float64)
        units = np.asarray(recording.data.spikes.unit_index)
    except (AttributeError, ValueError) as error:
        advice = "run nd-data validate on the file"
        findings.problem("units spikes", f"spikes cannot be read: {error}", where=recording.name, advice=advice)
        return
    count = len(recording.unit_ids)
    if not _are_sound(recording, times, units, count, findings):
        return
    spikes = {split: np.bincount(units[within(times, at)], minlength=count) for split, at in each_split(recording)}
    total = np.bincount(units, minlength=count)
    _check_silence(recording, total, spikes, findings)
    _check_rates(recording, spikes, findings)
    if window_length is not None:
        _check_empty_windows(recording, times, window_length, findings)


def _are_sound(recording: Recording, times: FloatArray, units: NDArray[Any], count: int, findings: Findings) -> bool:
    advice = "run nd-data validate on the file, and convert it anew"
    if len(times) == 0:
        findings.problem("units spikes", "no spikes at all", where=recording.name, advice=advice)
        return False
    if np.isnan(times).any() or (np.diff(times) < 0).any():
        what = "spike times are NaN or out of order: windows would miss spikes"
        findings.problem("units spikes", what, where=recording.name, advice=advice)
        return False
    if len(units) != len(times) or units.min() < 0 or units.max() >= count:
        what = f"spikes.unit_index runs to {units.max()}, but there are {count} units"
        findings.problem("units spikes", what, where=recording.name, advice=advice)
        return False
    return True


def _check_silence(
    recording: Recording, total: NDArray[np.int64], spikes: dict[str, NDArray[np.int64]], findings: Findings
) -> None:
    silent = int((total == 0).sum())
    if silent > MOST_SILENT * len(total):
        findings.warning(
            "units silent",
            f"{silent} of {len(total)} units never spike",
            where=recording.name,
            advice="is spikes.unit_index the row of units, from 0? Drop units without spikes",
        )
    if "train" not in spikes:
        return
    untrained = spikes["train"] == 0
    if len(total) and spikes["train"].sum() == 0:
        advice = "are spikes and train_domain on the same clock, in seconds?"
        findings.problem("units silent", "no spike in train", where=recording.name, advice=advice)
        return
    for split in ("valid", "test"):
        if split not in spikes:
            continue
        if spikes[split].sum() == 0:
            advice = f"are spikes and {split}_domain on the same clock, in seconds?"
            findings.problem("units silent", f"no spike in {split}", where=recording.name, advice=advice)
            continue
        share = spikes[split][untrained].sum() / spikes[split].sum()
        if share > MOST_UNTRAINED:
            new = int((untrained & (spikes[split] > 0)).sum())
            findings.warning(
                "units silent",
                f"{100 * share:.2g} % of the spikes in {split} are of {new} units that are silent in train",
                where=recording.name,
                advice="drop these units, or split so that every unit spikes in train: its embedding is never learnt",
            )
        lost = (spikes["train"] > 0) & (spikes[split] == 0)
        lost_share = spikes["train"][lost].sum() / max(int(spikes["train"].sum()), 1)
        if lost_share > MOST_SILENT:
            findings.warning(
                "units silent",
                f"{int(lost.sum())} units with {100 * lost_share:.2g} % of the spikes in train are silent in {split}",
                where=recording.name,
                advice="was the sorting or the array changed in between? Split within a stable stretch",
            )


def _check_rates(recording: Recording, spikes: dict[str, NDArray[np.int64]], findings: Findings) -> None:
    if "train" not in spikes or recording.seconds("train") <= 0:
        return
    rates = spikes["train"] / recording.seconds("train")
    active = rates[rates > 0]
    if not len(active):
        return
    if active.max() > FASTEST:
        unit = recording.unit_ids[int(rates.argmax())]
        findings.warning(
            "units rates",
            f"unit {unit!r} fires {active.max():.4g} times a second in train, {int((rates > FASTEST).sum())} units "
            f"more than {FASTEST:g}",
            where=recording.name,
            advice="are times in seconds? Is the unit multi-unit activity or an artefact? Leave it out if so",
        )
    if np.median(active) < SLOWEST:
        findings.warning(
            "units rates",
            f"the median unit fires {np.median(active):.2g} times a second in train",
            where=recording.name,
            advice="are times in seconds (and not in milliseconds or samples)?",
        )


def _check_empty_windows(recording: Recording, times: FloatArray, window_length: float, findings: Findings) -> None:
    counts = counts_in_windows(recording, times, window_length)
    if counts is None:
        return
    empty = float((counts == 0).mean())
    if empty > MOST_EMPTY:
        findings.warning(
            "units empty windows",
            f"{100 * empty:.2g} % of the windows in train have no spike",
            where=recording.name,
            advice="take times without recording out of train_domain (configuration: sampling_intervals), or make "
            "windows longer",
        )
