"""What a run leaves of itself: run.json, and the same settings in every logger."""

import subprocess
import sys
from datetime import datetime

import pytest
import yaml

import nd_train
from nd_data import Data
from nd_data.simulate_calcium import simulate_calcium_recordings
from nd_train import run_record
from nd_train.cli import main
from nd_train.commands.ready_configurations import ready_configurations

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A working folder outside any repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


@pytest.fixture
def words(run_words):
    """The words of a run of two steps with its usual logs."""
    return [
        *("fit", *run_words, "--seed_everything=7", "--trainer.max_steps=2"),
        *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
        *("--trainer.val_check_interval=2", "--trainer.log_every_n_steps=1", "--trainer.limit_test_batches=1"),
    ]


def test_a_run_leaves_command_versions_seed_data_and_settings_in_its_folder(words, outside, recordings, capsys):
    assert main([*words, "--trainer.logger=csv"]) == 0
    (file,) = (outside / "run").rglob("run.json")
    assert {"config.yaml", "metrics.csv", "checkpoints", "test_scores.json"} <= {
        one.name for one in file.parent.iterdir()
    }
    record = run_record.read_run_record(file.parent)
    assert (record["format"], record["version"], record["seed"], record["git"]) == ("nd-train run", 1, 7, None)
    assert record["command"] == ["nd-train", *words, "--trainer.logger=csv"]
    assert record["packages"]["nd-train"] == nd_train.__version__
    assert {"torch", "lightning", "numpy", "nd-data"} <= set(record["packages"])
    assert datetime.fromisoformat(record["started"]).tzinfo is not None
    assert record["hyperparameters"]["data"]["batch_size"] == 4
    assert record["hyperparameters"]["model"]["network"]["depth"] == 1
    data = record["data"]
    assert data["leakage_checked"] is True
    for name, known in data["recordings"].items():
        recording = Data.load(recordings / f"{name}.h5")
        assert known["units"] == len(recording.units.id)
        assert known["spikes"] == len(recording.spikes.timestamps)
        assert known["duration"] == pytest.approx(60.0)
        assert known["splits"] == pytest.approx({"train": 42.0, "valid": 6.0, "test": 12.0})
    # The same in the logs.
    logged = yaml.safe_load((file.parent / "hparams.yaml").read_text())
    assert logged["run/data_hash"] == data["hash"]
    assert (logged["run/seed"], logged["data/batch_size"], logged["trainer/max_steps"]) == (7, 4, 2)
    assert logged["packages/torch"] == record["packages"]["torch"]
    assert logged["lr"] == record["hyperparameters"]["model"]["lr"]


def test_the_hash_is_of_the_data_and_not_of_their_place(recordings, multitask, tmp_path):
    first = run_record.describe_recordings(recordings, multitask)
    for copied in (tmp_path / "same", tmp_path / "fewer", tmp_path / "moved"):
        for file in sorted(recordings.glob("*/*.h5")):
            target = copied / file.relative_to(recordings)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    assert run_record.describe_recordings(tmp_path / "same", multitask)["hash"] == first["hash"]
    one, *_ = sorted((tmp_path / "fewer").glob("*/*.h5"))
    one.unlink()
    assert run_record.describe_recordings(tmp_path / "fewer", multitask)["hash"] != first["hash"]
    one, *_ = sorted((tmp_path / "moved").glob("*/*.h5"))
    recording = Data.load(one)
    recording.materialize()
    recording.train_domain.end = recording.train_domain.end - 0.5
    one.unlink()
    recording.save(one)
    assert run_record.describe_recordings(tmp_path / "moved", multitask)["hash"] != first["hash"]


def test_calcium_imaging_is_counted_in_frames(tmp_path):
    written = simulate_calcium_recordings(tmp_path, sessions=1, minutes=0.5, cells=5)
    described = run_record.describe_recordings(tmp_path, {"config": {}})["recordings"]
    (known,) = described.values()
    assert "spikes" not in known
    assert (known["units"], known["frames"]) == (5, written[0].frames)
    assert known["duration"] == pytest.approx(30.0)


def git(folder, *words):
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603


def test_the_state_of_the_repository_is_its_commit_and_whether_it_was_changed(outside):
    if run_record.shutil.which("git") is None:
        pytest.skip("git is not installed")
    assert run_record.git_state(outside) is None
    git(outside, "init", "-q")
    assert run_record.git_state(outside) is None
    (outside / "code.py").write_text("a = 1\n")
    git(outside, "add", "code.py")
    git(outside, "commit", "-q", "-m", "first")
    commit = git(outside, "rev-parse", "HEAD")
    assert run_record.git_state(outside) == {"commit": commit, "changed": False}
    (outside / "code.py").write_text("a = 2\n")
    assert run_record.git_state(outside) == {"commit": commit, "changed": True}


def test_without_git_there_is_no_state(monkeypatch, outside):
    monkeypatch.setattr(run_record.shutil, "which", lambda name: None)
    assert run_record.git_state(outside) is None


def test_a_ready_configuration_is_recorded_by_its_name(monkeypatch):
    file = str(ready_configurations()["poyo_small"])
    assert run_record.words_of_the_program(["fit", "--config", file, f"--config={file}", "--data.root=x"]) == [
        *("nd-train", "fit", "--config", "poyo_small", "--config=poyo_small", "--data.root=x")
    ]
    monkeypatch.setattr(sys, "argv", ["anything", "test", "-c", file])
    assert run_record.words_of_the_program() == ["nd-train", "test", "-c", "poyo_small"]


def test_a_record_is_written_whole_or_not_at_all(tmp_path):
    run_record.write_run_record(tmp_path, {"format": run_record.FORMAT, "n": 1})
    circle = {}
    circle["itself"] = circle
    with pytest.raises(ValueError, match="Circular"):
        run_record.write_run_record(tmp_path, circle)
    assert run_record.read_run_record(tmp_path)["n"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_what_is_no_record_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run\.json"):
        run_record.read_run_record(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(ValueError, match=r"run\.json: not the record of a run"):
        run_record.read_run_record(tmp_path)


def test_a_table_of_persons_is_described_by_the_hash_of_its_file(tmp_path):
    import hashlib

    from nd_train import LongitudinalDataModule

    table = tmp_path / "panel.csv"
    table.write_text("person,day,mood\n" + "".join(f"{p},{d},{(p * d) % 5}\n" for p in range(8) for d in range(6)))
    data = LongitudinalDataModule(
        table, sequence="person", time="day", outcomes="mood", horizon=1, val_fraction=0.25, test_fraction=0.25
    )
    described = run_record.describe_data(data)
    assert described["hash"] == hashlib.sha256(table.read_bytes()).hexdigest()
    assert described["sequences"]["test"] == 2
    assert described["leakage_checked"] is True
