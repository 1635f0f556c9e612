"""POYO+ against torch_brain 0.1.2's in one process: training step, inference, peak memory and tokenize.

    python benchmarks/models.py              # dim 64, depth 4, 16 latents × 6 steps, 32 windows
    python benchmarks/models.py --large      # dim 256, depth 4, 64 latents × 20 steps, 8 windows
    python benchmarks/models.py --single     # dim 64, depth 6, 16 latents × 8 steps, 64 windows
    python benchmarks/models.py --all        # every figure that has a goal: --large, --single, and the CUDA row
    python benchmarks/models.py --quick      # few repetitions, no peak memory

Both models hold the same weights and see the same batch, with the dropout that both have by default; they take turns.
A turn begins with a call that is not timed: training goes from step to step of one model, where memory and caches are
as the step before left them, not as another library did.
Prints a table of medians, then JSON lines. "packed" is our model on the same windows without padding, and "ragged" on
windows of 0.1 to 1 times the longest, against our own padded form. The CUDA row (models_on_cuda.py) needs a GPU.
On a machine that others use too give --threads 1, because more threads wait for each other, and look at the ratio of
processor times. Without torch_brain 0.1.2 only our column is filled.
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import nd_data
import nd_models
from nd_data.constant_array import constant_array
from nd_models.tokens import create_linspace_latent_tokens

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import temporaldata
        import torch_brain
        from torch_brain.models import POYOPlus as PeerPOYOPlus
except ImportError:
    PeerPOYOPlus = None

READOUT = "cursor_velocity_2d"
BUDGET = 25.0  # seconds for one figure, so that a busy machine makes fewer repetitions and not a longer run
UNITS = 100
RATE = 8.0
SAMPLING_RATE = 100.0


@dataclass(frozen=True)
class Size:
    """A model and the batch that it meets: `units` at `RATE`, a start and an end token for each, 100 Hz queries."""

    name: str
    dim: int
    latents: int
    latent_step: float
    sequence_length: float
    windows: int
    depth: int = 4

    @property
    def tokens(self) -> int:
        return round(UNITS * RATE * self.sequence_length) + 2 * UNITS

    @property
    def queries(self) -> int:
        return round(SAMPLING_RATE * self.sequence_length)

    def arguments(self) -> dict[str, Any]:
        return {
            "sequence_length": self.sequence_length,
            "latent_step": self.latent_step,
            "num_latents_per_step": self.latents,
            "dim": self.dim,
            "depth": self.depth,
        }


SMALL = Size("small", dim=64, latents=16, latent_step=0.125, sequence_length=0.75, windows=32)
LARGE = Size("large", dim=256, latents=64, latent_step=0.05, sequence_length=1.0, windows=8)
SINGLE = Size("single", dim=64, latents=16, latent_step=0.125, sequence_length=1.0, windows=64, depth=6)
SIZES = {size.name: size for size in (SMALL, LARGE, SINGLE)}
GOALS = {
    "large": {"training step": 1.6, "inference": 1.8, "peak memory of a training step": 1 / 0.7},
    "single": {"training step": 1.8},
    "small": {},  # none is set for this size
}


@dataclass(frozen=True)
class Contestant:
    """One library's model, with its own loss."""

    model: nn.Module
    loss_fn: Callable[[Tensor, Tensor, Tensor], Tensor]

    def train_step(self, batch: dict[str, Tensor], targets: Tensor, weights: Tensor) -> None:
        predictions = self.model(**batch, unpack_output=False)[READOUT]
        self.loss_fn(predictions, targets, weights).backward()
        self.model.zero_grad(set_to_none=True)

    def infer(self, batch: dict[str, Tensor]) -> Tensor:
        with torch.inference_mode():
            return self.model(**batch, unpack_output=False)[READOUT]


def build_ours(size: Size) -> Contestant:
    spec = nd_models.MODALITY_REGISTRY[READOUT]
    return Contestant(
        with_vocabularies(nd_models.POYOPlus(readout_specs={READOUT: spec}, **size.arguments())), spec.loss_fn
    )


def build_peer(size: Size) -> Contestant:
    spec = torch_brain.MODALITY_REGISTRY[READOUT]
    return Contestant(with_vocabularies(PeerPOYOPlus(readout_specs={READOUT: spec}, **size.arguments())), spec.loss_fn)


