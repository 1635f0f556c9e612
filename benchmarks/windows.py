"""From recordings to batches of windows, ours against torch_brain 0.1.2's in one process and on the same files.

    python benchmarks/windows.py                             # a table, then JSON lines
    python benchmarks/windows.py --quick                     # small recordings, few repetitions

temporaldata's own writer makes the recordings in a temporary folder, which goes when the run ends. The two take turns,
each time on other windows drawn at random from the training split. The ratio of processor times is the steadier one on
a machine that others use too. Memory is measured in a process of each one's own. Without torch_brain 0.1.2 our writer
makes the files and only our column is filled. `opening.py` measures how many recordings are opened.
"""

import argparse
import json
import logging
import os
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
import torch
from torch.utils.data import DataLoader

UNITS, RATE, WINDOW, BATCH = 100, 8.0, 1.0, 32
BUDGET = 25.0  # seconds for one figure, so that a busy machine makes fewer repetitions and not a longer run
READOUT = "cursor_velocity_2d"
SESSIONS = "sessions"  # the brainset
CONFIGURATION = """\
- selection: [{{brainset: {brainset}}}]
  config:
    multitask_readout:
      - readout_id: {readout}
        weights: {{movement_phases.reach_period: 5.0, movement_phases.hold_period: 0.1}}
"""
GOALS = {
    "slice, read spikes and velocity": "≤ 70 µs",
    "tokenize (POYO+)": "≥ 8 ×",
    "DataLoader, 0 workers": "≥ 30 ×, aim 50 ×",
    "DataLoader, 2 workers": "≥ 30 ×",
    "leakage check, share of loading": "< 2 %",
}

Address = tuple[str, float, float]


@dataclass(frozen=True)
class Side:
    """One library: its names for the same things."""

    containers: Any
    dataset: Any
    index: Any
    collate: Callable[[list[Any]], Any]
    model: Any


def load_ours() -> Side:
    import nd_data
    import nd_models

    return Side(nd_data, nd_data.Dataset, nd_data.DatasetIndex, nd_data.collate, nd_models.POYOPlus)


def load_peer() -> Side | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import temporaldata
            from torch_brain.data import Dataset, collate
            from torch_brain.dataset import DatasetIndex
            from torch_brain.models import POYOPlus
    except ImportError:
        return None
    return Side(temporaldata, Dataset, DatasetIndex, collate, POYOPlus)


LOAD = {"ours": load_ours, "peer": load_peer}


# ---------------------------------------------------------------------------------------------------- recordings


def write_recordings(containers: Any, root: Path, brainset: str, *, sessions: int, minutes: float) -> None:
    """Recordings of 100 units at about 8 Hz with a smooth velocity at 100 Hz; the spikes know nothing of it."""
    folder = root / brainset
    folder.mkdir()
    (root / f"{brainset}.yaml").write_text(CONFIGURATION.format(brainset=brainset, readout=READOUT))
    rng = np.random.default_rng(0)
    for number in range(sessions):
        session = f"s{number:05}"
        with h5py.File(folder / f"{session}.h5", "w") as file:
            make_recording(containers, rng, brainset, session, seconds=minutes * 60).to_hdf5(file)


def make_recording(containers: Any, rng: np.random.Generator, brainset: str, session: str, *, seconds: float) -> Any:
    domain = containers.Interval(0.0, seconds)
    times = np.sort(rng.uniform(0.0, seconds, rng.poisson(seconds * UNITS * RATE)))
    share = rng.gamma(2.0, size=UNITS)
    samples = round(seconds * 100)
    kernel = np.hanning(51) / np.hanning(51).sum()
    velocity = np.stack([np.convolve(rng.standard_normal(samples), kernel, "same") for _ in range(2)], axis=1)
    edges = np.arange(0.0, seconds, 1.0)
    phase = rng.integers(0, 3, len(edges))
    phases = {
        name: containers.Interval(start=edges[phase == i], end=edges[phase == i] + 1.0)
        for i, name in enumerate(("hold_period", "reach_period", "return_period"))
    }
    recording = containers.Data(
        brainset=containers.Data(id=brainset, domain=domain),
        subject=containers.Data(id="subject", domain=domain),
        session=containers.Data(id=session, domain=domain),
        spikes=containers.IrregularTimeSeries(
            timestamps=times, unit_index=rng.choice(UNITS, len(times), p=share / share.sum()), domain=domain
        ),
        cursor=containers.IrregularTimeSeries(
            timestamps=np.arange(samples) * 0.01 + 0.003,
            vel=velocity,
            pos=np.cumsum(velocity, axis=0) * 0.01,
            domain=domain,
        ),
        movement_phases=containers.Data(**phases, domain=domain),
        units=containers.ArrayDict(id=np.array([f"unit_{unit:03}" for unit in range(UNITS)])),
        domain=domain,
    )
    recording.set_train_domain(containers.Interval(0.0, 0.7 * seconds))
    recording.set_valid_domain(containers.Interval(0.7 * seconds, 0.8 * seconds))
    recording.set_test_domain(containers.Interval(0.8 * seconds, seconds))
    return recording


