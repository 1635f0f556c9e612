"""The conversion of NWB files as a whole: ids, splits, report, errors, and what becomes of the recording."""

import json
import re
import sys
from datetime import UTC, datetime

import h5py
import numpy as np
import pytest
from pynwb import TimeSeries
from pynwb.file import Subject

from nd_data import Data, Dataset, collate, pad8, track_mask8
from nd_data.cli import main
from nd_data.ingest import FractionSplits, NamedSplits, TrialSplits, convert_nwb
from nd_data.samplers import RandomFixedWindowSampler


def fill(nwb):
    """Three units, velocity at 50 Hz, ten trials of 8 s; 100 s."""
    rng = np.random.default_rng(0)
    for _ in range(3):
        nwb.add_unit(spike_times=np.sort(rng.uniform(0, 100, 500)), obs_intervals=[[0.0, 100.0]])
    module = nwb.create_processing_module(name="behavior", description="…")
    module.add(TimeSeries(name="velocity", data=rng.normal(size=(5000, 2)), unit="m/s", rate=50.0))
    nwb.add_trial_column("kind", "?")
    for number in range(10):
        nwb.add_trial(start_time=10.0 * number, stop_time=10.0 * number + 8, kind=["go", "stop"][number % 2])


def bounds(interval):
    return list(zip(interval.start.tolist(), interval.end.tolist(), strict=True))


def test_session_and_subject_are_taken_over(write_nwb, tmp_path):
    subject = Subject(
        subject_id="mouse 1",
        species="Mus musculus",
        sex="F",
        age="P90D",
        date_of_birth=datetime(2024, 1, 2, tzinfo=UTC),
    )
    path = write_nwb(
        fill,
        subject=subject,
        session_id="day 1",
        lab="the lab",
        institution="the institution",
        experimenter=["Doe, Jane", "Roe, Richard"],
        keywords=["mouse", "M1"],
        notes="n" * 100_000,
    )
    report = convert_nwb(path, tmp_path / "out", brainset="lab")
    data = Data.load(report.paths[0])
    assert report.paths == [tmp_path / "out" / "lab" / "mouse1_day1.h5"]
    assert (data.brainset.id, data.session.id) == ("lab", "mouse1_day1")
    assert data.session.nwb_session_id == "day 1"
    assert data.session.session_start_time == "2024-05-06T07:08:09+00:00"
    assert (data.session.lab, data.session.institution) == ("the lab", "the institution")
    assert data.session.experimenter == "Doe, Jane; Roe, Richard"
    assert data.session.keywords == "mouse; M1"
    assert "notes" not in data.session
    assert "'notes' not mapped: it is longer than" in str(report)
    expected = {"id": "mouse 1", "species": "Mus musculus", "sex": "F", "age": "P90D"}
    assert {name: getattr(data.subject, name) for name in expected} == expected
    assert data.subject.date_of_birth == "2024-01-02T00:00:00+00:00"


def test_ids_can_be_given_and_are_never_made_up_twice(write_nwb, tmp_path):
    path = write_nwb(fill)
    data = Data.load(convert_nwb(path, tmp_path, brainset="lab").paths[0])
    assert data.subject.id == data.session.id == "mouse1_day1"
    report = convert_nwb(path, tmp_path, brainset="lab", session_id="monday", subject_id="m1")
    data = Data.load(tmp_path / "lab" / "monday.h5")
    assert (data.session.id, data.subject.id) == ("monday", "m1")
    assert report.recordings[0].recording_id == "lab/monday"


