"""Tokenizing many windows at once gives the batch that collate makes of windows tokenized one by one, bit for bit."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from nd_data import ArrayDict, Data, Dataset, DatasetIndex, Interval, IrregularTimeSeries, RegularTimeSeries, collate
from nd_data.transforms import Compose, UnitDropout
from nd_models import MODALITY_REGISTRY, POYO, POYOPlus

NAMES = ("POYO", "POYOPlus")
VELOCITY = {
    "readout_id": "cursor_velocity_2d",
    "weights": {"phases.reach": 5.0, "phases.hold": 0.1, "overlapping": 2.0},
    "normalize_mean": [0.5, -0.5],
    "normalize_std": 2.0,
    "eval_interval": "phases.reach",
}
CONFIGURATION = [
    {
        "selection": [{"brainset": "alpha"}],
        "config": {
            "readout": VELOCITY,
            "multitask_readout": [
                VELOCITY,
                {"readout_id": "drifting_gratings_orientation", "weights": {"trials": 3.0}},
            ],
        },
    },
    {
        "selection": [{"brainset": "beta"}],
        "config": {
            "readout": {"readout_id": "cursor_velocity_2d"},
            "multitask_readout": [{"readout_id": "cursor_position_2d"}, {"readout_id": "cursor_velocity_2d"}],
        },
    },
]
RECORDINGS = {"alpha/s1": 7, "alpha/s2": 3, "beta/t1": 5}


def make_recording(recording_id, units, seed, *, regular_cursor=False):
    rng = np.random.default_rng(seed)
    domain = Interval(0.0, 30.0)
    brainset, session = recording_id.split("/")
    values = {"vel": rng.normal(size=(600, 2)), "pos": rng.normal(size=(600, 2)).astype(np.float32)}
    starts = np.arange(0.0, 30.0, 1.5)
    return Data(
        brainset=Data(id=brainset),
        session=Data(id=session),
        subject=Data(id="someone"),
        units=ArrayDict(id=np.array([f"unit_{unit}" for unit in range(units)])),
        spikes=IrregularTimeSeries(
            np.sort(rng.uniform(0, 25, 600 * units)),  # and nothing in the last five seconds
            unit_index=rng.integers(0, units, 600 * units),
            domain=domain,
        ),
        cursor=RegularTimeSeries(sampling_rate=20.0, **values)
        if regular_cursor
        else IrregularTimeSeries(np.arange(600) * 0.05 + 0.003, **values, domain=domain),
        drifting_gratings=IrregularTimeSeries(
            np.arange(0.0, 20.0, 0.25), orientation_id=rng.integers(0, 8, 80), domain=domain
        ),
        phases=Data(hold=Interval(starts, starts + 0.4), reach=Interval(starts + 0.4, starts + 1.0), domain=domain),
        overlapping=Interval(starts, starts + 2.0),
        trials=Interval([20.0, 1.0], [25.0, 9.0]),
        domain=domain,
    )


@pytest.fixture(scope="module")
def root(save_recordings):
    return save_recordings(
        {
            name: make_recording(name, units, seed, regular_cursor=name == "alpha/s2")
            for seed, (name, units) in enumerate(RECORDINGS.items())
        }
    )


@pytest.fixture(scope="module", params=NAMES)
def setup(request, root):
    """A dataset whose transform is a model's tokenizer, and the model."""
    readouts = {name: MODALITY_REGISTRY[name] for name in MODALITY_REGISTRY}
    sizes = {"sequence_length": 1.0, "latent_step": 0.25, "num_latents_per_step": 3, "dim": 8, "dim_head": 4}
    if request.param == "POYO":
        model = POYO(readout_spec=readouts["cursor_velocity_2d"], **sizes)
    else:
        model = POYOPlus(readout_specs=readouts, **sizes)
    dataset = Dataset(root, config=CONFIGURATION)
    model.unit_emb.initialize_vocab(dataset.get_unit_ids())
    model.session_emb.initialize_vocab(dataset.get_session_ids())
    return dataset, model