def random_windows(root: Path, count: int) -> list[Address]:
    """Windows in the order of training: epoch after epoch of the random sampler."""
    from nd_data import Dataset
    from nd_data.samplers import RandomFixedWindowSampler

    intervals = Dataset(root, config=root / f"{SESSIONS}.yaml", split="train").get_sampling_intervals()
    sampler = RandomFixedWindowSampler(intervals, WINDOW, generator=torch.Generator().manual_seed(0))
    windows: list[Address] = []
    while len(windows) < count:
        windows += [(index.recording_id, index.start, index.end) for index in sampler]
    return windows[:count]


# ------------------------------------------------------------------------------------------------- one to one


class Reader:
    """One library's dataset of the sessions, with POYO+'s tokenize (all modalities registered) as its transform."""

    def __init__(self, side: Side, root: Path) -> None:
        self.side = side
        model = side.model(sequence_length=WINDOW, latent_step=0.05, num_latents_per_step=64, dim=32, depth=1)
        configuration = root / f"{SESSIONS}.yaml"
        self.dataset = side.dataset(str(root), config=configuration, split="train", transform=model.tokenize)
        model.unit_emb.initialize_vocab(sorted(self.dataset.get_unit_ids()))
        model.session_emb.initialize_vocab(sorted(self.dataset.get_session_ids()))

    def slice(self, windows: Sequence[Address]) -> None:
        for window in windows:
            self.dataset.get(*window)

    def slice_and_read(self, windows: Sequence[Address]) -> None:
        for window in windows:
            for array in self.read(window):
                array.copy()  # a view of a mapped file is not yet read

    def read(self, window: Address) -> list[Any]:
        sample = self.dataset.get(*window)
        spikes, cursor = sample.spikes, sample.cursor
        return [spikes.timestamps, spikes.unit_index, cursor.timestamps, cursor.vel]

    def tokenize(self, windows: Sequence[Address]) -> list[Any]:
        return [self.dataset[self.side.index(*window)] for window in windows]

    def load(self, windows: Sequence[Address], workers: int) -> int:
        addresses = [self.side.index(*window) for window in windows]
        loader = DataLoader(
            self.dataset, batch_size=BATCH, sampler=addresses, num_workers=workers, collate_fn=self.side.collate
        )
        seen = sum(len(batch["session_id"]) for batch in loader)
        if seen != len(windows):
            raise AssertionError(f"{seen} of {len(windows)} windows came out of the loader")
        return seen


def check_that_both_read_the_same(ours: Reader, peer: Reader, windows: Sequence[Address]) -> None:
    for window in windows:
        for found, expected in zip(ours.read(window), peer.read(window), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    found, expected = (reader.side.collate(reader.tokenize(windows))["model_inputs"] for reader in (ours, peer))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6, check_dtype=False)


@dataclass(frozen=True)
class Taken:
    """Seconds that something took: by the clock, and of this process's processor time (no other's load in it)."""

    wall: float
    processor: float

    def __truediv__(self, count: float) -> "Taken":
        return Taken(self.wall / count, self.processor / count)


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Taken, Any]:
    wall, processor = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return Taken(time.perf_counter() - wall, time.process_time() - processor), result


def median(taken: Sequence[Taken]) -> Taken:
    return Taken(statistics.median(t.wall for t in taken), statistics.median(t.processor for t in taken))


def take_turns(work: Callable[[Any, Any], int], contestants: Sequence[Any], rounds: Sequence[Any]) -> list[Taken]:
    """Each contestant's median for one of the things that `work` counts.

    The first round only warms up, and none begins after `BUDGET`.
    """
    taken: list[list[Taken]] = [[] for _ in contestants]
    start = time.perf_counter()
    for given in rounds:
        if len(taken[0]) < 2 or time.perf_counter() - start < BUDGET:
            for contestant, series in zip(contestants, taken, strict=True):
                elapsed, count = timed(work, contestant, given)
                series.append(elapsed / count)
    return [median(series[1:]) for series in taken]


