"""Datasets from long tables: order, gaps, masks, groups of features, dates, horizon, files."""

import datetime as dt
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nd_data.longitudinal import LongitudinalDataset, mark_out_of_time, split_by_folds

ROLES = {"sequence": "person", "time": "day", "outcomes": "mood", "features": ["sleep", "walk"]}


def by_name(dataset):
    return dict(zip(dataset.sequence_names, dataset, strict=True))


def test_rows_become_sequences_in_the_order_of_time(table):
    dataset = LongitudinalDataset.from_table(table, **ROLES)
    assert dataset.sequence_names == ("bob", "ann", "cat")
    ann = by_name(dataset)["ann"]
    assert ann["time_ids"].tolist() == [0, 1, 2, 3, 4]
    assert ann["embeddings"].tolist() == [[8.0, 2.0], [7.0, 0.0], [7.0, 0.0], [7.5, 1.0], [7.5, 3.0]]
    assert ann["mask"].tolist() == [False, False, True, False, False]
    assert ann["outcomes"][:, 0].tolist() == [5.0, 5.0, 5.0, 6.0, 4.0]
    assert ann["outcomes_mask"][:, 0].tolist() == [True, False, False, True, True]
    assert dataset.outcome_names == ("mood",)
    assert dataset.feature_names == {"embeddings": ("sleep", "walk")}


def test_the_table_stays_as_it_was(table):
    before = table.copy(deep=True)
    LongitudinalDataset.from_table(table, **ROLES, fold="fold", sequence_features={"person": ["age"]})
    pd.testing.assert_frame_equal(table, before)


@given(st.integers(0, 10_000))
def test_every_cell_of_a_random_table_arrives_where_it_belongs(seed):
    rng = np.random.default_rng(seed)
    cells = [(who, int(step)) for who in range(4) for step in rng.choice(12, rng.integers(1, 8), replace=False)]
    frame = pd.DataFrame(cells, columns=["who", "t"])
    frame["x"] = rng.normal(size=len(frame)).astype(np.float32)
    frame["y"] = np.where(rng.random(len(frame)) < 0.4, np.nan, rng.normal(size=len(frame)).astype(np.float32))
    frame.loc[0, "y"] = 1.0
    frame = frame.sample(frac=1.0, random_state=seed)
    dataset = LongitudinalDataset.from_table(frame, sequence="who", time="t", outcomes="y")
    observed = {(who, t): (x, y) for who, t, x, y in frame.itertuples(index=False)}
    for name, item in by_name(dataset).items():
        steps = [t for who, t in observed if who == name]
        assert item["time_ids"].tolist() == list(range(min(steps), max(steps) + 1))
        for place, step in enumerate(item["time_ids"].tolist()):
            x, y = observed.get((name, step), (None, np.nan))
            assert bool(item["mask"][place]) == (x is None)
            assert bool(item["outcomes_mask"][place, 0]) == (not np.isnan(y))
            if x is not None:
                assert item["embeddings"][place, 0] == x
            if not np.isnan(y):
                assert item["outcomes"][place, 0] == y


@pytest.mark.parametrize(("missing_when", "mask"), [("all", [False, False]), ("any", [True, False])])
def test_a_row_with_some_features_missing_counts_as_asked(missing_when, mask):
    frame = pd.DataFrame({"who": 1, "t": [0, 1], "a": [np.nan, 1.0], "b": [2.0, 3.0], "y": [1.0, 2.0]})
    arguments = {"sequence": "who", "time": "t", "outcomes": "y", "missing_when": missing_when}
    item = LongitudinalDataset.from_table(frame, **arguments)[0]
    assert item["mask"].tolist() == mask
    assert item["embeddings"].tolist() == [[0.0, 2.0], [1.0, 3.0]]


