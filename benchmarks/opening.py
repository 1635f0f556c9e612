"""Many recordings opened: time, peak memory and descriptors, ours against torch_brain 0.1.2's on the same files.

    python benchmarks/opening.py                                   # 100, 300 and 1,000 recordings, then JSON lines
    python benchmarks/opening.py --recordings 10000                # slow: the peer needs minutes, or runs out
    python benchmarks/opening.py --recordings 10000 --sides ours
    python benchmarks/opening.py --quick                           # 30 recordings, once

Opening means: make a dataset of all recordings and ask it for unit ids and for sampling intervals. Ours keeps an index
beside the data, so there are two cases: "first" finds none, reads every file and writes it, "warm" finds it. The peer
has no such thing, and does the same work each time. Every figure is measured in a process of its own, which has
imported everything; the operating system has the files in its memory.

temporaldata's own writer makes one recording of 6 s and 100 units, whose bytes are written again and again under other
session names of the same length. Without torch_brain 0.1.2 our writer makes it and only our column is filled.
"""

import argparse
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

UNITS, RATE, SECONDS = 100, 8.0, 6.0
BRAINSET = "many"
PLACEHOLDER = "s00000"
INDEX = ".nd-data-index"
GOALS = {
    (300, "warm, processor time"): "≥ 20 ×",
    (300, "warm, memory"): "< 50 MB",
}


@dataclass(frozen=True)
class Side:
    """One library: its names for the same things."""

    containers: Any
    dataset: Any


def load_ours() -> Side:
    import nd_data

    return Side(nd_data, nd_data.Dataset)


def load_peer() -> Side | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import temporaldata
            from torch_brain.data import Dataset
    except ImportError:
        return None
    return Side(temporaldata, Dataset)


LOAD = {"ours": load_ours, "peer": load_peer}


# ---------------------------------------------------------------------------------------------------- recordings


def write_recordings(containers: Any, root: Path, count: int) -> None:
    """One recording, copied under other names."""
    folder = root / BRAINSET
    folder.mkdir(parents=True)
    (root / f"{BRAINSET}.yaml").write_text(f"- selection: [{{brainset: {BRAINSET}}}]\n  config: {{}}\n")
    first = folder / f"{PLACEHOLDER}.h5"
    with h5py.File(first, "w") as file:
        make_recording(containers).to_hdf5(file)
    content, placeholder = first.read_bytes(), PLACEHOLDER.encode()
    if content.count(placeholder) != 1:
        raise AssertionError(f"the session's name should occur once, and occurs {content.count(placeholder)} times")
    for number in range(1, count):
        session = f"s{number:05}"
        (folder / f"{session}.h5").write_bytes(content.replace(placeholder, session.encode()))
    an_hour_ago = time.time() - 3600
    for path in folder.iterdir():
        os.utime(path, (an_hour_ago, an_hour_ago))  # the index does not rely on files that changed just now


def make_recording(containers: Any) -> Any:
    """100 units at about 8 Hz, a velocity at 100 Hz, and the intervals of a reaching task."""
    rng = np.random.default_rng(0)
    domain = containers.Interval(0.0, SECONDS)
    times = np.sort(rng.uniform(0.0, SECONDS, round(SECONDS * UNITS * RATE)))
    samples = round(SECONDS * 100)
    edges = np.arange(0.0, SECONDS, 1.0)
    phases = {
        name: containers.Interval(start=edges[i::3], end=edges[i::3] + 1.0)
        for i, name in enumerate(("hold_period", "reach_period", "return_period"))
    }
    recording = containers.Data(
        brainset=containers.Data(id=BRAINSET, domain=domain),
        subject=containers.Data(id="subject", domain=domain),
        session=containers.Data(id=PLACEHOLDER, domain=domain),
        spikes=containers.IrregularTimeSeries(
            timestamps=times, unit_index=rng.integers(0, UNITS, len(times)), domain=domain
        ),
        cursor=containers.IrregularTimeSeries(
            timestamps=np.arange(samples) * 0.01 + 0.003,
            vel=rng.standard_normal((samples, 2)),
            pos=rng.standard_normal((samples, 2)),
            domain=domain,
        ),
        movement_phases=containers.Data(**phases, domain=domain),
        units=containers.ArrayDict(id=np.array([f"unit_{unit:03}" for unit in range(UNITS)])),
        domain=domain,
    )
    recording.set_train_domain(containers.Interval(0.0, 0.7 * SECONDS))
    recording.set_valid_domain(containers.Interval(0.7 * SECONDS, 0.8 * SECONDS))
    recording.set_test_domain(containers.Interval(0.8 * SECONDS, SECONDS))
    return recording


