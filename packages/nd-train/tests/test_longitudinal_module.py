"""What `MILightningModule` promises of a run: muted weights, checkpoints, resuming, bounds, and clear errors."""

import copy

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from nd_data.longitudinal import collate_sequences
from nd_models.longitudinal import AutoRegressiveLinear, LastValue, Recurrent
from nd_train import LongitudinalDataModule, MILightningModule

EPOCHS = {"max_steps": -1}


def recurrent(outcomes=1):
    return Recurrent(4, outcomes, hidden_size=8)


def one_batch(dataset):
    return collate_sequences([dataset[index] for index in range(len(dataset))])


def test_training_is_free_of_nan_with_sequences_that_have_nothing_to_learn_from(make_panel, make_trainer):
    panel = make_panel(6)
    nothing = [np.full_like(panel[index]["outcomes"], np.nan) for index in range(6)]
    masks = [np.zeros_like(panel[index]["outcomes_mask"]) for index in range(6)]
    half = panel.with_values(
        {
            "outcomes": [nothing[i] if i % 2 else panel[i]["outcomes"] for i in range(6)],
            "outcomes_mask": [masks[i] if i % 2 else panel[i]["outcomes_mask"] for i in range(6)],
        }
    )
    module = MILightningModule({"loss_reduction": "within-seq", "do_shift": True}, recurrent())
    # Batches of one: half of them are empty.
    data = LongitudinalDataModule(half, train_batch_size=1)
    trainer = make_trainer(max_epochs=2, detect_anomaly=True, **EPOCHS)
    trainer.fit(module, datamodule=data)
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
    assert all(torch.isfinite(value) for value in trainer.callback_metrics.values())


def test_muted_weights_stay_as_they_were_bit_for_bit(make_panel, make_trainer):
    model = recurrent()
    muted = next(child for child in model.children() if list(child.parameters()))
    muted.mute_grad = True
    module = MILightningModule({"lr": 0.1, "mute_eval_mode": True}, model)
    before = copy.deepcopy(model.state_dict())
    ids = {id(parameter) for parameter in muted.parameters()}
    trainer = make_trainer(max_epochs=2, **EPOCHS)
    trainer.fit(module, datamodule=LongitudinalDataModule(make_panel()))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (id(parameter) in ids)
        assert parameter.requires_grad == (id(parameter) not in ids)
    assert not muted.training


def test_a_reloaded_checkpoint_predicts_the_same_and_runs_no_code(make_panel, make_trainer, tmp_path):
    data = LongitudinalDataModule(make_panel(8, outcomes=2), val_fraction=0.25, standardize="all")
    module = MILightningModule({"num_outcomes": 2, "do_shift": True}, recurrent(2))
    trainer = make_trainer(max_epochs=2, **EPOCHS)
    trainer.fit(module, datamodule=data)
    path = tmp_path / "module.ckpt"
    trainer.save_checkpoint(path)
    assert torch.load(path, weights_only=True)["hyper_parameters"]["args"]["do_shift"] is True
    loaded = MILightningModule.load_from_checkpoint(path)
    assert loaded.settings == module.settings
    batches = [trainer.predict(each, datamodule=data)[0]["predictions"] for each in (module, loaded)]
    assert torch.equal(*batches)
    with pytest.raises(FileNotFoundError, match="no checkpoint at nowhere"):
        MILightningModule.load_from_checkpoint("nowhere")


def test_a_checkpoint_of_a_model_that_cannot_describe_itself_asks_for_it(
    scale_model, make_panel, make_trainer, tmp_path
):
    trainer = make_trainer(max_epochs=1, **EPOCHS)
    module = MILightningModule({"lr": 0.1}, scale_model())
    trainer.fit(module, datamodule=LongitudinalDataModule(make_panel()))
    path = tmp_path / "module.ckpt"
    trainer.save_checkpoint(path)
    with pytest.raises(ValueError, match=r"pass model=… to load_from_checkpoint"):
        MILightningModule.load_from_checkpoint(path)
    loaded = MILightningModule.load_from_checkpoint(path, model=scale_model())
    assert torch.equal(loaded.model.weight, module.model.weight)


