"""What a module predicts, stitched into one trace a recording and task."""

import pytest
import torch

from nd_train import NeuralDataModule, NeuralDecoder
from nd_train.callbacks import DecodingStitchEvaluator, MultiTaskDecodingStitchEvaluator


@pytest.mark.parametrize("architecture", ["POYO", "POYOPlus"])
def test_predicted_traces_are_those_that_the_test_scores(
    architecture, make_model, make_trainer, recordings, single, multitask, tmp_path
):
    several = architecture == "POYOPlus"
    data = NeuralDataModule(recordings, multitask if several else single, batch_size=8)
    module = NeuralDecoder(make_model(architecture))
    evaluator = MultiTaskDecodingStitchEvaluator() if several else DecodingStitchEvaluator()
    trainer = make_trainer(max_steps=1, limit_val_batches=0, callbacks=[evaluator])
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    trainer.test(module, datamodule=data, verbose=False)
    expected = evaluator.results["test"].traces
    before = list(trainer.callbacks)

    loaded = NeuralDecoder(module.model.to_config())
    data = NeuralDataModule(recordings, multitask if several else single, batch_size=5)
    loaded.model.unit_emb.initialize_vocab(list(module.model.unit_emb.vocab)[1:])
    loaded.model.session_emb.initialize_vocab(list(module.model.session_emb.vocab)[1:])
    traces = loaded.predict_traces(trainer, datamodule=data, ckpt_path=str(tmp_path / "a.ckpt"))
    assert trainer.callbacks == before
    assert {name: sorted(tasks) for name, tasks in traces.items()} == {
        name: sorted(tasks) for name, tasks in expected.items()
    }
    for recording, tasks in traces.items():
        for task, trace in tasks.items():
            other = expected[recording][task]
            torch.testing.assert_close(trace.timestamps, other.timestamps, rtol=0, atol=0)
            torch.testing.assert_close(trace.targets, other.targets, rtol=0, atol=0)
            torch.testing.assert_close(trace.preds, other.preds, rtol=1e-4, atol=1e-5)
            assert (trace.timestamps.diff() > 0).all()
