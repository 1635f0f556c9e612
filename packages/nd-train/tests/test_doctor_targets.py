"""The doctor on targets: one defect a test, and silence about what is sound."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_data import Interval
from nd_models import MODALITY_REGISTRY, DataType, ModalitySpec
from nd_models.loss import CrossEntropyLoss, MultilabelCrossEntropyLoss
from nd_train.doctor.classes import check_classes
from nd_train.doctor.findings import Findings
from nd_train.doctor.follows_time import follows_time
from nd_train.doctor.targets import check_presence, check_targets

VELOCITY = MODALITY_REGISTRY["cursor_velocity_2d"]
STATE = ModalitySpec(401, 3, DataType.MULTINOMIAL, "stimulus.timestamps", "stimulus.state", CrossEntropyLoss())
LABELS = ModalitySpec(402, 2, DataType.MULTILABEL, "cursor.timestamps", "cursor.vel", MultilabelCrossEntropyLoss())


def found(recording, spec=VELOCITY, *, window=1.0, is_scaled=False, **entry):
    """What is found about one readout, and over all recordings."""
    findings, classes = Findings(), {}
    entry = {"readout_id": "target", **entry}
    counts = check_targets(recording, entry, spec, window, classes, findings, is_scaled=is_scaled)
    check_presence({"target": {recording.name: counts}}, findings)
    check_classes(classes, {"target": spec}, findings)
    return {(one.level, one.check): one for one in findings.merged() if one.level != "ok"}


def changed(recording, change):
    values = recording.data.cursor.vel.copy()
    change(values)
    return values


def test_sound_targets_pass_without_a_word(make_recording):
    assert found(make_recording()) == {}
    assert found(make_recording(), STATE) == {}
    assert found(make_recording(), weights={"reaches": 5.0}, eval_interval="reaches") == {}


def test_nan_in_train_is_a_problem_and_in_test_a_warning(make_recording):
    def spoil(rows):
        def change(values):
            values[rows] = np.nan

        return change

    base = make_recording()
    at = found(make_recording(values=changed(base, spoil(slice(100, 103)))))["problem", "targets finite"]
    assert at.what == "3 of 3000 targets in train are NaN or infinite"
    assert ("warning", "targets finite") in found(make_recording(values=changed(base, spoil(slice(4500, 4600)))))
    assert ("problem", "targets finite") in found(make_recording(values=changed(base, spoil(slice(4000, 5000)))))


def test_a_constant_is_a_problem_and_one_constant_dimension_a_warning(make_recording):
    base = make_recording()
    assert ("problem", "targets constant") in found(make_recording(values=np.ones((5000, 2))))
    one = found(make_recording(values=base.data.cursor.vel * [1.0, 0.0]))["warning", "targets constant"]
    assert "dimensions 1 of 2" in one.what


@pytest.mark.parametrize(
    ("series", "words"),
    [
        (lambda times: times / 30 - 1, "only ever rises"),
        (lambda times: -((times / 50) ** 3), "only ever falls"),
        (lambda times: times / 30 + 0.02 * np.sin(40 * times) - 1, "straight line in time"),
    ],
)
def test_a_clock_is_a_problem(make_recording, series, words):
    times = np.arange(5000) * 0.02
    recording = make_recording(values=np.stack([series(times), np.sin(times)], axis=1))
    assert words in found(recording)["problem", "targets like time"].what


def test_the_progress_of_every_trial_is_a_problem(make_recording):
    times = np.arange(5000) * 0.02
    trials = Interval(np.arange(0.0, 60.0, 2.0), np.arange(2.0, 61.0, 2.0))
    progress = np.stack([times % 2.0, np.sin(times)], axis=1)
    recording = make_recording(values=progress, train_domain=trials)
    assert "same ramp in every interval" in found(recording)["problem", "targets like time"].what


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), drift=st.floats(0.0, 0.5))
def test_noise_with_a_little_drift_is_no_clock(seed, drift):
    times = np.arange(500) * 0.1
    values = np.random.default_rng(seed).normal(size=500) + drift * times / 50
    assert follows_time(times, values, Interval(0.0, 50.0)) is None


def test_classes_that_come_in_one_block_each_are_a_warning(make_recording):
    states = np.repeat([0, 1, 2, 0, 1, 2], [1000, 1000, 1000, 600, 700, 700])
    assert "one stretch" in found(make_recording(states=states), STATE)["warning", "targets like time"].what


def test_targets_that_are_not_normalised_come_with_the_numbers_to_normalise_them(make_recording):
    recording = make_recording(values=make_recording().data.cursor.vel * 40 + 300)
    warning = found(recording)["warning", "targets scale"]
    assert "not normalised" in warning.what
    part = recording.data.cursor.vel[:3000].astype(np.float64)
    mean, std = part.mean(axis=0), part.std(axis=0)
    numbers = f"normalize_mean: [{mean[0]:.5g}, {mean[1]:.5g}] and normalize_std: [{std[0]:.5g}, {std[1]:.5g}]"
    assert numbers in warning.advice
    assert "or set data.normalize to train" in warning.advice
    assert found(recording, normalize_mean=mean.tolist(), normalize_std=std.tolist()) == {}
    assert found(recording, is_scaled=True) == {}
    assert "as normalised" in found(recording, normalize_mean=0.0)["warning", "targets scale"].what


def test_an_artefact_is_a_warning(make_recording):
    def spike(values):
        values[1000] = 500.0

    assert (
        "standard deviations"
        in found(make_recording(values=changed(make_recording(), spike)))["warning", "targets outliers"].what
    )


def test_a_class_without_examples_in_train_is_a_problem_and_a_rare_one_a_warning(make_recording):
    states = make_recording().data.stimulus.state.copy()
    states[:3000] = np.where(states[:3000] == 2, 1, states[:3000])
    assert (
        "classes 2 occur in valid or test"
        in found(make_recording(states=states), STATE)["problem", "targets classes"].what
    )
    states[100:104] = 2
    assert "fewer than 10 examples" in found(make_recording(states=states), STATE)["warning", "targets classes"].what


def test_classes_and_labels_are_called_by_their_names(make_recording):
    states = make_recording().data.stimulus.state.copy()
    states[:3000] = np.where(states[:3000] == 2, 1, states[:3000])
    named = dataclasses.replace(STATE, class_names=("wake", "nrem", "rem"))
    assert (
        "classes 'rem' occur in valid" in found(make_recording(states=states), named)["problem", "targets classes"].what
    )
    states[100:104] = 2
    assert "classes 'rem' have fewer" in found(make_recording(states=states), named)["warning", "targets classes"].what
    values = (np.random.default_rng(0).random((5000, 2)) < [0.5, 0.0]).astype(np.float32)
    values[7, 1] = 1.0
    licks = dataclasses.replace(LABELS, class_names=("left", "right"))
    rare = found(make_recording(values=values), licks)["warning", "targets classes"].what
    assert rare == "labels 'right' hold fewer than 10 times in train"
    values[7, 1] = 0.0
    never = found(make_recording(values=values), licks)["warning", "targets constant"].what
    assert never == "labels 'right' never change in train"


def test_classes_beyond_the_readout_are_a_problem(make_recording):
    states = make_recording().data.stimulus.state.copy()
    states[50] = 7
    assert "classes 0 to 7" in found(make_recording(states=states), STATE)["problem", "targets classes"].what


def test_a_label_that_never_holds_is_a_warning(make_recording):
    values = (np.random.default_rng(0).random((5000, 2)) < [0.5, 0.0]).astype(np.float32)
    assert "labels 1 never change" in found(make_recording(values=values), LABELS)["warning", "targets constant"].what


def test_targets_on_another_clock_are_a_problem(make_recording):
    recording = make_recording(times=np.arange(5000) * 0.02 + 1000.0)
    assert ("problem", "targets present") in found(recording)


def test_targets_that_are_too_rare_or_too_many_for_the_windows_are_a_warning(make_recording):
    rare = make_recording(
        times=np.arange(50) * 2.0, values=np.random.default_rng(0).normal(size=(50, 2)), states=np.zeros(50, int)
    )
    assert "50 % of the windows of 1 s" in found(rare)["warning", "targets rate"].what
    assert "a rate of 50 Hz" in found(make_recording(), window=30.0)["warning", "targets rate"].what


def test_weights_and_eval_intervals_that_select_nothing_are_reported(make_recording):
    recording = make_recording()
    recording.data.late = Interval(90.0, 95.0)
    recording.data.early = Interval(5.0, 10.0)
    assert "late holds no target of train" in found(recording, weights={"late": 2.0})["warning", "targets weights"].what
    wrong = found(recording, weights={"reach": 2.0})["problem", "targets weights"]
    assert "did you mean 'reaches'" in wrong.what
    assert ("problem", "targets weights") in found(recording, weights={"domain": 0.0})
    nothing = found(recording, eval_interval="early")
    assert "early holds no target of valid and test" in nothing["warning", "targets eval_interval"].what
    assert ("problem", "targets present") in nothing
    assert "did you mean" in found(recording, eval_interval="reach")["problem", "targets eval_interval"].what
