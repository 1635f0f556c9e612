"""Loggers by name; the CSV file is always among them."""

import csv

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from nd_train import loggers
from nd_train.cli import main
from nd_train.commands.run_trainer import RunTrainer


def trainer(tmp_path, **keywords):
    return RunTrainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **keywords,
    )


def kinds(found):
    return [type(logger).__name__ for logger in found]


def test_metrics_go_to_a_csv_file_whatever_else_is_asked_for(tmp_path):
    assert kinds(loggers.run_loggers("csv", tmp_path)) == ["MetricsFile"]
    assert kinds(loggers.run_loggers([], tmp_path)) == ["MetricsFile"]
    assert loggers.run_loggers(False, tmp_path) is False
    one = CSVLogger(tmp_path)
    assert loggers.run_loggers([one], tmp_path) == [one]
    assert trainer(tmp_path, logger=False).loggers == []
    assert trainer(tmp_path, logger="csv").log_dir == str(tmp_path / "lightning_logs" / "version_0")


@pytest.mark.skipif(not loggers.is_installed("tensorboard"), reason="tensorboard is not installed")
def test_tensorboard_writes_into_the_same_folder(tmp_path):
    both = loggers.run_loggers(["tensorboard", "csv"], tmp_path)
    assert kinds(both) == ["MetricsFile", "TensorBoardLogger"]
    assert both[0].log_dir == both[1].log_dir
    assert kinds(loggers.run_loggers(None, tmp_path)) == ["MetricsFile", "TensorBoardLogger"]
    own = TensorBoardLogger(tmp_path / "boards", name="mine", version="first")
    metrics_file, same = loggers.run_loggers(own, tmp_path)
    assert same is own
    assert metrics_file.log_dir == own.log_dir


def test_without_tensorboard_the_csv_file_is_all(tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "is_installed", lambda name: False)
    assert kinds(loggers.run_loggers(None, tmp_path)) == ["MetricsFile"]


@pytest.mark.parametrize("name", ["wandb", "mlflow", "tensorboard"])
def test_a_logger_whose_package_is_missing_is_one_error_that_names_the_extra(name, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "is_installed", lambda wanted: wanted != name)
    with pytest.raises(ValueError, match=rf"{name} is not installed; pip install 'nd-train\[{name}\]'"):
        loggers.run_loggers(name, tmp_path)
    with pytest.raises(ValueError, match=rf"nd-train\[{name}\]"):
        loggers.check_logger_packages(["csv", name])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("spelling", ["wandb", "WandbLogger", "[csv, wandb]"])
def test_the_error_comes_before_anything_is_written(spelling, recordings, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loggers, "is_installed", lambda wanted: wanted != "wandb")
    config = tmp_path / "data.yaml"
    config.write_text("config:\n  multitask_readout:\n    - readout_id: cursor_velocity_2d\n")
    words = ["fit", "--config=quickstart", f"--data.root={recordings}", f"--data.config={config}"]
    assert main([*words, f"--trainer.logger={spelling}", f"--trainer.default_root_dir={tmp_path / 'run'}"]) == 1
    assert "nd-train[wandb]" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_unknown_logger_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="no such logger; known are csv, tensorboard, wandb, mlflow"):
        loggers.run_loggers("comet", tmp_path)


def rows(folder):
    with (folder / "metrics.csv").open() as stream:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(stream)]


def test_a_job_that_goes_on_in_its_folder_keeps_the_numbers_of_before(tmp_path):
    first = loggers.MetricsFile(tmp_path, version="42")
    first.log_metrics({"loss": 1.5}, step=0)
    first.log_metrics({"loss": 1.25}, step=1)
    first.save()
    again = loggers.MetricsFile(tmp_path, version="42")
    again.log_metrics({"loss": 1.0, "score": 0.5}, step=2)
    again.save()
    assert rows(tmp_path / "lightning_logs" / "42") == [
        {"loss": "1.5", "step": "0"},
        {"loss": "1.25", "step": "1"},
        {"loss": "1.0", "score": "0.5", "step": "2"},
    ]