def test_sanity_checks_are_marked_and_leave_no_predictions(make_panel, make_trainer):
    module = MILightningModule({}, recurrent())
    trainer = make_trainer(max_epochs=2, num_sanity_val_steps=1, **EPOCHS)
    trainer.fit(module, datamodule=LongitudinalDataModule(make_panel()))
    assert [(entry["epoch"], entry["sanity_check"]) for entry in module.epoch_scores["val"]] == [
        *((0, True), (0, False), (1, False))
    ]
    assert module.predictions["val"].epoch == 1
    assert [entry["epoch"] for entry in module.epoch_scores["train"]] == [0, 1]
    assert module.epoch_scores["val"][1]["val_ws_oots_count"] > 0


def test_what_is_kept_does_not_grow_over_epochs_and_holds_no_graph(make_panel, make_trainer):
    module = MILightningModule({"max_stored_epochs": 3, "keep_predictions_of": ["train", "val"]}, recurrent())
    data = LongitudinalDataModule(make_panel())
    sizes = []

    def measure():
        kept = [module.predictions[split] for split in module.predictions]
        tensors = [value for stored in kept for value in vars(stored).values() if isinstance(value, torch.Tensor)]
        assert not any(tensor.requires_grad for tensor in tensors)
        assert not any(rows.requires_grad for each in module._statistics.values() for rows in each._rows)
        sizes.append((sum(tensor.numel() for tensor in tensors), len(module.epoch_scores["val"])))

    module.on_train_epoch_start, start = lambda: (measure(), start()), module.on_train_epoch_start
    make_trainer(max_epochs=7, **EPOCHS).fit(module, datamodule=data)
    assert len(set(sizes[3:])) == 1
    assert sizes[-1][1] == 3
    assert set(module.predictions) == {"train", "val"}


def test_the_best_epochs_predictions_are_kept_where_that_is_asked_for(scale_model, make_panel, make_trainer):
    module = MILightningModule({"lr": 50.0, "optimizer": "sgd", "keep_predictions": "best"}, scale_model(1.0))
    make_trainer(max_epochs=4, **EPOCHS).fit(module, datamodule=LongitudinalDataModule(make_panel()))
    losses = [entry["val_loss"] for entry in module.epoch_scores["val"]]
    best = int(np.argmin(losses))
    assert module.predictions["val"].epoch == best
    assert best != 3


def test_an_unreduced_loss_is_for_inspection_only(make_panel, make_trainer):
    module = MILightningModule({"loss_reduction": "none", "metrics_reduction": "none"}, recurrent())
    data = LongitudinalDataModule(make_panel())
    with pytest.raises(ValueError, match="loss_reduction='none' is for inspection"):
        make_trainer(max_epochs=1, **EPOCHS).fit(module, datamodule=data)
    assert make_trainer(**EPOCHS).validate(module, datamodule=data, verbose=False) == [{}]


def test_a_model_without_parameters_ends_a_run_that_counts_steps(make_panel, make_trainer):
    module = MILightningModule({}, LastValue(4))
    trainer = make_trainer(max_steps=5)
    trainer.fit(module, datamodule=LongitudinalDataModule(make_panel()))
    assert trainer.current_epoch == 1
    assert "val_loss" in trainer.callback_metrics


def test_a_growing_length_limits_what_is_learned_from_but_not_what_is_seen(scale_model, make_panel, make_trainer):
    panel = make_panel(5)
    never = [np.zeros(len(panel[index]["time_ids"]), dtype=bool) for index in range(5)]
    seen = []

    class Watched(scale_model):
        def forward(self, embeddings, **others):
            seen.append(embeddings.shape[1])
            return super().forward(embeddings)

    args = {"seq_len_scheduler_type": "linear", "min_seq_len": 1, "max_seq_len": 9}
    module = MILightningModule(args, Watched())
    data = LongitudinalDataModule(panel.with_values({"oots_mask": never}))
    make_trainer(max_epochs=3, **EPOCHS).fit(module, datamodule=data)
    counts = [entry["train_train_count"] for entry in module.epoch_scores["train"]]
    masks = [panel[index]["outcomes_mask"][:, 0] for index in range(5)]
    assert counts == [sum(int(mask[:length].sum()) for mask in masks) for length in (1, 5, 9)]
    assert set(seen) == {9}


