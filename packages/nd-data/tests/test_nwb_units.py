"""Sorted units of NWB files, read again with h5py and pynwb."""

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynwb import NWBHDF5IO

from nd_data import Data
from nd_data.ingest import convert_nwb


def detail(report, source):
    (line,) = [line for line in report.lines if line.source == source]
    return line.detail


def add_electrodes(nwb, locations=("CA1", "CA1", "ADn", "PoS")):
    device = nwb.create_device(name="probe")
    group = nwb.create_electrode_group(name="shank 1", description="", location="deep", device=device)
    nwb.add_electrode_column("label", "name of the site")
    for number, location in enumerate(locations):
        nwb.add_electrode(
            x=1.0 * number, y=2.0, z=3.0, imp=-1.0, location=location, filtering="none", group=group, label=f"e{number}"
        )
    return group


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(lists=st.lists(st.lists(st.floats(-100, 1000), max_size=8), min_size=1, max_size=5).filter(any))
def test_every_spike_of_every_unit_is_there_in_order_of_time(convert_filled, tmp_path, lists):
    def fill(nwb):
        for times in lists:
            nwb.add_unit(spike_times=times)

    data, report = convert_filled(fill, splits=None)
    with h5py.File(tmp_path / "mouse1_day1.nwb") as file:
        flat, ends = file["units/spike_times"][()], file["units/spike_times_index"][()].astype(int)
    stored = np.split(flat, ends[:-1])
    times, unit_index = data.spikes.timestamps, data.spikes.unit_index
    assert len(times) == len(flat)
    assert (np.diff(times) >= 0).all()
    assert len(data.units) == len(lists)
    for unit, expected in enumerate(stored):
        np.testing.assert_array_equal(times[unit_index == unit], np.sort(expected))
    assert detail(report, "units").startswith(f"{len(lists)} unit")
    # Every spike lies in the half-open domain.
    assert len(data.slice(data.start, data.end).spikes) == len(flat)


def test_what_the_table_says_of_units_is_kept_with_them(convert_filled):
    def fill(nwb):
        group = add_electrodes(nwb)
        nwb.add_unit_column("quality", "how good")
        nwb.add_unit_column("depth", "µm")
        nwb.add_unit_column("is_pyramidal", "?")
        nwb.add_unit_column("bad name!", "needs another name")
        nwb.add_unit_column("keys", "a name that arrays cannot have")
        nwb.add_unit_column("pair", "two numbers", index=True)
        nwb.add_unit_column("ragged", "any number of numbers", index=True)
        nwb.add_unit_column("tags", "any number of texts", index=True)
        rows = (("good", 10.0, True, [0, 1], [1], ["a"]), ("mua", np.nan, False, [2, 3], [], ["b", "c"]))
        for number, (quality, depth, is_pyramidal, electrodes, ragged, tags) in enumerate(rows):
            nwb.add_unit(
                id=10 + number,
                spike_times=[1.0 + number],
                electrodes=electrodes,
                electrode_group=group,
                waveform_mean=np.full((4, 2), float(number)),
                quality=quality,
                depth=depth,
                is_pyramidal=is_pyramidal,
                pair=[number, number + 1],
                ragged=[float(value) for value in ragged],
                tags=tags,
                **{"bad name!": number, "keys": 5 + number},
            )

    data, report = convert_filled(fill, splits=None)
    units = data.units
    assert units.id.tolist() == ["unit_10", "unit_11"]
    assert units.nwb_id.tolist() == [10, 11]
    assert units.quality.tolist() == ["good", "mua"]
    np.testing.assert_array_equal(units.depth, [10.0, np.nan])
    assert units.is_pyramidal.tolist() == [True, False]
    assert units.bad_name.tolist() == [0, 1]
    assert units.keys_2.tolist() == [5, 6]
    assert units.pair.tolist() == [[0, 1], [1, 2]]
    assert units.tags.tolist() == ["a", "b; c"]
    assert units.electrodes.tolist() == [[0, 1], [2, 3]]
    assert units.electrode_location.tolist() == ["CA1", "ADn; PoS"]
    assert units.electrode_group.tolist() == ["shank 1", "shank 1"]
    assert units.electrode_group_location.tolist() == ["deep", "deep"]
    np.testing.assert_array_equal(units.waveform_mean, [np.zeros((4, 2)), np.ones((4, 2))])
    assert "ragged" not in units
    said = detail(report, "units")
    assert "column 'ragged' not mapped: its rows are lists of 0 to 1 numbers" in said
    assert "column 'bad name!' is 'bad_name'" in said
    assert "column 'keys' is 'keys_2'" in said
    assert data.electrodes.label.tolist() == ["e0", "e1", "e2", "e3"]
    assert data.electrodes.location[units.electrodes[1]].tolist() == ["ADn", "PoS"]


def test_units_on_different_numbers_of_electrodes_keep_their_places(convert_filled):
    def fill(nwb):
        add_electrodes(nwb)
        nwb.add_unit(spike_times=[1.0], electrodes=[0, 2])
        nwb.add_unit(spike_times=[2.0], electrodes=[3])

    data, report = convert_filled(fill, splits=None)
    assert data.units.electrode_location.tolist() == ["CA1; ADn", "PoS"]
    assert "electrodes" not in data.units
    assert "column 'electrodes' not mapped as numbers" in detail(report, "units")