def test_the_converted_recording_feeds_a_training_loop(write_nwb, tmp_path):
    convert_nwb(write_nwb(fill), tmp_path / "out", brainset="lab", splits=TrialSplits(shuffle_seed=0))

    def tokenize(window):
        velocity = window.behavior.velocity
        return {
            "unit": pad8(window.spikes.unit_index),
            "times": pad8(window.spikes.timestamps),
            "mask": track_mask8(window.spikes.unit_index),
            "velocity": velocity.data,
            "velocity_times": velocity.timestamps,
        }

    dataset = Dataset(tmp_path / "out", split="train", transform=tokenize)
    assert dataset.get_unit_ids() == [f"lab/mouse1_day1/unit_{unit}" for unit in range(3)]
    sampler = RandomFixedWindowSampler(dataset.get_sampling_intervals(), window_length=2.0)
    batch = collate([dataset[index] for index in sampler])
    assert batch["velocity"].shape == (len(sampler), 100, 2)
    assert (batch["velocity_times"] >= 0).all()
    assert (batch["velocity_times"] < 2).all()
    assert (batch["times"][batch["mask"]] < 2).all()
    assert batch["mask"].sum() > 0
    assert batch["unit"].max() <= 2


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (FractionSplits(gap=2.0), {"train": [(0.0, 69.0)], "valid": [(71.0, 79.0)], "test": [(81.0, 100.0)]}),
        (
            TrialSplits(train=0.4, valid=0.2, test=0.4, trials="trials:kind=go"),
            {"train": [(0.0, 8.0), (20.0, 28.0)], "valid": [(40.0, 48.0)], "test": [(60.0, 68.0), (80.0, 88.0)]},
        ),
        (
            NamedSplits(train=["trials:kind=go"], test=["trials:kind=stop"]),
            {
                "train": [(20.0 * number, 20.0 * number + 8) for number in range(5)],
                "test": [(20.0 * number + 10, 20.0 * number + 18) for number in range(5)],
            },
        ),
        (None, {}),
    ],
)
def test_splits_are_written_and_reported(write_nwb, tmp_path, splits, expected):
    report = convert_nwb(write_nwb(fill), tmp_path / "out", brainset="lab", splits=splits)
    data = Data.load(report.paths[0])
    found = {
        name: bounds(getattr(data, f"{name}_domain")) for name in ("train", "valid", "test") if f"{name}_domain" in data
    }
    assert found.keys() == expected.keys()
    for name, intervals in expected.items():
        np.testing.assert_allclose(found[name], intervals)
    assert report.recordings[0].splits == found


def test_times_marked_invalid_belong_to_no_split(write_nwb, tmp_path):
    def with_invalid_times(nwb):
        fill(nwb)
        nwb.add_invalid_time_interval(start_time=20.0, stop_time=40.0)

    report = convert_nwb(write_nwb(with_invalid_times), tmp_path / "out", brainset="lab")
    assert report.recordings[0].splits["train"] == [(0.0, 20.0), (40.0, 76.0)]
    assert "times in invalid_times belong to no split" in report.recordings[0].notes


def test_the_report_accounts_for_every_object_and_is_kept_as_json(write_nwb, tmp_path):
    def with_more(nwb):
        fill(nwb)
        device = nwb.create_device(name="probe")
        nwb.create_electrode_group(name="shank", description="", location="CA1", device=device)

    path = write_nwb(with_more, subject=Subject(subject_id="m1"))
    report = convert_nwb(path, tmp_path / "out", brainset="lab")
    kept = json.loads((tmp_path / "out" / "lab" / "mouse1_day1.conversion.json").read_text(encoding="utf-8"))
    assert kept["recording"] == "lab/mouse1_day1"
    assert kept["source"] == "mouse1_day1.nwb"
    assert kept["splits"]["train"] == [[0.0, 70.0]]
    assert {line["source"]: line["target"] for line in kept["mapped"]} == {
        "/": "session",
        "units": "units and spikes",
        "intervals/trials": "trials",
        "processing/behavior/velocity": "behavior.velocity",
        "subject": "subject",
    }
    assert {line["kind"] for line in kept["not_mapped"]} == {"Device", "ElectrodeGroup"}
    with h5py.File(path) as file:
        types = []
        file.visititems(lambda _, item: types.append(item.attrs.get("neurodata_type")))
    columns = {"VectorData", "VectorIndex", "ElementIdentifiers", "ProcessingModule", None}
    reported = [line["kind"] for line in kept["mapped"] + kept["not_mapped"]]
    assert sorted(reported) == sorted(["NWBFile", *(kind for kind in types if kind not in columns)])
    printed = str(report)
    assert re.search(r"mapped \(5\):\n", printed)
    assert re.search(r"not mapped \(2\):\n", printed)
    assert re.search(r"processing/behavior/velocity +TimeSeries +behavior.velocity +50 Hz, data \(5000, 2\)", printed)
    assert "splits: train: 1 interval, 70.000 s; valid" in printed
    # A folder with reports in it still lists its recordings only.
    assert Dataset(tmp_path / "out").recording_ids == ["lab/mouse1_day1"]


