import copy
import logging
import pickle
from operator import attrgetter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from nd_data.array_dict import ArrayDict
from nd_data.collate import collate
from nd_data.constant_array import is_constant
from nd_data.data import Data
from nd_data.dataset import Dataset, DatasetIndex
from nd_data.interval import Interval
from nd_data.samplers import RandomFixedWindowSampler, SequentialFixedWindowSampler
from nd_data.transforms import BinSpikes, Compose, UnitDropout

READOUT = {
    "multitask_readout": [{"readout_id": "cursor_velocity_2d", "weights": {"movement_periods.reach_period": 5.0}}]
}


# --- samples ------------------------------------------------------------------------------------------------------


def test_a_sample_is_the_window_with_times_from_its_start(root):
    dataset = Dataset(root, recording_id="alpha/s1", split="train")
    whole = Data.load(root / "alpha" / "s1.h5", lazy=False)
    sample = dataset[DatasetIndex("alpha/s1", 12.5, 13.5)]
    inside = (whole.spikes.timestamps >= 12.5) & (whole.spikes.timestamps < 13.5)
    np.testing.assert_array_equal(sample.spikes.timestamps, whole.spikes.timestamps[inside] - 12.5)
    np.testing.assert_array_equal(sample.spikes.unit_index, whole.spikes.unit_index[inside])
    np.testing.assert_array_equal(sample.cursor.vel, whole.cursor.vel[625:675])
    assert sample.absolute_start == 12.5
    assert type(sample.absolute_start) is float


def test_ids_are_made_unique_by_prefixes(root):
    sample = Dataset(root, recording_id="alpha/s2").get("alpha/s2", 0.0, 1.0)
    assert sample.session.id == "alpha/s2"
    assert sample.subject.id == "alpha/monkey_b"
    assert sample.units.id.tolist() == ["alpha/s2/unit_0", "alpha/s2/unit_1", "alpha/s2/unit_2"]
    assert sample.brainset.id == "alpha"


def test_changing_a_sample_leaves_the_samples_after_it_alone(root):
    dataset = Dataset(root, recording_id="alpha/s2", config=None, split="train")
    index = DatasetIndex("alpha/s2", 12.5, 13.5)
    before = dataset[index]
    expected = {path: before.get_nested_attribute(path) for path in ("units.id", "session.id", "spikes.timestamps")}
    changed = dataset[index]
    changed.units.id = np.array(["x", "y", "z"])
    changed.units.rate = np.zeros(3)
    changed.session.id = "other"
    changed.session.note = "a note"
    changed.subject = Data(id="nobody")
    changed.spikes.timestamps += 100.0
    changed.movement_periods.reach_period = Interval(0.0, 1.0)
    changed.config["more"] = 1
    changed.extra = np.zeros(2)
    del changed.cursor
    after = dataset[index]
    for path, value in expected.items():
        np.testing.assert_array_equal(after.get_nested_attribute(path), value)
    assert after.units.keys() == ["id"]
    assert "note" not in after.session
    assert after.subject.id == "alpha/monkey_b"
    assert after.config == before.config
    assert len(after.movement_periods.reach_period) == len(before.movement_periods.reach_period)
    assert "extra" not in after
    assert "cursor" in after


def test_a_sample_is_cut_again_and_copied_like_any_data(root):
    dataset = Dataset(root, recording_id="alpha/s2", split="train")
    sample = dataset[DatasetIndex("alpha/s2", 12.5, 16.5)]
    whole = Data.load(root / "alpha" / "s2.h5", lazy=False).slice(12.5, 16.5)
    for one, other in (
        (sample.slice(1.0, 3.0), whole.slice(1.0, 3.0)),
        (sample.select_by_interval(Interval(1.0, 2.0)), whole.select_by_interval(Interval(1.0, 2.0))),
        (copy.deepcopy(sample), whole),
        (pickle.loads(pickle.dumps(sample)), whole),  # noqa: S301
        (copy.copy(sample).materialize(), whole),
    ):
        assert one.session.id == "alpha/s2"
        assert one.units.id.tolist() == ["alpha/s2/unit_0", "alpha/s2/unit_1", "alpha/s2/unit_2"]
        assert one.absolute_start == other.absolute_start
        assert one.config == {}
        np.testing.assert_array_equal(one.spikes.timestamps, other.spikes.timestamps)
        np.testing.assert_array_equal(one.movement_periods.hold_period.start, other.movement_periods.hold_period.start)
        assert one.session.absolute_start == other.session.absolute_start