def test_silent_units_are_kept_and_counted(convert_filled):
    def fill(nwb):
        for times in ([], [1.0, 2.0], []):
            nwb.add_unit(spike_times=times)

    data, report = convert_filled(fill, splits=None)
    assert len(data.units) == 3
    assert data.spikes.unit_index.tolist() == [1, 1]
    assert "2 of 3 units have no spike" in detail(report, "units")


def test_spike_times_that_are_no_times_are_dropped_and_counted(convert_filled):
    def fill(nwb):
        nwb.add_unit_column("spike_amplitudes", "one a spike", index=True)
        nwb.add_unit(spike_times=[3.0, np.nan, 1.0], spike_amplitudes=[30.0, 0.0, 10.0])
        nwb.add_unit(spike_times=[2.0, np.inf], spike_amplitudes=[20.0, 0.0])

    data, report = convert_filled(fill, splits=None)
    assert data.spikes.timestamps.tolist() == [1.0, 2.0, 3.0]
    assert data.spikes.unit_index.tolist() == [0, 1, 0]
    # One value a spike belongs to the spikes, not to the units.
    assert data.spikes.spike_amplitudes.tolist() == [10.0, 20.0, 30.0]
    assert "spike_amplitudes" not in data.units
    said = detail(report, "units")
    assert "2 spike times that are NaN or infinite dropped" in said
    assert "column 'spike_amplitudes' is spikes.spike_amplitudes" in said


def test_observation_intervals_are_the_domain(convert_filled):
    def fill(nwb):
        for times in ([1.0, 5.0, 30.0], [2.0, 25.0]):
            nwb.add_unit(spike_times=times, obs_intervals=[[0.0, 10.0], [20.0, 30.0]])

    data, report = convert_filled(fill, splits=None)
    assert data.domain.start.tolist() == data.spikes.domain.start.tolist() == [0.0, 20.0]
    assert data.domain.end.tolist() == [10.0, 30.0]
    assert report.domain == [(0.0, 10.0), (20.0, 30.0)]
    assert "obs_intervals" not in data
    assert "outside" not in detail(report, "units")


def test_units_observed_at_different_times_are_all_kept(convert_filled):
    def fill(nwb):
        nwb.add_unit(spike_times=[1.0, 50.0], obs_intervals=[[0.0, 10.0]])
        nwb.add_unit(spike_times=[2.0], obs_intervals=[[5.0, 20.0], [30.0, 30.0]])
        nwb.add_unit(spike_times=[], obs_intervals=[[20.0, 25.0]])

    data, report = convert_filled(fill, splits=None)
    assert (data.domain.start.tolist(), data.domain.end.tolist()) == ([0.0], [25.0])
    assert data.obs_intervals.unit_index.tolist() == [0, 1, 2]
    assert data.obs_intervals.end.tolist() == [10.0, 20.0, 25.0]
    said = detail(report, "units")
    assert "units differ in when they were observed" in said
    assert "1 observation intervals that are empty or not finite dropped" in said
    assert "1 spikes lie outside the observation intervals and are kept" in said
    assert len(data.spikes) == 3


def test_units_that_share_an_id_are_told_apart(convert_filled):
    def fill(nwb):
        for number in (7, 7, 8):
            nwb.add_unit(id=number, spike_times=[1.0])

    data, report = convert_filled(fill, splits=None)
    assert data.units.id.tolist() == ["unit_7", "unit_7_2", "unit_8"]
    assert data.units.nwb_id.tolist() == [7, 7, 8]
    assert "units share ids" in detail(report, "units")


def test_pynwb_and_the_recording_agree_on_a_larger_table(convert_filled, tmp_path):
    rng = np.random.default_rng(0)

    def fill(nwb):
        nwb.add_unit_column("area", "?")
        for number in range(40):
            nwb.add_unit(spike_times=np.sort(rng.uniform(0, 60, rng.integers(0, 200))), area=f"area {number % 3}")

    data, _ = convert_filled(fill, splits=None)
    with NWBHDF5IO(tmp_path / "mouse1_day1.nwb", "r") as file:
        frame = file.read().units.to_dataframe()
    assert data.units.area.tolist() == frame["area"].tolist()
    for unit, expected in enumerate(frame["spike_times"]):
        np.testing.assert_array_equal(data.spikes.timestamps[data.spikes.unit_index == unit], expected)


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (lambda nwb: None, "no sorted units to decode from: it has no units table"),
        (lambda nwb: nwb.add_unit(id=1), "its units table has no spike_times, only ids"),
        (lambda nwb: (nwb.add_unit_column("quality", "?"), nwb.add_unit(quality="x")), "no spike_times, only quality"),
    ],
)
def test_a_file_without_sorted_units_is_refused_unless_asked_for(write_nwb, tmp_path, fill, message):
    def filled(nwb):
        fill(nwb)
        nwb.add_trial(start_time=0.0, stop_time=10.0)

    path = write_nwb(filled)
    with pytest.raises(ValueError, match=message) as refused:
        convert_nwb(path, tmp_path / "out", brainset="lab")
    assert str(path) in str(refused.value)
    assert "require_units=False, --allow-no-units" in str(refused.value)
    assert not (tmp_path / "out").exists()
    report = convert_nwb(path, tmp_path / "out", brainset="lab", require_units=False)
    data = Data.load(report.paths[0])
    assert "spikes" not in data
    assert "units" not in data
    assert len(data.trials) == 1
