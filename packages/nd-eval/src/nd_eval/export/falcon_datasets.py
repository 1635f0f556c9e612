"""The names that FALCON gives its data sets, and the size of their outputs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


def _sets(sizes: Mapping[int, int]) -> tuple[str, ...]:
    """Names of human sessions: session number to number of sets."""
    return tuple(f"S{session}_set_{number}" for session, count in sizes.items() for number in range(1, count + 1))


FALCON_DATASETS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "h1": {
            "held_in": _sets({0: 2, 1: 3, 2: 2, 3: 2, 4: 2, 5: 2}),
            "held_out": _sets(dict.fromkeys(range(6, 13), 2)),
        },
        "m1": {
            "held_in": ("20120924", "20120926", "20120927", "20120928"),
            "held_out": ("20121004", "20121017", "20121024"),
        },
        "m2": {
            "held_in": (
                "Run1_20201019",
                "Run2_20201019",
                "Run1_20201020",
                "Run2_20201020",
                "Run1_20201027",
                "Run2_20201027",
                "Run1_20201028",
            ),
            "held_out": (
                "Run1_20201030",
                "Run2_20201030",
                "Run1_20201118",
                "Run1_20201119",
                "Run1_20201124",
                "Run2_20201124",
            ),
        },
        "b1": {
            "held_in": ("2021.06.26", "2021.06.27", "2021.06.28"),
            "held_out": ("2021.06.30", "2021.07.01", "2021.07.05"),
        },
    }
)

FALCON_DIMENSIONS: Mapping[str, int] = MappingProxyType({"h1": 7, "m1": 16, "m2": 2, "b1": 158})


def falcon_session(split: str, dataset: str) -> str:
    """The session that a data set is part of; FALCON's score is the mean over sessions."""
    if split == "h1":
        return dataset.partition("_")[0]
    return dataset.partition("_")[2] if split == "m2" else dataset
