"""nd-data validate: all problems of all files at once."""

import json
import re

import h5py
import numpy as np
import pytest

from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries, RegularTimeSeries, validation_values
from nd_data.cli import main
from nd_data.storage import OPEN_FILES
from nd_data.validation import Problem, validate_recording, validate_recordings


def nan_time(file):
    file["spikes/timestamps"][100] = np.nan


def unsorted_time(file):
    file["spikes/timestamps"][200] = 0.0


def late_time(file):
    file["spikes/timestamps"][2999] = 400.0


def shifted_seconds(file):
    file["spikes/timestamp_indices_1s"][3] += 2


def large_unit_index(file):
    file["spikes/unit_index"][7] = 99


def negative_unit_index(file):
    file["spikes/unit_index"][7:9] = -1


def fractional_unit_index(file):
    del file["spikes/unit_index"]
    file["spikes/unit_index"] = np.zeros(3000)


def no_units(file):
    del file["units"]


def no_unit_ids(file):
    del file["units/id"]
    file["units/rate"] = np.zeros(5)


def repeated_unit_id(file):
    file["units/id"][1] = file["units/id"][0]


def damaged_text(file):
    file["units/id"][3] = b"\xff"


def overlapping_splits(file):
    file["valid_domain/start"][0] = 50.0


def split_outside(file):
    file["test_domain/end"][0] = 101.0


def backward_interval(file):
    file["movement_periods/reach_period/end"][3] = -1.0


def nan_interval(file):
    file["movement_periods/reach_period/start"][3] = np.nan


def unsorted_intervals(file):
    for name in ("start", "end"):
        file[f"movement_periods/reach_period/{name}"][...] = file[f"movement_periods/reach_period/{name}"][()][::-1]


def text_as_time(file):
    del file["movement_periods/hold_period/start"]
    file["movement_periods/hold_period/start"] = np.array([b"a"] * 10)


def overlapping_domain(file):
    del file["spikes/domain"]
    Interval([0.0, 40.0], [50.0, 100.0]).to_hdf5(file.create_group("spikes/domain"))


def wrong_rate(file):
    file["cursor"].attrs["sampling_rate"] = 51.0


def negative_rate(file):
    file["cursor"].attrs["sampling_rate"] = -50.0


def no_domain(file):
    del file["domain"]


def empty_domain(file):
    del file["domain"]
    Interval(np.zeros(0), np.zeros(0)).to_hdf5(file.create_group("domain"))
    for name in ("train_domain", "valid_domain", "test_domain"):
        del file[name]


def no_nested_domain(file):
    del file["movement_periods/domain"]


def no_session_id(file):
    del file["session"].attrs["id"]


def no_brainset(file):
    del file["brainset"]


def no_subject(file):
    del file["subject"]


def another_session_id(file):
    file["session"].attrs["id"] = "s2"


def missing_values(file):
    file["cursor/vel"][10:20] = np.nan


def short_array(file):
    del file["spikes/unit_index"]
    file["spikes/unit_index"] = np.zeros(7, dtype=int)


def no_kind(file):
    del file["units"].attrs["object"]


def name_of_a_method(file):
    file["units/keys"] = np.zeros(5)


