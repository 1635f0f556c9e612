"""Scores of `MILightningModule`: exact over an epoch, of levels, of held-out steps and persons, of last steps."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from nd_data.longitudinal import LongitudinalDataset, collate_sequences
from nd_eval import masked_mae, masked_mse, masked_pearsonr, masked_smape
from nd_models.longitudinal import Recurrent
from nd_train import LongitudinalDataModule, MILightningModule

EPOCHS = {"max_steps": -1}


def recurrent(outcomes=1):
    return Recurrent(4, outcomes, hidden_size=8)


def one_batch(dataset):
    return collate_sequences([dataset[index] for index in range(len(dataset))])


def test_scores_of_an_epoch_do_not_depend_on_its_batches(make_panel, make_trainer):
    module = MILightningModule({"loss_reduction": "within-seq"}, recurrent())
    scores = []
    for size in (1, 2, 5, 64):
        data = LongitudinalDataModule(make_panel(11), val_fraction=0.3, val_batch_size=size)
        (found,) = make_trainer(**EPOCHS).validate(module, datamodule=data, verbose=False)
        scores.append(found)
    assert len(scores[0]) > 70
    for other in scores[1:]:
        assert other == pytest.approx(scores[0], rel=1e-5, abs=1e-6)


def test_scores_are_those_of_the_stored_predictions(make_panel, make_trainer):
    panel = make_panel(8)
    module = MILightningModule({"metrics_reduction": "flatten"}, recurrent())
    data = LongitudinalDataModule(panel, val_fraction=0.25, val_batch_size=3)
    (found,) = make_trainer(**EPOCHS).validate(module, datamodule=data, verbose=False)
    table = data.prediction_table(module.predictions["val"])
    assert len(table) == panel.lengths.sum()
    held_out = table[table.observed & (table.out_of_time | table.out_of_sequence)]
    preds, target = (torch.tensor(held_out[name].to_numpy())[None, :, None] for name in ("prediction", "target"))
    for name, metric in {
        "mse": masked_mse,
        "mae": masked_mae,
        "smape": masked_smape,
        "pearsonr": masked_pearsonr,
    }.items():
        assert found[f"val_valset_{name}"] == pytest.approx(metric(preds, target, reduction="flatten").item(), rel=1e-5)
    assert found["val_loss"] == pytest.approx(found["val_valset_mse"])


def test_out_of_time_steps_are_in_neither_the_training_loss_nor_its_metrics(scale_model, make_trainer):
    features = torch.ones(1, 4, 1)
    dataset = LongitudinalDataset.from_sequences(
        {
            "embeddings": [features[0].numpy()],
            # Predicted with 0.5, the known steps have an error of 0.5 and the last one of thousands.
            "outcomes": [np.array([[1.0], [1.0], [0.0], [9000.0]])],
            "oots_mask": [np.array([False, False, False, True])],
        }
    )
    # A step after the held-out one, so that it is not cut off.
    batch = one_batch(dataset)
    module = MILightningModule({"lr": 0.0, "metrics_reduction": "flatten"}, scale_model())
    trainer = make_trainer(max_epochs=1, **EPOCHS)
    loader = DataLoader([batch], batch_size=None)
    trainer.fit(module, loader, loader)
    metrics = trainer.callback_metrics
    for name in ("train_loss", "train_mse", "train_epoch_loss", "train_epoch_mse"):
        assert metrics[name].item() == pytest.approx(0.25)
    assert metrics["val_oots_mse"].item() == pytest.approx(8999.5**2)


def test_one_missing_outcome_of_one_person_leaves_the_other_scores_defined(make_panel, make_trainer):
    panel = make_panel(4, outcomes=2)
    seen = [panel[index]["outcomes_mask"].copy() for index in range(4)]
    seen[2][:, 1] = False
    module = MILightningModule({"num_outcomes": 2}, recurrent(2))
    data = LongitudinalDataModule(panel.with_values({"outcomes_mask": seen}))
    (found,) = make_trainer(**EPOCHS).validate(module, datamodule=data, verbose=False)
    assert {"val_ws_wt_mse", "val_ws_wt_pearsonr", "val_loss"} <= set(found)
    assert all(np.isfinite(value) for value in found.values())


def test_a_subset_that_only_padding_would_fill_is_absent_also_in_ragged_batches(make_panel, make_trainer):
    panel = make_panel(5)
    never = [np.zeros(len(panel[index]["time_ids"]), dtype=bool) for index in range(5)]
    data = LongitudinalDataModule(panel.with_values({"oots_mask": never}))
    assert len(set(panel.lengths.tolist())) > 1
    module = MILightningModule({}, recurrent())
    (found,) = make_trainer(**EPOCHS).validate(module, datamodule=data, verbose=False)
    assert {name.split("_")[1] for name in found if not name.startswith("val_epoch")} == {"ws", "loss"}
    assert not any("oots" in name or "ooss" in name or "valset" in name for name in found)
    assert found["val_loss"] == found["val_ws_wt_loss"]


def test_a_validation_set_without_observations_says_so_and_logs_nothing(make_panel, make_trainer):
    panel = make_panel(2)
    data = LongitudinalDataModule(
        panel.with_values({"outcomes_mask": [np.zeros_like(panel[i]["outcomes_mask"]) for i in range(2)]})
    )
    with pytest.warns(UserWarning, match="no outcome of the val data was observed"):
        assert make_trainer(**EPOCHS).validate(MILightningModule({}, recurrent()), datamodule=data) == [{}]


def test_with_shift_the_loss_is_of_changes_and_every_score_is_of_levels(make_panel, make_trainer):
    panel = make_panel(6)

    class NoChange(nn.Module):
        def forward(self, embeddings, **others):
            return torch.zeros_like(embeddings[..., :1])

    settings = {"do_shift": True, "metrics_reduction": "flatten", "shift_loss_mask": "lag1"}
    module = MILightningModule(settings, NoChange())
    data = LongitudinalDataModule(panel, val_fraction=0.5, test_fraction=0.34)
    (tested,) = make_trainer(**EPOCHS).test(module, datamodule=data, verbose=False)
    changes, errors = [], []
    for index in range(len(data.splits.test)):
        item = data.splits.test[index]
        values, seen = item["outcomes"][:, 0].astype(float), item["outcomes_mask"][:, 0]
        before = np.concatenate([[0.0], values[:-1]])
        errors.append((values - before)[seen] ** 2)
        changes.append((values - before)[seen & np.concatenate([[False], seen[:-1]])] ** 2)
    assert tested["test_mse"] == pytest.approx(np.concatenate(errors).mean(), rel=1e-5)
    assert tested["test_loss"] == pytest.approx(np.concatenate(changes).mean(), rel=1e-5)


def test_predictions_are_levels_also_without_labels(make_panel):
    batch = one_batch(make_panel(3))

    class OneMore(nn.Module):
        def forward(self, embeddings, **others):
            return torch.ones_like(embeddings[..., :1])

    module = MILightningModule({"do_shift": True}, OneMore())
    module.predictions.start("predict")
    with_labels = module.predict_step(batch, 0)["predictions"]
    before = torch.cat([torch.zeros_like(batch["outcomes"][:, :1]), batch["outcomes"][:, :-1]], dim=1)
    assert torch.equal(with_labels, before + 1)
    unlabelled = {name: value for name, value in batch.items() if not name.startswith("outcomes")}
    added = module.predict_step(unlabelled, 0)["predictions"]
    assert torch.equal(added, torch.arange(1.0, 1.0 + added.shape[1]).view(1, -1, 1).expand_as(added))


def test_the_last_valid_step_is_the_last_usable_one_and_its_label_and_masks_go_with_it(scale_model):
    # Case H01: holes, padding, all valid, none valid.
    valid = torch.tensor([[1, 0, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], dtype=torch.bool)
    values = torch.arange(20.0).view(4, 5, 1)
    batch = {
        "embeddings": values,
        "mask": ~valid,
        "pad_mask": torch.zeros(4, 5, dtype=torch.bool),
        "outcomes": values * 10,
        "outcomes_mask": torch.ones(4, 5, 1, dtype=torch.bool),
        "oots_mask": torch.zeros(4, 5, dtype=torch.bool),
        "ooss_mask": torch.zeros(4, 1, dtype=torch.int64),
        "time_ids": torch.arange(5).expand(4, 5),
    }
    module = MILightningModule({"predict_last_valid_timestep": True}, scale_model(1.0))
    result = module._forecast(batch)
    assert result.real.flatten().tolist() == [True, True, True, False]
    assert result.levels.flatten().tolist() == [3.0, 6.0, 14.0, 0.0]
    assert result.labels.flatten().tolist() == [30.0, 60.0, 140.0, 0.0]
    assert result.time_ids.flatten()[:3].tolist() == [3, 1, 4]
    assert result.observed.flatten().tolist() == [True, True, True, False]
    # In training the last step that is in time.
    batch["oots_mask"][2, 3:] = True
    assert module._forecast(batch, training=True).levels.flatten().tolist() == [3.0, 6.0, 12.0, 0.0]
    shifted = MILightningModule({"predict_last_valid_timestep": True, "do_shift": True}, scale_model(1.0))._forecast(
        batch
    )
    assert shifted.levels.flatten()[:3].tolist() == [3.0 + 20.0, 6.0 + 50.0, 14.0 + 130.0]


def test_collate_and_module_must_agree_on_the_last_step(make_panel):
    panel = make_panel(3)
    batch = collate_sequences([panel[0]], predict_last_valid_timestep=True)
    with pytest.raises(
        ValueError, match="predict_last_valid_hidden_state'] is True, but predict_last_valid_timestep is"
    ):
        MILightningModule({}, recurrent()).validation_step(batch, 0)


def test_standardised_outcomes_are_scored_and_predicted_in_their_own_units(make_panel, make_trainer):
    panel = make_panel(6)
    scaled = panel.with_values({"outcomes": [panel[index]["outcomes"] * 100 + 500 for index in range(6)]})
    data = LongitudinalDataModule(scaled, standardize="all")
    module = MILightningModule({"metrics_reduction": "flatten"}, Recurrent(4, hidden_size=8))
    make_trainer(max_epochs=1, **EPOCHS).fit(module, datamodule=data)
    table = data.prediction_table(module.predictions["val"])
    truth = np.concatenate([scaled[index]["outcomes"][:, 0] for index in range(6)])
    seen = np.concatenate([scaled[index]["outcomes_mask"][:, 0] for index in range(6)])
    ordered = table.sort_values(["sequence", "time"], key=lambda column: column.astype(int))
    np.testing.assert_allclose(ordered.target.to_numpy()[seen], truth[seen], rtol=1e-5)
    chosen = table[table.observed & table.out_of_time]
    expected = float(((chosen.prediction - chosen.target) ** 2).mean())
    (found,) = make_trainer(**EPOCHS).validate(module, datamodule=data, verbose=False)
    assert found["val_oots_mse"] == pytest.approx(expected, rel=1e-5)
    assert found["val_oots_loss"] == pytest.approx(expected / module.outcome_std.item() ** 2, rel=1e-4)


def test_a_perfect_anticorrelation_is_logged_and_not_taken_for_an_absent_value(scale_model, make_trainer):
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(5, 1)).astype(np.float32) for _ in range(40)]
    dataset = LongitudinalDataset.from_sequences({"embeddings": features, "outcomes": [-3 * each for each in features]})
    module = MILightningModule({}, scale_model(1.0))
    data = LongitudinalDataModule(dataset, val_batch_size=1)
    (found,) = make_trainer(**EPOCHS).validate(module, datamodule=data, verbose=False)
    assert found["val_ws_wt_pearsonr"] == pytest.approx(-1.0, abs=1e-6)
    assert found["val_ws_wt_pearsonr"] >= -1.0


def test_more_padding_changes_neither_loss_nor_scores(make_panel):
    batch = one_batch(make_panel(5))
    wider = {}
    for name, value in batch.items():
        if value.ndim > 1 and value.shape[1] == 9:
            fill = {"time_ids": -1, "mask": 1, "pad_mask": 1, "oots_mask": 1}.get(name, 0)
            more = torch.full((5, 4, *value.shape[2:]), fill, dtype=value.dtype)
            value = torch.cat([value, more], dim=1)
        wider[name] = value
    module = MILightningModule({"do_shift": True, "interpolated_output": True}, recurrent()).eval()
    rows = [module._store("val", module._forecast(each)) for each in (batch, wider)]
    torch.testing.assert_close(rows[0], rows[1])