def test_training_lowers_the_loss_of_something_learnable(make_panel, make_trainer):
    module = MILightningModule({"lr": 0.05}, AutoRegressiveLinear(4, max_len=2))
    panel = make_panel(30)
    # Every feature is there, and the outcome is its first column.
    panel = panel.with_values(
        {
            "mask": [np.zeros(length, dtype=bool) for length in panel.lengths],
            "outcomes": [panel[index]["embeddings"][:, :1] for index in range(30)],
        }
    )
    data = LongitudinalDataModule(panel, val_fraction=0.2, train_batch_size=8)
    make_trainer(max_epochs=15, **EPOCHS).fit(module, datamodule=data)
    losses = [entry["val_loss"] for entry in module.epoch_scores["val"]]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("args", "model", "error", "message"),
    [
        ({"num_outcomes": 2}, Recurrent(4, 1), ValueError, "num_outcomes: the arguments say 2, the model .* has 1"),
        ({}, Recurrent(4, 1, num_classes=3), ValueError, "num_classes: the arguments say 1, the model .* has 3"),
        ({}, "gru", TypeError, "expected a torch.nn.Module or a mapping of its arguments, found str"),
        ({"lrr": 1}, Recurrent(4, 1), ValueError, "'lrr' \\(did you mean 'lr'"),
    ],
)
def test_arguments_and_models_that_do_not_fit_are_one_clear_error(args, model, error, message):
    with pytest.raises(error, match=message):
        MILightningModule(args, model)


def test_a_model_is_built_from_its_mapping():
    module = MILightningModule({}, {"architecture": "Recurrent", "num_features": 4, "hidden_size": 8})
    assert isinstance(module.model, Recurrent)


def test_a_model_that_predicts_another_number_of_steps_is_one_clear_error(make_panel):
    batch = one_batch(make_panel(3))

    class OneStep(nn.Module):
        def forward(self, embeddings):
            return embeddings[:, -1, :1]

    with pytest.raises(ValueError, match="OneStep predicted one step of 9, but predict_last_valid_timestep is False"):
        MILightningModule({}, OneStep())._forecast(batch)


def test_a_model_without_keywords_gets_only_what_it_names(make_panel):
    batch = one_batch(make_panel(3))

    class Two(nn.Module):
        def forward(self, embeddings, pad_mask, nothing=None):
            return embeddings[..., 0] * ~pad_mask

    assert MILightningModule({}, Two())._forecast(batch).levels.shape == (3, 9, 1)

    class Three(nn.Module):
        def forward(self, embeddings, diary):
            return embeddings

    with pytest.raises(TypeError, match="Three needs 'diary'; the batch gives 'embeddings'"):
        MILightningModule({}, Three())._forecast(batch)


def test_warm_up_of_a_run_that_counts_steps_uses_the_epochs_batches(scale_model, make_panel, make_trainer):
    module = MILightningModule(
        {"lr": 1.0, "lr_scheduler": "linear", "warmup_epochs": 1, "optimizer": "sgd"}, scale_model()
    )
    rates = []
    module.on_train_batch_start = lambda *_: rates.append(module.trainer.optimizers[0].param_groups[0]["lr"])
    data = LongitudinalDataModule(make_panel(4), train_batch_size=1)
    make_trainer(max_steps=6).fit(module, datamodule=data)
    assert rates == pytest.approx([0.5, 0.625, 0.75, 0.875, 1.0, 1.0])


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_resumed_run_ends_at_the_same_weights_bit_for_bit(make_panel, make_trainer, tmp_path):
    def module():
        torch.manual_seed(5)
        return MILightningModule({"lr": 0.01, "lr_scheduler": "cosine"}, recurrent())

    def data():
        return LongitudinalDataModule(make_panel(9), train_batch_size=2, standardize="all")

    whole = module()
    every = ModelCheckpoint(dirpath=tmp_path, filename="{epoch}", save_top_k=-1)
    settings = {"max_epochs": 4, "enable_checkpointing": True, **EPOCHS}
    make_trainer(callbacks=[copy.copy(every)], **settings).fit(whole, datamodule=data())
    second = module()
    path = tmp_path / "epoch=1.ckpt"
    make_trainer(callbacks=[every], **settings).fit(second, datamodule=data(), ckpt_path=path, weights_only=True)
    assert [entry["epoch"] for entry in second.epoch_scores["train"]] == [2, 3]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_importing_and_building_leaves_the_global_generator_alone(make_panel):
    before = torch.random.get_rng_state()
    data = LongitudinalDataModule(make_panel(), val_fraction=0.2)
    list(data.train_dataloader())
    MILightningModule({}, LastValue(4))
    assert torch.equal(torch.random.get_rng_state(), before)
