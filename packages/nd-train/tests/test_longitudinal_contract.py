"""The documented example over every model: loggers, batch of one, outcomes, classes, last step on and off."""

from argparse import Namespace

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from nd_models.longitudinal import ARCHITECTURES
from nd_train import LongitudinalDataModule, MILightningModule
from nd_train.longitudinal import SUBSETS

BASELINES = ("LastValue", "MeanValue")
SMALL = {
    "Recurrent": {"hidden_size": 8},
    "AutoRegressiveTransformer": {"dim": 8, "depth": 1, "heads": 2},
    "AutoRegressiveLinear": {"max_len": 3},
    "WindowedMeanLinear": {"max_len": 3},
    "LastValue": {},
    "MeanValue": {},
}


def built(architecture, outcomes=1, classes=1):
    return ARCHITECTURES[architecture](4, outcomes, num_classes=classes, **SMALL[architecture])


def test_the_contract_covers_every_architecture():
    assert set(SMALL) == set(ARCHITECTURES)


def combinations():
    for architecture in SMALL:
        for outcomes in (1, 2):
            for classes in (1, 2, 4):
                if classes == 1 or architecture not in BASELINES:
                    for last in (False, True):
                        yield architecture, outcomes, classes, last


@pytest.mark.parametrize(("architecture", "outcomes", "classes", "last"), list(combinations()))
def test_the_example_of_the_guide_runs_for_every_model(architecture, outcomes, classes, last, make_panel, make_trainer):
    args = Namespace(
        epochs=1, lr=1e-2, num_outcomes=outcomes, num_classes=classes, predict_last_valid_timestep=last, hidden_size=8
    )
    before = dict(vars(args))
    lightning_module = MILightningModule(args, built(architecture, outcomes, classes))
    # A batch of one sequence, and one whose number of sequences is that of its steps.
    data_module = LongitudinalDataModule(
        make_panel(5, outcomes=outcomes, classes=classes, longest=4),
        val_fraction=0.2,
        test_fraction=0.2,
        train_batch_size=1,
        val_batch_size=4,
        num_classes=classes,
    )
    weights = [parameter.detach().clone() for parameter in lightning_module.parameters()]
    trainer = make_trainer(max_epochs=args.epochs, max_steps=-1, num_sanity_val_steps=1)
    trainer.fit(lightning_module, datamodule=data_module)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert vars(args) == before
    assert metrics["val_loss"] >= 0
    assert {"train_loss", "train_epoch_loss"} <= set(metrics)
    assert all(value == value for value in metrics.values())
    moved = [not torch.equal(old, new) for old, new in zip(weights, lightning_module.parameters(), strict=True)]
    assert any(moved) == (architecture not in BASELINES)
    (validated,) = trainer.validate(lightning_module, datamodule=data_module, verbose=False)
    assert validated["val_loss"] == pytest.approx(metrics["val_loss"])
    (tested,) = trainer.test(lightning_module, datamodule=data_module, verbose=False)
    assert tested["test_loss"] == tested["test_valset_loss"] == tested["test_ooss_loss"]
    predicted = trainer.predict(lightning_module, datamodule=data_module)
    sequences = torch.cat([batch["seq_id"] for batch in predicted]).flatten()
    assert sorted(sequences.tolist()) == [0, 1, 2, 3, 4]
    for batch in predicted:
        tail = (outcomes, classes) if classes > 2 else (outcomes,)
        assert batch["predictions"].shape == (*batch["valid"].shape, *tail)
        assert batch["valid"].shape[1] == (1 if last else batch["valid"].shape[1])
        assert torch.isfinite(batch["predictions"]).all()