PROBLEMS = [
    (nan_time, "error", "nan-times", "spikes/timestamps", "holds 1 NaN, the first in row 100"),
    (unsorted_time, "error", "unsorted-times", "spikes/timestamps", "row 200 is earlier than the row before"),
    (late_time, "error", "outside-domain", "spikes/timestamps", "1 of 3000 times outside 'spikes/domain', .* row 2999"),
    (shifted_seconds, "warning", "wrong-second-index", "spikes/timestamp_indices_1s", "other readers would cut wrong"),
    (
        large_unit_index,
        "error",
        "unit-index",
        "spikes/unit_index",
        "holds 99 in row 7, but there are only 5 units",
    ),
    (negative_unit_index, "error", "unit-index", "spikes/unit_index", "holds -1 in row 7, .* 2 rows point outside"),
    (fractional_unit_index, "error", "unit-index", "spikes/unit_index", "holds float64, expected whole numbers"),
    (no_units, "error", "no-units", "spikes/unit_index", "the recording has no 'units'"),
    (no_unit_ids, "error", "missing-id", "units", "has no array 'id'"),
    (repeated_unit_id, "error", "repeated-unit-id", "units/id", r"1 ids more than once \('unit_0'\)"),
    (damaged_text, "error", "not-readable", "units/id", "should hold UTF-8"),
    (overlapping_splits, "error", "overlapping-splits", "valid_domain", r"overlaps 'train_domain' .* \[50, 60\)"),
    (split_outside, "error", "split-outside-domain", "test_domain", r"leaves the recording's domain .* \[100, 101\)"),
    (backward_interval, "error", "backward-interval", "movement_periods/reach_period", r"first \[30, -1\) in row 3"),
    (nan_interval, "error", "nan-times", "movement_periods/reach_period/start", "1 NaN, the first in row 3"),
    (unsorted_intervals, "note", "unsorted-intervals", "movement_periods/reach_period", "is not sorted"),
    (text_as_time, "error", "no-times", "movement_periods/hold_period/start", "must be times in seconds"),
    (overlapping_domain, "error", "overlapping-domain", "spikes/domain", r"first \[0, 50\) in row 0"),
    (wrong_rate, "error", "grid", "cursor", "spans 5100 samples at 51.0 Hz, but the arrays have 5000 rows"),
    (negative_rate, "error", "sampling-rate", "cursor", "expected a positive number"),
    (no_domain, "error", "missing-domain", "domain", "has no Interval 'domain'"),
    (empty_domain, "warning", "empty-domain", "domain", "is empty"),
    (no_nested_domain, "error", "missing-domain", "movement_periods", "has no Interval 'domain', but parts with times"),
    (no_session_id, "error", "missing-id", "session", "store session.id"),
    (no_brainset, "error", "missing-id", "brainset", "store brainset.id"),
    (no_subject, "warning", "missing-id", "subject", "cannot be selected by subject"),
    (another_session_id, "warning", "name-differs", "session", "has the id 's2', but the file is called 's1'"),
    (missing_values, "note", "not-finite", "cursor/vel", r"20 of 10000 values that are not finite \(0.2 %\)"),
    (short_array, "error", "layout", "spikes", "must have the same first dimension"),
    (no_kind, "error", "layout", "units", "has no attribute 'object'"),
    (name_of_a_method, "error", "not-readable", "units", "'keys' is an attribute of every"),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem[0].__name__)
def test_each_problem_is_found_and_nothing_else(save_recording, problem):
    damage, severity, kind, key, message = problem
    path = save_recording("alpha", "s1")
    assert validate_recording(path) == []
    with h5py.File(path, "r+") as file:
        damage(file)
    (found,) = validate_recording(path)
    assert (found.file, found.severity, found.kind, found.key) == (str(path), severity, kind, key)
    assert re.search(message, found.message)
    assert f"'{key}" in found.message or key == "domain"


def test_problems_are_found_wherever_the_pieces_end_that_arrays_are_read_in(save_recording, monkeypatch):
    path = save_recording("alpha", "s1")
    with h5py.File(path, "r+") as file:
        for damage in (nan_time, late_time, large_unit_index, missing_values):
            damage(file)
    whole = validate_recording(path)
    assert len(whole) == 4
    for piece in (8, 96, 800, 1608, 8000):
        monkeypatch.setattr(validation_values, "PIECE", piece)
        assert validate_recording(path) == whole


def test_the_order_of_times_is_checked_across_pieces_and_around_nan(save_recording, monkeypatch):
    path = save_recording("alpha", "s1")
    with h5py.File(path, "r+") as file:
        file["spikes/timestamps"][1000] = np.nan
        file["spikes/timestamps"][1001] = 0.0
    monkeypatch.setattr(validation_values, "PIECE", 8 * 1001)
    assert {problem.kind for problem in validate_recording(path)} == {"nan-times", "unsorted-times"}


def test_a_whole_recording_of_everything_has_no_problems(tmp_path):
    times = np.sort(np.random.default_rng(0).uniform(0, 10, 50))
    path = tmp_path / "some" / "one.h5"
    path.parent.mkdir()
    Data(
        brainset=Data(id="some"),
        session=Data(id="one"),
        subject=Data(id="x"),
        auto=IrregularTimeSeries(times, domain="auto"),
        empty=IrregularTimeSeries(np.zeros(0), unit_index=np.zeros(0, int), domain=Interval(0.0, 10.0)),
        nowhere=IrregularTimeSeries(np.zeros(0), domain=Interval(np.zeros(0), np.zeros(0))),
        gaps=RegularTimeSeries.from_gappy_timeseries([0.0, 0.1, 0.2, 0.5], 10.0, x=np.arange(4)),
        units=ArrayDict(id=["ä", "b"]),
        nothing=Interval(np.zeros(0), np.zeros(0), kind=np.zeros(0, "U3")),
        image=np.ones((2, 3)),
        labels=np.array(["a", "ü"]),
        train_domain=Interval([0.0, 4.0], [2.0, 6.0]),
        test_domain=Interval([2.0, 6.0], [4.0, 10.0]),
        domain=Interval(0.0, 10.0),
    ).save(path)
    assert validate_recording(path) == []


