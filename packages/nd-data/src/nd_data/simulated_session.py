"""What simulated recordings of every kind share: how their time is split, what they are called and where they go."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nd_data.data import Data
from nd_data.interval import Interval


class TimeSplits:
    """Train, valid and test one after the other.

    Args:
        shares: Shares of the time for training, validation and test.

    Raises:
        ValueError: they are not three positive numbers that add up to 1.
    """

    def __init__(self, shares: Sequence[float]) -> None:
        if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1.0) > 1e-9:
            raise ValueError(f"splits must be three positive shares that add up to 1, got {tuple(shares)}")
        self.shares = tuple(shares)

    def firsts(self, samples: int) -> tuple[int, int]:
        """The first sample of validation and of test, of so many samples."""
        valid, test = (round(share * samples) for share in np.cumsum(self.shares)[:2])
        return valid, test

    def domains(self, samples: int, step: float, domain: Interval) -> dict[str, Interval]:
        """``train_domain``, ``valid_domain`` and ``test_domain``.

        Args:
            samples: Number of samples of the recording.
            step: Seconds from one to the next.
            domain: The recording's own.
        """
        edges = [0.0, *(first * step for first in self.firsts(samples)), float(domain.end[0])]
        names = ("train_domain", "valid_domain", "test_domain")
        return {name: Interval(*edges[place : place + 2]) for place, name in enumerate(names)}


def save_session(data: Data, root: Path, brainset: str, number: int) -> tuple[Path, str]:
    """Give a recording the ids of brainset, subject and session, and write it as the session of this number.

    Returns:
        The file, and the recording's id, ``<brainset>/session_<number>``.
    """
    session = f"session_{number:02d}"
    data.brainset = Data(id=brainset)
    data.subject = Data(id="subject_00")
    data.session = Data(id=session)
    path = root / brainset / f"{session}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save(path)
    return path, f"{brainset}/{session}"
