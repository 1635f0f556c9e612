"""Scaling of targets by what the training split says, and by nothing else."""

import copy

import numpy as np
import pytest
import torch

from nd_data import Data, Dataset, collate
from nd_models import MODALITY_REGISTRY
from nd_train import NeuralDataModule, NeuralDecoder
from nd_train.target_statistics import fit_target_statistics, with_target_statistics

VELOCITY, POSITION = "cursor_velocity_2d", "cursor_position_2d"


def training_targets(recordings, attribute="vel", changes=None):
    """All targets of the training split, recording by recording, in float64."""
    values = []
    for path in sorted(recordings.glob("*/*.h5")):
        recording = Data.load(path)
        domain = recording.train_domain
        times = np.asarray(recording.cursor.timestamps)
        inside = np.zeros(len(times), dtype=bool)
        for start, end in zip(domain.start, domain.end, strict=True):
            inside |= (times >= start - 1e-6) & (times < end - 1e-6)
        values.append(np.asarray(getattr(recording.cursor, attribute), dtype=np.float64)[inside])
    return np.concatenate(values)


def module_of(recordings, config, model, **keywords):
    module = NeuralDataModule(recordings, config, batch_size=8, **keywords)
    module.link_model(model)
    model.unit_emb.initialize_vocab(module.get_unit_ids())
    model.session_emb.initialize_vocab(module.get_session_ids())
    return module


def test_statistics_are_those_of_all_training_targets_of_all_recordings(recordings, multitask):
    dataset = Dataset(recordings, config=multitask, split="train")
    found = fit_target_statistics(dataset, MODALITY_REGISTRY)
    for readout, attribute in ((VELOCITY, "vel"), (POSITION, "pos")):
        values = training_targets(recordings, attribute)
        np.testing.assert_allclose(found[readout]["mean"], values.mean(axis=0), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(found[readout]["std"], values.std(axis=0), rtol=1e-12)


def test_values_far_from_zero_keep_their_digits(recordings, multitask, monkeypatch):
    values = training_targets(recordings)
    shifted = {}
    for path in recordings.glob("*/*.h5"):
        shifted[path.stem] = np.asarray(Data.load(path).cursor.vel, dtype=np.float64) + 1e6
    whole = Dataset.open_recording

    def opened(self, recording_id):
        recording = copy.deepcopy(whole(self, recording_id).materialize())
        recording.cursor.vel = shifted[recording_id.split("/")[1]]
        return recording

    monkeypatch.setattr(Dataset, "open_recording", opened)
    found = fit_target_statistics(Dataset(recordings, config=multitask, split="train"), MODALITY_REGISTRY)
    np.testing.assert_allclose(found[VELOCITY]["std"], (values + 1e6).std(axis=0), rtol=1e-9)


@pytest.mark.parametrize("architecture", ["POYO", "POYOPlus"])
def test_targets_of_every_split_are_scaled_by_the_training_split(
    make_model, recordings, single, multitask, architecture
):
    config = single if architecture == "POYO" else multitask
    module = module_of(recordings, config, make_model(architecture), normalize="train")
    raw = training_targets(recordings)
    for split in ("train", "valid", "test"):
        dataset = module.dataset(split)
        interval = dataset.get_sampling_intervals()["simulated/session_00"]
        sample = dataset.get("simulated/session_00", interval.start[0], interval.start[0] + 1.0)
        times = np.asarray(sample.cursor.timestamps)
        targets = collate([module.model.tokenize(sample)])["target_values"]
        values = targets[0] if architecture == "POYO" else targets[VELOCITY]
        expected = (np.asarray(sample.cursor.vel) - raw.mean(axis=0)) / raw.std(axis=0)
        np.testing.assert_allclose(values[: len(times)].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_what_the_configuration_says_stands(make_model, recordings, multitask):
    velocity = multitask["config"]["multitask_readout"][0]
    velocity |= {"normalize_mean": [1.0, 2.0], "normalize_std": 3.0}
    given = copy.deepcopy(multitask)
    module = module_of(recordings, multitask, make_model(), normalize="train")
    (entry,) = module.config
    readouts = {one["readout_id"]: one for one in entry["config"]["multitask_readout"]}
    assert readouts[VELOCITY]["normalize_mean"] == [1.0, 2.0]
    assert readouts[VELOCITY]["normalize_std"] == 3.0
    assert list(module.target_statistics()) == [POSITION]
    assert multitask == given  # the caller's own is as it was


def test_without_normalize_nothing_is_scaled(make_model, recordings, multitask):
    module = module_of(recordings, multitask, make_model())
    assert module.target_statistics() == {}
    assert module.config == multitask


def test_given_numbers_are_used_as_they_are(make_model, recordings, single):
    numbers = {VELOCITY: {"mean": [0.5, -0.5], "std": [2.0, 4.0]}}
    module = module_of(recordings, single, make_model("POYO"), normalize=numbers)
    assert module.target_statistics() == numbers
    (entry,) = module.config
    assert entry["config"]["readout"] == {
        "readout_id": VELOCITY,
        "normalize_mean": [0.5, -0.5],
        "normalize_std": [2.0, 4.0],
    }


def test_a_checkpoint_scales_later_runs_as_the_run_that_wrote_it(
    make_model, make_trainer, recordings, multitask, tmp_path
):
    trainer = make_trainer(max_steps=1, limit_val_batches=0)
    module = NeuralDataModule(recordings, multitask, batch_size=8, normalize="train")
    model = make_model()
    trainer.fit(NeuralDecoder(model), datamodule=module)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    fitted = module.target_statistics()
    assert model.target_statistics == fitted
    assert set(fitted) == {VELOCITY, POSITION}
    kept = torch.load(tmp_path / "run.ckpt", weights_only=True)["NeuralDataModule"]["target_statistics"]
    assert kept == fitted

    # Evaluation needs not say it again; and a folder whose training split is another changes nothing.
    later = NeuralDataModule(recordings, multitask, batch_size=8)
    decoder = NeuralDecoder.load_from_checkpoint(tmp_path / "run.ckpt")
    assert decoder.model.target_statistics == fitted
    make_trainer().validate(
        decoder, datamodule=later, ckpt_path=tmp_path / "run.ckpt", weights_only=True, verbose=False
    )
    assert later.target_statistics() == fitted
    assert later.config == with_target_statistics(multitask, fitted)


def test_a_new_readout_is_measured_beside_those_of_an_earlier_run(make_model, recordings, multitask):
    earlier = {VELOCITY: {"mean": [0.0, 0.0], "std": [5.0, 5.0]}}
    module = module_of(recordings, multitask, make_model(), normalize="train")
    module.use_target_statistics(earlier)
    assert module.target_statistics()[VELOCITY] == earlier[VELOCITY]
    np.testing.assert_allclose(
        module.target_statistics()[POSITION]["std"], training_targets(recordings, "pos").std(axis=0), rtol=1e-12
    )


def test_a_target_that_never_changes_is_an_error_with_readout_and_channel(recordings, multitask, monkeypatch):
    whole = Dataset.open_recording

    def opened(self, recording_id):
        recording = copy.deepcopy(whole(self, recording_id).materialize())
        velocity = np.array(recording.cursor.vel)
        velocity[:, 1] = 0.1
        recording.cursor.vel = velocity
        return recording

    monkeypatch.setattr(Dataset, "open_recording", opened)
    with pytest.raises(
        ValueError, match=rf"readout '{VELOCITY}': channel 1 has the same value at all \d+ target times"
    ):
        fit_target_statistics(Dataset(recordings, config=multitask, split="train"), MODALITY_REGISTRY)
