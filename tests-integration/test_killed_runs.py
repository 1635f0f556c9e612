"""Runs that are killed at any moment, and go on to the same weights and the same logged numbers, bit for bit."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from nd_data.simulate import simulate_recordings

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="killed runs are forked")

MOMENTS = {
    "step begins": 18,
    "before the optimizer": 18,
    "gradients are cleared": 18,
    "step ends": 18,
    "validating": 6,
    "validated": 3,
    "epoch ends": 2,
    "half written": 10,
    "written": 10,
    "renamed": 10,
}
"""Kinds of moments at which to kill, and how many of each a run has."""

DESIGNS = {
    "epochs": {},
    "accumulation": {
        "accumulate_grad_batches": 4,
        "val_check_interval": 3,
        "optimizer": "sparse_lamb",
        "schedule": "cosine",
    },
    "steps": {
        "max_epochs": -1,
        "max_steps": 14,
        "val_check_interval": 5,
        "check_val_every_n_epoch": None,
        "checkpoint_steps": 5,
        "every_n_steps": 2,
    },
}


def killings():
    """20 moments at random: 15 by what the run is doing, 5 by the clock."""
    rng = np.random.default_rng(20261122)
    kinds = [*MOMENTS, *rng.choice(list(MOMENTS), 5)]
    for number, kind in enumerate(kinds):
        design = list(DESIGNS)[number % 3 if number % 2 else 0]
        moment = int(rng.integers(MOMENTS[kind] if design == "epochs" else max(MOMENTS[kind] // 3, 1)))
        yield pytest.param(design, str(kind), moment, number % 3, id=f"{design}, {kind} {moment}, {number % 3} workers")
    for _ in range(5):
        share = float(rng.random())
        yield pytest.param("epochs", "clock", share, 2, id=f"epochs, after {share:.0%} of its time")


class Runs:
    """The server of tiny trainings, and what they leave."""

    def __init__(self, folder, recordings):
        self.folder, self.recordings = folder, recordings
        command = [sys.executable, str(Path(__file__).parent / "killed_runs.py")]
        with (folder / "errors").open("w") as errors:
            self.server = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.references = {}

    def run(self, after=None, **arguments):
        """Run to the end, or for so many seconds; the exit status, below zero where it was killed."""
        self.server.stdin.write(json.dumps(arguments) + "\n")
        self.server.stdin.flush()
        process = int(self.server.stdout.readline())
        if after is not None:
            time.sleep(after)
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.kill(process, signal.SIGKILL)
        return int(self.server.stdout.readline())

    def train(self, name, **arguments):
        return self.run(folder=str(self.folder / name), recordings=str(self.recordings), **arguments)

    def reference(self, design):
        """What a run that nobody kills leaves, and how long it took."""
        if design not in self.references:
            began = time.monotonic()
            assert self.train(f"whole {design}", **DESIGNS[design]) == 0
            took = time.monotonic() - began
            self.references[design] = left_by(self.folder / f"whole {design}"), took
        return self.references[design]


def left_by(folder):
    """The state after a run, and the rows of its metrics."""
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    with (folder / "metrics.csv").open(newline="") as file:
        return state, list(csv.DictReader(file))


def assert_same(found, expected):
    """Every tensor and number of the optimizer and the model, and every number that was logged."""
    (state, metrics), (whole, whole_metrics) = found, expected
    for key in ("state_dict", "lr_schedulers", "global_step"):
        torch.testing.assert_close(state[key], whole[key], rtol=0, atol=0)
    for optimizer, other in zip(state["optimizer_states"], whole["optimizer_states"], strict=True):
        torch.testing.assert_close(optimizer["state"], other["state"], rtol=0, atol=0)
        assert [group["lr"] for group in optimizer["param_groups"]] == [group["lr"] for group in other["param_groups"]]
    assert metrics == whole_metrics


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    simulate_recordings(folder / "processed", sessions=2, minutes=0.5, units=20, seed=0)
    runs = Runs(folder, folder / "processed")
    yield runs
    with runs.server:
        runs.server.stdin.close()


def test_one_seed_is_one_run_whatever_the_number_of_workers(runs):
    expected, _ = runs.reference("epochs")
    assert expected[0]["global_step"] == 18
    assert len(expected[1]) == 18 + 3
    assert runs.train("two workers", workers=2) == 0
    assert_same(left_by(runs.folder / "two workers"), expected)
    assert runs.train("another seed", seed=1) == 0
    assert left_by(runs.folder / "another seed")[1] != expected[1]


@pytest.mark.parametrize(("design", "kind", "moment", "workers"), list(killings()))
def test_a_killed_run_goes_on_to_the_same_weights_and_logged_numbers(runs, request, design, kind, moment, workers):
    expected, took = runs.reference(design)
    name = request.node.callspec.id
    if kind == "clock":
        status = runs.train(name, workers=workers, after=moment * took, **DESIGNS[design])
        assert status in (0, -signal.SIGKILL)
    else:
        status = runs.train(name, workers=workers, kill=[kind, moment], **DESIGNS[design])
        assert status == -signal.SIGKILL
    # What the new process starts with is of no importance, once there is a checkpoint.
    has_begun = any((runs.folder / name).glob("checkpoints/*.ckpt"))
    resumed = runs.train(name, workers=2 - workers, resume=True, seed=99 if has_begun else 0, **DESIGNS[design])
    assert resumed == 0
    assert_same(left_by(runs.folder / name), expected)
    assert not list((runs.folder / name).rglob("*.unfinished"))


def test_a_run_that_is_killed_again_and_again_gets_there(runs):
    expected, _ = runs.reference("epochs")
    for moment in (7, 3, 4):
        assert runs.train("thrice", resume=True, kill=["before the optimizer", moment], workers=1) == -signal.SIGKILL
    assert runs.train("thrice", resume=True) == 0
    assert_same(left_by(runs.folder / "thrice"), expected)


@pytest.mark.parametrize(
    ("kind", "moment"),
    [("before the optimizer", 6), ("step begins", 9), ("validating", 3), ("gradients are cleared", 3)],
)
def test_a_slurm_requeue_writes_between_steps_and_loses_nothing(runs, tmp_path, kind, moment):
    expected, _ = runs.reference("epochs")
    # As SLURM does, requeueing ends the job.
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nkill -9 $PPID\n')
    scontrol.chmod(0o755)
    numbers = dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"), "0")
    environment = {
        **numbers,
        "SLURM_NTASKS": "1",
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "train",
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    name = f"slurm {kind}"
    kill = [kind, moment, int(signal.SIGUSR1)]
    assert runs.train(name, environment=environment, kill=kill, workers=1) == -signal.SIGKILL
    assert (tmp_path / "asked").read_text() == "requeue 4711\n"
    assert (runs.folder / name / "hpc_ckpt_1.ckpt").is_file()
    # Lightning itself resumes a requeued job.
    assert runs.train(name, environment=environment, seed=99) == 0
    assert_same(left_by(runs.folder / name), expected)


def words(runs, folder, *more):
    """A small run on the command line."""
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"config": {"multitask_readout": [{"readout_id": "cursor_velocity_2d"}]}}))
    return [
        *("fit", "--config", "poyo_plus_small", f"--data.root={runs.recordings}", f"--data.config={config}"),
        *("--model.network.dim=16", "--model.network.depth=1", "--model.network.dim_head=8", "--data.batch_size=8"),
        *("--trainer.max_steps=12", "--trainer.val_check_interval=4", "--trainer.log_every_n_steps=1"),
        *("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.logger=csv"),
        *("--last_checkpoint.every_n_steps=3", f"--trainer.default_root_dir={folder / 'runs'}", *more),
    ]


def test_the_command_line_resumes_the_last_run_in_its_folder_and_says_what_was_damaged(runs, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        # Nothing is there yet: the same words serve from the beginning.
        given = words(runs, folder, "--ckpt_path=last", "--data.num_workers=1")
        assert runs.run(words=given, output=str(folder / "printed")) == 0
        assert "no checkpoint under" in (folder / "printed").read_text()
    run = killed / "runs" / "lightning_logs" / "version_0"
    last = run / "checkpoints" / "last.ckpt"
    before = sorted(run.glob("checkpoints/last-*.ckpt"))
    assert [path.name for path in before] == ["last-00000009.ckpt"]
    last.write_bytes(last.read_bytes()[:-1000])
    for best in run.glob("checkpoints/best-*.ckpt"):
        content = bytearray(best.read_bytes())
        content[len(content) // 2] ^= 1
        best.write_bytes(content)
    assert runs.run(words=words(runs, killed, "--ckpt_path=last"), output=str(killed / "printed")) == 0
    printed = (killed / "printed").read_text()
    assert f"{last} is passed over: it is no whole file" in printed
    assert "best-" in printed
    assert "is not what was written" in printed
    assert f"resuming from {before[0]}, after 9 steps" in printed
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]
    other = whole / "runs" / "lightning_logs" / "version_0"
    states = [torch.load(one / "checkpoints" / "last.ckpt", weights_only=True) for one in (run, other)]
    torch.testing.assert_close(states[0]["state_dict"], states[1]["state_dict"], rtol=0, atol=0)
    for name in ("metrics.csv", "test_scores.json"):
        assert (run / name).read_text() == (other / name).read_text()