def test_files_that_cannot_be_read_are_problems_and_not_errors(tmp_path, save_recording):
    (tmp_path / "text.h5").write_text("no recording" * 100)
    good = save_recording("alpha", "s1")
    (tmp_path / "short.h5").write_bytes(good.read_bytes()[:5000])
    with h5py.File(tmp_path / "part.h5", "w") as file:
        ArrayDict(id=["a"]).to_hdf5(file)
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = np.zeros(3)
    kinds = {name: [problem.kind for problem in validate_recording(tmp_path / f"{name}.h5")] for name in NAMES}
    assert kinds == {
        "text": ["unreadable"],
        "short": ["unreadable"],
        "missing": ["unreadable"],
        "part": ["not-a-recording"],
        "foreign": ["layout"],
    }
    assert validate_recording(tmp_path)[0].message.endswith("expected an HDF5 recording file")


NAMES = ("text", "short", "missing", "part", "foreign")


def test_damaged_compressed_values_are_named(save_recording):
    path = save_recording("alpha", "s1")
    with h5py.File(path, "r+") as file:
        velocity = file["cursor/vel"][()]
        del file["cursor/vel"]
        stored = file["cursor"].create_dataset("vel", data=velocity, compression="gzip", chunks=(1000, 2))
        place, size = stored.id.get_chunk_info(2).byte_offset, stored.id.get_chunk_info(2).size
    content = bytearray(path.read_bytes())
    content[place : place + size] = bytes(size)
    path.write_bytes(content)
    (found,) = validate_recording(path)
    assert (found.kind, found.key) == ("not-readable", "cursor/vel")
    assert "cannot be read" in found.message


def test_no_file_stays_open(root):
    OPEN_FILES.close()
    assert len(list(validate_recordings([root]))) == 3
    assert len(OPEN_FILES) == 0


def test_sessions_that_share_an_id_are_told(root):
    (root / "alpha" / "again.h5").write_bytes((root / "alpha" / "s1.h5").read_bytes())
    found = {path.stem: [problem.kind for problem in problems] for path, problems in validate_recordings([root])}
    assert found == {"again": ["name-differs"], "s1": ["shared-session-id"], "s2": [], "t1": []}


# The command.


def test_the_command_lists_all_problems_of_all_files(root, capsys):
    (root / "alpha" / ".s9.h5").write_text("half-written")
    assert main(["validate", str(root)]) == 0
    assert capsys.readouterr().out == "3 files, 0 with errors: 0 errors, 0 warnings, 0 notes\n"
    for name in ("s1", "s2"):
        with h5py.File(root / "alpha" / f"{name}.h5", "r+") as file:
            for damage in (large_unit_index, overlapping_splits, no_subject, missing_values):
                damage(file)
    assert main(["validate", str(root / "alpha"), str(root / "beta" / "t1.h5")]) == 1
    *lines, total = capsys.readouterr().out.splitlines()
    assert total == "3 files, 2 with errors: 4 errors, 2 warnings, 2 notes"
    assert len(lines) == 8
    assert lines[0].startswith(f"{root}/alpha/s1.h5: error: 'spikes/unit_index' holds 99")
    assert main(["validate", "--quiet", str(root)]) == 1
    assert "note:" not in capsys.readouterr().out


def test_the_status_tells_errors_from_warnings(root, capsys):
    with h5py.File(root / "alpha" / "s1.h5", "r+") as file:
        missing_values(file)
    assert main(["validate", "--strict", str(root)]) == 0
    with h5py.File(root / "alpha" / "s1.h5", "r+") as file:
        no_subject(file)
    assert main(["validate", str(root)]) == 0
    assert main(["validate", "--strict", str(root)]) == 1


def test_programs_can_read_the_problems(root, capsys):
    with h5py.File(root / "alpha" / "s1.h5", "r+") as file:
        overlapping_splits(file)
    assert main(["validate", "--json", str(root)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["files"] == 3
    (problem,) = found["problems"]
    assert Problem(**problem) == validate_recording(root / "alpha" / "s1.h5")[0]


def test_a_folder_without_recordings_and_a_missing_file_are_errors(tmp_path, capsys):
    assert main(["validate", str(tmp_path), str(tmp_path / "nowhere.h5")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{tmp_path}: error: there are no recordings *.h5 in this folder"
    assert f"{tmp_path}/nowhere.h5: error: no recording at" in lines[1]
