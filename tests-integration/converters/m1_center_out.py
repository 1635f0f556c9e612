"""Monkey M1, centre-out reaching (Dyer et al. 2017, Nat Biomed Eng 1:967): binned spikes and cursor velocity to HDF5.

There is no absolute clock: trials are laid one after another, a second apart, each an interval of its own.
"""

from pathlib import Path

import numpy as np

from converters.splits import split_in_order
from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries

BRAINSET = "m1_center_out"
SESSIONS = ("chewie_20131003", "chewie_20131219")
GAP = 1.0
REACH_PAST_TRIAL = 0.3


def convert(source: Path, root: Path) -> list[Path]:
    """Write ``<root>/m1_center_out/<session>.h5`` for both sessions.

    A window may reach 0.3 s past either end of its trial, where there are neither spikes nor targets: without that the
    shorter trials would hold no window.
    """
    written = []
    for session in SESSIONS:
        path = root / BRAINSET / f"{session}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with np.load(source / f"{session}.npz", allow_pickle=False) as arrays:
            _recording(session, dict(arrays)).save(path)
        written.append(path)
    return written


def _recording(session: str, arrays: dict[str, np.ndarray]) -> Data:
    bin_s = float(arrays["bin_s"])
    trial, counts = arrays["trial"], arrays["counts"].astype(np.int64)
    first = np.flatnonzero(np.r_[True, trial[1:] != trial[:-1]])
    bins = np.diff(np.r_[first, len(trial)])
    duration = bins * bin_s
    start = GAP + np.r_[0.0, np.cumsum(duration[:-1] + GAP)]
    bin_start = np.repeat(start, bins) + (np.arange(len(trial)) - np.repeat(first, bins)) * bin_s
    end = start + duration
    domain = Interval(0.0, float(end[-1] + GAP))
    windows = Interval(start=start - REACH_PAST_TRIAL, end=end + REACH_PAST_TRIAL)
    spike_times, unit_index = spread_evenly(counts, bin_start, bin_s)
    train, valid, test = split_in_order(len(windows), 0.68, 0.12)
    data = Data(
        brainset=Data(id=BRAINSET, domain=domain),
        subject=Data(id="chewie", domain=domain),
        session=Data(id=session, domain=domain),
        units=ArrayDict(id=np.array([f"unit_{unit:03d}" for unit in range(counts.shape[1])])),
        spikes=IrregularTimeSeries(timestamps=spike_times, unit_index=unit_index, domain=domain),
        cursor=IrregularTimeSeries(
            timestamps=bin_start + bin_s / 2, vel=arrays["vel"], pos=arrays["pos"], acc=arrays["acc"], domain=domain
        ),
        trials=Interval(start=start, end=end, target=arrays["target"][first].astype(np.int64)),
        domain=domain,
    )
    data.set_train_domain(windows.select_by_mask(train))
    data.set_valid_domain(windows.select_by_mask(valid))
    data.set_test_domain(windows.select_by_mask(test))
    return data


def spread_evenly(counts: np.ndarray, bin_start: np.ndarray, bin_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Times and units of the spikes counted in bins, each bin's spikes of a unit spaced evenly inside it.

    Args:
        counts: Spikes by bin and unit, integers. Shape: (bins, units).
        bin_start: Start of each bin in seconds. Shape: (bins,).
        bin_s: Width of a bin in seconds.

    Returns:
        Sorted spike times in seconds and their unit's index, shape (spikes,) each.
    """
    cell = np.repeat(np.arange(counts.size), counts.ravel())
    first_of_cell = np.cumsum(counts.ravel()) - counts.ravel()
    rank = np.arange(len(cell)) - first_of_cell[cell]
    row, unit = np.divmod(cell, counts.shape[1])
    times = bin_start[row] + bin_s * (rank + 0.5) / counts.ravel()[cell]
    order = np.argsort(times, kind="stable")
    return times[order], unit[order].astype(np.int64)
