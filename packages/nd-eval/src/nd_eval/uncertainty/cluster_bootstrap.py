"""Confidence intervals of scores of persons: whole persons are drawn, because the steps of one are not independent.

P persons, R resamples.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_AT_ONCE = 20_000_000  # numbers drawn at once


@dataclass(frozen=True)
class ClusterInterval:
    """A mean over persons with its confidence interval.

    Attributes:
        value: Mean over the persons that have a score; NaN without any.
        low: Lower end; NaN with fewer than two persons.
        high: Upper end.
        persons: Persons that have a score.
    """

    value: float
    low: float
    high: float
    persons: int

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def cluster_bootstrap(
    scores: Tensor, *, level: float = 0.95, resamples: int = 2000, generator: torch.Generator | None = None
) -> ClusterInterval:
    """Percentile interval of a mean over persons (Efron and Tibshirani 1993, chapter 13).

    For the difference of two methods, give the differences of each person's scores.

    Args:
        scores: One score a person, such as a mean absolute error or a correlation over time; NaN where there is none.
            Shape: (P,).
        level: Share of repetitions in which the interval is to hold the truth.
        resamples: How often persons are drawn.
        generator: Where they come from; None is a new generator with seed 0.

    Raises:
        ValueError: scores of another shape, a level outside (0, 1), or fewer than 100 resamples.

    Example:
        >>> interval = cluster_bootstrap(torch.randn(400, generator=torch.Generator().manual_seed(1)))
        >>> 0.0 in interval, 0.3 in interval
        (True, False)
    """
    if scores.ndim != 1:
        raise ValueError(f"scores: expected one a person, shape (P,), found {tuple(scores.shape)}")
    if not 0 < level < 1:
        raise ValueError(f"level: expected between 0 and 1, found {level}")
    if resamples < 100:
        raise ValueError(f"resamples: expected 100 or more, found {resamples}")
    values = scores[~scores.isnan()].to(torch.float64).cpu()
    persons = len(values)
    value = float(values.mean()) if persons else float("nan")
    if persons < 2:
        return ClusterInterval(value, float("nan"), float("nan"), persons)
    generator = generator or torch.Generator().manual_seed(0)
    means = []
    at_once = max(1, _AT_ONCE // persons)
    for done in range(0, resamples, at_once):
        drawn = torch.randint(persons, (min(at_once, resamples - done), persons), generator=generator)
        means.append(values[drawn].mean(1))
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.quantile(torch.cat(means), ends).tolist()
    return ClusterInterval(value, low, high, persons)
