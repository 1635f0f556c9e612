"""The pictures of how-to/figures-and-exports, on made-up data: ``python docs/figures/evaluation_pictures.py``."""

import math
from pathlib import Path

import torch
from matplotlib.figure import Figure

from nd_eval import ScoreInterval, StitchedTrace
from nd_eval.plot import plot_confusion, plot_scatter, plot_scores, plot_traces


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    figure = Figure(figsize=(11, 9), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.0, 1.15])
    left, right = top.subfigures(1, 2, width_ratios=[1.25, 1.0])

    time = torch.arange(800, dtype=torch.float64) * 0.01
    time = time[(time < 3.0) | (time > 4.2)]
    velocity = torch.stack([8 * (1.3 * time).sin(), 8 * (0.7 * time).cos()], dim=1)
    decoded = velocity + torch.randn(velocity.shape, generator=generator)
    trace = StitchedTrace(time, decoded, velocity)
    mask = (time < 6.0) | (time > 6.6)
    plot_traces(trace, dimension_names=["x", "y"], unit="cm/s", mask=mask, axes=left.subplots(2, 1, sharex=True))

    scores = {}
    for day in range(1, 8):
        value = 0.9 - 0.09 * day * float(torch.rand((), generator=generator))
        width = 0.02 + 0.015 * day
        scores[f"monkey_c/2013-10-0{day}"] = ScoreInterval(value, value - width, value + 0.8 * width, width / 2)
    plot_scores(scores, metric="r2", axes=right.subplots())

    confusion, scatter = bottom.subplots(1, 2)
    stage = torch.randint(0, 4, (3000,), generator=generator)
    logits = 2.2 * torch.nn.functional.one_hot(stage, 4) + torch.randn(3000, 4, generator=generator)
    logits[:, 1] += 0.6 * (stage == 3)
    plot_confusion(logits, stage, class_names=["wake", "NREM", "REM", "artefact"], axes=confusion)
    angle = 2 * math.pi * torch.rand(9000, generator=generator)
    near = angle + 0.35 * torch.randn(9000, generator=generator)
    plot_scatter(near, angle, period=2 * math.pi, unit="rad", axes=scatter)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
