"""Precisions that work, and those that would round times."""

import warnings

import pytest
import torch

from nd_train import NeuralDataModule, NeuralDecoder


class Watched(NeuralDecoder):
    """Keeps the times it is given, and the dtype in which matrices are multiplied."""

    def training_step(self, batch, batch_idx):
        inputs = batch["model_inputs"]
        self.seen = {name: inputs[name].dtype for name in ("input_timestamps", "output_timestamps")}
        self.starts = batch["absolute_start"].dtype
        self.product = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    ("precision", "product"), [("32-true", torch.float32), ("16-mixed", torch.bfloat16), ("bf16-mixed", torch.bfloat16)]
)
@pytest.mark.parametrize("architecture", ["POYO", "POYOPlus"])
def test_mixed_precision_trains_and_keeps_times(
    architecture, precision, product, make_model, make_trainer, recordings, single, multitask
):
    with warnings.catch_warnings():
        # On a CPU, Lightning takes bfloat16 for 16-mixed and says so.
        warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU")
        trainer = make_trainer(precision=precision, max_steps=3, limit_val_batches=2)
    module = Watched(make_model(architecture), lr=1e-3)
    data = NeuralDataModule(recordings, single if architecture == "POYO" else multitask, batch_size=4)
    before = module.model.get_parameter("latent_emb.weight").detach().clone()
    trainer.fit(module, datamodule=data)
    assert set(module.seen.values()) <= {torch.float32, torch.float64}
    assert module.starts == torch.float64
    assert module.product == product
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())
    assert not torch.equal(before, module.model.get_parameter("latent_emb.weight"))
    assert torch.isfinite(trainer.callback_metrics["train_loss"])


@pytest.mark.parametrize(
    ("precision", "reason", "instead"),
    [
        ("16-true", "float16, steps of up to 0.5 ms", "16-mixed"),
        ("bf16-true", "bfloat16, steps of up to 4 ms", "bf16-mixed"),
    ],
)
@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_half_precision_throughout_is_refused_with_the_reason(
    precision, reason, instead, verb, make_model, make_trainer, recordings, multitask
):
    module, data = NeuralDecoder(make_model()), NeuralDataModule(recordings, multitask)
    trainer = make_trainer(precision=precision)
    with pytest.raises(ValueError, match=f"would round the times .*{reason}.*Use '{instead}'"):
        getattr(trainer, verb)(module, datamodule=data)


def test_the_reason_is_true():
    times = torch.linspace(0.5, 1.0, 100_001, dtype=torch.float64)[:-1]
    for dtype, step in ((torch.float16, 0.5e-3), (torch.bfloat16, 4e-3)):
        apart = times.to(dtype).double().unique().diff()
        assert apart.max().item() == pytest.approx(step, rel=0.05)
