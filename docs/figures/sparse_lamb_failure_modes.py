"""Draws two failures of torch_brain 0.1.2's SparseLamb that nd-optim removes, for the README of nd-optim.

    python docs/figures/sparse_lamb_failure_modes.py

Its numbers come from ``legacy=True``, which the compat tests prove equal to the installed torch_brain 0.1.2.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from torch import nn

from nd_optim import SparseLamb

mpl.use("agg")
import matplotlib.pyplot as plt

LEGACY, OURS = "#c1440e", "#1f6f8b"
LEARNING_RATE = 0.01
WIDTH = 64
INITIAL_SCALE = 0.02  # of POYO's embeddings


def step_of_one_row(touched: int, vocabulary: int, **options: Any) -> float:
    """Length of the first step of row 0, relative to the row, when ``touched`` rows have a gradient."""
    generator = torch.Generator().manual_seed(0)
    table = nn.Parameter(INITIAL_SCALE * torch.randn(vocabulary, WIDTH, generator=generator))
    table.grad = torch.zeros(vocabulary, WIDTH)
    table.grad[:touched] = torch.randn(touched, WIDTH, generator=generator)
    before = table.detach()[0].clone()
    SparseLamb([table], lr=LEARNING_RATE, weight_decay=1e-2, sparse=True, **options).step()
    return float((table.detach()[0] - before).norm() / before.norm())


def norm_without_gradient(weight_decay: float, steps: int, **options: Any) -> list[float]:
    """Norm of a weight of norm 1 at each step, while its gradient is zero."""
    parameter = nn.Parameter(torch.full((WIDTH, WIDTH), 1 / WIDTH))
    parameter.grad = torch.zeros(WIDTH, WIDTH)
    optimizer = SparseLamb([parameter], lr=LEARNING_RATE, weight_decay=weight_decay, **options)
    norms = [1.0]
    for _ in range(steps):
        optimizer.step()
        norms.append(float(parameter.detach().norm()))
    return norms


def draw() -> plt.Figure:
    """Both failures, side by side."""
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (rows, shrinkage) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")

    touched = np.unique(np.geomspace(1, 300, 16).astype(int))
    for vocabulary, style in ((300, "-"), (3_000, "--")):
        sizes = [step_of_one_row(int(count), vocabulary, legacy=True) for count in touched]
        rows.plot(touched, sizes, style, color=LEGACY, label=f"torch_brain 0.1.2, {vocabulary:,} rows")
    for vocabulary, style in ((300, "-"), (3_000, "--")):
        sizes = [step_of_one_row(int(count), vocabulary) for count in touched]
        rows.plot(touched, sizes, style, color=OURS, label=f"nd-optim, {vocabulary:,} rows")
    rows.set(xscale="log", yscale="log", xlabel="rows that the batch touches")
    rows.set_ylabel("step of one row / its norm")
    rows.set_title("A row's step against its batch mates", loc="left", fontsize=10)
    rows.legend(frameon=False, fontsize=8, loc="upper right")

    steps = 300
    for weight_decay, style in ((1e-2, "-"), (1e-4, "--")):
        label = f"decay {weight_decay:g}"
        norms = norm_without_gradient(weight_decay, steps, legacy=True)
        shrinkage.plot(norms, style, color=LEGACY, lw=2 if style == "-" else 1, label=f"torch_brain 0.1.2, {label}")
    for weight_decay, style in ((1e-2, "-"), (1e-4, "--")):
        norms = norm_without_gradient(weight_decay, steps)
        shrinkage.plot(norms, style, color=OURS, label=f"nd-optim, decay {weight_decay:g}")
    shrinkage.set(ylim=(0, 1.05), xlabel=f"step (learning rate {LEARNING_RATE:g})", ylabel="norm")
    shrinkage.set_title("A weight whose gradient is zero", loc="left", fontsize=10)
    shrinkage.legend(frameon=False, fontsize=8, loc="center right", bbox_to_anchor=(1.0, 0.6))
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".png"))
    draw().savefig(parser.parse_args().output, dpi=130)
