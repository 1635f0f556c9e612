"""The daily-diary recordings (Bringmann et al. 2013): a real table with many missing answers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nd_data.longitudinal import LongitudinalDataset, mark_out_of_time, split_sequences

DIARY = Path(__file__).resolve().parents[4].parent / "shared/recordings/diary_sampling/pone.0060188.s004.txt"
ITEMS = ["opgewkt_", "pieker", "angstig_"]


@pytest.mark.recordings
def test_the_diary_table_is_read_as_pandas_counts_it():
    if not DIARY.is_file():
        pytest.skip("the diary recordings (shared/recordings beside the repository) are not here")
    roles = {"sequence": "subjno", "time": {"st_period": 100, "dayno": 10, "beepno": 1}, "outcomes": ITEMS}
    dataset = LongitudinalDataset.from_table(
        DIARY, **roles, features=ITEMS, horizon=1, without_time="drop", without_observations="drop"
    )
    frame = pd.read_csv(DIARY).dropna(subset=["beepno"])
    assert len(dataset) == 129
    # All but each person's very first beep are forecast from the one before.
    first = (frame.st_period == 0) & (frame.dayno == 1) & (frame.beepno == 1)
    expected = frame[~first][ITEMS].notna().sum().to_numpy()
    np.testing.assert_array_equal(sum(item["outcomes_mask"].sum(axis=0) for item in dataset), expected)
    answered = frame[ITEMS].notna().any(axis=1).sum()
    assert sum(int((~item["mask"]).sum()) for item in dataset) == answered
    splits = split_sequences(mark_out_of_time(dataset, fraction=0.2), test_fraction=0.2)
    assert (len(splits.train), len(splits.test)) == (103, 26)
