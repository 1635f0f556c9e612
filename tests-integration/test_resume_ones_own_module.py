"""A LightningModule of one's own, as the guide writes it, resumes with the same callbacks to the same bits."""

import contextlib

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from nd_eval import DataForMultiTaskDecodingStitchEvaluator
from nd_models import POYOPlus
from nd_optim import SparseLamb
from nd_train import NeuralDataModule
from nd_train.callbacks import LastCheckpoint, MultiTaskDecodingStitchEvaluator, StepSeeds

SIZES = {"sequence_length": 1.0, "latent_step": 0.5, "num_latents_per_step": 2, "dim": 16, "depth": 1, "dim_head": 8}


class KilledError(Exception):
    pass


class OwnDecoder(L.LightningModule):
    """Its schedule asks the trainer for the run's length, which makes the loaders before a resume knows of them."""

    def __init__(self, killed_at=None):
        super().__init__()
        self.killed_at = killed_at
        self.losses = {}
        self.model = POYOPlus(**SIZES, ffn_dropout=0.3, lin_dropout=0.3)

    def setup(self, stage):
        if self.model.unit_emb.is_lazy():
            self.model.unit_emb.initialize_vocab(self.trainer.datamodule.get_unit_ids())
            self.model.session_emb.initialize_vocab(self.trainer.datamodule.get_session_ids())

    def training_step(self, batch, batch_idx):
        if self.killed_at == self.trainer.global_step:
            raise KilledError
        values = self.model(**batch["model_inputs"], unpack_output=False)["cursor_velocity_2d"]
        targets = batch["target_values"]["cursor_velocity_2d"]
        loss = (values - targets).square().mean()
        self.losses[self.trainer.global_step] = float(loss.detach())
        return loss

    def validation_step(self, batch, batch_idx):
        inputs = batch["model_inputs"]
        return DataForMultiTaskDecodingStitchEvaluator(
            timestamps=inputs["output_timestamps"],
            preds=self.model(**inputs, unpack_output=True),
            targets=batch["target_values"],
            decoder_indices=inputs["output_decoder_index"],
            eval_masks=batch["eval_mask"],
            session_ids=batch["session_id"],
            absolute_starts=batch["absolute_start"],
        )

    def configure_optimizers(self):
        optimizer = SparseLamb(self.parameters(), lr=1e-2)
        steps = self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fit(folder, workplace, module, ckpt_path=None):
    best = ModelCheckpoint(folder, monitor="average_val_metric", mode="max", filename="best")
    trainer = L.Trainer(
        max_epochs=2,
        limit_train_batches=4,
        val_check_interval=3,
        limit_val_batches=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[MultiTaskDecodingStitchEvaluator(), StepSeeds(0), best, LastCheckpoint(keep=2, every_n_steps=1)],
    )
    data = NeuralDataModule("./processed", "config.yaml", batch_size=4)
    with contextlib.suppress(KilledError):
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return module


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.parametrize("killed_at", [1, 3, 4, 6])
def test_it_goes_on_with_the_same_losses_to_the_same_weights(workplace, tmp_path, killed_at):
    torch.manual_seed(0)
    whole = fit(tmp_path / "whole", workplace, OwnDecoder())
    assert list(whole.losses) == list(range(8))
    torch.manual_seed(0)
    killed = fit(tmp_path / "killed", workplace, OwnDecoder(killed_at))
    torch.manual_seed(99)
    resumed = fit(tmp_path / "killed", workplace, OwnDecoder(), ckpt_path=tmp_path / "killed" / "last.ckpt")
    assert {**killed.losses, **resumed.losses} == whole.losses
    assert min(resumed.losses) == killed_at
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(resumed.get_parameter(name), parameter, rtol=0, atol=0)
