"""Tables that cannot be read as sequences: one error, which says what, where and what to do."""

import numpy as np
import pandas as pd
import pytest

from nd_data.longitudinal import LongitudinalDataset


def build(frame, **changes):
    return LongitudinalDataset.from_table(frame, **{"sequence": "who", "time": "t", "outcomes": "y", **changes})


@pytest.fixture
def frame():
    return pd.DataFrame({"who": ["a", "a", "b"], "t": [0, 1, 0], "x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 3.0]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outcomes": "yy"}, "no outcome column 'yy'; did you mean 'y'"),
        ({"sequence": "person"}, r"no sequence column 'person'.*columns: 't', 'who', 'x', 'y'"),
        ({"time": "time"}, "no time column 'time'"),
        ({"features": ["x", "z"]}, "no feature column 'z'"),
        ({"fold": "fold"}, "no fold column 'fold'"),
        ({"out_of_time": "late"}, "no out-of-time column 'late'"),
        ({"query": "message"}, "no query column 'message'"),
        ({"sequence_features": {"a": ["age"]}}, "no sequence feature column 'age'"),
        ({"time": {"day": 10}}, "no time column 'day'"),
    ],
)
def test_a_column_that_does_not_exist_is_named_with_the_nearest(frame, changes, message):
    with pytest.raises(KeyError, match=message):
        build(frame, **changes)


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        ({"t": [1, 1, 0]}, {}, r"sequence 'a' of column 'who': step 1 comes 2 times"),
        ({"who": ["a", None, "b"]}, {}, "sequence column 'who' lacks a value in 1 rows, the first being row 1"),
        ({"t": [0.0, 0.5, 1.0]}, {}, "time column 't' holds 0.5 in row 1, expected whole numbers"),
        ({"t": ["Monday", "Tuesday", "Monday"]}, {}, "time column 't' holds text: give the length of a step"),
        ({"t": ["Monday", "Tuesday", "Monday"]}, {"time_step": "1D"}, "cannot be read as dates"),
        (
            {"t": ["3/4/2024", "5/4/2024", "3/4/2024"]},
            {"time_step": "1D"},
            "cannot be read as dates such as 2024-03-01",
        ),
        ({"t": pd.to_datetime(["2024-01-01"] * 3)}, {}, "holds dates: give the length of a step"),
        ({"t": pd.to_datetime(["2024-01-01"] * 3)}, {"time_step": "1 month"}, "no fixed length of time"),
        ({"t": pd.to_datetime(["2024-01-01"] * 3)}, {"time_step": "-1D"}, "must be longer than zero"),
        ({}, {"time_step": "1D"}, "time_step must be a number above zero, got '1D'"),
        ({}, {"time": {"t": 1}, "time_step": 2}, "time_step is for one column"),
        ({}, {"time": {}}, "time names no column"),
        ({"t": [0, 10**6, 0]}, {}, r"1,000,001 of them, with a jump from 0 to 1000000"),
        ({"x": ["low", "high", "low"]}, {"features": ["x"]}, "feature column 'x' holds .*, expected numbers"),
        ({"x": ["low", "high", "low"]}, {}, r"features=None takes every column.*'x' holds"),
        ({"x": pd.Series([1.0, "two", 3.0], dtype=object)}, {}, "feature column 'x' holds 'two' in row 1"),
        ({"x": [1.0, np.inf, 2.0]}, {}, "feature column 'x' holds an infinite value in row 1"),
        ({"y": ["a", "b", "c"]}, {}, "outcome column 'y' holds .*, expected numbers"),
        ({"y": pd.Categorical(["a", "b", "a"])}, {}, "outcome column 'y' holds category, such as 'a'"),
        ({"y": [np.nan] * 3}, {}, "none of the 2 sequences has an observed outcome"),
        ({"y": [0.0, 4.0, 1.0]}, {"num_classes": 4}, "outcome 'y' of sequence 'a' is 4 at step 1"),
        ({}, {"features": ["x", "y"]}, "outcome 'y' is also a feature of the same step"),
        ({}, {"outcomes": ["y", "y"]}, "an outcome is named twice"),
        ({}, {"outcomes": "t"}, "column 't' is an outcome and names the sequence or the time"),
        ({}, {"horizon": -1}, "horizon must be a whole number of steps from 0 on, got -1"),
        ({}, {"missing_when": "some"}, "missing_when must be 'all' or 'any'"),
        ({}, {"without_time": "keep"}, "without_time must be 'error' or 'drop'"),
        ({}, {"features": []}, "no feature column for 'embeddings'"),
        ({"fold": [0, 1, 0]}, {"fold": "fold"}, "fold column 'fold': sequence 'a' has 2 different values"),
        ({"fold": [0, None, 0]}, {"fold": "fold"}, "fold column 'fold' lacks a value in 1 rows"),
        ({"age": [30, 31, 40]}, {"sequence_features": {"p": ["age"]}}, r"\['age'\]: sequence 'a' has 2 different"),
        ({"age": [30, None, 40]}, {"sequence_features": {"p": ["age"]}}, "'age' lacks a value in row 1"),
        ({"late": [0, 2, 0]}, {"out_of_time": "late"}, "'oots_mask' holds 2, expected 0 or 1"),
    ],
)
def test_values_that_do_not_fit_are_named(frame, columns, changes, message):
    with pytest.raises(ValueError, match=message):
        build(frame.assign(**columns), **changes)


def test_an_empty_table_is_refused(frame):
    with pytest.raises(ValueError, match="the table has no rows"):
        build(frame.iloc[:0])


def test_two_columns_of_one_name_are_refused(frame):
    twice = pd.concat([frame, frame[["x"]]], axis=1)
    with pytest.raises(ValueError, match="2 columns are called 'x'"):
        build(twice, features=["x"])


def test_files_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no table at"):
        build(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match=r"none of \.csv, \.txt, \.tsv, \.parquet"):
        build(tmp_path / "table.xlsx")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match=r"empty\.csv cannot be read as \.csv"):
        build(tmp_path / "empty.csv")
