"""The doctor on splits, windows, unit ids and spikes: one defect a test, and silence about what is sound."""

import numpy as np
import pytest

from nd_data import ArrayDict, Interval
from nd_train.doctor.findings import Findings
from nd_train.doctor.splits import check_splits
from nd_train.doctor.units import check_spikes, check_unit_ids


def found_in_splits(*recordings, window=1.0):
    findings = Findings()
    check_splits(list(recordings), window, findings)
    return {(one.level, one.check): one for one in findings.merged() if one.level != "ok"}


def found_in_units(recording, window=1.0):
    findings = Findings()
    check_unit_ids([recording], findings)
    check_spikes(recording, window, findings)
    return {(one.level, one.check): one for one in findings.merged() if one.level != "ok"}


def test_sound_splits_and_units_pass_without_a_word(make_recording):
    assert found_in_splits(make_recording(), make_recording(name="lab/day2")) == {}
    assert found_in_units(make_recording()) == {}


def test_a_recording_without_a_train_split_is_a_problem_that_names_it(make_recording):
    found = found_in_splits(make_recording(), make_recording(name="lab/day2", train_domain=None))
    problem = found["problem", "splits present"]
    assert problem.where == ("lab/day2",)
    assert "train_domain" in problem.advice


@pytest.mark.parametrize(("split", "words"), [("valid", "last step"), ("test", "scores of valid")])
def test_a_missing_valid_or_test_split_is_a_warning_of_what_follows(make_recording, split, words):
    found = found_in_splits(make_recording(**{f"{split}_domain": None}))
    assert words in found["warning", "splits present"].what


def test_nothing_to_score_is_a_problem(make_recording):
    found = found_in_splits(make_recording(valid_domain=None, test_domain=None))
    assert "nothing could be scored" in found["problem", "splits present"].what


def test_overlapping_splits_are_leakage(make_recording):
    found = found_in_splits(make_recording(valid_domain=Interval(59.5, 80.0)))
    assert "train and valid share 0.5 s" in found["problem", "splits leak"].what


def test_splits_that_touch_are_no_leakage_however_long_the_windows(make_recording):
    assert found_in_splits(make_recording(), window=5.0).keys() == {("warning", "splits windows")}
    assert found_in_splits(make_recording(), window=1.9) == {}


def test_a_split_that_leaves_the_recording_is_a_warning(make_recording):
    found = found_in_splits(make_recording(test_domain=Interval(80.0, 130.0)))
    assert "test leaves the recording's domain, first in [100, 130)" in found["warning", "splits extent"].what


def test_windows_longer_than_every_interval_are_a_problem(make_recording):
    trials = Interval(np.arange(0.0, 60.0, 2.0), np.arange(0.0, 60.0, 2.0) + 0.9)
    found = found_in_splits(make_recording(train_domain=trials))
    assert "no interval of train is as long as a window" in found["problem", "splits windows"].what


def test_mostly_short_intervals_are_a_warning(make_recording):
    start = np.arange(0.0, 60.0, 2.0)
    length = np.where(np.arange(30) < 20, 0.9, 1.5)
    found = found_in_splits(make_recording(train_domain=Interval(start, start + length)))
    assert "more than half of train" in found["warning", "splits windows"].what


def test_a_test_split_of_a_few_windows_is_a_warning(make_recording):
    found = found_in_splits(make_recording(test_domain=Interval(80.0, 84.0)))
    assert "about 4 windows" in found["warning", "splits windows"].what


def test_repeated_unit_ids_are_a_problem(make_recording):
    ids = [f"unit_{unit % 19:02d}" for unit in range(20)]
    found = found_in_units(make_recording(units=ArrayDict(id=np.array(ids))))
    assert "such as 'unit_00'" in found["problem", "units ids"].what


def test_spikes_of_unknown_units_are_a_problem(make_recording):
    units = np.zeros(16_000, dtype=np.int64)
    units[17] = 20
    assert "runs to 20" in found_in_units(make_recording(unit_index=units))["problem", "units spikes"].what


def test_units_that_spike_in_test_only_are_a_warning(make_recording):
    base = make_recording()
    times, units = base.data.spikes.timestamps, base.data.spikes.unit_index
    keep = ~((units < 4) & (times < 60))
    found = found_in_units(make_recording(spike_times=times[keep], unit_index=units[keep]))
    assert "of 4 units that are silent in train" in found["warning", "units silent"].what


def test_mostly_silent_units_are_a_warning(make_recording):
    units = np.random.default_rng(1).integers(0, 8, size=16_000)
    assert (
        "12 of 20 units never spike" in found_in_units(make_recording(unit_index=units))["warning", "units silent"].what
    )


def test_spikes_on_another_clock_are_a_problem(make_recording):
    times = np.linspace(60.0, 100.0, 16_000)
    assert found_in_units(make_recording(spike_times=times))["problem", "units silent"].what == "no spike in train"


def test_an_artefact_and_times_in_milliseconds_show_in_the_rates(make_recording):
    rng = np.random.default_rng(0)
    fast = make_recording(
        spike_times=np.sort(rng.uniform(0.0, 60.0, 30_000)), unit_index=np.where(np.arange(30_000) < 20, 1, 0)
    )
    assert "'unit_00' fires 499.7 times a second" in found_in_units(fast, None)["warning", "units rates"].what
    slow = make_recording(
        spike_times=np.linspace(0, 99_000, 200),
        unit_index=np.arange(200) % 20,
        domain=Interval(0.0, 100_000.0),
        train_domain=Interval(0.0, 60_000.0),
    )
    assert "the median unit fires" in found_in_units(slow, None)["warning", "units rates"].what


def test_windows_without_spikes_are_a_warning(make_recording):
    base = make_recording()
    times, units = base.data.spikes.timestamps, base.data.spikes.unit_index
    keep = (times < 20) | (times > 40)
    found = found_in_units(make_recording(spike_times=times[keep], unit_index=units[keep]))
    assert "33 % of the windows" in found["warning", "units empty windows"].what


def test_recordings_that_share_a_session_id_are_a_problem(make_recording, recordings, multitask):
    from nd_train.doctor.recordings import read_recordings

    one, other = read_recordings(recordings, multitask)
    other.known = one.known
    findings = Findings()
    check_unit_ids([one, other], findings)
    assert "is that of simulated/session_00 too" in findings.merged()[0].what
