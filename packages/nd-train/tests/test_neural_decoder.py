"""The module that trains POYO and POYO+: how it is built, what it optimizes, and what its checkpoints hold."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn

from nd_models import POYO, POYOPlus
from nd_train import NeuralDataModule, NeuralDecoder


@pytest.fixture
def initialised(make_model, recordings, multitask, single):
    """A model with the vocabularies of the simulated recordings, and its data module."""

    def make(architecture="POYOPlus", **keywords):
        model = make_model(architecture)
        data = NeuralDataModule(recordings, multitask if architecture == "POYOPlus" else single, **keywords)
        data.link_model(model)
        model.unit_emb.initialize_vocab(data.get_unit_ids())
        model.session_emb.initialize_vocab(data.get_session_ids())
        return model, data

    return make


def plain(value):
    """Whether a value is made of what JSON knows."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(member) for key, member in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str)


@pytest.mark.parametrize("architecture", ["POYO", "POYOPlus"])
def test_a_decoder_built_from_a_model_keeps_that_model(make_model, architecture):
    model = make_model(architecture)
    assert NeuralDecoder(model).model is model


@pytest.mark.parametrize(("architecture", "kind"), [("POYO", POYO), ("POYOPlus", POYOPlus)])
@pytest.mark.parametrize("named", [True, False])
def test_a_decoder_is_built_from_the_mapping_of_a_models_arguments(make_model, architecture, kind, named):
    configuration = make_model(architecture).to_config()
    if not named:
        del configuration["architecture"]
    module = NeuralDecoder(configuration, lr=2e-3)
    assert type(module.model) is kind
    assert module.model.to_config() == make_model(architecture).to_config()
    assert "architecture" not in configuration or named  # what was passed in stays as it was


def test_hyperparameters_are_plain_values_that_describe_the_model(make_model):
    model = make_model()
    module = NeuralDecoder(model, 2e-3, optimizer="adamw", schedule="one_cycle", warmup=0.3, weight_decay=0.05)
    assert plain(dict(module.hparams))
    assert dict(module.hparams) == {
        "model": model.to_config(),
        "lr": 2e-3,
        "optimizer": "adamw",
        "optimizer_arguments": {},
        "weight_decay": 0.05,
        "base_batch_size": None,
        "schedule": "one_cycle",
        "warmup": 0.3,
        "schedule_steps": None,
        "start_factor": 0.04,
        "end_factor": 4e-6,
    }


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": nn.Linear(2, 2)}, TypeError, "expected a model of nd_models or a mapping.*found Linear"),
        ({"model": 3}, TypeError, "found int"),
        ({"optimizer": "lion"}, ValueError, "optimizer: expected a name of the table, .*found 'lion'"),
        ({"schedule": "cos"}, ValueError, "schedule: expected one of 'constant', .*'cosine', found 'cos'"),
    ],
)
def test_arguments_that_do_not_fit_are_errors_with_what_was_expected_and_found(make_model, arguments, error, message):
    with pytest.raises(error, match=message):
        NeuralDecoder(**{"model": make_model(), **arguments})


@pytest.mark.parametrize("architecture", ["POYO", "POYOPlus"])
@pytest.mark.parametrize("optimizer", ["sparse_lamb", "adamw"])
def test_every_parameter_is_optimized_once_and_only_matrices_decay(initialised, architecture, optimizer):
    model, _ = initialised(architecture)
    module = NeuralDecoder(model, optimizer=optimizer, weight_decay=0.25)
    groups = module.configure_optimizers().param_groups
    optimized = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(optimized) == sorted(id(parameter) for parameter in module.parameters())
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    decaying = {names[id(parameter)] for group in groups for parameter in group["params"] if group["weight_decay"] > 0}
    embeddings = {"model.unit_emb.weight", "model.session_emb.weight"}
    assert decaying == {name for name, p in module.named_parameters() if p.ndim > 1} - embeddings
    assert {group["weight_decay"] for group in groups} == {0.0, 0.25}


def test_units_that_a_batch_does_not_hold_do_not_move(initialised):
    model, data = initialised()
    module = NeuralDecoder(model, lr=1e-2)
    optimizer = module.configure_optimizers()
    batch = next(iter(data.train_dataloader()))
    keep = [i for i, session in enumerate(batch["session_id"]) if session == "simulated/session_00"]
    inputs = {key: value[keep] for key, value in batch["model_inputs"].items()}
    before = model.unit_emb.weight.detach().clone()
    sum(values.square().sum() for values in model(**inputs).values()).backward()
    optimizer.step()
    moved = set((model.unit_emb.weight != before).any(dim=1).nonzero().flatten().tolist())
    assert moved == set(inputs["input_unit_index"][inputs["input_mask"]].unique().tolist())
    assert len(moved) < len(before) - 1


