"""Simulated calcium imaging: what is in the files, and that running and gratings can be read out of the traces."""

import h5py
import numpy as np
import pytest

from nd_data import Data
from nd_data.simulate_calcium import simulate_calcium_recordings
from nd_data.validation import validate_recording


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return simulate_calcium_recordings(tmp_path_factory.mktemp("calcium"), sessions=2, minutes=2.0, cells=25, seed=3)


def all_arrays(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def test_the_same_seed_gives_the_same_recordings_however_many_there_are(recordings, tmp_path):
    again = simulate_calcium_recordings(tmp_path, sessions=1, minutes=2.0, cells=25, seed=3)[0]
    first, second = all_arrays(recordings[0].path), all_arrays(again.path)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    other = simulate_calcium_recordings(tmp_path, sessions=1, minutes=2.0, cells=25, seed=4)[0]
    assert not np.array_equal(all_arrays(other.path)["running/running_speed"], first["running/running_speed"])


def test_recordings_hold_what_they_are_said_to_hold(recordings):
    for number, recording in enumerate(recordings):
        data = Data.load(recording.path)
        assert (
            recording.recording_id
            == f"simulated_calcium/{data.session.id}"
            == f"simulated_calcium/session_{number:02d}"
        )
        assert data.calcium_traces.df_over_f.shape == (recording.frames, recording.cells) == (3600, 25)
        assert data.calcium_traces.df_over_f.dtype == np.float32
        assert len(set(data.units.id)) == 25
        np.testing.assert_array_equal(data.running.timestamps, data.calcium_traces.timestamps)
        assert data.running.running_speed.min() >= 0
        shown, trials = data.drifting_gratings, data.trials
        trial = trials.start.searchsorted(shown.timestamps, side="right") - 1
        assert (shown.timestamps < trials.end[trial]).all()
        np.testing.assert_array_equal(shown.orientation_id, trials.orientation_id[trial])
        edges = [
            data.train_domain.start[0],
            data.train_domain.end[0],
            data.valid_domain.end[0],
            data.test_domain.end[0],
        ]
        np.testing.assert_allclose(edges, [0.0, 84.0, 96.0, 120.0], atol=1e-9)
    one, other = (set(Data.load(recording.path).units.id) for recording in recordings)
    assert not one & other


def test_the_files_pass_validation(recordings):
    assert [problem for recording in recordings for problem in validate_recording(recording.path)] == []


def test_running_and_gratings_can_be_read_out_of_the_traces(recordings):
    data = Data.load(recordings[0].path)
    traces, speed = data.calcium_traces.df_over_f.astype(np.float64), data.running.running_speed
    train = slice(0, 2500)
    features = np.column_stack([traces, np.ones(len(traces))])
    weights = np.linalg.lstsq(features[train], speed[train], rcond=None)[0]
    residual = speed[2500:] - features[2500:] @ weights
    assert 1 - (residual**2).mean() / speed[2500:].var() > 0.4
    # The mean trace in the second half of a trial, and the nearest mean over the first two thirds of trials.
    frames = (data.trials.start[:, np.newaxis] * 30 + np.arange(30, 60)).astype(int)
    means, direction = traces[frames].mean(axis=1), data.trials.orientation_id
    learnt = np.arange(len(direction)) < 27
    known = np.unique(direction[learnt])
    centres = np.stack([means[learnt & (direction == one)].mean(axis=0) for one in known])
    nearest = known[((means[~learnt, None] - centres) ** 2).sum(axis=2).argmin(axis=1)]
    assert (nearest == direction[~learnt]).mean() > 0.4  # 1 in 8 by chance


def test_transients_decay_with_their_time_constant(tmp_path):
    quiet = {"minutes": 2.0, "cells": 30, "noise": 0.0}
    recording = simulate_calcium_recordings(tmp_path, sessions=1, decay=0.8, **quiet)[0]
    traces = Data.load(recording.path).calcium_traces.df_over_f.astype(np.float64)
    without_spike = (traces[1:] < traces[:-1]) & (traces[:-1] > 0.1)
    ratio = traces[1:][without_spike] / traces[:-1][without_spike]
    np.testing.assert_allclose(ratio, np.exp(-1 / 30 / 0.8), rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": 0}, "at least one session and one cell"),
        ({"frame_rate": 0.0}, "positive frame rate"),
        ({"splits": (0.5, 0.5)}, "three positive shares"),
        ({"minutes": 0.1}, "make them longer"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        simulate_calcium_recordings(tmp_path, **changes)
