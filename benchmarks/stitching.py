"""Stitching, ours against torch_brain 0.1.2's in one process: 1,000,000 values in 500,000 times, mean and vote.

Run it where both can be imported; without torch_brain only our column is filled:

    OMP_NUM_THREADS=1 PYTHONPATH=packages/nd-eval/src python benchmarks/stitching.py

Prints a table of medians and one JSON line a figure. Goals: 3 times the peer's speed, and memory that does not grow
with the number of classes. Times are those of the process, so other work on the machine does not count.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from nd_eval import stitch

try:
    from torch_brain.utils.stitcher import stitch as peer_stitch
except ImportError:
    peer_stitch = None

VALUES, TIMES, CLASSES = 1_000_000, 500_000, 8


def orders(generator: torch.Generator) -> dict[str, torch.Tensor]:
    """The same times in the orders in which they come."""
    base = torch.arange(TIMES, dtype=torch.float64) * 0.01
    halves = [base[i * 500 : i * 500 + 1000] for i in range(TIMES // 500 - 1)]
    return {
        "two passes": base.repeat(2),
        "half-overlapping windows, in order": torch.cat([base[:500], *halves, base[-500:]]),
        "shuffled": base.repeat(2)[torch.randperm(VALUES, generator=generator)],
        "drawn at random": base[torch.randint(0, TIMES, (VALUES,), generator=generator)],
        "two passes, 60 ns of float32 jitter": base.repeat(2) + torch.rand(VALUES, generator=generator) * 6e-8,
    }


def medians(runs: int, *functions: Callable[[], object] | None) -> list[float | None]:
    """Median milliseconds of process time of each function, their runs interleaved."""
    taken: list[list[float]] = [[] for _ in functions]
    for repeat in range(runs + 2):
        for function, times in zip(functions, taken, strict=True):
            if function is not None:
                start = time.process_time()
                function()
                if repeat >= 2:
                    times.append((time.process_time() - start) * 1e3)
    return [statistics.median(times) if times else None for times in taken]


def say(
    rows: list[tuple[str, float | None, float | None, str]],
    name: str,
    ours: float | None,
    peer: float | None,
    unit: str,
) -> None:
    """Print one figure as a JSON line and keep it for the table."""
    rows.append((name, ours, peer, unit))
    ratio = peer / ours if ours and peer else None
    line = {"name": name, "ours": ours, "peer": peer, "unit": unit, "ratio": ratio}
    print(
        json.dumps({key: round(value, 2) if isinstance(value, float) else value for key, value in line.items()}),
        flush=True,
    )


def peak_of_a_vote(which: str, classes: int) -> float | None:
    """Memory in MB that a vote over many classes takes at its peak, in a process of its own."""
    if which == "peer" and peer_stitch is None:
        return None
    command = [sys.executable, __file__, "--peak", which, "--classes", str(classes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def measure_peak(which: str, classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    times = orders(generator)["drawn at random"]
    labels = torch.randint(0, classes, (VALUES,), generator=generator)
    function = stitch if which == "ours" else peer_stitch
    function(times[:1000], labels[:1000])
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
    before = peak_so_far()
    function(times, labels)
    print(peak_so_far() - before)


def peak_so_far() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--peak", choices=["ours", "peer"], help=argparse.SUPPRESS)
    parser.add_argument("--classes", type=int, default=118, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        measure_peak(options.peak, options.classes)
        return
    if peer_stitch is None:
        print("torch_brain is not installed here: the peer's column stays empty", file=sys.stderr)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(VALUES, 2, generator=generator)
    labels = torch.randint(0, CLASSES, (VALUES,), generator=generator)
    rows: list[tuple[str, float | None, float | None, str]] = []
    for order, times in orders(generator).items():
        for what, given in (("mean of (N, 2) floats", values), (f"vote of {CLASSES} classes", labels)):
            ours, peer = medians(
                options.runs,
                lambda times=times, given=given: stitch(times, given),
                None if peer_stitch is None else lambda times=times, given=given: peer_stitch(times, given),
            )
            say(rows, f"{what}, {order}", ours, peer, "ms")
    for classes in (8, 118):
        ours, peer = peak_of_a_vote("ours", classes), peak_of_a_vote("peer", classes)
        say(rows, f"peak memory of a vote of {classes} classes", ours, peer, "MB")
    print(
        f"\n{torch.get_num_threads()} thread(s), torch {torch.__version__}, median of {options.runs} interleaved runs\n"
    )
    print(f"{'':62}{'ours':>10}{'peer':>10}   ratio")
    for name, ours, peer, unit in rows:
        shown = ["-" if value is None else f"{value:.1f}" for value in (ours, peer)]
        ratio = f"{peer / ours:.2f}" if ours and peer else "-"
        print(f"{name:62}{shown[0]:>10}{shown[1]:>10} {unit} {ratio:>5}")


if __name__ == "__main__":
    main()
