"""Callbacks that log what one wants to know of a run."""

import time

import pytest
import torch

from nd_train import NeuralDataModule, NeuralDecoder
from nd_train.callbacks import EpochTimeLogger, MemInfo, ModelWeightStatsLogger
from nd_train.callbacks.mem_info import peak_memory_mib


@pytest.fixture
def run(make_model, make_trainer, recordings, multitask):
    """Train for a few steps with one callback; returns trainer and module."""

    def fit(callback, **keywords):
        trainer = make_trainer(callbacks=[callback], limit_val_batches=0, **keywords)
        module = NeuralDecoder(make_model())
        trainer.fit(module, datamodule=NeuralDataModule(recordings, multitask, batch_size=4))
        return trainer, module

    return fit


def test_epoch_time_is_the_wall_clock_of_an_epoch(run, monkeypatch):
    step = NeuralDecoder.training_step

    def slowly(self, batch, batch_idx):
        time.sleep(0.05)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(NeuralDecoder, "training_step", slowly)
    started = time.perf_counter()
    trainer, _ = run(EpochTimeLogger(), max_steps=-1, max_epochs=1, limit_train_batches=4)
    whole = time.perf_counter() - started
    assert 0.2 <= float(trainer.callback_metrics["epoch_time"]) < whole


def test_memory_is_the_peak_of_this_process(run):
    before = peak_memory_mib()
    trainer, _ = run(MemInfo(), max_steps=-1, max_epochs=1, limit_train_batches=1)
    logged = float(trainer.callback_metrics["memory/peak_mib"])
    assert 50 < before <= logged + 0.1  # torch alone takes more; what is logged is rounded to float32
    assert logged <= peak_memory_mib() + 0.1
    assert "memory/cuda_peak_mib" not in trainer.callback_metrics


def test_peak_memory_grows_by_what_is_allocated():
    before = peak_memory_mib()
    held = torch.ones(int(before + 64) * 2**20 // 4)
    assert peak_memory_mib() >= before + 64 * 0.9
    del held


def test_weight_statistics_are_mean_and_spread_of_every_parameter(run):
    trainer, module = run(ModelWeightStatsLogger(every_n_steps=2), max_steps=2)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("weights/")}
    parameters = dict(module.model.named_parameters())
    assert set(logged) == {f"weights/{kind}/{name}" for kind in ("mean", "std") for name in parameters}
    for name, parameter in parameters.items():
        values = parameter.detach().double().numpy()
        assert logged[f"weights/mean/{name}"] == pytest.approx(values.mean(), abs=1e-6)
        assert logged[f"weights/std/{name}"] == pytest.approx(values.std(ddof=1), abs=1e-6)


def test_weight_statistics_are_logged_only_at_their_steps(run):
    trainer, _ = run(ModelWeightStatsLogger(every_n_steps=3), max_steps=2)
    assert not any(name.startswith("weights/") for name in trainer.callback_metrics)


def test_weight_statistics_of_the_whole_module_have_its_names(run):
    trainer, _ = run(ModelWeightStatsLogger(every_n_steps=1, module_name=None), max_steps=1)
    assert "weights/mean/model.unit_emb.weight" in trainer.callback_metrics


def test_an_interval_below_one_step_is_an_error():
    with pytest.raises(ValueError, match="every_n_steps: expected at least 1, found 0"):
        ModelWeightStatsLogger(every_n_steps=0)
