"""Checkpoints of every model and every callback hold tensors and plain values only, and load as such."""

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint

from nd_data import ResumableDataLoader
from nd_data.simulate_calcium import simulate_calcium_recordings
from nd_models import MultitaskDecoderModel, add_lora, model_from_config
from nd_train import NeuralDataModule, NeuralDecoder, callbacks
from nd_train.metrics_file import MetricsFile

SIZES = {"sequence_length": 1.0, "latent_step": 0.5, "num_latents_per_step": 2, "dim": 16, "depth": 1, "dim_head": 8}
BINNED = {"sequence_length": 1.0, "bin_size": 0.1, "readout_specs": ["cursor_velocity_2d", "cursor_position_2d"]}


@pytest.fixture
def fitted(make_trainer, recordings, multitask, single, tmp_path):
    """Train a model for a moment, among many callbacks: its module and its last checkpoint."""

    def make(model, *, adapt=None, **decoder):
        several = isinstance(model, MultitaskDecoderModel)
        data = NeuralDataModule(recordings, multitask if several else single, batch_size=4)
        data.link_model(model)
        if adapt is not None:
            model.unit_emb.initialize_vocab(data.get_unit_ids())
            model.session_emb.initialize_vocab(data.get_session_ids())
            adapt(model)
        evaluator = callbacks.MultiTaskDecodingStitchEvaluator() if several else callbacks.DecodingStitchEvaluator()
        module = NeuralDecoder(model, **decoder)
        trainer = make_trainer(
            max_steps=4,
            val_check_interval=2,
            limit_val_batches=1,
            enable_checkpointing=True,
            logger=MetricsFile(tmp_path),
            callbacks=[
                *(evaluator, callbacks.StepSeeds(), callbacks.RequeueBetweenSteps(), callbacks.MemInfo()),
                *(callbacks.EpochTimeLogger(), callbacks.ModelWeightStatsLogger(), LearningRateMonitor("step")),
                EarlyStopping("average_val_metric", mode="max"),
                ModelCheckpoint(tmp_path / "kept", monitor="average_val_metric", mode="max"),
                callbacks.LastCheckpoint(),
            ],
        )
        trainer.fit(module, datamodule=data)
        assert isinstance(trainer.train_dataloader, ResumableDataLoader)
        return module, tmp_path / "kept" / "last.ckpt"

    return make


def assert_comes_back(module, path, **keywords):
    """From a file that is read as tensors and plain values, with every weight and vocabulary."""
    stored = torch.load(path, weights_only=True)
    assert {"callbacks", "loops", "optimizer_states", "lr_schedulers", "hyper_parameters"} <= set(stored)
    assert stored["loops"]["fit_loop"]["state_dict"]["combined_loader"]
    loaded = NeuralDecoder.load_from_checkpoint(path, **keywords)
    state, other = module.state_dict(), loaded.state_dict()
    assert set(state) == set(other)
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(other[name], value, rtol=0, atol=0)
        else:
            assert other[name] == value
    assert dict(loaded.hparams) == dict(module.hparams)


@pytest.mark.parametrize("optimizer", ["sparse_lamb", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_poyo_plus_with_every_kind_of_optimizer_and_schedule(fitted, make_model, optimizer, schedule):
    assert_comes_back(*fitted(make_model(), optimizer=optimizer, schedule=schedule, warmup=0.5))


def test_poyo(fitted, make_model):
    assert_comes_back(*fitted(make_model("POYO")))


@pytest.mark.parametrize("architecture", ["WienerDecoder", "MLPDecoder", "GRUDecoder", "NDTDecoder"])
def test_the_baselines(fitted, architecture):
    assert_comes_back(*fitted(model_from_config({"architecture": architecture, **BINNED})))


def test_calcium_poyo_plus(make_trainer, tmp_path):
    root = tmp_path / "calcium"
    simulate_calcium_recordings(root, sessions=1, minutes=0.5, cells=6, frame_rate=10.0, noise=0.1, seed=1)
    config = {"config": {"multitask_readout": [{"readout_id": "running_speed"}]}}
    data = NeuralDataModule(root, config, batch_size=4, normalize="train")
    model = model_from_config({"architecture": "CalciumPOYOPlus", **SIZES, "readout_specs": ["running_speed"]})
    module = NeuralDecoder(model)
    last = callbacks.LastCheckpoint(dirpath=tmp_path)
    trainer = make_trainer(enable_checkpointing=True, limit_val_batches=0, callbacks=[last])
    trainer.fit(module, datamodule=data)
    assert_comes_back(module, tmp_path / "last.ckpt")


def test_a_model_with_low_rank_adaptation(fitted, make_model):
    module, path = fitted(make_model(), adapt=lambda model: add_lora(model, rank=2, also_train=["unit_emb"]))
    assert any("lora" in name for name in module.state_dict())
    assert_comes_back(module, path)