def assert_identical(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_identical(one[key], other[key])
    elif isinstance(one, torch.Tensor):
        assert (one.dtype, one.shape, one.is_contiguous()) == (other.dtype, other.shape, other.is_contiguous())
        assert one.numpy().tobytes() == other.numpy().tobytes()
    else:
        assert one == other


def one_by_one(dataset, transform, indices):
    return collate([transform(dataset.get(index.recording_id, index.start, index.end)) for index in indices])


indices = st.lists(
    st.builds(
        lambda recording_id, start, length: DatasetIndex(recording_id, start / 8, start / 8 + length),
        st.sampled_from(sorted(RECORDINGS)),
        st.integers(0, 230),
        st.sampled_from([0.0, 0.5, 1.0, 1.25]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(indices=indices)
def test_a_batch_is_that_of_its_windows(setup, indices):
    dataset, model = setup
    windows = [dataset.get(index.recording_id, index.start, index.end) for index in indices]
    batch = model.tokenize_batch(windows)
    assert batch is not None
    assert_identical(batch, one_by_one(dataset, model.tokenize, indices))


@settings(max_examples=20, deadline=None)
@given(indices=indices)
def test_tokens_are_those_of_a_window_that_was_read_into_memory(setup, indices):
    dataset, model = setup
    in_memory = [dataset.get(index.recording_id, index.start, index.end).materialize() for index in indices]
    assert_identical(
        collate([model.tokenize(window) for window in in_memory]), one_by_one(dataset, model.tokenize, indices)
    )


WINDOWS = [DatasetIndex(name, 2.0 * k, 2.0 * k + 1.0) for k in range(6) for name in RECORDINGS]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_those_batches(setup, root, workers):
    _, model = setup
    dataset = Dataset(root, config=CONFIGURATION, transform=model.tokenize)
    loader = DataLoader(dataset, sampler=WINDOWS, batch_size=7, collate_fn=collate, num_workers=workers)
    for number, batch in enumerate(loader):
        assert_identical(batch, one_by_one(dataset, model.tokenize, WINDOWS[7 * number : 7 * number + 7]))
    assert number == 2


def test_other_transforms_come_first(setup, root):
    _, model = setup

    def dataset():
        dropout = UnitDropout(min_units=1, mode_units=2, max_units=4, seed=3)
        return Dataset(root, config=CONFIGURATION, transform=Compose([dropout, model.tokenize]))

    one, other = dataset(), dataset()
    batch = collate(one.__getitems__(WINDOWS))
    assert_identical(batch, collate([other[index] for index in WINDOWS]))
    assert (
        batch["model_inputs"]["input_mask"].sum()
        < one_by_one(one, model.tokenize, WINDOWS)["model_inputs"]["input_mask"].sum()
    )


def test_a_subclass_with_its_own_input_tokens_is_asked_for_them(setup):
    dataset, model = setup

    class Later(type(model)):
        def input_and_latent_tokens(self, data, known=None):
            tokens = super().input_and_latent_tokens(data, known)
            tokens["latent_timestamps"] = tokens["latent_timestamps"] + 100.0
            return tokens

    later = copy.deepcopy(model)
    later.__class__ = Later
    dataset = copy.copy(dataset)
    dataset.transform = later.tokenize
    assert later.tokenize_batch([dataset.get("alpha/s1", 0.0, 1.0)]) is None
    assert collate(dataset.__getitems__(WINDOWS))["model_inputs"]["latent_timestamps"].min() > 100.0


def test_a_vocabulary_that_changes_changes_the_tokens_of_a_recording(setup, root):
    dataset, model = setup
    model = copy.deepcopy(model)
    dataset = copy.copy(dataset)
    dataset.transform = model.tokenize
    before = collate(dataset.__getitems__(WINDOWS))["model_inputs"]["input_unit_index"]
    names = list(model.unit_emb.vocab)[1:]
    model.unit_emb.subset_vocab(names[::-1])
    after = collate(dataset.__getitems__(WINDOWS))["model_inputs"]["input_unit_index"]
    assert torch.equal(after, torch.where(before > 0, len(names) + 1 - before, 0))
    assert_identical(after, one_by_one(dataset, model.tokenize, WINDOWS)["model_inputs"]["input_unit_index"])
    model.unit_emb.subset_vocab(names[1:])
    with pytest.raises(KeyError, match="unit_0"):
        collate(dataset.__getitems__(WINDOWS))


def test_copies_of_a_model_tokenize_alike(setup):
    dataset, model = setup
    windows = [dataset.get(index.recording_id, index.start, index.end) for index in WINDOWS]
    expected = model.tokenize_batch(windows)
    for duplicate in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
        assert_identical(duplicate.tokenize_batch(windows), expected)
        assert len(pickle.dumps(duplicate._input_tokens)) < 200  # what is remembered stays behind


def test_a_configuration_that_was_changed_is_followed(setup):
    dataset, model = setup
    window = dataset.get("beta/t1", 1.0, 2.0)
    model.tokenize(window)
    window = dataset.get("beta/t1", 1.0, 2.0)
    entry = {"readout_id": "cursor_velocity_2d", "weights": {"phases.hold": 7.0}, "value_key": "cursor.pos"}
    window.config = {"readout": entry, "multitask_readout": [entry]}
    tokens = model.tokenize(window)
    weights, values = tokens["target_weights"].obj, tokens["target_values"].obj
    if isinstance(model, POYOPlus):
        weights, values = weights["cursor_velocity_2d"], values["cursor_velocity_2d"]
    inside = [any(a <= t < b for a, b in window.phases.hold) for t in window.cursor.timestamps]
    assert weights.tolist() == [7.0 if is_inside else 1.0 for is_inside in inside]
    np.testing.assert_array_equal(values, window.cursor.pos)


def test_a_configuration_that_was_changed_in_place_is_followed(setup):
    dataset, model = setup

    def weights_and_values() -> tuple[Any, Any]:
        window = dataset.get("beta/t1", 1.0, 2.0)
        window.config = config
        tokens = model.tokenize(window)
        found = tokens["target_weights"].obj, tokens["target_values"].obj
        return tuple(part["cursor_velocity_2d"] for part in found) if isinstance(model, POYOPlus) else found

    entry = {"readout_id": "cursor_velocity_2d", "weights": {"phases.hold": 7.0}, "normalize_mean": [0.0, 0.0]}
    config = {"readout": entry, "multitask_readout": [entry]}
    weights, values = weights_and_values()
    entry["weights"]["phases.hold"] = 3.0
    entry["normalize_mean"][1] = 2.5
    changed_weights, changed_values = weights_and_values()
    np.testing.assert_array_equal(changed_weights, np.where(weights == 7.0, 3.0, 1.0))
    assert {1.0, 3.0} == set(changed_weights.tolist())
    np.testing.assert_allclose(changed_values, values - np.array([0.0, 2.5]), atol=1e-6)
    entry["readout_id"] = "cursor_velocity"
    with pytest.raises(KeyError, match="did you mean 'cursor_velocity_2d'"):
        weights_and_values()


@pytest.mark.parametrize("batched", [False, True])
def test_a_spike_of_a_unit_that_there_is_not_is_refused(setup, batched):
    dataset, model = setup
    window = dataset.get("alpha/s2", 1.0, 2.0)
    window.spikes.unit_index[3] = 9
    with pytest.raises(ValueError, match=r"recording 'alpha/s2': spikes.unit_index holds 9 but there are only 3 units"):
        _ = model.tokenize_batch([window]) if batched else model.tokenize(window)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("key", ["timestamp_key", "value_key", "eval_interval"])
def test_what_a_recording_lacks_is_named(setup, batched, key):
    dataset, model = setup
    window = dataset.get("alpha/s1", 1.0, 2.0)
    entry = {"readout_id": "cursor_velocity_2d", key: "cursor.nothing"}
    window.config = {"readout": entry, "multitask_readout": [entry]}
    with pytest.raises(KeyError, match=f"wants {key} 'cursor.nothing'"):
        _ = model.tokenize_batch([window]) if batched else model.tokenize(window)


def test_no_windows_at_all_are_refused():
    with pytest.raises(ValueError, match="empty batch"):
        collate([])