# ------------------------------------------------------------------------------------- in a process of its own


def open_recordings(side: Side, root: Path) -> dict[str, float]:
    """Open all recordings once, and say what that took."""
    peak_before, descriptors_before = start_peak(), count_descriptors()
    wall, processor = time.perf_counter(), time.process_time()
    dataset = side.dataset(str(root), config=root / f"{BRAINSET}.yaml", split="train")
    units = dataset.get_unit_ids()
    intervals = dataset.get_sampling_intervals()
    found = {
        "time": time.perf_counter() - wall,
        "processor time": time.process_time() - processor,
        "memory": memory("VmHWM") - peak_before,
        "descriptors": count_descriptors() - descriptors_before,
    }
    if len(units) != UNITS * len(intervals):
        raise AssertionError(f"{len(units)} unit ids of {len(intervals)} recordings")
    return found


def start_peak() -> float:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
    return memory("VmHWM")


def memory(what: str) -> float:
    """A line of this process's status in MB: VmHWM is the peak of all resident pages."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:"))


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def run_child(side: str, root: Path) -> dict[str, float] | None:
    command = [sys.executable, __file__, "--child", side, "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"  {side} failed: {last[:160]}", flush=True)
        return None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


# ------------------------------------------------------------------------------------------------------ figures

UNIT = {"time": "s", "processor time": "s", "memory": "MB", "descriptors": ""}


def compare(root: Path, count: int, sides: Sequence[str], *, repeats: int) -> list[dict[str, Any]]:
    """The figures of one number of recordings."""
    peer = medians([run_child("peer", root) for _ in range(repeats)] if "peer" in sides else [])
    records = []
    for case, prepare in CASES.items():
        results = []
        if "ours" in sides:
            for _ in range(repeats):
                prepare(root)
                results.append(run_child("ours", root))
        ours = medians(results)
        for figure, unit in UNIT.items():
            record = {
                "benchmark": "opening",
                "recordings": count,
                "figure": f"{case}, {figure}",
                "ours": ours.get(figure),
                "peer": peer.get(figure),
                "unit": unit,
                "ratio": peer[figure] / ours[figure] if peer.get(figure) and ours.get(figure) else None,
                "goal": GOALS.get((count, f"{case}, {figure}")),
            }
            records.append(record)
            print_record(record)
    return records


def without_index(root: Path) -> None:
    (root / BRAINSET / INDEX).unlink(missing_ok=True)


def with_index(root: Path) -> None:
    if not (root / BRAINSET / INDEX).exists():
        run_child("ours", root)


CASES: dict[str, Callable[[Path], None]] = {"first": without_index, "warm": with_index}


def medians(results: Sequence[dict[str, float] | None]) -> dict[str, float]:
    done = [result for result in results if result is not None]
    return {name: statistics.median(one[name] for one in done) for name in UNIT} if done else {}


def print_record(record: dict[str, Any]) -> None:
    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:,.4g} {record['unit']}"

    ratio = "-" if record["ratio"] is None else f"{record['ratio']:.1f} ×"
    label = f"{record['recordings']:,} recordings, {record['figure']}"
    print(f"{label:44}{shown(record['ours']):>14}{shown(record['peer']):>14}{ratio:>10}   {record['goal'] or ''}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--sides", choices=sorted(LOAD), nargs="+", default=sorted(LOAD))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="30 recordings, once: does it run")
    parser.add_argument("--child", choices=sorted(LOAD), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    logging.disable(logging.WARNING)
    if arguments.child:
        print(json.dumps(open_recordings(LOAD[arguments.child](), arguments.root)))
        return
    if arguments.quick:
        arguments.recordings, arguments.repeats = [30], 1
    loaded = {name: LOAD[name]() for name in arguments.sides}
    sides = [name for name, side in loaded.items() if side is not None]
    if "peer" in arguments.sides and "peer" not in sides:
        print("torch_brain 0.1.2 is not importable: our writer makes the files and the peer's column stays empty")
    writer = (loaded.get("peer") or load_ours()).containers
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    print(f"{os.cpu_count()} cores; this process may open {limit:,} files; memory is the growth of the peak\n")
    print(f"{'':44}{'ours':>14}{'peer':>14}{'ratio':>10}   goal")
    records = []
    for count in arguments.recordings:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "data"
            write_recordings(writer, root, count)
            records += compare(root, count, sides, repeats=arguments.repeats)
    print()
    for record in records:
        print(json.dumps(record))


if __name__ == "__main__":
    main()
