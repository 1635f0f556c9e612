"""A run leaves its report card by itself."""

import csv
import math
import sys

import pytest

from nd_train.cli import main

# Lightning's command line uses spellings that jsonargparse deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_after_fit_and_after_test_the_card_lies_beside_the_scores(run_words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nd-train"])
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.logger=csv"]
    words = [*run_words, *quiet]
    steps = ["--trainer.max_steps=4", "--trainer.val_check_interval=2", "--trainer.log_every_n_steps=1"]
    assert main(["fit", *words, *steps, f"--trainer.default_root_dir={tmp_path / 'run'}"]) == 0
    (card,) = (tmp_path / "run").rglob("report.html")
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {card}"
    page = card.read_text()
    for text in ("simulated/<wbr>session_<wbr>00", "cursor_position_2d", "passed: no splits overlap", 'id="curves"'):
        assert text in page
    notes = page.split("<main>")[1].split("<section")[0]
    hint = f"No ridge regression to compare with yet. This fits it: nd-train report {card.parent}"
    assert notes.count("<p>") == notes.count(hint) == 1  # nothing else is missing
    (best,) = (tmp_path / "run").rglob("best-*.ckpt")
    assert main(["test", *words, f"--ckpt_path={best}", f"--trainer.default_root_dir={tmp_path / 'again'}"]) == 0
    (again,) = (tmp_path / "again").rglob("report.html")
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {again}"


def test_after_a_longitudinal_run_too(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nd-train"])
    table = tmp_path / "diary.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["person", "day", "sleep", "mood"])
        for person in range(12):
            writer.writerows([person, day, math.sin(day + person), math.cos(day + person)] for day in range(12))
    words = [
        *("--config", "longitudinal", f"--data.table={table}", "--data.sequence=person", "--data.time=day"),
        *("--data.outcomes=mood", "--trainer.max_epochs=2", f"--trainer.default_root_dir={tmp_path / 'run'}"),
        *("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--model.network.hidden_size=4"),
    ]
    assert main(["fit", *words]) == 0
    (card,) = (tmp_path / "run").rglob("report.html")
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {card}"
    page = card.read_text()
    assert "Scores by subset" in page
    assert 'id="curves"' in page
    assert "diary.csv" in page