class Table:
    """Prints each figure as it comes, and keeps it for the JSON lines. Ratios above one are in our favour."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        print(f"{'':36}{'ours':>14}{'peer':>14}{'ratio':>10}{'processor':>11}   goal")

    def add_times(self, figure: str, taken: Sequence[Taken | None], unit: str) -> None:
        """Times of ours and of the peer, as times of one thing (s, ms, µs) or as things a second."""
        ours, peer = (*taken, None)[:2]
        if unit.endswith("/s"):
            values = [None if one is None else 1 / one.wall for one in (ours, peer)]
        else:
            scale = {"s": 1.0, "ms": 1e3, "µs": 1e6}[unit]
            values = [None if one is None else scale * one.wall for one in (ours, peer)]
        ratios = [peer.wall / ours.wall, peer.processor / ours.processor] if ours and peer else [None, None]
        self.add(figure, values, unit, ratios)

    def add(self, figure: str, values: Sequence[float | None], unit: str, ratios: Sequence[float | None]) -> None:
        goal = GOALS.get(figure)
        rounded = [None if value is None else round(value, 3) for value in values]
        rounded_ratios = [None if ratio is None else round(ratio, 1) for ratio in ratios]
        self.records.append(
            {
                "benchmark": "windows",
                "figure": figure,
                **dict(zip(("ours", "peer"), rounded, strict=True)),
                "unit": unit,
                **dict(zip(("ratio", "processor_ratio"), rounded_ratios, strict=True)),
                "goal": goal,
            }
        )
        columns = ["-" if value is None else f"{value:,.4g} {unit}" for value in rounded]
        shown = ["-" if ratio is None else f"{ratio} ×" for ratio in rounded_ratios]
        print(f"{figure:36}{columns[0]:>14}{columns[1]:>14}{shown[0]:>10}{shown[1]:>11}   {goal or ''}", flush=True)


def compare_windows(table: Table, readers: Sequence[Reader], windows: Sequence[Address], *, repeats: int) -> None:
    """A window, each round on windows of its own; then a batch."""
    share = len(windows) // (repeats + 1)
    chunks = [windows[i * share : (i + 1) * share] for i in range(repeats + 1)]
    for figure, method in (
        ("slice", Reader.slice),
        ("slice, read spikes and velocity", Reader.slice_and_read),
        ("slice, tokenize (POYO+)", Reader.tokenize),
    ):

        def cut(reader: Reader, chunk: Sequence[Address], method: Callable[..., Any] = method) -> int:
            method(reader, chunk)
            return len(chunk)

        table.add_times(figure, take_turns(cut, readers, chunks), "µs")
    table.add_times("tokenize (POYO+)", tokenize_alone(readers, chunks), "µs")

    def collate(contestant: tuple[Reader, list[Any]], times: int) -> int:
        for _ in range(times):
            contestant[0].side.collate(list(contestant[1]))
        return times

    contestants = [(reader, reader.tokenize(windows[:BATCH])) for reader in readers]
    table.add_times(f"collate {BATCH} windows", take_turns(collate, contestants, (repeats + 1) * [10]), "ms")


def tokenize_alone(readers: Sequence[Reader], chunks: Sequence[Sequence[Address]]) -> list[Taken]:
    """A window that was sliced before; the arrays it needs are read as part of it, because both libraries are lazy."""
    taken: list[list[Taken]] = [[] for _ in readers]
    for chunk in chunks:
        for reader, series in zip(readers, taken, strict=True):
            samples = [reader.dataset.get(*window) for window in chunk]
            elapsed, _ = timed(
                lambda made, tokenize: [tokenize(one) for one in made], samples, reader.dataset.transform
            )
            series.append(elapsed / len(chunk))
    return [median(series[1:]) for series in taken]


def compare_leakage_check(table: Table, reader: Reader, windows: Sequence[Address], *, repeats: int) -> None:
    """Our processor time for the check that a window stays in its split, as a share of that of loading the window."""
    dataset, unchecked = reader.dataset, Reader(reader.side, Path(reader.dataset.root)).dataset
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unchecked.disable_data_leakage_check()

    def slice_all(one: Any) -> None:
        for window in windows:
            one.get(*window)

    spent: dict[str, list[float]] = {"with": [], "without": [], "load": []}
    for _ in range(repeats + 1):
        spent["with"].append(timed(slice_all, dataset)[0].processor)
        spent["without"].append(timed(slice_all, unchecked)[0].processor)
        spent["load"].append(timed(reader.load, windows, 0)[0].processor)
    middle = {name: statistics.median(series[1:]) for name, series in spent.items()}
    share = 100 * max(middle["with"] - middle["without"], 0.0) / middle["load"]
    table.add("leakage check, share of loading", (share, None), "%", (None, None))


def compare_loaders(
    table: Table, readers: Sequence[Reader], windows: Sequence[Address], *, repeats: int, peer_windows: int
) -> None:
    """Windows a second through a DataLoader, start of its workers included; the peer gets fewer windows."""
    contestants = list(zip(readers, (len(windows), peer_windows), strict=False))
    limits = [2 * BATCH] + repeats * [len(windows)]
    for workers in (0, 2):

        def load(contestant: tuple[Reader, int], limit: int, workers: int = workers) -> int:
            return contestant[0].load(windows[: min(contestant[1], limit)], workers)

        taken = take_turns(load, contestants, limits)
        if workers:  # processor time of this process alone says nothing then
            rates = [1 / one.wall for one in taken]
            ratios = [rates[0] / rates[-1] if len(rates) > 1 else None, None]
            table.add(f"DataLoader, {workers} workers", (*rates, None)[:2], "win/s", ratios)
        else:
            table.add_times(f"DataLoader, {workers} workers", taken, "win/s")


# ------------------------------------------------------------------------------------- in a process of its own


def run_child(what: str, side: str, root: Path) -> dict[str, float] | None:
    command = [sys.executable, __file__, "--child", what, "--side", side, "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"  {what} failed for {side}: {last}", flush=True)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def read_windows(side: Side, root: Path) -> dict[str, float]:
    """What 640 windows through a DataLoader add to the memory of a process that has imported everything."""
    windows = random_windows(root, 20 * BATCH)
    start_peak_anew()
    before, private_before = memory("VmHWM"), memory("RssAnon")
    reader = Reader(side, root)
    reader.load(windows, 0)
    return {"memory": memory("VmHWM") - before, "private": memory("RssAnon") - private_before}


CHILDREN = {"memory": read_windows}


def start_peak_anew() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux


def memory(what: str) -> float:
    """A line of this process's status in MB: VmHWM, the peak of all resident pages, or RssAnon, private ones now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:"))


