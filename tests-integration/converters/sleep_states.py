"""Mouse CA1 over twelve hours, arousal state (nerdslab/myow-neuro; Ma et al. 2019): 4 s bins of counts to HDF5."""

from pathlib import Path

import numpy as np

from converters.m1_center_out import spread_evenly
from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries

BRAINSET = "sleep_states"
SESSION = "ca1_12h"
BIN_S = 4.0
SPIKES_PER_BIN = 1.0
STATES = 3


def convert(source: Path, root: Path) -> list[Path]:
    """Write ``<root>/sleep_states/ca1_12h.h5``, split 68 / 12 / 20 % in time.

    The units fire 500 spikes a second together, of which a bin of 4 s tells no more than the counts. Each unit is
    thinned to about one spike a bin: every n-th spike is kept, n its mean count, so that its rate keeps its course.
    """
    counts = np.load(source / "fr_bins_n_4full.npy", allow_pickle=False).T.astype(np.int64)
    states = np.load(source / "behav_states_n_4full.npy", allow_pickle=False).astype(np.int64)
    bins = len(states)
    start = np.arange(bins) * BIN_S
    spike_times, unit_index = spread_evenly(thinned(counts), start, BIN_S)
    domain = Interval(0.0, bins * BIN_S)
    first, second = (round(bins * share) * BIN_S for share in (0.68, 0.80))
    data = Data(
        brainset=Data(id=BRAINSET, domain=domain),
        subject=Data(id="ca1", domain=domain),
        session=Data(id=SESSION, domain=domain),
        units=ArrayDict(id=np.array([f"unit_{unit:02d}" for unit in range(counts.shape[1])])),
        spikes=IrregularTimeSeries(timestamps=spike_times, unit_index=unit_index, domain=domain),
        arousal=IrregularTimeSeries(timestamps=start + BIN_S / 2, state=states, domain=domain),
        states=Data(
            **{
                f"state_{state}": Interval(start=start[states == state], end=start[states == state] + BIN_S)
                for state in range(STATES)
            },
            domain=domain,
        ),
        domain=domain,
    )
    data.set_train_domain(Interval(0.0, first))
    data.set_valid_domain(Interval(first, second))
    data.set_test_domain(Interval(second, bins * BIN_S))
    path = root / BRAINSET / f"{SESSION}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save(path)
    return [path]


def thinned(counts: np.ndarray) -> np.ndarray:
    """Keep every n-th spike of a unit, n its mean count over `SPIKES_PER_BIN`. Shape: (bins, units), as `counts`."""
    every = np.maximum(counts.mean(axis=0) / SPIKES_PER_BIN, 1.0)
    total = np.floor(np.cumsum(counts, axis=0) / every).astype(np.int64)
    return np.diff(total, axis=0, prepend=0)