def test_groups_of_features_and_features_of_the_person_have_keys_of_their_own(table):
    dataset = LongitudinalDataset.from_table(
        table,
        **{**ROLES, "features": {"": ["walk"], "sleep": ["sleep"]}},
        sequence_features={"person": ["age"]},
        fold="fold",
    )
    ann = by_name(dataset)["ann"]
    assert dataset.feature_sizes == {"embeddings": 1, "embeddings_sleep": 1, "seq_embeddings_person": 1}
    assert ann["mask"].tolist() == [False, False, True, False, False]
    assert ann["mask_sleep"].tolist() == [False, False, True, False, True]
    assert ann["seq_embeddings_person"].tolist() == [30.0]
    assert dataset.folds == (1, 0, 2)
    assert split_by_folds(dataset, val_folds=[2]).train.sequence_names == ("bob", "ann")


def test_without_a_list_every_other_column_is_a_feature(table):
    arguments = {"sequence": "person", "time": "day", "outcomes": "mood", "fold": "fold"}
    here = LongitudinalDataset.from_table(table, **arguments)
    assert here.feature_names == {"embeddings": ("sleep", "walk", "age")}
    ahead = LongitudinalDataset.from_table(table, **arguments, horizon=1)
    assert ahead.feature_names == {"embeddings": ("mood", "sleep", "walk", "age")}


def test_with_a_horizon_a_step_predicts_what_comes_that_much_later():
    frame = pd.DataFrame({"who": 1, "t": [0, 1, 3, 4], "y": [1.0, 2.0, np.nan, 5.0]})
    item = LongitudinalDataset.from_table(frame, sequence="who", time="t", outcomes="y", horizon=1)[0]
    assert item["embeddings"][:, 0].tolist() == [1.0, 2.0, 2.0, 2.0, 5.0]
    assert item["mask"].tolist() == [False, False, True, True, False]
    assert item["outcomes_mask"][:, 0].tolist() == [True, False, False, True, False]
    assert item["outcomes"][[0, 3], 0].tolist() == [2.0, 5.0]


def test_a_column_can_say_what_is_out_of_time():
    frame = pd.DataFrame({"who": 1, "t": [0, 1, 3], "x": 1.0, "y": 1.0, "late": [False, False, True]})
    arguments = {"sequence": "who", "time": "t", "outcomes": "y", "features": ["x"], "out_of_time": "late"}
    assert LongitudinalDataset.from_table(frame, **arguments)[0]["oots_mask"].tolist() == [False, False, False, True]
    ahead = LongitudinalDataset.from_table(frame, **arguments, horizon=1)[0]
    assert ahead["oots_mask"].tolist() == [False, False, True, True]


def test_message_numbers_are_kept_and_gaps_have_none():
    frame = pd.DataFrame({"who": 1, "t": [0, 2], "x": 1.0, "y": 1.0, "message": [501, 502]})
    dataset = LongitudinalDataset.from_table(frame, sequence="who", time="t", outcomes="y", query="message")
    assert dataset[0]["query_ids"].tolist() == [501, -1, 502]
    assert dataset.feature_names == {"embeddings": ("x",)}


@pytest.mark.parametrize("zone", [None, "Europe/Amsterdam"])
@pytest.mark.parametrize("as_text", [False, True])
def test_dates_become_steps_of_the_length_asked_for(zone, as_text):
    dates = pd.Series(pd.to_datetime(["2024-03-01 22:00", "2024-03-02 00:30", "2024-03-04 23:30"])).dt.tz_localize(zone)
    frame = pd.DataFrame({"who": 1, "when": dates.astype(str) if as_text else dates, "x": 1.0, "y": [1.0, 2.0, 3.0]})
    dataset = LongitudinalDataset.from_table(frame, sequence="who", time="when", outcomes="y", time_step="1D")
    assert dataset[0]["time_ids"].tolist() == [0, 1, 2, 3]
    assert dataset.time_axis.time_of(0) == np.datetime64("2024-03-01")
    assert dataset.time_axis.id_of(dt.date(2024, 3, 4)) == 3