def compare_memory(table: Table, sides: Sequence[str], root: Path) -> None:
    found = {side: run_child("memory", side, root) if side in sides else None for side in LOAD}
    for key, name in (("memory", "peak resident, files too"), ("private", "private at the end")):
        values = [None if found[side] is None else found[side][key] for side in LOAD]
        add_sizes(table, f"640 windows, {name}", values, "MB")


def add_sizes(table: Table, figure: str, values: Sequence[float | None], unit: str) -> None:
    ours, peer = values
    table.add(figure, values, unit, [peer / ours if ours and peer else None, None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of torch (default: 1; more wait for each other on busy cores)"
    )
    parser.add_argument("--quick", action="store_true", help="small recordings: does it run, and roughly how fast")
    parser.add_argument("--child", choices=sorted(CHILDREN), help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=sorted(LOAD), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    logging.disable(logging.WARNING)
    torch.set_num_threads(arguments.threads)
    if arguments.child:
        print(json.dumps(CHILDREN[arguments.child](LOAD[arguments.side](), arguments.root)))
        return
    if arguments.quick:
        arguments.minutes, arguments.repeats = 1.0, 2
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), arguments)


def run(folder: Path, arguments: argparse.Namespace) -> None:
    quick, repeats = arguments.quick, arguments.repeats
    loaded = {name: load() for name, load in LOAD.items()}
    sides = {name: side for name, side in loaded.items() if side is not None}
    if "peer" not in sides:
        print("torch_brain 0.1.2 is not importable: our writer makes the files and the peer's column stays empty")
    writer = (sides.get("peer") or sides["ours"]).containers
    root = folder / "windows"
    root.mkdir()
    write_recordings(writer, root, SESSIONS, sessions=arguments.sessions, minutes=arguments.minutes)
    size = sum(path.stat().st_size for path in (root / SESSIONS).iterdir()) / 2**20
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores; "
        f"{arguments.sessions} sessions of {arguments.minutes:g} min, {UNITS} units at {RATE:g} Hz ({size:.0f} MB); "
        f"windows of {WINDOW:g} s\n"
    )
    table = Table()
    windows = random_windows(root, 960 if quick else 12_800)
    readers = [Reader(side, root) for side in sides.values()]
    if len(readers) == 2:
        check_that_both_read_the_same(readers[0], readers[1], windows[:BATCH])
    compare_windows(table, readers, windows[: 128 * (repeats + 1)], repeats=repeats)
    compare_loaders(table, readers, windows, repeats=1 if quick else 3, peer_windows=160 if quick else 640)
    compare_leakage_check(table, readers[0], windows[:3200], repeats=repeats)
    compare_memory(table, list(sides), root)
    print()
    for record in table.records:
        print(json.dumps(record))


if __name__ == "__main__":
    main()