def test_unit_ids_can_never_change_also_in_a_copy_of_the_dataset(root):
    dataset = Dataset(root, recording_id="alpha/s2")
    first = dataset.get("alpha/s2", 0.0, 1.0).units.id
    assert is_constant(first)
    assert dataset.get("alpha/s2", 5.0, 6.0).units.id is first
    again = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert is_constant(again.get("alpha/s2", 0.0, 1.0).units.id)
    assert again.get("alpha/s2", 0.0, 1.0).units.id.tolist() == first.tolist()


def test_asking_about_a_recording_leaves_its_samples_lazy(root):
    dataset = Dataset(root, split="train")
    dataset.get_unit_ids(), dataset.get_session_ids(), dataset.get_sampling_intervals()
    assert len(dataset.get_recording_data("alpha/s1").spikes.timestamps) > 0
    sample = dataset.get("alpha/s1", 1.0, 2.0)
    assert [name for name in vars(sample) if not name.startswith("_")] == []


def test_prefixes_can_be_chosen_and_see_the_ids_as_stored(root):
    dataset = Dataset(
        root,
        recording_id="alpha/s1",
        unit_id_prefix_fn=lambda data: f"{data.subject.id}-{data.session.id}-",
        session_id_prefix_fn=lambda data: "",
        subject_id_prefix_fn=lambda data: f"{data.session.id}:",
    )
    sample = dataset.get("alpha/s1", 0.0, 1.0)
    assert sample.units.id[0] == "monkey_a-s1-unit_0"
    assert sample.session.id == "s1"
    assert sample.subject.id == "s1:monkey_a"


def test_a_sample_carries_the_configuration_of_its_recording(root):
    config = [
        {"selection": [{"brainset": "alpha"}], "config": READOUT},
        {"selection": [{"brainset": "beta"}], "config": {"readout": {"readout_id": "x"}}},
    ]
    dataset = Dataset(root, config=config)
    assert dataset.get("alpha/s2", 0, 1).config == READOUT
    assert dataset.get("beta/t1", 0, 1).config == {"readout": {"readout_id": "x"}}
    configs = dataset.get_recording_config_dict()
    assert configs == {"alpha/s1": READOUT, "alpha/s2": READOUT, "beta/t1": {"readout": {"readout_id": "x"}}}
    configs["alpha/s1"]["multitask_readout"].clear()
    assert dataset.get("alpha/s1", 0, 1).config == READOUT


def test_the_transform_is_applied_to_items_and_not_by_get(root):
    dataset = Dataset(root, recording_id="alpha/s1", transform=lambda data: len(data.units))
    assert dataset[DatasetIndex("alpha/s1", 0, 1)] == 5
    assert isinstance(dataset.get("alpha/s1", 0, 1), Data)


def test_what_a_transform_does_to_a_sample_stays_with_the_sample(root):
    dataset = Dataset(root, recording_id="alpha/s1", transform=UnitDropout(min_units=1, mode_units=1, max_units=1))
    first = dataset[DatasetIndex("alpha/s1", 0, 1)]
    first.session.id = "changed"
    first.extra = 3
    again = dataset.get("alpha/s1", 0, 1)
    assert len(first.units) == 1
    assert len(again.units) == 5
    assert again.session.id == "alpha/s1"
    assert "extra" not in again


def test_samples_share_one_read_only_array_of_unit_ids(root):
    dataset = Dataset(root, recording_id="alpha/s1")
    first, second = dataset.get("alpha/s1", 0, 1), dataset.get("alpha/s1", 5, 6)
    assert first.units.id is second.units.id
    with pytest.raises(ValueError, match="read-only"):
        first.units.id[0] = "x"


