"""The picture of explanation/stitching, on made-up windows: ``python docs/figures/stitching.py``.

Left: what three windows say, and what stitching makes of it. Right: into how many times a recording of 20 s at
1 kHz, which begins between two microseconds, falls apart: by rounding to a grid and by the gaps between sorted times.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

from nd_eval import stitch

mpl.use("agg")
import matplotlib.pyplot as plt

COLOURS = ["#1f6f8b", "#c1440e", "#7a9a3b"]


def windows(offset, *, step, length, hop, count):
    """Times of windows as a model gives them: float64 starts plus float32 times within the window."""
    relative = torch.arange(round(length / step)) * step
    starts = offset + torch.arange(count, dtype=torch.float64) * hop
    return starts[:, None] + relative.to(torch.float32)


def draw_pooling(axes):
    generator = torch.Generator().manual_seed(3)
    times = windows(0.0, step=0.05, length=1.0, hop=0.5, count=3)
    true = (4.0 * times).sin()
    said = true + 0.25 * torch.randn(times.shape, generator=generator) + torch.tensor([0.15, -0.2, 0.1])[:, None]
    for number, (when, what) in enumerate(zip(times, said, strict=True)):
        axes.plot(when, what, "o", ms=3.5, color=COLOURS[number], label=f"window {number + 1}", alpha=0.6)
    axes.plot(*stitch(times.flatten(), said.flatten()), color="0.25", lw=1.8, label="stitched")
    axes.set(xlabel="time, s", ylabel="velocity", title="One value for each time")
    axes.legend(frameon=False, fontsize=8, ncols=2)


def draw_times(axes):
    offsets = np.linspace(0.0, 100_000.0, 41)
    counts = {"rounded to 1 µs": [], "nd_eval.stitch": []}
    for offset in offsets:
        times = windows(float(offset) + 0.5e-6, step=1e-3, length=1.0, hop=0.25, count=77).flatten()
        counts["rounded to 1 µs"].append(torch.unique((times * 1e6).round()).numel())
        counts["nd_eval.stitch"].append(stitch(times, times)[0].numel())
    for (name, found), colour in zip(counts.items(), (COLOURS[1], COLOURS[0]), strict=True):
        axes.plot(offsets, found, "o-", ms=3, lw=1, color=colour, label=name)
    axes.axhline(20_000, color="0.6", lw=0.8, zorder=0)
    axes.set(xlabel="start of the recording, s", title="20,000 true times, and how many come out")
    axes.set_ylim(0, 25_000)
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def main():
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    draw_pooling(left)
    draw_times(right)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130)


if __name__ == "__main__":
    main()
