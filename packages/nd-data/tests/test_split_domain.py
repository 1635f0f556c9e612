import copy
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from nd_data.batch_form import has_batch_form
from nd_data.collate import collate
from nd_data.data import Data
from nd_data.dataset import Dataset, DatasetIndex
from nd_data.interval import Interval
from nd_data.samplers import RandomFixedWindowSampler, SequentialFixedWindowSampler
from nd_data.transforms import Compose, RandomCrop


def bounds(interval):
    return list(zip(interval.start.tolist(), interval.end.tolist(), strict=True))


# --- splits and sampling intervals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "expected"), [("train", (0, 60)), ("valid", (60, 80)), ("test", (80, 100)), (None, (0, 100))]
)
def test_sampling_intervals_are_the_domain_of_the_split(root, split, expected):
    intervals = Dataset(root, split=split).get_sampling_intervals()
    assert list(intervals) == ["alpha/s1", "alpha/s2", "beta/t1"]
    assert all(isinstance(interval, Interval) and bounds(interval) == [expected] for interval in intervals.values())


def test_a_split_of_any_name_can_be_stored(save_recording, tmp_path):
    save_recording(fold_1_domain=Interval(5.0, 9.0))
    assert bounds(Dataset(tmp_path, split="fold_1").get_sampling_intervals()["alpha/s1"]) == [(5, 9)]


def test_operations_are_applied_in_order_and_never_leave_the_split(root):
    def intervals(*operations, split="valid"):
        config = {"selection": [{"brainset": "beta"}], "config": {"sampling_intervals": list(operations)}}
        return bounds(Dataset(root, config=config, split=split).get_sampling_intervals()["beta/t1"])

    reach, hold = "movement_periods.reach_period", "movement_periods.hold_period"
    assert intervals({"intersect": reach}) == [(60, 64), (70, 74)]
    assert intervals({"subtract": reach}) == [(64, 70), (74, 80)]
    assert intervals({"intersect": reach}, {"dilate": 0.5}) == [(60, 64.5), (69.5, 74.5)]
    assert intervals({"subtract": reach}, {"dilate": 1}) == [(63, 71), (73, 80)]
    assert intervals({"subtract": hold}) == [(60, 65), (67, 75), (77, 80)]
    assert intervals({"subtract": hold}, {"min_length": 5}) == [(60, 65), (67, 75)]
    assert intervals({"min_length": 5}, {"subtract": hold}) == [(60, 65), (67, 75), (77, 80)]
    assert intervals({"intersect": reach}, split=None)[0] == (0, 4)


@given(
    trials=st.lists(st.tuples(st.integers(0, 100), st.integers(1, 20)), min_size=1, max_size=8),
    dilation=st.sampled_from([0.5, 3.0, 50.0]),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_dilated_intervals_of_any_kind_stay_inside_the_split_and_pass_its_check(
    save_recording, tmp_path, trials, dilation
):
    start = np.array([float(s) for s, _ in trials])
    save_recording(trials=Interval(start, start + [float(length) for _, length in trials]))
    config = {"config": {"sampling_intervals": [{"intersect": "trials"}, {"dilate": dilation}]}}
    dataset = Dataset(tmp_path, config=config, split="train")
    if not any(s < 60 for s, _ in trials):
        with pytest.raises(ValueError, match="is empty in every recording"):
            dataset.get_sampling_intervals()
        return
    intervals = dataset.get_sampling_intervals()["alpha/s1"]
    assert intervals.is_sorted()
    assert intervals.is_disjoint()
    for s, e in bounds(intervals):
        dataset.get("alpha/s1", s, e)


def test_sampling_intervals_can_be_changed_without_changing_the_dataset(root):
    dataset = Dataset(root, recording_id="alpha/s1", split="train")
    dataset.get_sampling_intervals()["alpha/s1"].start[0] = -5.0
    assert bounds(dataset.get_sampling_intervals()["alpha/s1"]) == [(0, 60)]


def test_whole_recordings_are_cut_to_their_sampling_intervals(root):
    data = Dataset(root, recording_id="alpha/s1", split="valid").get_recording_data("alpha/s1")
    stored = Data.load(root / "alpha" / "s1.h5", lazy=False)
    inside = (stored.spikes.timestamps >= 60) & (stored.spikes.timestamps < 80)
    np.testing.assert_array_equal(data.spikes.timestamps, stored.spikes.timestamps[inside])
    np.testing.assert_allclose(data.cursor.timestamps, np.arange(3000, 4000) / 50)
    assert bounds(data.domain) == [(60, 80)]
    assert data.session.id == "alpha/s1"
    assert data.units.id[0] == "alpha/s1/unit_0"


def test_a_whole_recording_without_split_is_all_of_it_and_a_copy(root):
    dataset = Dataset(root, recording_id="alpha/s1")
    data = dataset.get_recording_data("alpha/s1")
    assert len(data.spikes) == 3000
    data.session.id = "changed"
    assert dataset.get("alpha/s1", 0, 1).session.id == "alpha/s1"


# --- leakage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end"), [(59.5, 60.5), (79.5, 80.5), (10, 11), (59.99, 61), (50, 90), (float("nan"), 61)]
)
def test_a_window_that_leaves_its_split_is_refused_before_the_transform_sees_it(root, start, end):
    seen = []
    dataset = Dataset(root, recording_id="alpha/s1", split="valid", transform=seen.append)
    with pytest.raises(
        ValueError, match=r"'alpha/s1': the window .* leaves the 'valid' split.*\[60, 80\).*get_sampling"
    ):
        dataset[DatasetIndex("alpha/s1", start, end)]
    assert seen == []


