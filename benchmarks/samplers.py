"""Samplers over 100,000 intervals, ours against torch_brain 0.1.2's in one process.

    python benchmarks/samplers.py            # a table, then JSON lines
    python benchmarks/samplers.py --quick    # 5,000 intervals

An epoch counts from the sampling intervals to the last window: the sampler is made, and every window is drawn from it.
The ratio of processor times is the steadier one on a machine that others use too.
Without torch_brain 0.1.2 only our column is filled.
"""

import argparse
import json
import logging
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import nd_data
from nd_data import samplers as our_samplers

try:
    import temporaldata
    from torch_brain.data import sampler as peer_samplers
except ImportError:
    peer_samplers = None

GOALS = {"RandomFixedWindowSampler": 80.0, "DistributedStitchingFixedWindowSampler": 40.0}
RECORDINGS = 5


@dataclass(frozen=True)
class Epoch:
    """One sampler's epoch: its name, and functions that draw all of its windows and return how many there were."""

    name: str
    ours: Callable[[], int]
    peer: Callable[[], int] | None


def sampling_intervals(interval_class: type, intervals: int) -> dict[str, Any]:
    """Intervals of 9.5 s, one every 10 s, shared out among the recordings."""
    start = np.arange(intervals // RECORDINGS, dtype=np.float64) * 10.0
    return {f"brainset/r{i}": interval_class(start=start, end=start + 9.5) for i in range(RECORDINGS)}


def random_epoch(library: Any, intervals: dict[str, Any]) -> Callable[[], int]:
    def draw() -> int:
        generator = torch.Generator().manual_seed(0)
        sampler = library.RandomFixedWindowSampler(sampling_intervals=intervals, window_length=1.0, generator=generator)
        return drawn(sampler)

    return draw


def drawn(sampler: Any) -> int:
    """Draw a whole epoch, by a loop in C so that it is the sampler that takes the time. The number of windows."""
    deque(sampler, maxlen=0)
    return len(sampler)


def stitching_epoch(library: Any, intervals: dict[str, Any]) -> Callable[[], int]:
    def draw() -> int:
        torch.manual_seed(0)  # the peer's shuffle takes no generator
        sampler = library.DistributedStitchingFixedWindowSampler(
            sampling_intervals=intervals, window_length=1.0, step=0.5, batch_size=32, num_replicas=2, rank=0
        )
        return drawn(sampler)

    return draw


def epochs(intervals: int) -> list[Epoch]:
    ours = sampling_intervals(nd_data.Interval, intervals)
    peer = None if peer_samplers is None else sampling_intervals(temporaldata.Interval, intervals)
    makers = {
        "RandomFixedWindowSampler": random_epoch,
        "DistributedStitchingFixedWindowSampler": stitching_epoch,
    }
    return [
        Epoch(name, make(our_samplers, ours), None if peer is None else make(peer_samplers, peer))
        for name, make in makers.items()
    ]


def seconds(function: Callable[[], int]) -> tuple[float, float, int]:
    """Seconds by the clock, seconds of processor time, and the number of windows."""
    start, processor = time.perf_counter(), time.process_time()
    windows = function()
    return time.perf_counter() - start, time.process_time() - processor, windows


def measure(epoch: Epoch, *, repeats: int, peer_repeats: int) -> dict[str, Any]:
    """Median seconds of an epoch; our repetitions lie around each of the peer's, so that both meet the same machine."""
    ours = [seconds(epoch.ours) for _ in range(repeats)]
    peer = []
    for _ in range(peer_repeats if epoch.peer is not None else 0):
        peer.append(seconds(epoch.peer))
        ours += [seconds(epoch.ours) for _ in range(repeats)]
    counts = {count for _, _, count in (*ours, *peer)}
    if len(counts) > 1:
        raise AssertionError(f"{epoch.name}: the two do not draw equally many windows: {sorted(counts)}")
    our_wall, our_processor = (statistics.median(one[i] for one in ours) for i in (0, 1))
    record = {
        "benchmark": "samplers",
        "figure": epoch.name,
        "windows": counts.pop(),
        "ours": round(our_wall, 4),
        "peer": None,
        "unit": "s",
        "ratio": None,
        "processor_ratio": None,
        "goal": GOALS[epoch.name],
    }
    if peer:
        peer_wall, peer_processor = (statistics.median(one[i] for one in peer) for i in (0, 1))
        record["peer"] = round(peer_wall, 3)
        record["ratio"] = round(peer_wall / our_wall, 1)
        record["processor_ratio"] = round(peer_processor / our_processor, 1)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--intervals", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3, help="our epochs before and after each of the peer's")
    parser.add_argument("--peer-repeats", type=int, default=1, help="the peer's epochs; one of them takes 17 s")
    parser.add_argument("--quick", action="store_true", help="5,000 intervals: does it run, and roughly how fast")
    arguments = parser.parse_args()
    intervals = 5_000 if arguments.quick else arguments.intervals
    logging.disable(logging.WARNING)
    if peer_samplers is None:
        print("torch_brain 0.1.2 is not importable: the peer's column stays empty")
    print(f"an epoch over {intervals:,} intervals of 9.5 s, windows of 1 s (stitching: every 0.5 s, rank 0 of 2)\n")
    print(f"{'':40}{'windows':>10}{'ours':>12}{'peer':>12}{'ratio':>10}{'processor':>11}{'goal':>8}")
    records = []
    for epoch in epochs(intervals):
        record = measure(epoch, repeats=arguments.repeats, peer_repeats=arguments.peer_repeats)
        records.append(record)
        peer = "-" if record["peer"] is None else f"{record['peer']:.2f} s"
        ratios = ["-" if record[key] is None else f"{record[key]:.1f} ×" for key in ("ratio", "processor_ratio")]
        print(
            f"{epoch.name:40}{record['windows']:>10,}{record['ours']:>10.3f} s{peer:>12}"
            f"{ratios[0]:>10}{ratios[1]:>11}{record['goal']:>6.0f} ×",
            flush=True,
        )
    print()
    for record in records:
        print(json.dumps({**record, "intervals": intervals}))


if __name__ == "__main__":
    main()