def test_unit_dropout_keeps_spikes_with_their_prefixed_units(root):
    dataset = Dataset(
        root, recording_id="alpha/s1", transform=UnitDropout(min_units=2, mode_units=2, max_units=2, seed=0)
    )
    index = DatasetIndex("alpha/s1", 0.0, 10.0)
    whole, sample = dataset.get("alpha/s1", 0.0, 10.0), dataset[index]
    for unit, unit_id in enumerate(sample.units.id):
        original = whole.units.id.tolist().index(unit_id)
        np.testing.assert_array_equal(
            sample.spikes.timestamps[sample.spikes.unit_index == unit],
            whole.spikes.timestamps[whole.spikes.unit_index == original],
        )


# --- listings -----------------------------------------------------------------------------------------------------


def test_all_recordings_are_taken_without_configuration(root):
    (root / "empty_folder").mkdir()
    (root / "alpha" / ".s9.h5").write_text("half-written")
    (root / "notes.txt").write_text("")
    dataset = Dataset(str(root))
    assert dataset.recording_ids == ["alpha/s1", "alpha/s2", "beta/t1"]
    assert dataset.get_session_ids() == ["alpha/s1", "alpha/s2", "beta/t1"]
    assert dataset.get_subject_ids() == ["alpha/monkey_a", "alpha/monkey_b", "beta/monkey_a"]
    assert dataset.get_brainset_ids() == ["alpha", "beta"]
    unit_ids = dataset.get_unit_ids()
    assert len(unit_ids) == len(set(unit_ids)) == 13
    assert unit_ids == sorted(unit_ids)
    assert all(type(unit_id) is str for unit_id in unit_ids)


def test_recordings_that_share_a_session_id_are_named(root, caplog):
    dataset = Dataset(root, session_id_prefix_fn=lambda data: "same/" if data.session.id != "s1" else "")
    assert dataset.get_session_ids() == ["s1", "same/s2", "same/t1"]
    assert not caplog.text
    (root / "alpha" / "again.h5").write_bytes((root / "alpha" / "s1.h5").read_bytes())
    assert Dataset(root).get_session_ids() == ["alpha/s1", "alpha/s2", "beta/t1"]
    assert "Recordings 'alpha/again' and 'alpha/s1' share the session id 'alpha/s1'" in caplog.text
    assert Dataset(root).get_session_id_dict()["alpha/again"] == "alpha/s1"


def test_opening_a_dataset_opens_no_recording(root):
    for file in root.rglob("*.h5"):
        file.write_text("not HDF5")
    dataset = Dataset(root, split="train")
    assert len(dataset.recording_ids) == 3
    with pytest.raises(ValueError, match=r"s1\.h5"):
        dataset.get("alpha/s1", 0, 1)


def test_a_configuration_file_selects_recordings(root, tmp_path):
    (tmp_path / "config.yaml").write_text("config: {multitask_readout: [{readout_id: x}]}\n")
    assert len(Dataset(root, config=tmp_path / "config.yaml").recording_ids) == 3
    assert len(Dataset(root, config=str(tmp_path / "config.yaml")).recording_ids) == 3


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ([{"brainset": "alpha"}], ["alpha/s1", "alpha/s2"]),
        ([{"brainset": "alpha", "session": "s2"}], ["alpha/s2"]),
        ([{"brainset": "alpha", "sessions": ["s2", "s1"]}], ["alpha/s1", "alpha/s2"]),
        ([{"brainset": "alpha", "subject": "monkey_b"}], ["alpha/s2"]),
        ([{"brainset": "alpha", "subjects": ["monkey_b", "monkey_a"]}], ["alpha/s1", "alpha/s2"]),
        ([{"brainset": "alpha", "exclude_sessions": ["s1"]}], ["alpha/s2"]),
        ([{"brainset": "beta"}, {"brainset": "alpha", "session": "s1"}], ["beta/t1", "alpha/s1"]),
    ],
)
def test_selections(root, selection, expected):
    assert Dataset(root, config={"selection": selection}).recording_ids == expected


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        (
            {"recording_id": "alpha/s3"},
            FileNotFoundError,
            r"no recording 'alpha/s3'.*alpha/s3\.h5; did you mean 'alpha/s",
        ),
        ({"recording_id": "gamma/x"}, FileNotFoundError, r"existing recordings: 'alpha/s1', 'alpha/s2', 'beta/t1'"),
        ({"recording_id": "alpha/s1", "config": {}}, ValueError, "config or recording_id, not both"),
        ({"config": "nowhere.yaml"}, FileNotFoundError, r"no configuration file at .*nowhere\.yaml"),
        (
            {"config": [{"selection": [{"brainset": "alfa"}]}]},
            ValueError,
            r"configuration\[0\]\['selection'\]\[0\]: no recordings of brainset 'alfa'.*did you mean 'alpha'",
        ),
        (
            {"config": {"selection": [{"brainset": "alpha", "sessions": ["s1", "s11"]}]}},
            ValueError,
            r"unknown session 's11' in brainset 'alpha'; did you mean 's1'.*existing sessions: 's1', 's2'",
        ),
        (
            {"config": {"selection": [{"brainset": "alpha", "subject": "monkey_c"}]}},
            ValueError,
            r"unknown subject 'monkey_c' in brainset 'alpha'; did you mean 'monkey_",
        ),
        (
            {"config": {"selection": [{"brainset": "alpha", "exclude_sessions": ["s7"]}]}},
            ValueError,
            "exclude_sessions names an unknown session 's7'",
        ),
        (
            {"config": {"selection": [{"brainset": "beta", "exclude_sessions": ["t1"]}]}},
            ValueError,
            "leaves no session of brainset 'beta'",
        ),
        (
            {"config": {"selection": [{"brainset": "alpha"}, {"brainset": "alpha", "session": "s2"}]}},
            ValueError,
            r"\[1\]: recording 'alpha/s2' is already selected at configuration\['selection'\]\[0\]",
        ),
    ],
)
def test_what_is_not_there_is_named_with_what_is(root, kwargs, error, message):
    with pytest.raises(error, match=message):
        Dataset(root, **kwargs)


