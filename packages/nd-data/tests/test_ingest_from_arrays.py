"""Recordings from arrays and data frames."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nd_data import Data, Dataset, Interval, IrregularTimeSeries, RegularTimeSeries
from nd_data.ingest import FractionSplits, recording_from_arrays, save_recording

SPIKES = {"b": [2.5, 0.5], "a": [1.0], "c": []}


def make(**parts):
    return recording_from_arrays(**{"brainset": "mine", "session": "monday", **parts})


def trains(data):
    """Spike times by unit id."""
    return {
        unit: data.spikes.timestamps[data.spikes.unit_index == row].tolist() for row, unit in enumerate(data.units.id)
    }


@pytest.mark.parametrize(
    ("parts", "ids"),
    [
        ({"spike_times": [[2.5, 0.5], [1.0], []]}, ["unit_0", "unit_1", "unit_2"]),
        ({"spike_times": SPIKES}, ["b", "a", "c"]),
        ({"spike_times": SPIKES, "units": {"id": ["c", "b", "a"], "depth": [3, 1, 2]}}, ["c", "b", "a"]),
        ({"spike_times": [2.5, 1.0, 0.5], "spike_units": [4, 7, 4]}, ["unit_4", "unit_7"]),
        ({"spike_times": [2.5, 1.0, 0.5], "spike_units": ["b", "a", "b"]}, ["a", "b"]),
        (
            {"spike_times": [2.5, 1.0, 0.5], "spike_units": [4, 7, 4], "units": pd.DataFrame({"id": [7, 5, 4]})},
            ["unit_7", "unit_5", "unit_4"],
        ),
        (
            {
                "spike_times": pd.Series([2.5, 1.0, 0.5], index=[9, 8, 7]),
                "spike_units": pd.Series(["b", "a", "b"]),
                "units": pd.DataFrame({"id": ["a", "b"], "area": ["M1", "PMd"]}),
            },
            ["a", "b"],
        ),
    ],
)
def test_spikes_come_in_every_usual_shape(parts, ids):
    data = make(**parts)
    assert data.units.id.tolist() == ids
    assert data.units.keys()[0] == "id"
    np.testing.assert_array_equal(data.spikes.timestamps, [0.5, 1.0, 2.5])
    assert data.spikes.unit_index.dtype == np.int64
    found = [spikes for spikes in trains(data).values() if spikes]
    assert sorted(found) == [[0.5, 2.5], [1.0]]
    first = data.units.id[data.spikes.unit_index[0]]
    assert first == data.units.id[data.spikes.unit_index[2]]
    assert first != data.units.id[data.spikes.unit_index[1]]


@given(st.lists(st.lists(st.floats(-1e4, 1e4), max_size=6), min_size=1, max_size=5))
def test_no_spike_is_lost_and_none_changes_its_unit(lists):
    data = make(spike_times=lists, domain=(-2e4, 2e4))
    assert (np.diff(data.spikes.timestamps) >= 0).all()
    assert trains(data) == {f"unit_{unit}": sorted(times) for unit, times in enumerate(lists)}


def test_what_is_known_of_units_stays_with_them():
    frame = pd.DataFrame({"depth": [3.0, 1.0, 2.0], "id": ["c", "b", "a"], "area": ["M1", "M1", "PMd"]})
    data = make(spike_times=SPIKES, units=frame)
    assert data.units.keys() == ["id", "depth", "area"]
    assert trains(data) == {"c": [], "b": [0.5, 2.5], "a": [1.0]}
    assert dict(zip(data.units.id, data.units.area, strict=True)) == {"c": "M1", "b": "M1", "a": "PMd"}


def test_signals_come_with_timestamps_a_rate_or_as_data_frames():
    frame = pd.DataFrame({"timestamps": [0.2, 0.1, 0.4], "gain": [2.0, 1.0, 3.0], "state": ["b", "a", "c"]})
    data = make(
        series={
            "cursor": {"timestamps": [0.3, 0.1, 0.2], "vel": [[3, 3], [1, 1], [2, 2]]},
            "emg": {"sampling_rate": 1000, "start": 0.5, "raw": np.arange(2000)},
            "table": frame,
            "indexed": frame.set_index("timestamps"),
            "pupil": pd.Series([1.0, 2.0], index=[0.0, 0.5]),
            "ready": RegularTimeSeries(sampling_rate=2.0, x=[0, 1]),
        },
    )
    np.testing.assert_array_equal(data.cursor.vel, [[1, 1], [2, 2], [3, 3]])
    np.testing.assert_array_equal(data.cursor.timestamps, [0.1, 0.2, 0.3])
    assert (data.emg.sampling_rate, data.emg.domain.start[0], data.emg.domain.end[0]) == (1000.0, 0.5, 2.5)
    for name in ("table", "indexed"):
        series = getattr(data, name)
        assert series.gain.tolist() == [1.0, 2.0, 3.0]
        assert series.state.tolist() == ["a", "b", "c"]
    assert data.pupil.data.tolist() == [1.0, 2.0]
    assert data.ready.sampling_rate == 2.0
    assert (data.start, data.end) == (0.0, 2.5)
    # The last sample lies inside the half-open domain.
    assert len(data.cursor.slice(data.cursor.domain.start[0], data.cursor.domain.end[0])) == 3


@pytest.mark.parametrize("names", [("start", "end"), ("start_time", "stop_time")])
def test_trials_come_as_mappings_and_data_frames(names):
    columns = {names[0]: [2.0, 0.0], names[1]: [3.0, 1.5], "kind": ["stop", "go"], "target": [1, 0]}
    for trials in (columns, pd.DataFrame(columns)):
        data = make(intervals={"trials": trials})
        assert data.trials.start.tolist() == [0.0, 2.0]
        assert data.trials.end.tolist() == [1.5, 3.0]
        assert data.trials.kind.tolist() == ["go", "stop"]
        assert data.trials.target.tolist() == [0, 1]


def test_a_recording_is_saved_where_a_dataset_finds_it(tmp_path):
    rng = np.random.default_rng(0)
    data = make(
        session={"id": "monday", "rig": 3},
        subject={"id": "rat", "species": "Rattus norvegicus"},
        spike_times=[rng.uniform(0, 20, 40) for _ in range(3)],
        series={"cursor": {"sampling_rate": 50.0, "vel": rng.normal(size=(1000, 2))}},
        domain=(0.0, 20.0),
        splits=FractionSplits(train=0.5, valid=0.25, test=0.25),
    )
    path = save_recording(data, tmp_path / "data")
    assert path == tmp_path / "data" / "mine" / "monday.h5"
    dataset = Dataset(tmp_path / "data", split="valid")
    assert dataset.get_subject_ids() == ["mine/rat"]
    window = dataset.get("mine/monday", 11.0, 12.0)
    times = data.spikes.timestamps
    np.testing.assert_array_equal(window.spikes.timestamps, times[(times >= 11) & (times < 12)] - 11)
    np.testing.assert_array_equal(window.cursor.vel, data.cursor.vel[550:600])
    assert (window.session.rig, window.subject.species) == (3, "Rattus norvegicus")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_recording(data, tmp_path / "data")
    assert save_recording(data, tmp_path / "data", overwrite=True) == path


def test_the_recording_itself_stands_in_for_a_subject_without_a_name():
    assert make(intervals={"trials": {"start": [0], "end": [1]}}).subject.id == "monday"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "nothing in the recording has a time: pass a domain"),
        ({"spike_units": [1]}, "units but no spike_times"),
        ({"spike_times": [1.0, 2.0]}, "pass the unit of each spike as spike_units"),
        ({"spike_times": [1.0, 2.0], "spike_units": [1]}, "expected one unit for each spike"),
        ({"spike_times": [[1.0, np.nan]]}, "'spike_times of unit_0' holds 1 NaN"),
        ({"spike_times": [[1.0, np.inf]]}, "spike_times of unit_0' holds inf in row 1"),
        ({"spike_times": SPIKES, "units": {"id": ["b", "aa", "c"]}}, "unit 'a', which is not in units; .*'aa'"),
        ({"spike_times": SPIKES, "units": {"depth": [1, 2, 3]}}, "units needs 'id'.*found depth"),
        ({"spike_times": SPIKES, "units": {"id": ["b", "b", "a"]}}, "'b' comes twice"),
        ({"spike_times": [[1.0]], "units": {"id": ["a", "b"]}}, "1 lists, but units has 2 ids"),
        ({"spike_times": [[1.0]], "units": {"id": ["a"], "depth": [1, 2]}}, "'depth' has 2 rows"),
        ({"session": ""}, "session needs an id of text, got ''"),
        ({"subject": {"species": "rat"}, "intervals": {"t": {"start": [0], "end": [1]}}}, "subject needs an id"),
        ({"series": {"a b": {}}}, "'a b' cannot name a part"),
        ({"series": {"slice": {}}}, "'slice' cannot name a part"),
        ({"series": {"spikes": {}}}, "'spikes' is the name of another part"),
        ({"series": {"x": {"vel": [1]}}}, "'x': it needs timestamps or a sampling_rate, found vel"),
        ({"series": {"x": {"timestamps": [], "vel": []}}}, "'x': it has no samples"),
        ({"series": {"x": {"sampling_rate": 10}}}, "'x': it has no arrays"),
        ({"series": {"x": {"sampling_rate": 10, "timestamps": [1], "v": [1]}}}, "either sampling_rate or timestamps"),
        ({"series": {"x": {"sampling_rate": 0, "v": [1]}}}, "'x': the sampling rate must be a positive number"),
        ({"series": {"x": {"timestamps": [1, 2], "v": [1]}}}, r"'x': 'v' has shape \(1,\), expected .* 2 timestamps"),
        ({"series": {"x": {"timestamps": [1, np.nan], "v": [1, 2]}}}, "'x': 'timestamps' holds 1 NaN"),
        (
            {"series": {"x": pd.DataFrame({"v": [1, 2]})}},
            "'x': the data frame has neither .* int64; it has the columns v",
        ),
        ({"series": {"x": [1, 2]}}, "'x': expected a mapping of arrays or a data frame, got list"),
        ({"intervals": {"t": {"start": [0.0]}}}, "'t': intervals need 'end' or 'stop_time', found start"),
        ({"intervals": {"t": {"start": [0.0, 2.0], "end": [1.0, 1.0]}}}, r"'t': interval 1 ends before .*\[2, 1\)"),
    ],
)
def test_what_makes_no_recording_is_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        make(**parts)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Data(brainset=Data(id="mine")), "no session.id"),
        (Data(brainset=Data(id="a/b"), session=Data(id="s")), "brainset.id 'a/b' is no file name"),
        (Data(brainset=Data(id="mine"), session=Data(id="..")), "session.id '..' is no file name"),
    ],
)
def test_a_recording_without_a_usable_name_is_not_saved(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        save_recording(data, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_given_containers_and_domains_are_kept():
    series = IrregularTimeSeries([1.0], x=[2.0], domain=Interval(0.0, 2.0))
    trials = Interval([0.0], [1.0])
    domain = Interval([0.0, 5.0], [2.0, 6.0])
    data = make(series={"tap": series}, intervals={"trials": trials}, domain=domain)
    assert data.tap is series
    assert data.trials is trials
    assert data.domain is domain