def with_run_of(module, steps):
    module._trainer = SimpleNamespace(estimated_stepping_batches=steps)
    return module


@pytest.mark.parametrize(("steps", "warmup"), [(40, 0.25), (10, 0.1), (3, 0.1), (1, 0.5), (7, 0.0)])
def test_one_cycle_peaks_after_the_warm_up_and_ends_with_the_run(initialised, steps, warmup):
    model, _ = initialised()
    module = with_run_of(NeuralDecoder(model, lr=1e-2, schedule="one_cycle", warmup=warmup), steps)
    configured = module.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert configured["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    peak = int(np.argmax(rates))
    assert max(rates) <= 1e-2 * (1 + 1e-9)
    assert abs(peak - (warmup * steps - 1)) <= 1
    assert all(np.diff(rates[: peak + 1]) > 0)
    assert all(np.diff(rates[peak:]) < 0)
    if steps >= 10:
        assert max(rates) == pytest.approx(1e-2, rel=0.03)
        assert rates[-1] < 1e-5


def test_one_cycle_in_a_run_without_end_is_an_error_that_says_what_to_set(initialised):
    model, _ = initialised()
    module = with_run_of(NeuralDecoder(model, schedule="one_cycle"), math.inf)
    with pytest.raises(ValueError, match="needs the run's length: set the trainer's max_steps or max_epochs"):
        module.configure_optimizers()


def test_a_vocabulary_that_is_not_initialised_is_an_error_that_says_how(make_model, initialised):
    with pytest.raises(ValueError, match=r"model\.unit_emb .*initialize_vocab\(dataset\.get_unit_ids\(\)\)"):
        NeuralDecoder(make_model()).configure_optimizers()
    model = make_model()
    model.unit_emb.initialize_vocab(["a"])
    with pytest.raises(ValueError, match=r"model\.session_emb .*dataset\.get_session_ids\(\)"):
        NeuralDecoder(model).configure_optimizers()


def test_a_data_modules_vocabularies_are_taken_once_and_never_over_those_there_are(
    make_model, make_trainer, recordings, multitask
):
    model = make_model()
    model.unit_emb.initialize_vocab(
        [f"simulated/session_{s:02d}/unit_{n:02d}_{i:03d}" for s in (1, 0) for n in (1, 0) for i in range(30)]
    )
    before = dict(model.unit_emb.vocab)
    make_trainer(max_steps=1, limit_val_batches=0).fit(
        NeuralDecoder(model), datamodule=NeuralDataModule(recordings, multitask, batch_size=4)
    )
    assert dict(model.unit_emb.vocab) == before
    assert set(model.session_emb.vocab) == {"NA", "simulated/session_00", "simulated/session_01"}


def float64_mse(predictions, batch):
    """POYO's loss, one window after the other."""
    numerator = denominator = 0.0
    for row, mask in enumerate(batch["model_inputs"]["output_mask"]):
        count = int(mask.sum())
        guess = predictions[row, :count].detach().double().numpy()
        error = ((guess - batch["target_values"][row, :count].double().numpy()) ** 2).mean(axis=1)
        weights = batch["target_weights"][row, :count].double().numpy()
        numerator += (weights * error).sum()
        denominator += weights.sum()
    return numerator / denominator


def test_poyos_loss_is_the_weighted_mean_over_real_outputs_whatever_the_padding_holds(initialised):
    model, data = initialised("POYO", batch_size=6)
    module = NeuralDecoder(model)
    batch = next(iter(data.train_dataloader()))
    outputs = model(**batch["model_inputs"])
    # 100 samples a window leave 4 places of padding; one window gets more of it.
    batch["model_inputs"]["output_mask"][2, 60:] = False
    padding = ~batch["model_inputs"]["output_mask"]
    assert padding.sum() > 40
    batch["target_weights"] = batch["target_weights"] * (1 + torch.arange(padding.shape[1]) % 3)
    loss, by_task = module.compute_loss(outputs, batch)
    assert by_task == {}
    assert float(loss.detach()) == pytest.approx(float64_mse(outputs, batch), rel=1e-5)

    for changed, value in ((outputs, 1e6), (batch["target_values"], -3e5), (batch["target_weights"], 77.0)):
        with torch.no_grad():
            changed[padding] = value
    assert float(module.compute_loss(outputs, batch)[0].detach()) == float(loss.detach())


def test_poyo_pluss_loss_is_logged_as_a_whole_and_by_task(make_model, make_trainer, recordings, multitask):
    trainer = make_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(NeuralDecoder(make_model()), datamodule=NeuralDataModule(recordings, multitask, batch_size=4))
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert set(logged) == {"train_loss", "train_loss/cursor_velocity_2d", "train_loss/cursor_position_2d"}
    # Every window holds both tasks, so that the whole is their sum.
    parts = logged["train_loss/cursor_velocity_2d"] + logged["train_loss/cursor_position_2d"]
    assert logged["train_loss"] == pytest.approx(parts, rel=1e-5)


@pytest.mark.parametrize("architecture", ["POYO", "POYOPlus"])
def test_validation_test_and_prediction_hand_on_the_models_outputs(initialised, architecture):
    model, data = initialised(architecture, eval_batch_size=3)
    module = NeuralDecoder(model).eval()
    batch = next(iter(data.val_dataloader()))
    with torch.no_grad():
        expected = model(**batch["model_inputs"], unpack_output=architecture == "POYOPlus")
        for step in (module.validation_step, module.test_step, module.predict_step):
            found = step(batch, 0)
            torch.testing.assert_close(found.preds, expected, rtol=0, atol=0)
            assert found.session_ids == batch["session_id"]
            assert found.absolute_starts.dtype == torch.float64
            if architecture == "POYO":
                assert not found.eval_masks[~batch["model_inputs"]["output_mask"]].any()
        torch.testing.assert_close(module(**batch["model_inputs"]), model(**batch["model_inputs"]), rtol=0, atol=0)


@pytest.fixture
def checkpoint(make_model, make_trainer, recordings, multitask, tmp_path):
    """A module after two steps, and its checkpoint."""
    module = NeuralDecoder(make_model(), lr=5e-3, schedule="one_cycle")
    trainer = make_trainer(limit_val_batches=0)
    trainer.fit(module, datamodule=NeuralDataModule(recordings, multitask, batch_size=4))
    path = tmp_path / "two steps.ckpt"
    trainer.save_checkpoint(path)
    return module, path


def test_a_checkpoint_holds_nothing_but_tensors_and_plain_values(checkpoint):
    module, path = checkpoint
    stored = torch.load(path, weights_only=True)
    assert stored["hyper_parameters"] == dict(module.hparams)
    assert all(name.startswith("model.") for name in stored["state_dict"])
    assert stored["state_dict"]["model.unit_emb.vocab"] == module.model.unit_emb.vocab


def test_a_decoder_comes_back_from_its_checkpoint_with_weights_vocabularies_and_settings(checkpoint):
    module, path = checkpoint
    loaded = NeuralDecoder.load_from_checkpoint(path)
    assert dict(loaded.hparams) == dict(module.hparams)
    assert loaded.model.session_emb.vocab == module.model.session_emb.vocab
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(loaded.get_parameter(name), parameter, rtol=0, atol=0)


def test_settings_can_be_replaced_when_a_checkpoint_is_loaded(checkpoint):
    _, path = checkpoint
    assert NeuralDecoder.load_from_checkpoint(path, lr=1e-4).hparams["lr"] == 1e-4


def test_a_missing_checkpoint_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*nowhere\.ckpt"):
        NeuralDecoder.load_from_checkpoint(tmp_path / "nowhere.ckpt")


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_a_checkpoint_with_code_is_refused_and_the_code_does_not_run(checkpoint, tmp_path):
    _, path = checkpoint
    stored = torch.load(path, weights_only=True)
    torch.save({**stored, "callbacks": Trap(tmp_path / "mark")}, tmp_path / "trap.ckpt")
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        NeuralDecoder.load_from_checkpoint(tmp_path / "trap.ckpt")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("architecture", ["POYO", "POYOPlus"])
def test_targets_are_not_rounded_to_the_half_precision_of_predictions(initialised, architecture):
    model, data = initialised(architecture, batch_size=2)
    batch = next(iter(data.train_dataloader()))
    module = NeuralDecoder(model)
    outputs = model(**batch["model_inputs"], unpack_output=False)
    several = isinstance(outputs, dict)
    half = {task: one.bfloat16() for task, one in outputs.items()} if several else outputs.bfloat16()
    widened = {task: one.float() for task, one in half.items()} if several else half.float()
    loss, expected = (module.compute_loss(one, batch)[0] for one in (half, widened))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)


def test_a_batch_without_any_target_changes_nothing_also_where_gradients_are_scaled(
    initialised, make_trainer, monkeypatch
):
    model, data = initialised(batch_size=4)
    module = NeuralDecoder(model, optimizer="adamw", lr=0.1)
    nothing = torch.zeros((), requires_grad=True)
    monkeypatch.setattr(module, "compute_loss", lambda outputs, batch: (nothing, {}))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    precision = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
    trainer = make_trainer(max_steps=2, limit_val_batches=0, plugins=[precision])
    with pytest.warns(UserWarning, match="`training_step` returned `None`"):
        trainer.fit(module, datamodule=data)
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name]), name
