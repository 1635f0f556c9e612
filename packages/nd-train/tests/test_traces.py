"""Files of stitched traces: what is written is what is read."""

import csv

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_eval import StitchedTrace
from nd_train.traces import has_targets, read_trace_attributes, read_traces, write_traces

SUFFIXES = ["h5", "hdf5", "csv"]


def trace(length=5, width=2, *, seed=0, kind="continuous", targets=True):
    generator = torch.Generator().manual_seed(seed)
    times = torch.rand(length, generator=generator, dtype=torch.float64).cumsum(0) + 1e5
    preds = torch.randn(length, width, generator=generator)
    known = torch.randn(length, width, generator=generator)
    if kind == "classes":
        known = torch.randint(0, width, (length,), generator=generator)
    return StitchedTrace(times, preds, known if targets else torch.full_like(preds, torch.nan))


def same(one, other):
    return all(
        torch.equal(torch.nan_to_num(a, nan=-9.0), torch.nan_to_num(b, nan=-9.0)) and a.dtype == b.dtype
        for a, b in zip(
            (one.timestamps, one.preds, one.targets), (other.timestamps, other.preds, other.targets), strict=True
        )
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_traces_read_back_as_they_were_to_the_bit(suffix, tmp_path):
    traces = {
        "b/one": {"velocity": trace(), "state": trace(7, 3, seed=1, kind="classes")},
        "b/two": {"velocity": trace(3, seed=2)},
    }
    read = read_traces(write_traces(tmp_path / f"traces.{suffix}", traces))
    assert {recording: set(tasks) for recording, tasks in read.items()} == {
        "b/one": {"velocity", "state"},
        "b/two": {"velocity"},
    }
    assert all(same(read[r][t], traces[r][t]) for r in traces for t in traces[r])


@settings(deadline=None, max_examples=25)
@given(values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_any_number_survives_csv(values, tmp_path_factory):
    preds = torch.tensor(values, dtype=torch.float32)[:, None]
    times = torch.arange(len(values), dtype=torch.float64) / 3
    path = write_traces(
        tmp_path_factory.mktemp("csv") / "x.csv", {"a/b": {"task": StitchedTrace(times, preds, preds + 0.0)}}
    )
    read = read_traces(path)["a/b"]["task"]
    assert torch.equal(read.preds, preds)
    assert torch.equal(read.timestamps, times)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_targets_that_nobody_knows_are_left_out_and_come_back_as_nan(suffix, tmp_path):
    traces = {"b/one": {"velocity": trace(targets=False)}, "b/two": {"velocity": trace(seed=3)}}
    path = write_traces(tmp_path / f"traces.{suffix}", traces)
    if suffix == "csv":
        with path.open() as file:
            rows = list(csv.DictReader(file))
        assert {row["target_0"] for row in rows if row["recording"] == "b/one"} <= {"", None}
    else:
        with h5py.File(path) as file:
            assert sorted(file["b/one/velocity"]) == ["predictions", "timestamps"]
    read = read_traces(path)
    assert not has_targets(read["b/one"]["velocity"])
    assert same(read["b/two"]["velocity"], traces["b/two"]["velocity"])


def test_the_groups_and_datasets_are_as_documented(tmp_path):
    one = trace()
    path = write_traces(
        tmp_path / "t.h5",
        {"b/one": {"velocity": one}},
        attributes={"velocity": {"unit": "cm/s", "class_names": ["x", "y"], "normalize_mean": 2.5, "unknown": None}},
        about={"stage": "test"},
    )
    with h5py.File(path) as file:
        assert file.attrs["stage"] == "test"
        group = file["b/one/velocity"]
        assert group["timestamps"].dtype == np.float64
        assert np.array_equal(group["predictions"][()], one.preds.numpy())
        assert np.array_equal(group["targets"][()], one.targets.numpy())
    assert read_trace_attributes(path) == {
        "b/one": {"velocity": {"unit": "cm/s", "class_names": ["x", "y"], "normalize_mean": 2.5}}
    }


def test_recordings_may_differ_and_names_may_be_thousands(tmp_path):
    names = [f"class {number}" for number in range(8000)]
    path = write_traces(
        tmp_path / "t.h5",
        {"b/one": {"state": trace()}, "b/two": {"state": trace()}},
        attributes={"state": {"class_names": names, "unit": "cm"}},
        of_recordings={"b/two": {"state": {"unit": "V"}}},
    )
    known = read_trace_attributes(path)
    assert {name: tasks["state"]["unit"] for name, tasks in known.items()} == {"b/one": "cm", "b/two": "V"}
    assert known["b/two"]["state"]["class_names"] == names


@pytest.mark.parametrize("suffix", ["h5", "csv"])
def test_a_write_that_fails_leaves_the_older_file_and_nothing_else(suffix, tmp_path):
    path = tmp_path / f"traces.{suffix}"
    write_traces(path, {"b/one": {"velocity": trace()}})
    before = path.read_bytes()
    broken = StitchedTrace(torch.zeros(5, dtype=torch.float64), trace().preds, "no tensor")
    with pytest.raises((AttributeError, TypeError)):
        write_traces(path, {"b/one": {"velocity": trace(seed=4), "other": broken}})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "traces", "message"),
    [
        ("traces.npz", {"a/b": {"t": trace()}}, "written as .h5 .*or .csv; found the suffix '.npz'"),
        ("traces.h5", {"a/b": {}}, "there is no trace to write"),
        ("traces.h5", {"a/b": {"x/y": trace()}}, "'a/b': a task's name must have no slash"),
    ],
)
def test_what_cannot_be_written_is_an_error_that_says_why(name, traces, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_traces(tmp_path / name, traces)
    assert not list(tmp_path.iterdir())


def test_files_that_hold_no_traces_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of traces"):
        read_traces(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(ValueError, match="not readable as HDF5"):
        read_traces(tmp_path / "text.h5")
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(ValueError, match="expected traces"):
        read_traces(tmp_path / "other.h5")
    with h5py.File(write_traces(tmp_path / "newer.h5", {"a/b": {"t": trace()}}), "a") as file:
        file.attrs["version"] = 99
    with pytest.raises(ValueError, match=r"of version 1 or older, found .* version 99"):
        read_traces(tmp_path / "newer.h5")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="expected a table of traces"):
        read_traces(tmp_path / "table.csv")
