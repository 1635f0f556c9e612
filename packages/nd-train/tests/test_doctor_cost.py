"""What the doctor says a run will take."""

import math
from types import SimpleNamespace

import lightning as L
import pytest
import torch

from nd_train import NeuralDataModule, NeuralDecoder
from nd_train.doctor import cost
from nd_train.doctor.findings import Findings


def ready(recordings, multitask, model, batch_size):
    """Module and data module, with vocabularies."""
    data = NeuralDataModule(recordings, multitask, batch_size=batch_size)
    module = NeuralDecoder(model)
    data.link_model(module.model)
    module.model.unit_emb.initialize_vocab(data.get_unit_ids())
    module.model.session_emb.initialize_vocab(data.get_session_ids())
    return module, data


def trainer_settings(**changes):
    usual = {"max_steps": -1, "max_epochs": None, "accelerator": "cpu", "devices": "auto", "num_nodes": 1}
    return {**usual, **changes}


@pytest.mark.parametrize(
    ("batches", "devices", "settings", "steps", "validations"),
    [
        (
            50,
            1,
            {"max_steps": 1000, "max_epochs": -1, "val_check_interval": 100, "check_val_every_n_epoch": None},
            1000,
            10,
        ),
        (50, 1, {"max_epochs": 20, "check_val_every_n_epoch": 10}, 1000, 2),
        (50, 1, {}, 50_000, 1000),
        (50, 2, {"max_epochs": 20}, 500, 20),
        (50, 1, {"max_epochs": 20, "accumulate_grad_batches": 4}, 260, 20.8),
        (50, 1, {"max_epochs": 20, "limit_train_batches": 0.5}, 500, 20),
        (50, 1, {"max_epochs": 4, "val_check_interval": 0.25}, 200, 16),
        (50, 1, {"max_epochs": -1}, math.inf, math.inf),
        (50, 1, {"max_epochs": 20, "limit_train_batches": 0}, 0, 0),
    ],
)
def test_the_length_of_a_run_follows_from_the_trainers_settings(batches, devices, settings, steps, validations):
    length = cost.run_length(batches, trainer_settings(**settings), devices)
    assert (length.steps, length.validations) == (steps, pytest.approx(validations))


def test_the_length_is_that_of_lightning_itself(recordings, multitask, make_model):
    module, data = ready(recordings, multitask, make_model(), 5)
    for settings in (
        {"max_epochs": 3},
        {"max_epochs": 3, "accumulate_grad_batches": 3},
        {"max_steps": 7, "max_epochs": -1},
    ):
        trainer = L.Trainer(**settings, accelerator="cpu", logger=False, enable_checkpointing=False)
        trainer.strategy.connect(module)
        trainer._data_connector.attach_data(module, datamodule=data)
        expected = trainer.estimated_stepping_batches
        assert cost.run_length(len(data.train_dataloader()), trainer_settings(**settings), 1).steps == expected


def test_activations_grow_with_depth_and_hardly_with_the_batch(recordings, multitask, make_model):
    def measured(batch_size, **sizes):
        module, data = ready(recordings, multitask, make_model(**sizes), batch_size)
        sizes, activations, forward = cost.sizes_and_activations(module, data, windows=8)
        assert forward > 0
        return sizes, activations

    sizes, two = measured(2, num_latents_per_step=32)
    _, eight = measured(8, num_latents_per_step=32)
    _, deep = measured(2, num_latents_per_step=32, depth=6)
    assert eight == pytest.approx(two, rel=0.35)
    assert deep > 1.3 * two
    assert len(sizes["targets"]) >= 8
    assert set(sizes["targets"]) == {200}


def test_more_workers_than_cores_and_long_waits_are_warnings(monkeypatch):
    monkeypatch.setattr(cost.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def said(workers, waiting, seconds):
        findings = Findings()
        cost.check_workers(workers, waiting, seconds, findings)
        (one,) = findings.merged()
        return one.level, one.advice

    assert said(4, 0.0, 3600.0) == ("ok", "")
    assert said(16, 0.0, 3600.0)[0] == "warning"
    level, advice = said(0, 7200.0, 10_800.0)
    assert level == "warning"
    assert "data.num_workers to 2" in advice
    # A short run is not worth it.
    assert said(0, 30.0, 40.0)[0] == "ok"


@pytest.mark.parametrize(("needed", "level"), [(5e9, "ok"), (9e9, "warning"), (2e10, "problem")])
def test_memory_that_is_not_there_is_a_problem(needed, level):
    findings = Findings()
    cost.check_memory(needed, 1e10, trainer_settings(), findings)
    (one,) = findings.merged()
    assert one.level == level
    assert level == "ok" or "batch_size smaller" in one.advice


@pytest.mark.parametrize(("free", "level"), [(1e12, "ok"), (2e8, "warning"), (1e6, "problem")])
def test_a_full_disk_is_a_problem(free, level, recordings, multitask, make_model, tmp_path, monkeypatch):
    monkeypatch.setattr(cost.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    findings = Findings()
    module, _ = ready(recordings, multitask, make_model(), 4)
    cost.check_disk(module, trainer_settings(default_root_dir=str(tmp_path / "a" / "b")), findings)
    assert findings.merged()[0].level == level
    assert not (tmp_path / "a").exists()


def test_a_loss_that_is_nan_is_a_problem(recordings, multitask, make_model):
    module, data = ready(recordings, multitask, make_model(), 4)
    with torch.no_grad():
        module.model.latent_emb.weight.fill_(torch.nan)
    findings = Findings()
    cost.check_cost(module, data, trainer_settings(max_steps=10), findings, steps=1)
    assert ("problem", "cost steps") in {(one.level, one.check) for one in findings.merged()}
    assert data.batch_size == 4
