"""Trials, epochs and events of NWB files."""

import warnings

import h5py
import numpy as np
import pynwb
import pytest
from pynwb.epoch import TimeIntervals

from nd_data import IrregularTimeSeries


def detail(report, source):
    (line,) = [line for line in report.lines if line.source == source]
    return line.detail


def test_trials_epochs_and_tables_of_ones_own_are_intervals_with_their_columns(convert, tmp_path):
    def fill(nwb):
        nwb.add_trial_column("target", "angle")
        nwb.add_trial_column("outcome", "what happened")
        nwb.add_trial_column("position", "x and y")
        for number in range(4):
            nwb.add_trial(
                start_time=2.0 * number,
                stop_time=2.0 * number + 1.5,
                target=45 * number,
                outcome=["hit", "miss"][number % 2],
                position=np.array([number, -1.0]),
            )
        nwb.add_epoch(start_time=0.0, stop_time=4.0, tags=["sleep"])
        nwb.add_epoch(start_time=4.0, stop_time=8.0, tags=["wake", "open field"])
        nwb.add_invalid_time_interval(start_time=7.0, stop_time=7.5, tags=["noise"])
        ripples = TimeIntervals(name="ripples", description="…")
        ripples.add_row(start_time=1.0, stop_time=1.1)
        nwb.add_time_intervals(ripples)
        nested = TimeIntervals(name="fixations", description="…")
        nested.add_row(start_time=3.0, stop_time=3.5)
        nwb.create_processing_module(name="behavior", description="…").add(nested)

    data, report = convert(fill)
    with h5py.File(tmp_path / "mouse1_day1.nwb") as file:
        np.testing.assert_array_equal(data.trials.start, file["intervals/trials/start_time"][()])
        np.testing.assert_array_equal(data.trials.end, file["intervals/trials/stop_time"][()])
    assert data.trials.target.tolist() == [0, 45, 90, 135]
    assert data.trials.outcome.tolist() == ["hit", "miss", "hit", "miss"]
    assert data.trials.position.tolist() == [[0, -1], [1, -1], [2, -1], [3, -1]]
    assert data.epochs.tags.tolist() == ["sleep", "wake; open field"]
    assert data.invalid_times.tags.tolist() == ["noise"]
    assert (data.ripples.start.tolist(), data.ripples.end.tolist()) == ([1.0], [1.1])
    assert data.behavior.fixations.end.tolist() == [3.5]
    assert report.not_mapped == []
    assert detail(report, "intervals/trials") == "4 intervals"
    window = data.slice(2.5, 5.0)
    assert window.trials.target.tolist() == [45, 90]
    assert window.trials.start.tolist() == [-0.5, 1.5]


def test_rows_are_sorted_and_those_that_are_no_intervals_dropped(convert):
    def fill(nwb):
        nwb.add_trial_column("number", "?")
        rows = [(5.0, 6.0), (1.0, 2.0), (3.0, np.nan), (4.0, 3.0), (1.0, 1.5), (7.0, 7.0)]
        for number, (start, stop) in enumerate(rows):
            nwb.add_trial(start_time=start, stop_time=stop, number=number)

    data, report = convert(fill)
    assert data.trials.number.tolist() == [4, 1, 0, 5]
    assert data.trials.start.tolist() == [1.0, 1.0, 5.0, 7.0]
    assert data.trials.end.tolist() == [1.5, 2.0, 6.0, 7.0]
    said = detail(report, "intervals/trials")
    assert "sorted by time" in said
    assert "2 rows without a start before a finite end dropped" in said


