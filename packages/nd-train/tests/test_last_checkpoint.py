"""What `LastCheckpoint` writes, when, and what it keeps; and what every checkpoint of a run holds."""

import random

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from nd_train import NeuralDataModule, NeuralDecoder
from nd_train.callbacks import LastCheckpoint, MultiTaskDecodingStitchEvaluator, StepSeeds
from nd_train.checkpoints.atomic_checkpoint import AtomicCheckpointIO
from nd_train.checkpoints.whole_checkpoints import inspect


@pytest.fixture
def fit(make_model, make_trainer, recordings, multitask, tmp_path):
    """Train with callbacks; the folder of checkpoints."""

    def run(*callbacks, ckpt_path=None, **trainer):
        kept = ModelCheckpoint(tmp_path / "kept", save_top_k=0)
        settings = {"enable_checkpointing": True, "limit_val_batches": 1, "max_steps": 7, "val_check_interval": 3}
        trainer = make_trainer(
            **{**settings, **trainer}, callbacks=[MultiTaskDecodingStitchEvaluator(), kept, *callbacks]
        )
        data = NeuralDataModule(recordings, multitask, batch_size=4)
        trainer.fit(NeuralDecoder(make_model()), datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return tmp_path / "kept"

    return run


def steps(folder):
    return {path.name: inspect(path).step for path in folder.glob("*.ckpt")}


def test_it_saves_after_every_validation_and_at_the_end_and_keeps_the_one_before(fit):
    assert steps(fit(LastCheckpoint())) == {"last.ckpt": 7, "last-00000006.ckpt": 6}


def test_it_saves_by_steps_too_and_keeps_as_many_as_it_is_told(fit):
    callback = LastCheckpoint(keep=4, every_n_steps=2)
    expected = {"last.ckpt": 7, "last-00000006.ckpt": 6, "last-00000004.ckpt": 4, "last-00000003.ckpt": 3}
    assert steps(fit(callback)) == expected


def test_it_saves_by_the_clock_too(fit):
    folder = fit(LastCheckpoint(keep=9, every_minutes=1e-9), max_steps=4, limit_val_batches=0)
    assert sorted(steps(folder).values()) == [1, 2, 3, 4]


def test_a_single_one_can_be_kept(fit):
    assert steps(fit(LastCheckpoint(keep=1, every_n_steps=1))) == {"last.ckpt": 7}


def test_a_damaged_last_one_is_overwritten_and_never_takes_the_place_of_the_one_before(fit):
    folder = fit(LastCheckpoint())
    last = folder / "last.ckpt"
    last.write_bytes(last.read_bytes()[:500])
    fit(LastCheckpoint(), ckpt_path=folder / "last-00000006.ckpt", max_steps=8)
    assert steps(folder) == {"last.ckpt": 8, "last-00000006.ckpt": 6}


def test_with_it_every_callbacks_checkpoints_are_written_atomically(fit, tmp_path, monkeypatch):
    written = []
    save = AtomicCheckpointIO.save_checkpoint

    def watched(self, checkpoint, path, storage_options=None):
        written.append(str(path))
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", watched)
    fit(LastCheckpoint(), ModelCheckpoint(tmp_path / "steps", every_n_train_steps=5, filename="{step}"))
    assert any(path.endswith("step=5.ckpt") for path in written)
    assert any(path.endswith("last.ckpt") for path in written)


def test_the_state_before_is_kept_also_where_another_plugin_writes_into_the_old_file(fit, tmp_path):
    class InPlace(TorchCheckpointIO):
        def save_checkpoint(self, checkpoint, path, storage_options=None):
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as stream:
                torch.save(checkpoint, stream)

    folder = fit(LastCheckpoint(every_n_steps=3), plugins=[InPlace()])
    assert steps(folder)["last.ckpt"] == 7
    (before,) = (name for name in steps(folder) if name != "last.ckpt")
    assert before == f"last-{steps(folder)[before]:08d}.ckpt"


def test_a_failed_write_ends_the_run_and_leaves_the_old_checkpoint(fit, monkeypatch, tmp_path):
    folder = fit(LastCheckpoint())

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"No space left on device.*What was there before is as it was"):
        fit(LastCheckpoint(), ckpt_path=folder / "last.ckpt", max_steps=9)
    assert steps(folder)["last.ckpt"] == 7
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": 0}, "keep: .*expected 1 or more, found 0"),
        ({"every_n_steps": 0}, "every_n_steps: expected 1 or more steps"),
        ({"every_minutes": 0.0}, "every_minutes: expected more than 0 minutes"),
    ],
)
def test_numbers_out_of_range_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        LastCheckpoint(**arguments)


class Draws(L.Callback):
    """Writes down what each step would draw."""

    def __init__(self):
        self.drawn = []

    def on_train_batch_start(self, trainer, *_):
        numbers = float(torch.rand(())), np.random.rand(), random.random()  # noqa: NPY002  # the global ones are meant
        self.drawn.append((trainer.global_step, *numbers))


def draws(fit, seed, **trainer):
    found = Draws()
    fit(StepSeeds(seed), found, **trainer)
    return found.drawn


def test_what_a_step_draws_follows_from_seed_and_step_alone(fit):
    drawn = draws(fit, 0)
    assert len({number for step in drawn for number in step[1:]}) == 3 * 7
    torch.rand(100)
    random.random()
    assert draws(fit, 0, limit_val_batches=0) == drawn
    assert draws(fit, 1) != drawn


def test_the_seed_is_that_of_seed_everything_and_a_resumed_run_has_its_checkpoints(fit, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    drawn = draws(fit, None)
    assert drawn == draws(fit, 5)
    folder = fit(StepSeeds(), LastCheckpoint(), max_steps=4)
    monkeypatch.setenv("PL_GLOBAL_SEED", "6")
    assert draws(fit, None, ckpt_path=folder / "last.ckpt") == drawn[4:]
