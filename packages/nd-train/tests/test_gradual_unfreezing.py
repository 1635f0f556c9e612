"""Freezing and releasing a backbone while it trains."""

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from nd_models import UnfreezingSchedule
from nd_train import NeuralDataModule, NeuralDecoder
from nd_train.callbacks import GradualUnfreezing

NEW = ("unit_emb", "session_emb", "readout", "task_emb")


@pytest.fixture
def train(make_model, make_trainer, recordings, multitask):
    """Train with one callback; returns the model and what could learn at each step."""

    def fit(callback, *, module=None, ckpt_path=None, **keywords):
        module = module or NeuralDecoder(make_model(depth=2), optimizer="adamw")
        learning = []
        step = NeuralDecoder.training_step

        def watched(self, batch, batch_idx):
            names = {name for name, one in self.model.named_parameters() if one.requires_grad}
            parts = (*NEW, *self.model.backbone_parts)
            learning.append([part for part in parts if any(name.startswith(part) for name in names)])
            return step(self, batch, batch_idx)

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(NeuralDecoder, "training_step", watched)
            trainer = make_trainer(callbacks=[callback], limit_val_batches=0, limit_train_batches=2, **keywords)
            data = NeuralDataModule(recordings, multitask, batch_size=4)
            trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return trainer, module, learning

    return fit


def test_the_backbone_joins_epoch_by_epoch_from_the_readout_back(train):
    _, module, learning = train(GradualUnfreezing(every=1), max_steps=-1, max_epochs=4)
    order = module.model.backbone_parts
    assert learning[::2] == [[*NEW, *order[:epoch]] for epoch in range(4)]
    assert learning[::2] == learning[1::2]


def test_the_whole_backbone_is_released_at_a_step(train):
    _, module, learning = train(GradualUnfreezing(every=0, first=3, unit="step"), max_steps=5, max_epochs=-1)
    everything = [*NEW, *module.model.backbone_parts]
    assert learning == [list(NEW)] * 3 + [everything] * 2


def test_what_is_frozen_does_not_move_and_what_is_not_does(train, make_model):
    module = NeuralDecoder(make_model(depth=2), optimizer="adamw", lr=1e-2)
    before = {name: value.clone() for name, value in module.model.named_parameters() if "emb" not in name}
    train(GradualUnfreezing(every=0, first=9, unit="step"), module=module, max_steps=2)
    after = dict(module.model.named_parameters())
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved
    assert all(name.startswith("readout") for name in moved)


def test_a_resumed_run_keeps_the_schedule_that_it_began_with(train, make_model, tmp_path):
    trainer, _, first = train(GradualUnfreezing(every=0, first=4, unit="step"), max_steps=2, max_epochs=-1)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    # Another run would release it at once; this one goes on.
    other = GradualUnfreezing(every=0, first=0, unit="step")
    _, module, learning = train(other, ckpt_path=tmp_path / "run.ckpt", max_steps=6, max_epochs=-1)
    assert first + learning == [list(NEW)] * 4 + [[*NEW, *module.model.backbone_parts]] * 2
    assert other.schedule is not None
    assert other.schedule.stages[1][0] == 4


def test_the_state_is_plain_values():
    callback = GradualUnfreezing(schedule=UnfreezingSchedule(((0, ("readout",)), (2, ("dec_atn",)))), unit="step")
    state = callback.state_dict()
    assert state == {"unit": "step", "stages": [[0, ["readout"]], [2, ["dec_atn"]]]}
    again = GradualUnfreezing()
    again.load_state_dict(state)
    assert again.schedule == callback.schedule
    assert again.unit == "step"


def test_groups_of_ones_own_are_released_in_their_order(train):
    groups = [["enc_atn", "enc_ffn"], ["dec_atn"]]
    _, _, learning = train(GradualUnfreezing(every=1, groups=groups), max_steps=-1, max_epochs=3)
    assert [set(parts) - set(NEW) for parts in learning[::2]] == [
        *(set(), {"enc_atn", "enc_ffn"}, {"enc_atn", "enc_ffn", "dec_atn"})
    ]


def test_a_distributed_strategy_must_look_for_unused_parameters(make_model):
    class Trainer:
        strategy = DDPStrategy()

    with pytest.raises(ValueError, match="ddp_find_unused_parameters_true"):
        GradualUnfreezing().on_train_start(Trainer(), NeuralDecoder(make_model()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": -1}, "every >= 0 and first >= 0, found every=-1"),
        ({"first": -1}, "found every=1, first=-1"),
        ({"unit": "hour"}, "unit: expected 'epoch' or 'step', found 'hour'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradualUnfreezing(**arguments)