@pytest.mark.parametrize("architecture", SMALL)
def test_a_batch_used_twice_gives_equal_results_and_stays_as_it_was(architecture, make_panel):
    data_module = LongitudinalDataModule(make_panel())
    batch = next(iter(data_module.train_dataloader()))
    copies = {name: value.clone() for name, value in batch.items()}
    module = MILightningModule({"seq_len_scheduler_type": "linear", "min_seq_len": 2, "epochs": 5}, built(architecture))
    module.eval()
    module.log = module.log_dict = lambda *_, **__: None
    module._scheduled_length = lambda: 3
    first, second = module.training_step(batch, 0), module.training_step(batch, 0)
    assert torch.equal(first, second)
    assert list(batch) == list(copies)
    assert all(torch.equal(batch[name], copies[name]) for name in batch)


@pytest.mark.parametrize("logger", ["false", "csv", "tensorboard"])
def test_fit_validate_test_and_predict_run_with_every_logger(logger, make_panel, make_trainer, tmp_path):
    if logger == "tensorboard":
        pytest.importorskip("tensorboard")
        from lightning.pytorch.loggers import TensorBoardLogger

        chosen = TensorBoardLogger(tmp_path)
    else:
        chosen = CSVLogger(tmp_path) if logger == "csv" else False
    module = MILightningModule({}, built("Recurrent"))
    data_module = LongitudinalDataModule(make_panel(), val_fraction=0.2, test_fraction=0.2)
    trainer = make_trainer(logger=chosen, max_epochs=2, max_steps=-1, num_sanity_val_steps=2, log_every_n_steps=1)
    trainer.fit(module, datamodule=data_module)
    trainer.validate(module, datamodule=data_module, verbose=False)
    trainer.test(module, datamodule=data_module, verbose=False)
    assert trainer.predict(module, datamodule=data_module)
    if logger == "csv":
        logged = (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").read_text()
        assert {"train_loss", "val_loss", "val_epoch_valset_mse"} <= set(logged.splitlines()[0].split(","))


def test_validation_and_test_log_exactly_the_keys_of_the_specification(make_panel, make_trainer):
    module = MILightningModule({}, built("Recurrent"))
    data_module = LongitudinalDataModule(make_panel(12), val_fraction=0.4, test_fraction=0.2)
    trainer = make_trainer(max_epochs=1, max_steps=-1)
    trainer.fit(module, datamodule=data_module)
    kinds = ("loss", "pearsonr", "smape", "mae", "mse")
    subsets = [f"{prefix}{subset}_{kind}" for prefix in ("", "epoch_") for subset in SUBSETS for kind in kinds]
    assert {name for name in trainer.callback_metrics if name.startswith("val_")} == {
        "val_loss",
        *(f"val_{name}" for name in subsets),
    }
    assert {name for name in trainer.callback_metrics if name.startswith("train_")} == {
        *(f"train_{prefix}{kind}" for prefix in ("", "epoch_") for kind in kinds)
    }
    trainer.test(module, datamodule=data_module, verbose=False)
    # Every test sequence is held out: what is not is absent.
    present = [name for name in subsets if not name.removeprefix("epoch_").startswith(("ws_wt", "ws_oots"))]
    assert set(trainer.callback_metrics) == {
        *(f"test_{name}" for name in present),
        *(f"test_{prefix}{kind}" for prefix in ("", "epoch_") for kind in kinds),
    }


def test_classes_log_class_metrics_and_their_masked_loss(make_panel, make_trainer):
    module = MILightningModule(
        {"num_classes": 4, "num_outcomes": 2, "cross_entropy_class_weight": [1, 2, 1, 0.5]}, built("Recurrent", 2, 4)
    )
    data_module = LongitudinalDataModule(make_panel(outcomes=2, classes=4), num_classes=4)
    trainer = make_trainer(max_epochs=1, max_steps=-1)
    trainer.fit(module, datamodule=data_module)
    kinds = {"loss", "accuracy", "balanced_accuracy", "f1"}
    assert {name.removeprefix("val_ws_wt_") for name in trainer.callback_metrics if "val_ws_wt" in name} == kinds
    assert all(0 <= trainer.callback_metrics[f"val_ws_wt_{kind}"] <= 1 for kind in kinds - {"loss"})
