"""Lightning's averaged weights, whose callback copies the module before `setup`."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

from nd_train import NeuralDataModule, NeuralDecoder
from nd_train.callbacks import MultiTaskDecodingStitchEvaluator, StepSeeds

DECAY = 0.8

pytestmark = [
    pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback with a model that overrides"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
]


class Weights(L.Callback):
    """What every step ended with."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append({name: value.detach().clone() for name, value in pl_module.named_parameters()})


@pytest.fixture
def train(make_model, make_trainer, recordings, multitask, tmp_path):
    def fit(steps, folder, ckpt_path=None):
        torch.manual_seed(0)
        module, weights = NeuralDecoder(make_model(), lr=0.01, schedule="constant"), Weights()
        checkpoint = ModelCheckpoint(tmp_path / folder, save_top_k=0, save_last=True, every_n_train_steps=1)
        average = EMAWeightAveraging(decay=DECAY)
        callbacks = [StepSeeds(), weights, average, MultiTaskDecodingStitchEvaluator(), checkpoint]
        trainer = make_trainer(callbacks=callbacks, max_steps=steps, max_epochs=-1, enable_checkpointing=True)
        data = NeuralDataModule(recordings, multitask, batch_size=4, eval_batch_size=4)
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return module, weights.steps, tmp_path / folder / "last.ckpt"

    return fit


def test_a_run_ends_with_the_average_of_its_steps_and_a_checkpoint_holds_it(train):
    module, steps, path = train(5, "whole")
    assert len(steps) == 5
    loaded = NeuralDecoder.load_from_checkpoint(path)
    assert dict(loaded.model.unit_emb.vocab) == dict(module.model.unit_emb.vocab)
    for (name, found), (_, stored) in zip(module.named_parameters(), loaded.named_parameters(), strict=True):
        expected = steps[0][name].double()
        for step in steps[1:]:
            expected = DECAY * expected + (1 - DECAY) * step[name].double()
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)
        assert torch.equal(stored, found)
    assert any(not torch.equal(steps[-1][name], value) for name, value in module.named_parameters())


def test_a_resumed_run_averages_on_to_the_bit(train):
    whole, _, _ = train(5, "whole")
    _, _, path = train(2, "begun")
    resumed, steps, _ = train(5, "resumed", ckpt_path=path)
    assert len(steps) == 3
    for (name, found), (_, expected) in zip(resumed.named_parameters(), whole.named_parameters(), strict=True):
        assert torch.equal(found, expected), name