def test_what_pynwb_finds_odd_is_noted_and_stops_nobody(write_nwb, tmp_path):
    path = write_nwb(fill)
    with h5py.File(path, "a") as file:
        file["processing/behavior/velocity/data"].attrs["conversion"] = 1.0
        timestamps = np.arange(4000) / 50.0
        velocity = file["processing/behavior/velocity"]
        del velocity["starting_time"]
        velocity["timestamps"] = timestamps
        velocity["timestamps"].attrs.update(unit="seconds", interval=np.int32(1))
    report = convert_nwb(path, tmp_path / "out", brainset="lab").recordings[0]
    assert any(note.startswith("pynwb:") and "velocity" in note for note in report.notes)
    (line,) = report.not_mapped
    assert line.detail == "it has 5000 samples but timestamps of shape (4000,)"


def make_broken(path, case):
    if case == "text":
        path.write_text("no HDF5")
    elif case == "hdf5":
        with h5py.File(path, "w") as file:
            file["x"] = 1
    elif case == "nwb1":
        with h5py.File(path, "w") as file:
            file["nwb_version"] = "NWB-1.0.6"
    elif case == "folder":
        path.mkdir()


@pytest.mark.parametrize(
    ("case", "kind", "message"),
    [
        ("missing", FileNotFoundError, "no NWB file at .*broken.nwb"),
        ("text", ValueError, "broken.nwb is no NWB file: it cannot be read as HDF5"),
        ("hdf5", ValueError, "broken.nwb is no NWB file: its root has neurodata_type None"),
        ("nwb1", ValueError, "broken.nwb is no NWB file: it is NWB 1, expected NWB 2"),
        ("folder", ValueError, "broken.nwb is a folder, expected an NWB file"),
    ],
)
def test_what_is_no_nwb_file_is_refused_in_one_line(tmp_path, case, kind, message):
    make_broken(tmp_path / "broken.nwb", case)
    with pytest.raises(kind, match=message) as refused:
        convert_nwb(tmp_path / "broken.nwb", tmp_path / "out", brainset="lab")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_series_without_a_clock_is_named(write_nwb, tmp_path):
    path = write_nwb(fill)
    with h5py.File(path, "a") as file:
        del file["processing/behavior/velocity/starting_time"]
    with pytest.raises(
        ValueError, match=r"cannot read this file: processing/behavior/velocity: .*timestamps"
    ) as refused:
        convert_nwb(path, tmp_path / "out", brainset="lab")
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_pynwb_the_extra_is_named(write_nwb, tmp_path, monkeypatch, capsys):
    path = write_nwb(fill)
    monkeypatch.setitem(sys.modules, "pynwb", None)
    with pytest.raises(ImportError, match=r"pip install 'nd-data\[nwb\]'"):
        convert_nwb(path, tmp_path / "out", brainset="lab")
    with pytest.raises(SystemExit) as stopped:
        main(["convert", "nwb", str(path), str(tmp_path / "out"), "--brainset", "lab"])
    assert stopped.value.code == 1
    assert "nd-data[nwb]" in capsys.readouterr().err


def test_nothing_is_written_when_a_recording_exists_or_two_would_be_one(write_nwb, tmp_path):
    first = write_nwb(fill)
    (tmp_path / "other").mkdir()
    second = first.rename(tmp_path / "other" / "a b.nwb")
    third = write_nwb(fill, "a_b.nwb")
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"would both become .*a_b\.h5"):
        convert_nwb([second, third], out, brainset="lab")
    assert not out.exists()
    report = convert_nwb([third], out, brainset="lab")
    before = report.paths[0].read_bytes()
    fresh = write_nwb(fill, "fresh.nwb")
    with pytest.raises(FileExistsError, match=r"a_b\.h5 exists"):
        convert_nwb([fresh, third], out, brainset="lab", splits=None)
    assert [path.name for path in sorted(out.rglob("*.h5"))] == ["a_b.h5"]
    assert report.paths[0].read_bytes() == before
    convert_nwb([fresh, third], out, brainset="lab", splits=None, overwrite=True)
    assert "train_domain" not in Data.load(report.paths[0])
    assert (out / "lab" / "fresh.h5").exists()


