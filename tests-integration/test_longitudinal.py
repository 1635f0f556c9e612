"""Longitudinal forecasting end to end: the command line on a CSV, and the example of the guide."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from nd_train.cli import main

whole_run = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The dirpath has changed")


@pytest.fixture
def diary(tmp_path):
    """Forty persons whose mood returns to its own level; days are left out."""
    rng = np.random.default_rng(0)
    rows = []
    for person in range(40):
        level = rng.normal(4, 1)
        mood = level
        for day in range(30):
            mood = level + 0.7 * (mood - level) + rng.normal(scale=0.5)
            if rng.random() < 0.85:
                rows.append((f"person {person}", day, mood, rng.normal(), person % 5))
    path = tmp_path / "diary.csv"
    pd.DataFrame(rows, columns=["person", "day", "mood", "noise", "fold"]).to_csv(path, index=False)
    return path


@pytest.fixture
def words(diary, tmp_path, monkeypatch):
    """What every command has in common."""
    monkeypatch.setattr(sys, "argv", ["nd-train"])
    return [
        *("--config", "longitudinal", f"--data.table={diary}", "--data.sequence=person", "--data.time=day"),
        *("--data.outcomes=mood", "--data.features=[mood, noise]", f"--trainer.default_root_dir={tmp_path / 'run'}"),
        *("--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--model.network.hidden_size=16"),
        "--trainer.logger.class_path=CSVLogger",
        f"--trainer.logger.init_args.save_dir={tmp_path / 'run'}",
    ]


@whole_run
def test_a_fit_on_a_csv_ends_with_scores_predictions_and_checkpoints_that_every_command_takes(words, tmp_path, capsys):
    assert main(["fit", *words, "--trainer.max_epochs=8"]) == 0
    printed = capsys.readouterr().out
    assert "scores, test" in printed
    assert "new sequences" in printed
    run = tmp_path / "run" / "lightning_logs" / "version_0"
    scores = json.loads((run / "test_scores.json").read_text())
    (best,) = run.rglob("best-*.ckpt")
    assert str(best) in printed
    assert next(run.rglob("last.ckpt")).is_file()
    assert "system: longitudinal" in (run / "config.yaml").read_text()
    table = pd.read_csv(run / "test_predictions.csv")
    held_out = table[table.observed]
    errors = (held_out.prediction - held_out.target).abs().groupby(held_out.sequence).mean()
    assert errors.mean() == pytest.approx(scores["test_valset_mae"], rel=1e-4)
    # Far better than knowing nothing.
    assert scores["test_valset_mse"] < held_out.target.var()

    again = [*words, f"--ckpt_path={best}"]
    assert main(["test", *again]) == 0
    version = tmp_path / "run" / "lightning_logs" / "version_1"
    assert json.loads((version / "test_scores.json").read_text())["test_mae"] == pytest.approx(scores["test_mae"])
    assert main(["validate", *again]) == 0
    assert "seen in training" in capsys.readouterr().out
    validated = json.loads((tmp_path / "run" / "lightning_logs" / "version_2" / "val_scores.json").read_text())
    assert f"{validated['val_loss']:.4f}" in best.name
    assert main(["predict", *again]) == 0
    (file,) = (tmp_path / "run").rglob("predict_predictions.csv")
    predicted = pd.read_csv(file)
    assert predicted.sequence.nunique() == 40
    # The last line of a person is the forecast of a day that nobody has seen.
    last = predicted.groupby("sequence").time.max()
    seen = pd.read_csv(tmp_path / "diary.csv").groupby("person").day.max()
    assert (last == seen + 1).all()


@whole_run
def test_a_saved_configuration_is_enough_to_go_on(words, tmp_path):
    assert main(["fit", *words, "--trainer.max_epochs=1", "--model.args.do_shift=true"]) == 0
    run = tmp_path / "run" / "lightning_logs" / "version_0"
    # The checkpoint says what its weights mean, whatever the command line says.
    command = ["test", "--config", str(run / "config.yaml"), f"--ckpt_path={next(run.rglob('last.ckpt'))}"]
    assert main([*command, "--model.args.do_shift=false"]) == 0
    both = [json.loads(file.read_text())["test_mae"] for file in sorted((tmp_path / "run").rglob("test_scores.json"))]
    assert len(both) == 2
    assert both[0] == pytest.approx(both[1])


@whole_run
def test_without_held_out_persons_a_run_ends_with_the_scores_of_validation(words, capsys, tmp_path):
    assert main(["fit", *words, "--trainer.max_epochs=1", "--data.test_fraction=0", "--data.val_fraction=0"]) == 0
    assert "No sequence is held out for the test" in capsys.readouterr().out
    scores = json.loads(next((tmp_path / "run").rglob("val_scores.json")).read_text())
    assert scores["val_loss"] == scores["val_valset_loss"] == pytest.approx(scores["val_ws_oots_loss"])


@whole_run
@pytest.mark.parametrize("architecture", ["AutoRegressiveTransformer", "AutoRegressiveLinear", "LastValue"])
def test_the_command_line_trains_other_models(words, architecture, tmp_path):
    words = [word for word in words if "hidden_size" not in word]
    network = json.dumps({"architecture": architecture})
    assert main(["fit", *words, f"--model.network={network}", "--trainer.max_epochs=1"]) == 0
    assert len(list((tmp_path / "run").rglob("test_scores.json"))) == 1


@whole_run
def test_classes_are_forecast_too(words, diary, tmp_path):
    table = pd.read_csv(diary)
    table["calm"] = (table.mood > 4).astype(int)
    table.to_csv(diary, index=False)
    more = ["--data.outcomes=calm", "--model.args.num_classes=2", "--trainer.max_epochs=3"]
    assert main(["fit", *words, *more]) == 0
    scores = json.loads(next((tmp_path / "run").rglob("test_scores.json")).read_text())
    assert scores["test_accuracy"] > 0.55
    table = pd.read_csv(next((tmp_path / "run").rglob("test_predictions.csv")))
    assert ((table.probability > 0.5) == (table.prediction == 1)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--data.outcomes=moood"], "moood"),
        (["--data.table=nowhere.csv"], "no table at nowhere.csv"),
        (["--model.network.architecture=Recurrents"], "Recurrent"),
        (["--model.network.num_features=3"], "num_features: the data have 2, the network is made for 3"),
        (["--model.network.inputs=embeddings_mood"], "embeddings_mood"),
        (
            ["--model.args.train_batch_size=7"],
            "model.args.train_batch_size has no effect on the command line: give --data.t",
        ),
        (["--model.args.epochs=7"], "model.args.epochs has no effect on the command line: give --trainer.max_epochs"),
        (["--data.val_ids=[nobody]", "--data.val_fraction=0", "--data.test_fraction=0"], "nobody"),
    ],
)
@whole_run
def test_what_is_wrong_is_one_line_before_anything_is_trained(words, changes, message, capsys, tmp_path):
    assert main(["fit", *words, *changes]) == 1
    first, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert not list((tmp_path / "run").rglob("*.ckpt"))


def test_an_unknown_argument_of_the_command_line_is_refused_by_name(words, capsys):
    assert main(["fit", *words, "--model.args.learning_rate=1"]) == 2
    assert "learning_rate" in capsys.readouterr().err


def test_help_names_the_arguments_of_the_system_that_is_asked_for():
    command = [sys.executable, "-m", "nd_train", "fit", "--system", "longitudinal", "--help_all"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--data.horizon" in done.stdout
    assert "--model.args.seq_len_scheduler_type" in done.stdout