def test_an_unknown_session_is_reported_with_the_line_of_the_file(root, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("- selection:\n    - brainset: alpha\n    - brainset: beta\n      session: t2\n")
    with pytest.raises(ValueError, match=r"config\.yaml, line 3: unknown session 't2'"):
        Dataset(root, config=path)


def test_a_missing_or_empty_root_is_one_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; expected one with recordings as <brainset>"):
        Dataset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no recordings under .*<brainset>/<session>\.h5"):
        Dataset(tmp_path)


def test_an_unknown_split_lists_those_that_exist(root):
    dataset = Dataset(root, split="vald")
    message = (
        r"recording 'alpha/s1': unknown split 'vald'; did you mean 'valid'.*existing splits: 'test', 'train', 'valid'"
    )
    with pytest.raises(ValueError, match=message):
        dataset.get_sampling_intervals()
    with pytest.raises(ValueError, match=message):
        dataset[DatasetIndex("alpha/s1", 0, 1)]


def test_an_empty_split_is_an_error_if_it_is_empty_everywhere(save_recording, tmp_path, caplog):
    empty = Interval(np.array([]), np.array([]))
    save_recording("alpha", "s1", valid_domain=empty)
    with pytest.raises(ValueError, match=r"split 'valid' is empty in every recording .'alpha/s1'."):
        Dataset(tmp_path, split="valid").get_sampling_intervals()
    save_recording("alpha", "s2")
    dataset = Dataset(tmp_path, split="valid")
    with caplog.at_level(logging.WARNING):
        intervals = dataset.get_sampling_intervals()
    assert [len(interval) for interval in intervals.values()] == [0, 1]
    assert "Nothing to sample in split 'valid' of 1 recordings: alpha/s1" in caplog.text
    assert {index.recording_id for index in RandomFixedWindowSampler(intervals, 1.0)} == {"alpha/s2"}
    with pytest.raises(ValueError, match=r"leaves the 'valid' split\. Draw"):
        dataset.get("alpha/s1", 61.0, 62.0)


def test_a_window_longer_than_every_interval_is_one_error(root):
    intervals = Dataset(root, split="valid").get_sampling_intervals()
    with pytest.raises(ValueError, match=r"longest is 20 s \(recording 'alpha/s1', \[60, 80\)\)"):
        RandomFixedWindowSampler(intervals, 21.0)


def test_unknown_intervals_in_an_operation_are_reported_with_the_recording(root):
    config = {"config": {"sampling_intervals": [{"intersect": "movement_periods.reach"}]}}
    with pytest.raises(
        ValueError, match=r"recording 'alpha/s1': there are no intervals .*'movement_periods.reach_period'.*s1\.h5"
    ):
        Dataset(root, config=config, split="train").get_sampling_intervals()


def test_an_unknown_recording_lists_those_of_the_dataset(root):
    with pytest.raises(KeyError, match="unknown recording 'alpha/s3'; did you mean 'alpha/s"):
        Dataset(root).get("alpha/s3", 0, 1)


def test_an_index_of_another_kind_points_to_the_samplers(root):
    with pytest.raises(TypeError, match=r"indexed by DatasetIndex.*got int.*samplers"):
        Dataset(root)[0]


def test_a_recording_without_the_ids_that_prefixes_need_says_so(save_recording, tmp_path):
    save_recording(brainset="alpha", session="s1")
    path = save_recording(brainset="alpha", session="s2")
    data = Data.load(path, lazy=False)
    del data.brainset
    data.save(path)
    dataset = Dataset(tmp_path)
    with pytest.raises(ValueError, match=r"recording 'alpha/s2': unit_id_prefix_fn cannot make a prefix.*s2\.h5"):
        dataset.get("alpha/s2", 0, 1)


def test_a_recording_without_units_subject_or_domain_works_until_they_are_asked_for(save_recording, tmp_path):
    path = save_recording(spikes=None, train_domain=None)
    data = Data.load(path, lazy=False)
    del data.subject, data.units
    data.save(path)
    dataset = Dataset(tmp_path)
    assert dataset.get("alpha/s1", 0, 1).session.id == "alpha/s1"
    with pytest.raises(ValueError, match=r"'alpha/s1' has no units .file .*s1\.h5"):
        dataset.get_unit_ids()
    with pytest.raises(ValueError, match=r"'alpha/s1' has no subject\.id"):
        dataset.get_subject_ids()
    with pytest.raises(ValueError, match=r"has no subject.id to select it by"):
        Dataset(tmp_path, config={"selection": [{"brainset": "alpha", "subject": "x"}]})
    Data(brainset=Data(id="alpha"), session=Data(id="s1"), units=ArrayDict(id=np.array(["u"]))).save(path)
    with pytest.raises(ValueError, match="the recording has no domain"):
        Dataset(tmp_path).get_sampling_intervals()


# --- processes ----------------------------------------------------------------------------------------------------

TRANSFORM = Compose(
    [
        BinSpikes(0.1),
        attrgetter("spikes_binned.binned_counts", "cursor.vel", "absolute_start", "session.id", "units.id.size"),
    ]
)


def batches(dataset, workers, context=None):
    sampler = SequentialFixedWindowSampler(dataset.get_sampling_intervals(), 1.0, step=0.5)
    loader = DataLoader(
        dataset,
        sampler=sampler,
        batch_size=16,
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context=context,
        persistent_workers=workers > 0,
    )
    return [batch for _ in range(2) for batch in loader]


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_workers_give_the_same_batches_as_the_main_process(root, context):
    dataset = Dataset(
        root,
        config={"selection": [{"brainset": "alpha", "session": "s1"}, {"brainset": "beta"}], "config": READOUT},
        split="valid",
        transform=TRANSFORM,
    )
    expected = batches(dataset, 0)
    found = batches(dataset, 2, context)
    assert len(found) == len(expected) == 2 * 5
    for one, other in zip(found, expected, strict=True):
        for found_part, expected_part in zip(one, other, strict=True):
            if isinstance(expected_part, torch.Tensor):
                assert found_part.dtype == expected_part.dtype
                assert torch.equal(found_part, expected_part)
            else:
                assert found_part == expected_part


def test_a_dataset_in_use_can_be_pickled_and_copied(root):
    dataset = Dataset(root, config={"config": READOUT}, split="train", transform=TRANSFORM)
    index = DatasetIndex("alpha/s1", 3.0, 4.0)
    expected = dataset[index]
    for other in (pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset), copy.copy(dataset)):  # noqa: S301
        for found_part, expected_part in zip(other[index], expected, strict=True):
            np.testing.assert_array_equal(found_part, expected_part)
        assert other.get_unit_ids() == dataset.get_unit_ids()


def test_a_dataset_says_what_it_is(root):
    assert repr(Dataset(root, split="train")) == f"Dataset(root={str(root)!r}, recordings=3, split='train')"
