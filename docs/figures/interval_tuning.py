"""Chooses how many automatic block lengths a block of the confidence intervals has, on simulations of their own.

    python docs/figures/interval_tuning.py

None of these lengths, decoders or seeds is among those of ``interval_coverage.py``, whose table is made once after the
choice and never chosen by. The rule was written down before the first run:

- candidates are 3, 4 and 5 automatic lengths, all else as it is; every simulated recording is seen by all three;
- the loss of a factor is the mean over the cases of (coverage - 95 %)², less the binomial variance of each coverage;
- the factor of least loss is taken, unless its loss is within two standard errors (of the paired difference over the
  cases) of that of 5, the factor so far, which then stays.

Cases are series that relax (AR(1)), oscillate (AR(2)) or whose errors are shorter than what is decoded; decoders are
noisier than those of the table, classes have other borders and spikes are more. Prints a line for each score and
process, then the loss of each factor.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch
from interval_coverage import SCORES, autoregressive
from scipy.signal import lfilter

from nd_eval import METRICS, bootstrap_interval, build_metric
from nd_eval.uncertainty import block_bootstrap

FACTORS = (3.0, 4.0, 5.0)
SO_FAR = 5.0

# Number of times, and what signal and error are like: φ of an AR(1), or (radius, period in times) of an AR(2).
PROCESSES = [
    (700, 0.0, 0.0),
    (700, 0.6, 0.6),
    (1500, 0.85, 0.85),
    (3000, 0.95, 0.95),
    (8000, 0.95, 0.95),
    (12_000, 0.98, 0.98),
    (1000, (0.9, 20), (0.9, 20)),
    (4000, (0.97, 50), (0.97, 50)),
    (10_000, (0.985, 100), (0.985, 100)),
    (2500, 0.92, 0.5),
    (6000, 0.97, 0.8),
]


def series(rng, count, kind):
    """A stationary series of variance 1, (N,)."""
    if not isinstance(kind, tuple):
        return autoregressive(rng, (1, count), kind)[0]
    radius, period = kind
    first, second = 2.0 * radius * np.cos(2.0 * np.pi / period), -(radius**2)
    variance = (1.0 - second) / ((1.0 + second) * ((1.0 - second) ** 2 - first**2))
    before = round(20.0 / (1.0 - radius))
    noise = rng.normal(size=before + count) / np.sqrt(variance)
    return lfilter([1.0], [1.0, -first, -second], noise)[before:]


def predictions(name, rng, count, kinds):
    """Predictions and targets of a decoder that is noisier than that of the table."""
    signal, error = (series(rng, count, kind) for kind in kinds)
    targets = METRICS[name].targets
    if targets == "classes":
        decided, true = (np.digitize(values, [-1.0, 0.2, 0.8]) for values in (signal + 0.9 * error, signal))
        return torch.from_numpy(decided), torch.from_numpy(true)
    if targets == "counts":
        rates = np.exp(0.7 + 0.6 * signal)
        return torch.from_numpy(np.exp(0.7 + 0.5 * signal + 0.2 * error)), torch.from_numpy(rng.poisson(rates))
    return torch.from_numpy(0.8 * signal + 0.9 * error), torch.from_numpy(signal)


def held(case, *, repetitions, resamples, seed):
    """Whether the interval of each recording and factor held the truth, (repetitions, factors)."""
    torch.set_num_threads(1)
    name, process = case
    count, *kinds = PROCESSES[process]
    rng = np.random.default_rng([seed, process, SCORES.index(name)])
    metric = build_metric(name)
    metric.update(*predictions(name, rng, 4_000_000, (0.0, 0.0)))
    truth = float(metric.compute())
    generator = torch.Generator().manual_seed(seed)
    found = np.empty((repetitions, len(FACTORS)), dtype=bool)
    for repetition in range(repetitions):
        pair = predictions(name, rng, count, kinds)
        for number, factor in enumerate(FACTORS):
            block_bootstrap._LENGTHENING = factor  # noqa: SLF001 what is to be chosen
            found[repetition, number] = truth in bootstrap_interval(
                metric, *pair, resamples=resamples, generator=generator
            )
    return found.mean(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=800)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=20_001)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    cases = [(name, process) for process in range(len(PROCESSES)) for name in SCORES]
    measure = partial(held, repetitions=options.repetitions, resamples=options.resamples, seed=options.seed)
    print(f"{'score':18}{'times':>8}  {'signal, error':32}" + "".join(f"{factor:>8g}" for factor in FACTORS))
    shares = []
    with ProcessPoolExecutor(options.processes) as pool:
        for (name, process), found in zip(cases, pool.map(measure, cases), strict=True):
            shares.append(found)
            count, *kinds = PROCESSES[process]
            of_factors = "".join(f"{100 * share:8.1f}" for share in found)
            print(f"{name:18}{count:8,}  {', '.join(map(str, kinds)):32}{of_factors}", flush=True)
    coverage = np.array(shares)
    losses = 1e4 * ((coverage - 0.95) ** 2 - coverage * (1.0 - coverage) / options.repetitions)
    so_far = FACTORS.index(SO_FAR)
    for number, factor in enumerate(FACTORS):
        difference = losses[:, number] - losses[:, so_far]
        error = difference.std(ddof=1) / np.sqrt(len(cases))
        outside = int(((coverage[:, number] < 0.93) | (coverage[:, number] > 0.97)).sum())
        print(
            f"factor {factor:g}: loss {losses[:, number].mean():.3f} (against {SO_FAR:g}: {difference.mean():+.3f}, "
            f"standard error {error:.3f}), mean coverage {100 * coverage[:, number].mean():.2f} %, "
            f"{outside} of {len(cases)} outside 93 to 97 %"
        )


if __name__ == "__main__":
    main()
