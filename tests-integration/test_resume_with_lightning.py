"""Lightning stops and resumes within an epoch: the windows of nd_data's loader go on as if it never had."""

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from nd_data import ResumableDataLoader
from nd_data.samplers import RandomFixedWindowSampler, TokenBudgetBatchSampler

WINDOWS = 22
BATCH = 4
BATCHES = 6  # of an epoch


class Addresses(torch.utils.data.Dataset):
    def __getitem__(self, index):
        return torch.tensor([index.start, float(index.seed % 1000)])


class KilledError(Exception):
    pass


class Notes(L.LightningModule):
    """Writes down what it is given, and is killed at a step."""

    def __init__(self, killed_at=None):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.killed_at = killed_at
        self.seen = []

    def training_step(self, batch, batch_idx):
        if self.killed_at == self.trainer.global_step:
            raise KilledError
        self.seen.append((self.trainer.current_epoch, batch_idx, batch.tolist()))
        return self.layer(torch.nn.functional.dropout(batch)).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class ValidatedNotes(Notes):
    def validation_step(self, batch, batch_idx):
        pass


def tokens(plan):
    return (np.floor(plan.start * 7.3) % 5).astype(np.int64) + 14


def loader(workers, seed, by_tokens):
    sampler = RandomFixedWindowSampler(
        {"a": [(0.0, float(WINDOWS))]}, 1.0, generator=torch.Generator().manual_seed(seed)
    )
    if by_tokens:
        batches = TokenBudgetBatchSampler(sampler, tokens, BATCH * 24, max_windows=BATCH, batches_per_epoch=BATCHES)
        return ResumableDataLoader(Addresses(), batch_sampler=batches, num_workers=workers)
    return ResumableDataLoader(Addresses(), sampler=sampler, batch_size=BATCH, num_workers=workers)


def fit(folder, module, *, workers=0, seed=0, by_tokens=False, ckpt_path=None, validate=False, **kwargs):
    checkpoint = ModelCheckpoint(folder, save_last=True, every_n_train_steps=1, save_top_k=0)
    trainer = L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[checkpoint],
        **({"max_epochs": 3} | kwargs),
    )
    validation = torch.utils.data.DataLoader(torch.zeros(2, 2)) if validate else None
    try:
        trainer.fit(module, loader(workers, seed, by_tokens), validation, ckpt_path=ckpt_path, weights_only=True)
    except KilledError:
        return trainer
    return trainer


@pytest.mark.parametrize("by_tokens", [False, True], ids=["batches", "token budget"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("killed_at", [1, 4, 5, 6, 7, 13])
def test_a_killed_run_goes_on_with_the_batches_it_would_have_had(tmp_path, workers, killed_at, by_tokens):
    whole = Notes()
    fit(tmp_path / "whole", whole, by_tokens=by_tokens)
    assert len(whole.seen) == 3 * BATCHES
    killed = Notes(killed_at)
    fit(tmp_path / "killed", killed, workers=workers, by_tokens=by_tokens)
    assert killed.seen == whole.seen[:killed_at]
    resumed = Notes()
    last = tmp_path / "killed" / "last.ckpt"
    fit(tmp_path / "killed", resumed, workers=workers, seed=99, by_tokens=by_tokens, ckpt_path=last)
    assert resumed.seen == whole.seen[killed_at:]


@pytest.mark.parametrize(
    "kwargs", [{"max_steps": 16, "max_epochs": -1}, {"limit_train_batches": 5}, {"validate": True}]
)
@pytest.mark.parametrize("killed_at", [3, 5, 6, 10])
def test_the_settings_of_the_trainer_change_nothing_about_that(tmp_path, kwargs, killed_at):
    make = ValidatedNotes if "validate" in kwargs else Notes
    whole, killed, resumed = make(), make(killed_at), make()
    fit(tmp_path / "whole", whole, **kwargs)
    fit(tmp_path / "killed", killed, workers=1, **kwargs)
    last = tmp_path / "killed" / "last.ckpt"
    fit(tmp_path / "killed", resumed, workers=1, seed=99, ckpt_path=last, **kwargs)
    assert killed.seen + resumed.seen == whole.seen