def test_times_in_numbers_become_steps_too():
    frame = pd.DataFrame({"who": 1, "hours": [0.0, 23.9, 48.0, -1.0], "x": 1.0, "y": 1.0})
    arguments = {"sequence": "who", "time": "hours", "outcomes": "y"}
    with pytest.raises(ValueError, match="step 0 comes 2 times"):
        LongitudinalDataset.from_table(frame, **arguments, time_step=24.0)
    dataset = LongitudinalDataset.from_table(frame, **arguments, time_step=0.1)
    assert dataset[0]["time_ids"][[0, -1]].tolist() == [-10, 480]
    assert mark_out_of_time(dataset, cutoff=48.0)[0]["oots_mask"].sum() == 1


def test_several_columns_can_count_the_time():
    frame = pd.DataFrame({"who": 1, "day": [1, 1, 2], "beep": [1, 3, 2], "x": 1.0, "y": 1.0})
    dataset = LongitudinalDataset.from_table(frame, sequence="who", time={"day": 10, "beep": 1}, outcomes="y")
    observed = dataset[0]["time_ids"][~dataset[0]["mask"]]
    assert observed.tolist() == [11, 13, 22]


def test_rows_without_a_time_are_an_error_or_left_out():
    frame = pd.DataFrame({"who": 1, "t": [0.0, np.nan, 1.0], "x": 1.0, "y": [1.0, 2.0, 3.0]})
    arguments = {"sequence": "who", "time": "t", "outcomes": "y"}
    with pytest.raises(ValueError, match="time column 't' lacks a value in 1 rows, the first being row 1"):
        LongitudinalDataset.from_table(frame, **arguments)
    item = LongitudinalDataset.from_table(frame, **arguments, without_time="drop")[0]
    assert item["outcomes"][:, 0].tolist() == [1.0, 3.0]


def test_gaps_may_stay():
    frame = pd.DataFrame({"who": 1, "t": [0, 5, 9], "y": [1.0, 2.0, 3.0]})
    arguments = {"sequence": "who", "time": "t", "outcomes": "y", "horizon": 1}
    item = LongitudinalDataset.from_table(frame, **arguments, fill_gaps=False)[0]
    assert item["time_ids"].tolist() == [0, 5, 9]
    assert item["outcomes"][:2, 0].tolist() == [2.0, 3.0]
    assert item["outcomes_mask"][:, 0].tolist() == [True, True, False]


def test_a_table_to_predict_from_needs_no_outcomes():
    frame = pd.DataFrame({"who": 1, "t": [0, 1], "x": [1.0, 2.0]})
    dataset = LongitudinalDataset.from_table(frame, sequence="who", time="t", outcomes=[])
    assert "outcomes" not in dataset[0]
    assert (dataset.num_outcomes, dataset.num_features) == (0, 1)


def test_nullable_and_boolean_columns_are_numbers():
    frame = pd.DataFrame({"who": 1, "t": [0, 1], "x": pd.array([1, None], dtype="Int64"), "flag": [True, False]})
    frame["y"] = pd.Series([1, None], dtype=object)
    item = LongitudinalDataset.from_table(frame, sequence="who", time="t", outcomes="y", missing_when="any")[0]
    assert item["embeddings"].tolist() == [[1.0, 1.0], [1.0, 0.0]]
    assert item["mask"].tolist() == [False, True]
    assert item["outcomes_mask"][:, 0].tolist() == [True, False]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".txt", ".tsv", ".parquet"])
def test_files_give_what_the_table_gives(table, tmp_path, suffix):
    path = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="parquet needs pyarrow, the extra nd-data[parquet]")
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    for item, same in zip(
        LongitudinalDataset.from_table(path, **ROLES), LongitudinalDataset.from_table(table, **ROLES), strict=True
    ):
        for key in same:
            np.testing.assert_array_equal(item[key], same[key], err_msg=key)


def test_without_pandas_or_pyarrow_the_error_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "table.parquet"
    path.write_bytes(b"")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pandas", None)
        with pytest.raises(ImportError, match=r"pip install 'nd-data\[pandas\]'"):
            LongitudinalDataset.from_table(path, **ROLES)
    for engine in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(ImportError, match=r"pip install 'nd-data\[parquet\]'"):
        LongitudinalDataset.from_table(path, **ROLES)
