"""Tables and sequences that the longitudinal tests share, and the numeric cases of the specification."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

CASES = Path(__file__).resolve().parents[4].parent / "shared" / "longitudinal" / "cases.json"


@pytest.fixture(scope="session")
def case():
    """`case("C01_collate_val")` is that case of the specification."""
    if not CASES.is_file():
        pytest.skip("the numeric cases (shared/longitudinal/cases.json beside the repository) are not here")
    by_id = {one["id"]: one for one in json.loads(CASES.read_text())["cases"]}
    return by_id.__getitem__


def random_sequences(count=6, *, features=3, outcomes=2, seed=0, longest=9):
    """Ragged sequences with missing outcomes, some of them without a single one."""
    rng = np.random.default_rng(seed)
    sequences = []
    for row in range(count):
        steps = int(rng.integers(1, longest + 1))
        targets = rng.normal(size=(steps, outcomes))
        targets[rng.random(targets.shape) < 0.3] = np.nan
        if row == 1:
            targets[:] = np.nan
        sequences.append(
            {
                "seq_id": 10 * row,
                "embeddings": rng.normal(size=(steps, features)),
                "outcomes": targets,
                "time_ids": int(rng.integers(-3, 4)) + np.arange(steps),
                "oots_mask": np.arange(steps) >= 0.7 * steps,
                "query_ids": 100 * row + np.arange(steps),
                "seq_embeddings_person": rng.normal(size=4),
            }
        )
    return sequences


@pytest.fixture
def sequences():
    return random_sequences()


@pytest.fixture
def table():
    """Three people over days in no order: ann 0-4 without 2, bob 3-5, cat one day only."""
    return pd.DataFrame(
        {
            "person": ["bob", "ann", "ann", "cat", "ann", "bob", "ann", "bob"],
            "day": [4, 1, 0, 7, 4, 3, 3, 5],
            "sleep": [6.0, 7.0, 8.0, 5.0, np.nan, 6.5, 7.5, 9.0],
            "walk": [1, 0, 2, 1, 3, 0, 1, 2],
            "mood": [3.0, np.nan, 5.0, 2.0, 4.0, 1.0, 6.0, np.nan],
            "fold": [1, 0, 0, 2, 0, 1, 0, 1],
            "age": [40, 30, 30, 50, 30, 40, 30, 40],
        }
    )
