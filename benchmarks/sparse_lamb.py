"""Step time of SparseLamb against torch_brain 0.1.2's, on the two problems of the goals, in one process.

    python benchmarks/sparse_lamb.py                 # a table, then JSON lines
    python benchmarks/sparse_lamb.py --device cuda   # also counts the kernels of a step

Needs nd_optim and, for the comparison, torch_brain 0.1.2 importable. The optimizers take turns step by step, so that
all meet the same machine; each has parameters and gradients of its own.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nd_optim import SparseLamb

try:
    from torch_brain.optim import SparseLamb as PeerSparseLamb
except ImportError:
    PeerSparseLamb = None

GOALS = {"mixed": 2.5, "table": 10.0}
OPTIONS: dict[str, Any] = {"lr": 1e-4, "weight_decay": 1e-2}


@dataclass
class Contestant:
    """One way to step: what it is called, and a function that makes one step."""

    name: str
    optimizer: torch.optim.Optimizer
    step: Callable[[], Any]


def dense_parameter(*shape: int, device: str) -> nn.Parameter:
    generator = torch.Generator().manual_seed(0)
    parameter = nn.Parameter((0.02 * torch.randn(shape, generator=generator)).to(device))
    parameter.grad = (0.01 * torch.randn(shape, generator=generator)).to(device)
    return parameter


def table_parameter(rows: int, width: int, touched: int, *, device: str) -> tuple[nn.Parameter, Tensor]:
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(rows, generator=generator)[:touched]
    table = nn.Parameter((0.02 * torch.randn(rows, width, generator=generator)).to(device))
    gradient = torch.zeros(rows, width)
    gradient[chosen] = 0.01 * torch.randn(touched, width, generator=generator)
    table.grad = gradient.to(device)
    return table, chosen.to(device)


def mixed_problem(device: str) -> list[Contestant]:
    """48 matrices of 256 × 1024, 100 vectors of 256, and a table of 20,000 × 256 with 1,500 touched rows."""

    def groups() -> tuple[list[dict[str, Any]], nn.Parameter, Tensor]:
        dense = [dense_parameter(256, 1024, device=device) for _ in range(48)]
        dense += [dense_parameter(256, device=device) for _ in range(100)]
        table, rows = table_parameter(20_000, 256, 1_500, device=device)
        return [{"params": [table], "sparse": True}, {"params": dense}], table, rows

    ours = SparseLamb(groups()[0], **OPTIONS)
    contestants = [Contestant("SparseLamb", ours, ours.step)]
    listed, table, rows = groups()
    with_rows = SparseLamb(listed, **OPTIONS)
    contestants.append(
        Contestant("SparseLamb, touched_rows=", with_rows, lambda: with_rows.step(touched_rows={table: rows}))
    )
    if PeerSparseLamb is not None:
        peer = PeerSparseLamb(groups()[0], **OPTIONS)
        contestants.append(Contestant("torch_brain 0.1.2", peer, peer.step))
    return contestants


def table_problem(device: str, rows: int = 117_000) -> list[Contestant]:
    """A table of 117,000 × 128 with 500 touched rows: dense gradient, its rows passed, and a row-sparse gradient."""
    width, touched = 128, 500
    table, _ = table_parameter(rows, width, touched, device=device)
    ours = SparseLamb([table], sparse=True, **OPTIONS)
    listed, chosen = table_parameter(rows, width, touched, device=device)
    with_rows = SparseLamb([listed], sparse=True, **OPTIONS)
    third, _ = table_parameter(rows, width, touched, device=device)
    rows_alone = torch.sparse_coo_tensor(chosen[None], third.grad[chosen], third.shape, check_invariants=True)
    third.grad = rows_alone.coalesce()
    row_sparse = SparseLamb([third], sparse=True, **OPTIONS)
    contestants = [
        Contestant("SparseLamb", ours, ours.step),
        Contestant("SparseLamb, touched_rows=", with_rows, lambda: with_rows.step(touched_rows={listed: chosen})),
        Contestant("SparseLamb, row-sparse gradient", row_sparse, row_sparse.step),
    ]
    if PeerSparseLamb is not None:
        other, _ = table_parameter(rows, width, touched, device=device)
        peer = PeerSparseLamb([other], sparse=True, **OPTIONS)
        contestants.append(Contestant("torch_brain 0.1.2", peer, peer.step))
    return contestants


def measure(contestants: list[Contestant], *, repeats: int, device: str) -> list[list[float]]:
    """Milliseconds of each step of each contestant."""

    def one(contestant: Contestant) -> float:
        start = time.perf_counter()
        contestant.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - start)

    for contestant in contestants:
        for _ in range(3):
            one(contestant)
    times: list[list[float]] = [[] for _ in contestants]
    for _ in range(repeats):
        for contestant, series in zip(contestants, times, strict=True):
            series.append(one(contestant))
    return times


def count_kernels(contestant: Contestant) -> int:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        contestant.step()
        torch.cuda.synchronize()
    return sum(event.count for event in profile.key_averages() if event.self_device_time_total > 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30, help="measured steps of each optimizer (default: 30)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own choice)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    records = []
    setting = f"torch {torch.__version__}, {arguments.device}, {torch.get_num_threads()} threads"
    print(f"{setting}, median of {arguments.repeats} steps")
    for problem, build in (("mixed", mixed_problem), ("table", table_problem)):
        print(f"\n{build.__doc__}")
        contestants = build(arguments.device)
        medians = [
            statistics.median(x) for x in measure(contestants, repeats=arguments.repeats, device=arguments.device)
        ]
        peer = medians[-1] if PeerSparseLamb is not None else None
        for contestant, median in zip(contestants, medians, strict=True):
            ratio = None if peer is None else peer / median
            kernels = count_kernels(contestant) if arguments.device == "cuda" else None
            record = {
                "problem": problem,
                "optimizer": contestant.name,
                "device": arguments.device,
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                "median_ms": round(median, 3),
                "times_the_peer": None if ratio is None else round(ratio, 2),
                "goal": GOALS[problem] if contestant.name == "SparseLamb" else None,
                "kernels": kernels,
            }
            records.append(record)
            columns = [f"  {contestant.name:34}{median:9.2f} ms"]
            columns.append("" if ratio is None else f"{ratio:8.1f} × the peer")
            columns.append("" if record["goal"] is None else f"(goal {record['goal']} ×)")
            columns.append("" if kernels is None else f"{kernels} kernels")
            print("  ".join(column for column in columns if column))
    print()
    for record in records:
        print(json.dumps(record))
    if PeerSparseLamb is None:
        print("torch_brain is not importable: nothing to compare with")


if __name__ == "__main__":
    main()
