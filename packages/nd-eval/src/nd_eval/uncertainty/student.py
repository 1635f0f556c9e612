"""Quantiles of Student's t distribution."""

from __future__ import annotations

import math


def student_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t distribution, for a probability of at least one half.

    The distribution function is the finite sum of Abramowitz and Stegun (1964), 26.7.3 and 26.7.4, inverted by
    bisection.
    """
    low, high = 0.0, 1.0
    while _student_probability(high, degrees) < probability:
        high *= 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if _student_probability(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _student_probability(t: float, degrees: int) -> float:
    angle = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(angle)
    term, total = (cosine, 0.0) if degrees % 2 else (1.0, 0.0)
    for k in range(3 if degrees % 2 else 2, degrees + 1, 2):
        total += term
        term *= cosine * cosine * (k - 1) / k
    if degrees % 2:
        return 0.5 + (angle + math.sin(angle) * total) / math.pi
    return 0.5 + 0.5 * math.sin(angle) * total