def test_times_of_events_move_with_the_origin_and_durations_do_not(convert):
    def fill(nwb):
        nwb.add_trial_column("go_cue_time", "when the cue came")
        nwb.add_trial_column("reaction_time", "how long it took")
        nwb.add_trial_column("reward_time", "when it came, if it did")
        for number in range(3):
            start = 10.0 * number + 1
            reward = np.nan if number == 1 else start + 3.0
            nwb.add_trial(
                start_time=start, stop_time=start + 2.0, go_cue_time=start + 0.5, reaction_time=0.3, reward_time=reward
            )

    data, report = convert(fill)
    assert set(data.trials.timekeys()) == {"go_cue_time", "reward_time", "start", "end"}
    assert "times that move with the origin: go_cue_time, reward_time" in detail(report, "intervals/trials")
    trials = data.slice(10.0, 25.0).trials
    np.testing.assert_allclose(trials.go_cue_time, [1.5, 11.5])
    np.testing.assert_allclose(trials.reward_time, [np.nan, 14.0])
    np.testing.assert_array_equal(trials.reaction_time, [0.3, 0.3])


def test_columns_without_a_form_as_arrays_are_said_to_be_left_out(convert):
    def fill(nwb):
        series = pynwb.TimeSeries(name="x", data=[1.0, 2.0], unit="V", rate=1.0)
        nwb.add_acquisition(series)
        nwb.add_trial_column("licks", "any number", index=True)
        nwb.add_trial_column("nested", "lists of lists", index=2)
        nwb.add_trial_column("start", "a name that is taken")
        for number in range(2):
            nwb.add_trial(
                start_time=1.0 * number,
                stop_time=number + 0.5,
                licks=[0.1] * (number + 1),
                nested=[[1.0, 2.0], [3.0]],
                start=number + 10,
                timeseries=[series],
            )

    data, report = convert(fill)
    assert set(data.trials.keys()) == {"start", "end", "start_2"}
    assert data.trials.start_2.tolist() == [10, 11]
    said = detail(report, "intervals/trials")
    for expected in (
        "column 'licks' not mapped: its rows are lists of 1 to 2 numbers",
        "column 'nested' not mapped: its rows are lists of lists",
        "column 'timeseries' not mapped: references into time series are not mapped",
        "column 'start' is 'start_2'",
    ):
        assert expected in said


def test_an_empty_table_is_an_empty_interval(convert, tmp_path):
    def fill(nwb):
        nwb.add_time_intervals(TimeIntervals(name="nothing", description="…"))
        nwb.add_trial(start_time=0.0, stop_time=1.0)

    data, report = convert(fill)
    assert len(data.nothing) == 0
    assert detail(report, "intervals/nothing").startswith("0 intervals")
    assert len(data.slice(0.0, 1.0).nothing) == 0


def test_a_table_of_categories_becomes_text(convert):
    def fill(nwb):
        states = TimeIntervals(name="states", description="…")
        for number in range(3):
            states.add_row(start_time=1.0 * number, stop_time=number + 1.0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="EnumData is experimental", category=UserWarning)
            states.add_column(name="kind", description="…", data=np.uint8([1, 0, 1]), enum=["rem", "nrem"])
        nwb.add_time_intervals(states)

    data, _ = convert(fill)
    assert data.states.kind.tolist() == ["nrem", "rem", "nrem"]


@pytest.mark.skipif(not hasattr(pynwb.NWBFile, "create_events_table"), reason="this pynwb has no events tables")
def test_tables_of_events_are_series_over_the_whole_recording(convert):
    def fill(nwb):
        licks = nwb.create_events_table(name="licks", description="…")
        licks.add_column(name="port", description="which")
        for time, port in ((3.0, "left"), (1.0, "right"), (np.nan, "left")):
            licks.add_event(timestamp=time, port=port)
        nwb.add_trial(start_time=0.0, stop_time=10.0)

    data, report = convert(fill)
    assert isinstance(data.events.licks, IrregularTimeSeries)
    assert data.events.licks.timestamps.tolist() == [1.0, 3.0]
    assert data.events.licks.port.tolist() == ["right", "left"]
    assert (data.events.licks.domain.start.tolist(), data.events.licks.domain.end.tolist()) == ([0.0], [10.0])
    assert "1 events whose time is NaN or infinite dropped" in detail(report, "events/licks")
