"""Measures how often the confidence intervals of nd-eval hold the truth, on simulated recordings, and draws it.

    python docs/figures/interval_coverage.py

Targets and errors are autoregressive (AR(1)); the truth is the score of four million independent times with the same
distribution. Prints one line for each score, length and autocorrelation: coverage of the 95 % interval, the shares of
intervals wholly below and above the truth, and coverage where the times are shuffled first, which is to take them for
independent (of every twentieth recording).

With 6,000 recordings a case, the standard error of a coverage of 95 % is 0.28, of one of 97 % 0.22. Settings are chosen
by ``interval_tuning.py`` on other simulations; this table is made once for each choice, with a seed of its own.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from scipy.signal import lfilter

from nd_eval import METRICS, bootstrap_interval, build_metric

mpl.use("agg")
import matplotlib.pyplot as plt

CASES = [(500, 0.0), (500, 0.8), (1000, 0.9), (2000, 0.9), (5000, 0.9), (5000, 0.97), (20_000, 0.99)]
SCORES = ["r2", "mse", "pearsonr", "circular_error", "accuracy", "balanced_accuracy", "f1_macro", "bits_per_spike"]
COLOURS = ["#1f6f8b", "#c1440e"]


def autoregressive(rng, shape, coefficient):
    """AR(1) series with variance 1 along the last axis."""
    start = rng.normal(size=(*shape[:-1], 1))
    noise = rng.normal(size=shape) * np.sqrt(1.0 - coefficient**2)
    series, _ = lfilter([1.0], [1.0, -coefficient], noise, axis=-1, zi=coefficient * start)
    return series


def predictions(name, rng, count, coefficient):
    """Predictions and targets of a decoder whose errors last as long as what it decodes."""
    kind = METRICS[name].targets
    signal, error = autoregressive(rng, (2, count), coefficient)
    if kind == "classes":
        decided, true = (np.digitize(values, [-0.5, 1.0]) for values in (signal + 0.5 * error, signal))
        return torch.from_numpy(decided), torch.from_numpy(true)
    if kind == "counts":
        rates = np.exp(0.5 * signal)
        return torch.from_numpy(np.exp(0.4 * signal + 0.1 * error)), torch.from_numpy(rng.poisson(rates))
    return torch.from_numpy(signal + 0.6 * error), torch.from_numpy(signal)


def coverage(case, *, repetitions, resamples, seed):
    """Shares of the intervals that hold the truth, that lie below and above it, and of naive ones that hold it."""
    torch.set_num_threads(1)
    name, count, coefficient = case
    rng = np.random.default_rng([seed, count, round(100 * coefficient), SCORES.index(name)])
    metric = build_metric(name)
    metric.update(*predictions(name, rng, 4_000_000, 0.0))
    truth = float(metric.compute())
    generator = torch.Generator().manual_seed(seed)
    held, independent = np.zeros(3), []
    for repetition in range(repetitions):
        pair = predictions(name, rng, count, coefficient)
        found = bootstrap_interval(metric, *pair, resamples=resamples, generator=generator)
        held += [truth in found, found.high < truth, found.low > truth]
        if repetition % 20 == 0:
            way = torch.randperm(count, generator=generator)
            shuffled = (values[way] for values in pair)
            independent.append(truth in bootstrap_interval(metric, *shuffled, resamples=100, generator=generator))
    return (*(held / repetitions), np.mean(independent))


def draw(rows):
    """Coverage against the case, a point for each score."""
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    axes.axhspan(93, 97, color="0.9", lw=0)
    axes.axhline(95, color="0.6", lw=0.8)
    shown_cases = list(dict.fromkeys(row[1:3] for row in rows))
    for number, (count, coefficient) in enumerate(shown_cases):
        of_case = [row for row in rows if row[1:3] == (count, coefficient)]
        places = number + np.linspace(-0.25, 0.25, len(of_case))
        for column, colour, label in ((6, COLOURS[1], "times taken for independent"), (3, COLOURS[0], "nd-eval")):
            shown = [100 * row[column] for row in of_case]
            axes.plot(places, shown, "o", ms=4, color=colour, label=label if number == 0 else None)
    axes.set_xticks(range(len(shown_cases)), [f"{count:,}\nφ {coefficient:g}" for count, coefficient in shown_cases])
    axes.set(ylabel="intervals that hold the truth, %", xlabel="number of times, and autocorrelation of neighbours")
    axes.set_title("Coverage of 95 % intervals; a point a score", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=6000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--cases", type=int, default=len(CASES), help="how many of the lengths, from the first on")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".png"))
    options = parser.parse_args()
    print(f"{'score':18}{'times':>8}{'φ':>6}{'coverage':>10}{'below':>8}{'above':>8}{'independent':>13}")
    cases = [(name, count, coefficient) for count, coefficient in CASES[: options.cases] for name in SCORES]
    measure = partial(coverage, repetitions=options.repetitions, resamples=options.resamples, seed=options.seed)
    found = []
    with ProcessPoolExecutor(options.processes) as pool:
        for (name, count, coefficient), shares in zip(cases, pool.map(measure, cases), strict=True):
            found.append((name, count, coefficient, *shares))
            shown = "".join(f"{100 * share:{width}.1f}" for share, width in zip(shares, (10, 8, 8, 13), strict=True))
            print(f"{name:18}{count:8,}{coefficient:6.2f}{shown}", flush=True)
    inside = [row for row in found if 0.93 <= row[3] <= 0.97]
    mean = 100 * np.mean([row[3] for row in found])
    error = 100 * np.sqrt(0.95 * 0.05 / options.repetitions)
    print(f"{len(inside)} of {len(found)} within 93 to 97 %, mean {mean:.1f} % (standard error of each {error:.2f})")
    draw(found).savefig(options.output, dpi=130)
