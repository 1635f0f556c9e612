"""Axes of angles: ticks at parts of a turn."""

from __future__ import annotations

import math

_RADIANS = {0: "0", 1: "π/4", 2: "π/2", 3: "3π/4", 4: "π", 5: "5π/4", 6: "3π/2", 7: "7π/4", 8: "2π"}


def turn_ticks(low: float, high: float, period: float, *, parts: int = 4) -> tuple[list[float], list[str]]:
    """Ticks between two angles, every so many parts of a turn, labelled within one turn.

    A tick at the end of the first turn is labelled as such (2π, 360), those beyond start anew.
    """
    first, last = math.ceil(low / period * parts - 1e-9), math.floor(high / period * parts + 1e-9)
    places = [step * period / parts for step in range(first, last + 1)]
    return places, [_label(step, period, parts) for step in range(first, last + 1)]


def _label(step: int, period: float, parts: int) -> str:
    within = step if 0 <= step <= parts else step % parts
    if math.isclose(period, 2 * math.pi, rel_tol=1e-6) and 8 % parts == 0:
        return _RADIANS[within * 8 // parts]
    return f"{within * period / parts:g}"