class Tokenizer:
    """Notes which windows it sees, one by one or many at once."""

    def __init__(self):
        self.seen = []

    @has_batch_form("tokenize_batch")
    def tokenize(self, window):
        self.seen.append(window.absolute_start)
        return window.absolute_start

    def tokenize_batch(self, windows):
        return [self.tokenize(window) for window in windows]


@pytest.mark.parametrize("tokenizer_only", [True, False])
def test_a_batch_with_a_window_that_leaves_its_split_is_refused_before_any_is_used(root, tokenizer_only):
    tokenizer = Tokenizer()
    transform = tokenizer.tokenize if tokenizer_only else Compose([RandomCrop(0.5), tokenizer.tokenize])
    dataset = Dataset(root, recording_id="alpha/s1", split="valid", transform=transform)
    windows = [DatasetIndex("alpha/s1", 61.0, 62.0), DatasetIndex("alpha/s1", 79.5, 80.5)]
    loader = DataLoader(dataset, batch_size=2, sampler=windows, collate_fn=collate)
    with pytest.raises(ValueError, match="leaves the 'valid' split"):
        list(loader)
    assert tokenizer.seen == []
    assert len(list(DataLoader(dataset, batch_size=2, sampler=windows[:1], collate_fn=collate))) == 1
    assert len(tokenizer.seen) == 1


def test_windows_up_to_the_borders_are_fine_and_rounding_is_cut_off(root):
    dataset = Dataset(root, recording_id="alpha/s1", split="valid")
    assert dataset.get("alpha/s1", 60.0, 80.0).end == 20.0
    sample = dataset.get("alpha/s1", 60.0 - 1e-8, 80.0 + 1e-8)
    assert (sample.absolute_start, sample.end) == (60.0, 20.0)


@given(start=st.floats(-2, 32), length=st.floats(0, 12))
def test_the_check_agrees_with_a_loop_over_the_joined_intervals(split_root, start, length):
    dataset = Dataset(split_root, split="train")
    joined = [(0.0, 10.0), (12.0, 13.0), (20.0, 30.0)]  # [0, 5), [5, 10), [12, 13), [20, 30)
    inside = any(s - 1e-6 <= start and start + length <= e + 1e-6 for s, e in joined)
    if inside:
        dataset.get("alpha/s1", start, start + length)
    else:
        with pytest.raises(ValueError, match="leaves the 'train' split"):
            dataset.get("alpha/s1", start, start + length)


@pytest.fixture(scope="module")
def split_root(tmp_path_factory, recording_data):
    root = tmp_path_factory.mktemp("root")
    (root / "alpha").mkdir()
    recording = copy.copy(recording_data)
    recording.train_domain = Interval(np.array([0.0, 5.0, 12.0, 20.0]), np.array([5.0, 10.0, 13.0, 30.0]))
    recording.save(root / "alpha" / "s1.h5")
    return root


def test_every_window_of_a_sampler_passes_the_check(split_root):
    dataset = Dataset(split_root, split="train")
    for sampler in (
        RandomFixedWindowSampler(dataset.get_sampling_intervals(), 0.7),
        SequentialFixedWindowSampler(dataset.get_sampling_intervals(), 0.7, step=0.1),
    ):
        for index in sampler:
            dataset[index]


def test_without_split_windows_may_lie_anywhere(root):
    assert Dataset(root).get("alpha/s1", 55.0, 65.0).absolute_start == 55.0


def test_turning_the_check_off_is_loud_and_lasts(root):
    dataset = Dataset(root, split="valid")
    with pytest.warns(UserWarning, match=r"leakage check is off.*'valid'"):
        dataset.disable_data_leakage_check()
    dataset.get("alpha/s1", 59.0, 61.0)
    pickle.loads(pickle.dumps(dataset)).get("alpha/s1", 59.0, 61.0)  # noqa: S301


def test_splits_that_overlap_are_refused(save_recording, tmp_path):
    save_recording(valid_domain=Interval(59.0, 80.0))
    dataset = Dataset(tmp_path, split="test")
    message = r"recording 'alpha/s1': splits 'train' and 'valid' overlap, first in \[59, 60\).*s1\.h5"
    with pytest.raises(ValueError, match=message):
        dataset.get_sampling_intervals()
    with pytest.raises(ValueError, match=message):
        dataset.get("alpha/s1", 85.0, 86.0)
    with pytest.warns(UserWarning, match="leakage check is off"):
        dataset.disable_data_leakage_check()
    dataset.get("alpha/s1", 85.0, 86.0)


def test_splits_that_touch_and_folds_that_overlap_are_fine(save_recording, tmp_path):
    save_recording(fold_1_domain=Interval(10.0, 30.0), fold_2_domain=Interval(20.0, 40.0))
    assert Dataset(tmp_path, split="fold_2").get("alpha/s1", 25.0, 26.0).absolute_start == 25.0
