"""Calcium imaging from end to end: simulated recordings, a trained CalciumPOYOPlus, stitched scores."""

import numpy as np
import pytest
import torch
import yaml

from nd_data.simulate_calcium import simulate_calcium_recordings
from nd_models import CalciumPOYOPlus
from nd_train import NeuralDataModule, NeuralDecoder
from nd_train.callbacks import MultiTaskDecodingStitchEvaluator
from nd_train.cli import main


@pytest.fixture(scope="module")
def calcium_recordings(tmp_path_factory):
    root = tmp_path_factory.mktemp("calcium")
    simulate_calcium_recordings(root, sessions=2, minutes=1.5, cells=16, frame_rate=12.0, noise=0.1, seed=1)
    return root


CONFIG = {
    "config": {
        "multitask_readout": [
            {"readout_id": "running_speed", "normalize_mean": 8.0, "normalize_std": 5.0, "metrics": ["r2"]},
            {"readout_id": "drifting_gratings_orientation", "metrics": ["accuracy"]},
        ]
    }
}


def calcium_model(**changes):
    sizes = {"latent_step": 0.5, "num_latents_per_step": 2, "dim": 16, "dim_head": 8, "depth": 1, "self_heads": 2}
    readouts = ["running_speed", "drifting_gratings_orientation"]
    return CalciumPOYOPlus(sequence_length=1.0, readout_specs=readouts, **{**sizes, **changes})


def test_a_calcium_model_learns_to_beat_the_mean(calcium_recordings, make_trainer):
    model = calcium_model(
        latent_step=0.25, num_latents_per_step=4, dim=24, dim_head=12, ffn_dropout=0.0, lin_dropout=0.0
    )
    data = NeuralDataModule(
        calcium_recordings,
        CONFIG,
        batch_size=16,
        unit_dropout={"field": "calcium_traces.df_over_f", "min_units": 8, "mode_units": 12, "max_units": 16},
    )
    evaluator = MultiTaskDecodingStitchEvaluator()
    trainer = make_trainer(max_steps=90, max_epochs=-1, callbacks=[evaluator], limit_val_batches=0)
    module = NeuralDecoder(model, lr=4e-3, optimizer="adamw", schedule="one_cycle")
    trainer.fit(module, datamodule=data)
    scores = trainer.test(module, datamodule=data, verbose=False)[0]
    # The mean of the test split itself has an R² of 0; any other constant has less.
    explained = [value for name, value in scores.items() if "running_speed" in name and "r2" in name]
    assert len(explained) >= 2
    assert min(explained) > 0.1
    assert all(np.isfinite(value) for value in scores.values())


def test_every_part_that_is_read_has_learnt(calcium_recordings, make_trainer):
    model = calcium_model()
    data = NeuralDataModule(calcium_recordings, CONFIG, batch_size=8)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters() if "_emb" not in name}
    module = NeuralDecoder(model, lr=1e-2)
    make_trainer(max_steps=3, max_epochs=-1, limit_val_batches=0).fit(module, datamodule=data)
    for name, value in before.items():
        assert not torch.equal(value, model.get_parameter(name)), name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_small_ready_configuration_takes_two_steps_and_validates(calcium_recordings, tmp_path, capsys):
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(CONFIG))
    words = ["--config=calcium_poyo_plus_small", f"--data.root={calcium_recordings}"]
    words += [f"--data.config={tmp_path / 'data.yaml'}", "--data.batch_size=2", "--data.eval_batch_size=2"]
    words += ["--trainer.fast_dev_run=2", "--trainer.accelerator=cpu", f"--trainer.default_root_dir={tmp_path / 'run'}"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    assert main(["fit", *words, *quiet]) == 0
    assert "2 steps" in capsys.readouterr().out
