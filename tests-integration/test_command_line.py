"""Whole runs through ``nd-train`` and ``nd-data``, as a user starts them."""

import csv
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from nd_data import Data
from nd_train import NeuralDecoder

RECORDINGS = ["simulated/session_00", "simulated/session_01"]
TINY = [
    *("--model.network.dim=32", "--model.network.depth=1", "--model.network.dim_head=16"),
    *("--model.network.num_latents_per_step=4", "--model.network.latent_step=0.25"),
    *("--trainer.max_steps=10", "--trainer.val_check_interval=5"),
    *("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"),
]


def started(*command):
    """Run a command in a process of its own; its output is wide enough for tables."""
    environment = {**os.environ, "COLUMNS": "160"}
    words = [str(word) for word in command]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, env=environment)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def nd_train(*arguments):
    done = started("-m", "nd_train", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def table_of(printed):
    """The table of scores: ``{(recording, task): {heading: cell}}``."""
    rows = [
        [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        for line in printed.splitlines()
        if line.startswith(("│ simulated", "┃ recording"))
    ]
    return {(row[0], row[1]): dict(zip(rows[0], row, strict=True)) for row in rows[1:]}


def one(paths):
    (path,) = paths
    return path


@pytest.fixture(scope="module")
def configurations(tmp_path_factory) -> dict[str, Path]:
    """Data configurations by what they read out."""
    folder = tmp_path_factory.mktemp("configurations")
    velocity, position = ({"readout_id": f"cursor_{name}_2d", "metrics": ["r2"]} for name in ("velocity", "position"))
    contents = {
        "velocity": {"multitask_readout": [velocity]},
        "both": {"multitask_readout": [velocity, position]},
        "single": {"readout": velocity},
    }
    paths = {name: folder / f"{name}.yaml" for name in contents}
    for name, content in contents.items():
        paths[name].write_text(yaml.safe_dump({"config": content}))
    return paths


@pytest.fixture(scope="module")
def fitted(processed, configurations, tmp_path_factory):
    """A run of POYO+: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("fitted")
    printed = nd_train(
        *("fit", "--config", "poyo_plus_small", *TINY, "--model.schedule=constant"),
        *(f"--data.root={processed}", f"--data.config={configurations['velocity']}"),
        f"--trainer.default_root_dir={folder}",
    )
    return folder, printed


def test_a_run_ends_with_a_table_of_stitched_r2_per_recording(fitted):
    folder, printed = fitted
    scores = json.loads(one(folder.rglob("test_scores.json")).read_text())
    table = table_of(printed)
    assert sorted(table) == [(name, "cursor_velocity_2d") for name in RECORDINGS]
    for (recording, task), cells in table.items():
        assert cells["r2"] == f"{scores[recording][task]['r2']:.3f}"
        # A fifth of a minute at 100 Hz is the test split.
        assert cells["times"] == "1,200"


def test_a_run_leaves_best_and_last_checkpoints_that_load_as_plain_values(fitted):
    folder, printed = fitted
    best, last = one(folder.rglob("best-*.ckpt")), one(folder.rglob("last.ckpt"))
    assert f"best checkpoint: {best}" in printed
    for path in (best, last):
        stored = torch.load(path, weights_only=True)
        assert stored["hyper_parameters"]["model"]["architecture"] == "POYOPlus"
        assert set(stored["state_dict"]["model.session_emb.vocab"]) == {"NA", *RECORDINGS}
        module = NeuralDecoder.load_from_checkpoint(path)
        assert module.model.dim == 32
    assert torch.load(last, weights_only=True)["global_step"] == 10


def test_a_run_keeps_its_configuration_and_logs_to_tensorboard(fitted):
    folder, _ = fitted
    kept = yaml.safe_load(one(folder.rglob("config.yaml")).read_text())
    assert kept["model"]["network"]["dim"] == 32
    assert kept["trainer"]["max_steps"] == 10
    assert list(folder.rglob("events.out.tfevents.*"))


@pytest.mark.parametrize(("subcommand", "stage"), [("test", "test"), ("validate", "val")])
def test_a_checkpoint_is_scored_again_to_the_same_numbers(
    fitted, processed, configurations, tmp_path, subcommand, stage
):
    folder, printed = fitted
    best = one(folder.rglob("best-*.ckpt"))
    # No size of the network is repeated here: it comes out of the checkpoint.
    again = nd_train(
        *(subcommand, "--config", "poyo_plus_small", f"--ckpt_path={best}"),
        *(f"--data.root={processed}", f"--data.config={configurations['velocity']}"),
        *(f"--trainer.default_root_dir={tmp_path}", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"),
    )
    assert f"stitched scores, {stage}" in again
    scores = json.loads(one(tmp_path.rglob(f"{stage}_scores.json")).read_text())
    assert sorted(scores) == RECORDINGS
    if subcommand == "test":
        assert table_of(again) == table_of(printed)
    else:
        average = sum(scores[name]["cursor_velocity_2d"]["r2"] for name in RECORDINGS) / 2
        assert f"-{average:.3f}.ckpt" in best.name


def test_predict_runs_a_checkpoint(fitted, processed, configurations, tmp_path):
    folder, _ = fitted
    nd_train(
        *("predict", "--config", "poyo_plus_small", f"--ckpt_path={one(folder.rglob('last.ckpt'))}"),
        *(f"--data.root={processed}", f"--data.config={configurations['velocity']}"),
        *(f"--trainer.default_root_dir={tmp_path}", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"),
    )


def test_a_run_goes_on_from_its_checkpoint(fitted, processed, configurations, tmp_path):
    folder, _ = fitted
    nd_train(
        *("fit", "--config", "poyo_plus_small", *TINY, "--model.schedule=constant", "--trainer.max_steps=15"),
        f"--ckpt_path={one(folder.rglob('last.ckpt'))}",
        *(f"--data.root={processed}", f"--data.config={configurations['velocity']}"),
        f"--trainer.default_root_dir={tmp_path}",
    )
    before, after = (torch.load(one(f.rglob("last.ckpt")), weights_only=True) for f in (folder, tmp_path))
    assert (before["global_step"], after["global_step"]) == (10, 15)
    # Moments of the optimizer went on too: they counted every step.
    assert {int(state["step"]) for state in after["optimizer_states"][0]["state"].values()} == {15}


def test_csv_logs_can_be_chosen_and_two_readouts_are_both_scored(processed, configurations, tmp_path):
    printed = nd_train(
        *("fit", "--config", "poyo_plus_small", *TINY, "--trainer.log_every_n_steps=1"),
        *("--trainer.logger=CSVLogger", f"--trainer.logger.save_dir={tmp_path}"),
        *(f"--data.root={processed}", f"--data.config={configurations['both']}"),
        f"--trainer.default_root_dir={tmp_path}",
    )
    tasks = ["cursor_position_2d", "cursor_velocity_2d"]
    assert sorted(table_of(printed)) == [(name, task) for name in RECORDINGS for task in tasks]
    with one(tmp_path.rglob("metrics.csv")).open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["train_loss"]) for row in rows if row.get("train_loss")]
    assert len(losses) == 10
    for task in tasks:
        assert sum(bool(row.get(f"train_loss/{task}")) for row in rows) == 10
        assert any(row.get(f"simulated/session_00/{task}/r2/val") for row in rows)
    assert not list(tmp_path.rglob("events.out.tfevents.*"))


def test_poyo_with_one_readout_trains_from_its_ready_configuration_and_logs_where_it_is_told(
    processed, configurations, tmp_path
):
    printed = nd_train(
        *("fit", "--config", "poyo_small", *TINY),
        *("--trainer.logger=TensorBoardLogger", f"--trainer.logger.save_dir={tmp_path / 'board'}"),
        *(f"--data.root={processed}", f"--data.config={configurations['single']}"),
        f"--trainer.default_root_dir={tmp_path}",
    )
    assert list((tmp_path / "board").rglob("events.out.tfevents.*"))
    assert sorted(recording for recording, _ in table_of(printed)) == RECORDINGS
    module = NeuralDecoder.load_from_checkpoint(one(tmp_path.rglob("best-*.ckpt")))
    assert module.model.to_config()["architecture"] == "POYO"
    assert module.model.readout_spec.value_key == "cursor.vel"


def test_a_run_on_recordings_without_a_test_split_ends_with_validation_scores(processed, configurations, tmp_path):
    root = tmp_path / "processed"
    for path in processed.rglob("*.h5"):
        recording = Data.load(path).materialize()
        del recording.test_domain
        target = root / path.relative_to(processed)
        target.parent.mkdir(parents=True, exist_ok=True)
        recording.save(target)
    printed = nd_train(
        *("fit", "--config", "poyo_plus_small", *TINY, f"--data.root={root}"),
        *(f"--data.config={configurations['velocity']}", f"--trainer.default_root_dir={tmp_path / 'run'}"),
    )
    assert "will end with the scores of 'valid'" in printed
    assert sorted(recording for recording, _ in table_of(printed)) == RECORDINGS
    assert one((tmp_path / "run").rglob("val_scores.json"))
    assert not list((tmp_path / "run").rglob("test_scores.json"))


def test_fit_has_help():
    done = started("-m", "nd_train", "fit", "--help")
    assert done.returncode == 0
    for option in ("--data.root", "--data.config", "--model.lr", "--trainer.max_steps", "--checkpoint.monitor"):
        assert option in done.stdout


def picture_size(path):
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def test_recordings_of_ones_own_go_from_nd_data_simulate_through_quickstart(configurations, tmp_path):
    root, out = tmp_path / "mine", tmp_path / "out"
    simulated = started(
        *("-m", "nd_data.cli", "simulate", root, "--sessions", "2", "--minutes", "1"),
        *("--units", "20", "--seed", "3", "--brainset", "simulated_here"),
    )
    assert simulated.returncode == 0, simulated.stderr
    printed = nd_train(
        *("quickstart", "--out", out, "--data", root, "--config", configurations["velocity"]),
        *("--", *TINY, "--data.unit_dropout=null"),
    )
    table = table_of(printed)
    assert sorted(recording for recording, _ in table) == ["simulated_here/session_00", "simulated_here/session_01"]
    for cells in table.values():
        assert float(cells["ridge R²"]) > 0.2
        assert "ceiling R²" not in cells
    width, height = picture_size(out / "predicted_and_true.png")
    assert width > 800
    assert height > 200
    assert (one(out.rglob("best-*.ckpt"))).is_file()


def test_quickstart_shows_ridge_and_ceiling_beside_its_own_score(tmp_path):
    out = tmp_path / "out"
    printed = nd_train("quickstart", "--out", out, "--sessions", "2", "--minutes", "1", "--", *TINY)
    table = table_of(printed)
    assert sorted(recording for recording, _ in table) == RECORDINGS
    scores = json.loads(one(out.rglob("test_scores.json")).read_text())
    for (recording, task), cells in table.items():
        ceiling = float(Data.load(out / "recordings" / f"{recording}.h5").simulation.ideal_r2)
        own = scores[recording][task]["r2"]
        assert cells["r2"] == f"{own:.3f}"
        assert cells["ceiling R²"] == f"{ceiling:.3f}"
        assert cells["share of ceiling"] == f"{own / ceiling:.3f}"
        assert 0.2 < float(cells["ridge R²"]) < ceiling
    assert str(out / "predicted_and_true.png") in printed.replace("\n", "")
    assert picture_size(out / "predicted_and_true.png")[0] > 800


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_quickstart_reaches_four_fifths_of_the_ceiling_and_beats_ridge(tmp_path, monkeypatch):
    # As the README has it: without an argument, into a folder of its own where it is started.
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "quickstart"
    table = table_of(nd_train("quickstart"))
    assert len(table) == 4
    for (recording, _), cells in table.items():
        assert float(cells["share of ceiling"]) >= 0.8, f"{recording}: {cells}"
    own, ridge = (sum(float(cells[key]) for cells in table.values()) / len(table) for key in ("r2", "ridge R²"))
    assert own > ridge
    assert torch.load(one(out.rglob("best-*.ckpt")), weights_only=True)["state_dict"]
    assert picture_size(out / "predicted_and_true.png")[0] > 800
