"""Arguments of a longitudinal run: where they come from, what is refused, and who reads them."""

import dataclasses
from argparse import Namespace

import pytest
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from nd_train.longitudinal import LongitudinalSettings, trainer_arguments
from nd_train.longitudinal.settings import READ_ELSEWHERE

# The original's documented defaults that the module keeps.
DOCUMENTED = {
    "num_classes": 1,
    "num_outcomes": 1,
    "max_len": 130,
    "val_folds": (),
    "min_epochs": 1,
    "epochs": None,
    "train_batch_size": 32,
    "val_batch_size": 64,
    "cross_entropy_class_weight": None,
    "loss_reduction": "flatten",
    "metrics_reduction": "within-seq",
    "do_shift": False,
    "interpolated_output": False,
    "seq_len_scheduler_type": "none",
    "min_seq_len": 10,
    "max_seq_len": -1,
    "max_scheduled_epochs": -1,
    "log_interval": 10,
    "save_strategy": "best",
    "save_dir": None,
    "lr": 0.001,
    "weight_decay": 0.0,
    "lr_scheduler": "none",
    "warmup_epochs": 1,
    "start_factor": 0.5,
    "seed": 42,
    "predict_last_valid_timestep": False,
    "early_stopping_patience": 0,
    "early_stopping_min_delta": 0.0,
    "early_stopping_mode": "min",
}


def test_defaults_are_those_that_users_know():
    assert {name: getattr(LongitudinalSettings(), name) for name in DOCUMENTED} == DOCUMENTED


@pytest.mark.parametrize("kind", [Namespace, dict, LongitudinalSettings])
def test_a_namespace_a_mapping_and_settings_mean_the_same(kind):
    settings = LongitudinalSettings.from_args(kind(lr=0.5, num_classes=3, cross_entropy_class_weight=(1.0, 2.0, 3.0)))
    assert (settings.lr, settings.num_classes, settings.cross_entropy_class_weight) == (0.5, 3, (1.0, 2.0, 3.0))


def test_a_namespace_of_the_original_is_taken_whole_and_stays_as_it_was():
    everything = {**dict.fromkeys(READ_ELSEWHERE), **DOCUMENTED, "sliding_window_size": None, "num_workers": 4}
    args = Namespace(**everything)
    assert LongitudinalSettings.from_args(args).num_workers == 4
    assert vars(args) == everything


def test_an_unknown_argument_is_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"'learning_rate', 'weigth_decay' \(did you mean 'weight_decay'\?\)"):
        LongitudinalSettings.from_args({"learning_rate": 0.1, "weigth_decay": 0.1})
    with pytest.raises(ValueError, match=r"did you mean 'weight_decay'.*fields of LongitudinalSettings"):
        LongitudinalSettings.from_args(Namespace(weigth_decay=0.1))
    assert LongitudinalSettings.from_args({"lr": 0.1, "my_note": "x"}, ignore=["my_note"]).lr == 0.1


def test_an_argument_without_effect_is_refused_instead_of_ignored():
    with pytest.raises(ValueError, match=r"sliding_window_size has no effect.*max_history"):
        LongitudinalSettings.from_args({"sliding_window_size": 7})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimizer": "adam"}, r"optimizer='adam'; did you mean 'adamw'"),
        ({"loss_reduction": "mean"}, r"loss_reduction='mean'.*'flatten'"),
        ({"num_classes": 0}, r"num_classes: expected 1 or more, found 0"),
        ({"num_classes": 1.5}, r"num_classes: expected a whole number, found 1.5"),
        ({"lr": float("nan")}, r"lr: expected a finite number"),
        ({"lr": -1}, r"lr: expected 0 or more"),
        ({"start_factor": 0}, r"start_factor: expected above 0"),
        ({"end_factor": 2}, r"end_factor: expected from 0 to 1"),
        ({"max_seq_len": 0}, r"max_seq_len: expected 1 or more, or -1"),
        ({"epochs": -2}, r"epochs: expected"),
        ({"num_classes": 3, "cross_entropy_class_weight": [1, 2]}, r"expected 3 weights, one a class, got 2"),
        ({"cross_entropy_class_weight": [1, 2]}, r"is for classes, but num_classes is 1"),
        ({"num_classes": 2, "cross_entropy_class_weight": [1, -1]}, r"expected weights of 0 or more"),
        ({"num_classes": 2, "loss_reduction": "between-seq"}, r"loss_reduction='between-seq' compares means"),
        ({"num_classes": 2, "metrics_reduction": "between-seq"}, r"metrics_reduction='between-seq' compares means"),
        ({"num_classes": 2, "do_shift": True}, r"do_shift predicts changes of numbers"),
        ({"interpolated_output": True, "predict_last_valid_timestep": True}, r"excludes predict_last_valid_timestep"),
        ({"seq_len_scheduler_type": "linear", "max_seq_len": 5}, r"min_seq_len 10 is above max_seq_len 5"),
    ],
)
def test_values_that_cannot_be_are_one_clear_error(given, message):
    with pytest.raises(ValueError, match=message):
        LongitudinalSettings.from_args(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": "fast"}, r"lr: expected a number, found 'fast'"),
        ({"do_shift": 1}, r"do_shift: expected True or False, found 1"),
        ({"val_folds": "1"}, r"val_folds: expected a list"),
        (3, r"expected a namespace, a mapping or LongitudinalSettings, found 3"),
        (LongitudinalSettings, r"expected a namespace"),
    ],
)
def test_values_of_the_wrong_type_are_one_clear_error(given, message):
    with pytest.raises(TypeError, match=message):
        LongitudinalSettings.from_args(given)


def test_the_plain_values_of_settings_make_the_same_settings():
    settings = LongitudinalSettings(num_classes=2, cross_entropy_class_weight=(1.0, 3.0), test_folds=(1, "x"))
    plain = settings.to_dict()
    assert LongitudinalSettings.from_args(plain) == settings
    assert all(isinstance(value, bool | int | float | str | list | type(None)) for value in plain.values())


def test_every_argument_has_a_reader():
    readers = {spec.name: spec.metadata["reader"] for spec in dataclasses.fields(LongitudinalSettings)}
    assert set(readers.values()) == {"module", "trainer", "data"}
    data = LongitudinalSettings(val_folds=[3], num_workers=2).data_arguments()
    assert set(data) == {*(name for name, reader in readers.items() if reader == "data"), "num_classes"}
    assert data["val_folds"] == (3,)


def test_the_trainers_arguments_are_consumed():
    found = trainer_arguments(
        Namespace(
            epochs=7,
            min_epochs=2,
            log_interval=3,
            save_dir="runs",
            save_strategy="all",
            early_stopping_patience=4,
            early_stopping_min_delta=0.5,
        )
    )
    assert {name: value for name, value in found.items() if name != "callbacks"} == {
        "max_epochs": 7,
        "min_epochs": 2,
        "log_every_n_steps": 3,
        "default_root_dir": "runs",
    }
    checkpoint, stopping = found["callbacks"]
    assert isinstance(checkpoint, ModelCheckpoint)
    assert checkpoint.save_top_k == -1
    assert isinstance(stopping, EarlyStopping)
    assert (stopping.patience, abs(stopping.min_delta), stopping.monitor) == (4, 0.5, "val_loss")
    (best,) = trainer_arguments({})["callbacks"]
    assert (best.save_top_k, best.monitor) == (1, "val_loss")