def test_a_conversion_that_fails_leaves_nothing_behind(write_nwb, tmp_path, monkeypatch):
    from nd_data.ingest.streamed_series import StreamedSeries

    path = write_nwb(fill)
    with pytest.raises(
        ValueError, match=r"mouse1_day1\.nwb: 'trails' names no intervals.*behavior\.velocity, .*trials"
    ):
        convert_nwb(path, tmp_path / "out", brainset="lab", splits=TrialSplits(trials="trails"))

    def fail(self, group):
        raise OSError("disk full")

    monkeypatch.setattr(StreamedSeries, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        convert_nwb(path, tmp_path / "out", brainset="lab")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"brainset": "a/b"}, "brainset 'a/b' is no file name"),
        ({"session_id": "a b"}, "session_id 'a b' is no file name"),
        ({"session_id": "x", "paths": ["a.nwb", "b.nwb"]}, "session_id names one recording, but there are 2 files"),
        ({"paths": []}, "there is no file to convert"),
        ({"electrical_series": "lfp"}, "electrical_series must be one of none, processed, all, got 'lfp'"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_read(tmp_path, options, message):
    options = {"paths": "a.nwb", "brainset": "lab", **options}
    with pytest.raises(ValueError, match=message):
        convert_nwb(options.pop("paths"), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_command_converts_several_files_and_prints_their_reports(write_nwb, tmp_path, capsys):
    paths = [str(write_nwb(fill, f"day{day}.nwb")) for day in (1, 2)]
    options = ["--brainset", "lab", "--splits", "trials", "--fractions", "0.5", "0.0", "0.5", "--shuffle-seed", "1"]
    assert main(["convert", "nwb", *paths, str(tmp_path / "out"), *options]) == 0
    printed = capsys.readouterr().out
    assert printed.count("mapped (4):") == 2
    recordings = [Data.load(tmp_path / "out" / "lab" / f"day{day}.h5") for day in (1, 2)]
    assert bounds(recordings[0].train_domain) == bounds(recordings[1].train_domain)
    assert len(recordings[0].train_domain) == 5
    assert "valid_domain" not in recordings[0]
    assert main(["inspect", str(tmp_path / "out" / "lab" / "day1.h5")]) == 0
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for expected in (
        "velocity: 5000 samples at 50 Hz, 1 interval, 100.000 s from 0.000 to 100.000 s",
        "spikes: 1500 events (15.00 a second), 1 interval, 100.000 s from 0.000 to 100.000 s",
        "trials: 10 intervals, 80.000 s from 0.000 to 98.000 s",
        "units: 3 rows",
        "data: (5000, 2) float64",
        "velocity_unit: 'm/s'",
    ):
        assert expected in shown
    assert any(line.startswith("train_domain: 5 intervals, 40.000 s") for line in shown)
    assert main(["validate", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--splits", "none", "--within", "trials"], "--within goes with --splits fractions, not with --splits none"),
        (["--shuffle-seed", "1"], "--shuffle-seed goes with --splits trials, not with --splits fractions"),
        (["--splits", "intervals"], "name the intervals of at least one"),
        (
            ["--splits", "intervals", "--fractions", "1", "0", "0"],
            "--fractions goes with --splits fractions or --splits",
        ),
        (["--fractions", "1", "1", "0"], "must add up to 1"),
    ],
)
def test_options_of_the_command_that_do_not_fit_end_in_one_line(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as stopped:
        main(["convert", "nwb", "missing.nwb", str(tmp_path / "out"), "--brainset", "lab", *options])
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("nd-data convert: ")
    assert message in error
    assert error.count("\n") == 1