def with_vocabularies(model: Any) -> Any:
    model.unit_emb.initialize_vocab(unit_ids())
    model.session_emb.initialize_vocab(["brainset/first", "brainset/second"])
    return model


def unit_ids() -> list[str]:
    return [f"brainset/session_{session}/unit_{unit:03}" for session in range(8) for unit in range(UNITS)]


def make_batch(size: Size, shares: tuple[float, float] = (0.8, 1.2)) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """The model's inputs, targets and weights, with windows of 0.8 to 1.2 times the mean number of tokens."""
    generator = torch.Generator().manual_seed(0)
    windows, queries = size.windows, size.queries
    fewest, most = (int(share * size.tokens) for share in shares)
    lengths = torch.randint(fewest, most + 1, (windows,), generator=generator)
    width = -(-int(lengths.max()) // 8) * 8
    mask = torch.arange(width) < lengths[:, None]
    out_width = -(-queries // 8) * 8
    out_mask = (torch.arange(out_width) < queries).expand(windows, out_width)
    latent_index, latent_timestamps = create_linspace_latent_tokens(
        0.0, size.sequence_length, size.latent_step, size.latents
    )
    times = torch.rand(windows, width, generator=generator).sort(dim=1).values * size.sequence_length
    query_times = torch.arange(out_width) / SAMPLING_RATE
    inputs = {
        "input_unit_index": torch.randint(1, len(unit_ids()) + 1, (windows, width), generator=generator) * mask,
        "input_timestamps": times * mask,
        "input_token_type": torch.randint(0, 3, (windows, width), generator=generator) * mask,
        "input_mask": mask,
        "latent_index": torch.from_numpy(latent_index).repeat(windows, 1),
        "latent_timestamps": torch.from_numpy(latent_timestamps).float().repeat(windows, 1),
        "output_session_index": torch.randint(1, 3, (windows, 1), generator=generator) * out_mask,
        "output_timestamps": query_times * out_mask,
        "output_decoder_index": nd_models.MODALITY_REGISTRY[READOUT].id * out_mask,
    }
    targets = torch.randn(windows * queries, 2, generator=generator)
    return inputs, targets, torch.ones(windows * queries)


def pack(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same batch without padding."""
    masks = {"input": batch["input_mask"], "output": batch["output_decoder_index"] > 0}
    packed = {name: batch[name] for name in ("latent_index", "latent_timestamps")}
    for side, mask in masks.items():
        of_side = {name: values for name, values in batch.items() if name.startswith(side) and name != "input_mask"}
        packed |= {name: values[mask] for name, values in of_side.items()}
        packed[f"{side}_seqlen"] = mask.sum(dim=1)
    return packed


def make_window(containers: Any) -> Any:
    """One second of a recording, in memory; our names of units can never change, as those of a dataset's windows."""
    rng = np.random.default_rng(0)
    as_constant = constant_array if containers is nd_data else np.asarray
    domain = containers.Interval(0.0, 1.0)
    spikes = round(UNITS * RATE)
    window = containers.Data(
        spikes=containers.IrregularTimeSeries(
            timestamps=np.sort(rng.uniform(0, 1, spikes)), unit_index=rng.integers(0, UNITS, spikes), domain=domain
        ),
        cursor=containers.IrregularTimeSeries(
            timestamps=np.arange(100) / SAMPLING_RATE, vel=rng.normal(size=(100, 2)), domain=domain
        ),
        units=containers.ArrayDict(id=as_constant(np.array(unit_ids()[:UNITS]))),
        session=containers.Data(id="brainset/first"),
        reach_period=containers.Interval(start=np.array([0.1, 0.5]), end=np.array([0.3, 0.9])),
        domain=domain,
    )
    window.config = {"multitask_readout": [{"readout_id": READOUT, "weights": {"reach_period": 5.0}}]}
    return window


@dataclass(frozen=True)
class Taken:
    """Seconds of a call: by the clock, and of this process's processor time (no other's load in it)."""

    wall: float
    processor: float


def medians(repeats: int, calls: int, functions: Sequence[Callable[[], Any]]) -> list[Taken]:
    """Median for a call of each; repetitions of `calls` calls take turns, and none begins after `BUDGET`.

    A call before each repetition is not timed. The last function (torch_brain) begins, then the first, and so on: of
    whoever makes large arrays first in a process, glibc hands memory back after every step.
    """
    times: list[list[tuple[float, float]]] = [[] for _ in functions]
    begin = time.perf_counter()
    for number in range(repeats):
        if number and time.perf_counter() - begin > BUDGET:
            break
        turns = list(zip(functions, times, strict=True))
        for function, series in turns if number % 2 else reversed(turns):
            function()
            start, processor = time.perf_counter(), time.process_time()
            for _ in range(calls):
                function()
            series.append(((time.perf_counter() - start) / calls, (time.process_time() - processor) / calls))
    return [Taken(*(statistics.median(values) for values in zip(*series, strict=True))) for series in times]


class Table:
    """Prints each figure as it comes, and keeps it for the JSON lines. Ratios above one are in our favour."""

    def __init__(self, goals: dict[str, float], **setting: Any) -> None:
        self.goals = goals
        self.setting = setting
        self.records: list[dict[str, Any]] = []
        print(f"{'':34}{'ours':>13}{'peer':>13}{'ratio':>10}{'processor':>11}{'goal':>8}")

    def add_times(self, figure: str, taken: Sequence[Taken], unit: str) -> None:
        ours, *peer = taken
        scale = {"ms": 1e3, "µs": 1e6}[unit]
        ratios = [peer[0].wall / ours.wall, peer[0].processor / ours.processor] if peer else [None, None]
        self.add(figure, [scale * ours.wall, scale * peer[0].wall if peer else None], unit, ratios)

    def add(self, figure: str, values: Sequence[float | None], unit: str, ratios: Sequence[float | None]) -> None:
        goal = self.goals.get(figure)
        rounded = [None if number is None else round(number, 3) for number in (*values, *ratios, goal)]
        names = ("ours", "peer", "ratio", "processor_ratio", "goal")
        named = dict(zip(names, rounded, strict=True))
        self.records.append({"benchmark": "models", "figure": figure, "unit": unit, **named, **self.setting})
        columns = ["-" if value is None else f"{value:,.1f} {unit}" for value in rounded[:2]]
        shown = ["-" if ratio is None else f"{ratio:.2f} ×" for ratio in rounded[2:4]]
        last = "" if goal is None else f"{goal:.1f} ×"
        print(f"{figure:34}{columns[0]:>13}{columns[1]:>13}{shown[0]:>10}{shown[1]:>11}{last:>8}", flush=True)


def compare_steps(table: Table, size: Size, *, repeats: int) -> float | None:
    """Training step and inference; returns how far the two predictions are apart."""
    ours = build_ours(size)
    peer = None if PeerPOYOPlus is None else build_peer(size)
    both = [ours] if peer is None else [ours, peer]
    if peer is not None:
        ours.model.load_state_dict(peer.model.state_dict())
    batch, targets, weights = make_batch(size)
    few, few_targets, few_weights = make_batch(replace(size, windows=2))
    for side in both:
        side.train_step(few, few_targets, few_weights)
    steps = [lambda side=side: side.train_step(batch, targets, weights) for side in both]
    table.add_times("training step", medians(repeats, 1, steps), "ms")
    for side in both:
        side.model.eval()
    predictions = [side.infer(few) for side in both]
    runs = [lambda side=side: side.infer(batch) for side in both]
    table.add_times("inference", medians(repeats, 1, runs), "ms")
    return None if peer is None else float((predictions[0] - predictions[1]).abs().max())


def compare_packed(table: Table, size: Size, *, repeats: int) -> None:
    """Training step of ours on packed batches ("ours") against the same batches padded ("peer")."""
    ours = build_ours(size)
    for figure, shares in (("packed : padded, training step", (0.8, 1.2)), ("the same, ragged windows", (0.1, 1.2))):
        batch, targets, weights = make_batch(size, shares)
        forms = (pack(batch), batch)
        steps = [lambda form=form: ours.train_step(form, targets, weights) for form in forms]  # noqa: B023
        steps[0]()
        table.add_times(figure, medians(repeats, 1, steps), "ms")


def compare_tokenize(table: Table, *, repeats: int) -> None:
    """Tokenize a window of 800 spikes of 100 units by models with all modalities registered, and 1,000 unit ids."""
    size = {"sequence_length": 1.0, "latent_step": 0.05, "num_latents_per_step": 64, "dim": 32, "depth": 1}
    models = [with_vocabularies(nd_models.POYOPlus(**size))]
    windows = [make_window(nd_data)]
    if PeerPOYOPlus is not None:
        models.append(with_vocabularies(PeerPOYOPlus(**size)))
        windows.append(make_window(temporaldata))
    names = np.array([unit_ids()[i % 8 * UNITS + i // 8 % UNITS] for i in range(1000)])
    calls = [lambda model=m, window=w: model.tokenize(window) for m, w in zip(models, windows, strict=True)]
    look_ups = [lambda model=m: model.unit_emb.tokenizer(names) for m in models]
    for figure, functions in (("tokenize a window", calls), ("tokenize 1,000 unit ids", look_ups)):
        for function in functions:
            function()
        table.add_times(figure, medians(repeats, 200, functions), "µs")


def compare_peaks(table: Table, size: Size, *, threads: int) -> None:
    """Memory that one training step adds to what model and batch take, each in a process of its own."""
    ours = peak_in_child("ours", size, threads)
    peer = None if PeerPOYOPlus is None else peak_in_child("peer", size, threads)
    if ours is not None:
        ratio = None if peer is None else peer / ours
        table.add("peak memory of a training step", [ours, peer], "MB", [ratio, None])


def peak_in_child(side: str, size: Size, threads: int) -> float | None:
    command = [sys.executable, __file__, "--peak", side, "--threads", str(threads), f"--{size.name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"peak memory of {side} was not measured: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return float(done.stdout.split()[-1])


def measure_peak(side: str, size: Size) -> float:
    contestant = build_ours(size) if side == "ours" else build_peer(size)
    batch, targets, weights = make_batch(size)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
    before = peak_so_far()
    contestant.train_step(batch, targets, weights)
    return peak_so_far() - before


def peak_so_far() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def compare(size: Size, arguments: argparse.Namespace, *, tokenize: bool) -> list[dict[str, Any]]:
    """Every figure of one size, printed as they come."""
    repeats = arguments.repeats or (2 if arguments.quick else 3 if size is LARGE else 9)
    threads = torch.get_num_threads()
    print(
        f"{size.name}: dim {size.dim}, depth {size.depth}, {size.latents} latents × "
        f"{round(size.sequence_length / size.latent_step)} steps, {size.windows} windows of about {size.tokens} tokens "
        f"and {size.queries} queries\n"
    )
    table = Table(GOALS[size.name] | {"tokenize a window": 8.0}, size=size.name, threads=threads)
    difference = compare_steps(table, size, repeats=repeats)
    if tokenize:
        compare_tokenize(table, repeats=4 if arguments.quick else 20)
    if not arguments.quick:
        if not (arguments.all and size is LARGE):  # one size is enough to see it
            compare_packed(table, size, repeats=repeats)
        compare_peaks(table, size, threads=threads)
    if difference is not None:
        print(f"\nlargest difference of the two predictions: {difference:.1e}")
    print()
    return table.records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--small", action="store_true", help="dim 64, 16 latents × 6 steps, 32 windows (default)")
    sizes.add_argument("--large", action="store_true", help="dim 256, 64 latents × 20 steps, 8 windows")
    sizes.add_argument("--single", action="store_true", help="dim 64, depth 6, 16 latents × 8 steps, 64 windows")
    sizes.add_argument("--all", action="store_true", help="large, single and the CUDA row")
    parser.add_argument("--repeats", type=int, help="measured repetitions at most (default: 9, with --large 3)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own choice)")
    parser.add_argument("--quick", action="store_true", help="few repetitions: does it run, and roughly how fast")
    parser.add_argument("--peak", choices=["ours", "peer"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    logging.disable(logging.WARNING)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    chosen = [size for name, size in SIZES.items() if getattr(arguments, name)] or [SMALL]
    if arguments.peak:
        print(measure_peak(arguments.peak, chosen[0]))
        return
    if PeerPOYOPlus is None:
        print("torch_brain 0.1.2 is not importable: the peer's column stays empty")
    print(
        f"torch {torch.__version__}, CPU, {torch.get_num_threads()} threads, float32, interleaved repetitions, at most "
        f"{BUDGET:.0f} s a figure\n"
    )
    records: list[dict[str, Any]] = []
    for size in [LARGE, SINGLE] if arguments.all else chosen:
        records += compare(size, arguments, tokenize=not (arguments.all and size is SINGLE))
    if arguments.all:
        import models_on_cuda

        records += models_on_cuda.compare()
    for record in records:
        print(json.dumps(record))


if __name__ == "__main__":
    main()
