"""Optimizers by name or by a callable, and which parameters are in which group."""

import functools

import pytest
import torch

from nd_optim import SparseLamb
from nd_train import NeuralDataModule, NeuralDecoder
from nd_train.optimizers import OPTIMIZERS, build_optimizer


@pytest.fixture
def initialised(make_model, recordings, multitask):
    """A model with the vocabularies of the simulated recordings, and one batch."""

    def make(architecture="POYOPlus"):
        model = make_model(architecture)
        data = NeuralDataModule(recordings, multitask, batch_size=4)
        data.link_model(model)
        model.unit_emb.initialize_vocab(data.get_unit_ids())
        model.session_emb.initialize_vocab(data.get_session_ids())
        return model, data

    return make


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_of_the_table_takes_a_step_that_lowers_the_loss(initialised, name):
    model, data = initialised()
    # Dropout is off, so that the losses are those of one function.
    model.eval()
    lr = {"adadelta": 1.0, "asgd": 0.1, "sgd": 0.1, "rmsprop": 1e-4}.get(name, 1e-3)
    module = NeuralDecoder(model, lr, optimizer=name)
    optimizer = module.configure_optimizers()
    assert type(optimizer) is OPTIMIZERS[name]
    batch = next(iter(data.train_dataloader()))
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss, _ = module.compute_loss(model(**batch["model_inputs"]), batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_sparse_lamb_steps_units_sessions_tasks_and_readouts_row_by_row(initialised):
    model, _ = initialised()
    optimizer = NeuralDecoder(model, lr=3e-3).configure_optimizers()
    assert isinstance(optimizer, SparseLamb)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    sparse = {names[id(p)] for group in optimizer.param_groups if group["sparse"] for p in group["params"]}
    expected = {
        name for name in names.values() if name.startswith(("unit_emb.", "session_emb.", "readout.", "task_emb."))
    }
    assert sparse == expected
    assert {"unit_emb.weight", "session_emb.weight"} < sparse
    assert any(name.startswith("readout.") for name in sparse)
    assert {group["lr"] for group in optimizer.param_groups} == {3e-3}


def test_a_readout_that_a_batch_does_not_ask_for_stays_as_it_is(initialised):
    model, data = initialised()
    module = NeuralDecoder(model, lr=1e-2, weight_decay=0.5)
    optimizer = module.configure_optimizers()
    batch = next(iter(data.train_dataloader()))
    before = {name: parameter.detach().clone() for name, parameter in model.readout.named_parameters()}
    outputs = model(**batch["model_inputs"])
    (outputs["cursor_velocity_2d"].square().sum() + 0 * outputs["cursor_position_2d"].sum()).backward()
    optimizer.step()
    moved = {name for name, parameter in model.readout.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {name for name in before if "cursor_velocity_2d" in name}


def test_a_bias_of_the_readout_can_change_its_sign(initialised):
    model, _ = initialised()
    optimizer = NeuralDecoder(model, lr=1e-2).configure_optimizers()
    bias = model.readout.projections["cursor_velocity_2d"].bias
    with torch.no_grad():
        bias.fill_(0.05)
    for _ in range(20):
        bias.grad = torch.ones_like(bias)
        optimizer.step()
    assert (bias < 0).all()


def test_more_arguments_reach_the_optimizer(initialised):
    model, _ = initialised()
    module = NeuralDecoder(model, optimizer="sgd", optimizer_arguments={"momentum": 0.9, "nesterov": True})
    optimizer = module.configure_optimizers()
    assert {(group["momentum"], group["nesterov"]) for group in optimizer.param_groups} == {(0.9, True)}
    assert module.hparams["optimizer_arguments"] == {"momentum": 0.9, "nesterov": True}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "adamv"}, r"found 'adamv'; did you mean 'adam'.*the table has: 'adadelta'"),
        ({"optimizer_arguments": {"beta": 1}}, r"found 'beta'; did you mean 'betas'\? sparse_lamb takes"),
        ({"optimizer_arguments": {"weight_decay": 1.0}}, "weight_decay is an argument of the decoder itself"),
    ],
)
def test_an_unknown_optimizer_or_argument_is_an_error_that_says_what_there_is(make_model, arguments, message):
    with pytest.raises(ValueError, match=message):
        NeuralDecoder(make_model(), **arguments)


def test_a_callable_makes_any_optimizer_and_must_be_given_again_to_go_on_training(initialised, make_trainer, tmp_path):
    model, data = initialised()
    make = functools.partial(torch.optim.AdamW, betas=(0.8, 0.9))
    module = NeuralDecoder(model, lr=2e-3, optimizer=make)
    assert {group["betas"] for group in module.configure_optimizers().param_groups} == {(0.8, 0.9)}
    trainer = make_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(module, datamodule=data)
    path = tmp_path / "own.ckpt"
    trainer.save_checkpoint(path)
    loaded = NeuralDecoder.load_from_checkpoint(path)
    with pytest.raises(ValueError, match=r"an optimizer of your own.*pass it again"):
        loaded.configure_optimizers()
    again = NeuralDecoder.load_from_checkpoint(path, optimizer=make)
    assert {group["lr"] for group in again.configure_optimizers().param_groups} == {2e-3}


def test_a_callable_that_returns_no_optimizer_is_an_error():
    with pytest.raises(TypeError, match="must return a torch optimizer, found int"):
        build_optimizer(lambda _, lr: 3, [{"params": [torch.zeros(1)]}], lr=0.1, arguments={})


def test_gradients_are_clipped_as_lightning_does(initialised, make_trainer):
    model, data = initialised()
    norms = []

    class Watched(NeuralDecoder):
        def on_before_zero_grad(self, optimizer):
            gradients = [p.grad for p in self.parameters() if p.grad is not None]
            if gradients:
                norms.append(float(torch.nn.utils.get_total_norm(gradients)))

    make_trainer(max_steps=3, limit_val_batches=0, gradient_clip_val=1e-3).fit(Watched(model), datamodule=data)
    assert len(norms) >= 2
    assert max(norms) <= 1e-3 * (1 + 1e-4)
    norms.clear()
    model, data = initialised()
    make_trainer(max_steps=3, limit_val_batches=0).fit(Watched(model), datamodule=data)
    assert min(norms) > 1e-3
