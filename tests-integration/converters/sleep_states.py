"""Mouse CA1 over twelve hours, arousal state (nerdslab/myow-neuro; Ma et al. 2019): 4 s bins of counts to HDF5."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from converters.m1_center_out import spread_evenly
from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries

BRAINSET = "sleep_states"
SESSION = "ca1_12h"
BIN_S = 4.0
SPIKES_PER_BIN = 0.5
STATES = 3
BLOCK_BINS = 240
VALID_EVERY = 6


def convert(source: Path, root: Path, *, fold: int | None = None) -> list[Path]:
    """Write ``<root>/sleep_states/ca1_12h.h5``, the last 20 % in time for testing.

    The units fire 500 spikes a second together, of which a bin of 4 s tells no more than the counts. Each unit is
    thinned to about `SPIKES_PER_BIN`: every n-th spike is kept, so that its rate keeps its course. Half as many cost
    ridge regression accuracy in the folds, and POYO+ perhaps; twice as many gave the regression a little more, for
    twice the tokens.

    Args:
        source: The folder of the two arrays.
        root: Where to write.
        fold: 0 to 3: test on that fifth of the recording instead, and leave its last fifth out altogether. Settings are
            chosen by these, never by the last fifth.
    """
    counts = np.load(source / "fr_bins_n_4full.npy", allow_pickle=False).T.astype(np.int64)
    states = np.load(source / "behav_states_n_4full.npy", allow_pickle=False).astype(np.int64)
    bins = len(states)
    start = np.arange(bins) * BIN_S
    spike_times, unit_index = spread_evenly(thinned(counts), start, BIN_S)
    domain = Interval(0.0, bins * BIN_S)
    train, valid, test = split_with_spread_validation(bins, fold)
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
    data.set_train_domain(train)
    data.set_valid_domain(valid)
    data.set_test_domain(test)
    path = root / BRAINSET / f"{SESSION}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save(path)
    return [path]


def split_with_spread_validation(bins: int, fold: int | None) -> tuple[Interval, Interval, Interval]:
    """Train, valid and test. A state lasts for minutes and the rarest is 7 % of the time, so validation is spread.

    Of the first 80 % (without the fold), every `VALID_EVERY`-th block of `BLOCK_BINS` bins validates.
    """
    known = round(bins * 0.8)
    tested = (known, bins) if fold is None else (round(bins * fold * 0.2), round(bins * (fold + 1) * 0.2))
    blocks = [*range(0, known, BLOCK_BINS), known]
    parts: dict[str, list[tuple[float, float]]] = {"train": [], "valid": []}
    for position, (start, end) in enumerate(pairwise(blocks)):
        part = parts["valid" if position % VALID_EVERY == VALID_EVERY // 2 else "train"]
        for first, last in ((start, min(end, tested[0])), (max(start, tested[1]), end)):
            if first < last:
                part.append((first * BIN_S, last * BIN_S))
    train, valid = (Interval.from_list(part).coalesce() for part in parts.values())
    return train, valid, Interval(tested[0] * BIN_S, tested[1] * BIN_S)


def thinned(counts: np.ndarray) -> np.ndarray:
    """Keep every n-th spike of a unit, n its mean count over `SPIKES_PER_BIN`. Shape: (bins, units), as `counts`."""
    every = np.maximum(counts.mean(axis=0) / SPIKES_PER_BIN, 1.0)
    total = np.floor(np.cumsum(counts, axis=0) / every).astype(np.int64)
    return np.diff(total, axis=0, prepend=0)
