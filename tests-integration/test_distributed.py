"""Runs on several gloo processes: the losses of one process, its stitched metrics to the bit, its windows on resume.

`distributed_worker.py` holds the runs and what they run on.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

WORKER = Path(__file__).with_name("distributed_worker.py")


class Ranks:
    """Asks the worker for runs, each once."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "recordings"
        self._folder = folder
        self._results: dict[str, list[Any]] = {}
        search_path = os.pathsep.join(path for path in sys.path if path)
        self._log = (folder / "log.txt").open("w+")
        self._worker = subprocess.Popen(
            [sys.executable, str(WORKER), str(self.root)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": search_path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def run(self, name: str, ranks: int, **arguments: Any) -> list[Any]:
        """What every rank ended with.

        Raises:
            RuntimeError: a rank failed, with its words.
        """
        key = json.dumps([name, ranks, arguments], sort_keys=True)
        if key not in self._results:
            folder = self._folder / str(len(self._results))
            folder.mkdir()
            order = {"run": name, "ranks": ranks, "folder": str(folder)}
            order["arguments"] = {"root": str(self.root), **arguments}
            print(json.dumps(order), file=self._worker.stdin, flush=True)
            self._worker.stdout.readline()
            self._results[key] = [self._result(folder, rank) for rank in range(ranks)]
        failures = [one for one in self._results[key] if isinstance(one, str)]
        if failures:
            raise RuntimeError("\n".join(failures))
        return self._results[key]

    def checkpoint(self, name: str, ranks: int, **arguments: Any) -> str:
        """The last checkpoint of a run."""
        return str(self.folder(name, ranks, **arguments) / "last.ckpt")

    def folder(self, name: str, ranks: int, **arguments: Any) -> Path:
        """Where a run left its files."""
        self.run(name, ranks, **arguments)
        key = json.dumps([name, ranks, arguments], sort_keys=True)
        return self._folder / str(list(self._results).index(key))

    def stop(self) -> None:
        self._worker.stdin.close()
        self._worker.stdout.close()
        self._worker.kill()
        self._worker.wait()
        self._log.close()

    def _result(self, folder: Path, rank: int) -> Any:
        result, failure = folder / f"rank{rank}.pt", folder / f"rank{rank}.txt"
        if result.is_file():
            return torch.load(result, weights_only=True)
        if failure.is_file():
            return failure.read_text()
        self._log.seek(0)
        return f"rank {rank} left nothing; the worker said: {self._log.read()[-3000:]}"


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> Any:
    started = Ranks(tmp_path_factory.mktemp("ranks"))
    yield started
    started.stop()


def assert_same_training(together: list[Any], alone: Any, *, tolerance: float = 1e-6) -> None:
    assert len(alone["losses"]) > 1
    for rank in together:
        assert rank["losses"] == together[0]["losses"]
        for found, expected in zip(rank["losses"], alone["losses"], strict=True):
            assert found == pytest.approx(expected, rel=tolerance, abs=tolerance)
        for name, weight in alone["state"].items():
            assert torch.equal(rank["state"][name], together[0]["state"][name]), name
            torch.testing.assert_close(rank["state"][name], weight, rtol=1e-5, atol=1e-5, msg=name)


def windows_of_steps(together: list[Any]) -> list[set[tuple[str, float]]]:
    """The windows of each step on all ranks."""
    return [
        {(name, start) for windows in step for name, start in windows}
        for step in zip(*(rank["windows"] for rank in together), strict=True)
    ]


def assert_same_scores(found: Any, expected: Any) -> None:
    """To the bit: scores, what is logged, and every stitched value."""
    for key in ("scores", "score", "logged"):
        assert found[key] == expected[key]
    assert found["traces"].keys() == expected["traces"].keys()
    for name, trace in expected["traces"].items():
        for part, values in trace.items():
            assert torch.equal(found["traces"][name][part], values), (name, part)


@pytest.mark.parametrize("strategy", ["ddp", "sharded"])
def test_two_ranks_train_as_one_process_with_the_same_batches(ranks, strategy):
    (alone,) = ranks.run("fit", 1, batch_size=4, steps=5)
    together = ranks.run("fit", 2, batch_size=2, steps=5, strategy=strategy)
    assert windows_of_steps(together) == windows_of_steps([alone])
    assert_same_training(together, alone)
    assert {name for loss in alone["losses"] for name in loss} == {
        "train_loss",
        "train_loss/cursor_velocity_2d",
        "train_loss/cursor_position_2d",
    }


def targets_of(windows: list[tuple[str, float]]) -> set[str]:
    """The tasks that the windows of one rank have a target of, from how the recordings are made."""
    tasks = set()
    for name, start in windows:
        times = np.arange(0.0, 40.0, 0.05) + 0.01
        times = times[times % 4.0 < 0.8] if name == "a/few" else times
        if np.any((times >= start) & (times < start + 1.0)):
            tasks |= {"velocity", "position"} if name == "a/both" else {"velocity"}
    return tasks


@pytest.mark.parametrize(
    ("strategy", "changes"),
    [
        ("ddp", {}),
        ("ddp", {"optimizer": "adamw"}),
        ("ddp", {"settings": {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5}}),
        ("sharded", {}),
    ],
    ids=["ddp", "adamw", "accumulated", "sharded"],
)
def test_a_task_that_some_ranks_or_all_are_without_trains_as_in_one_process(ranks, strategy, changes):
    settings = changes.get("settings", {})
    steps = 8 // settings.get("accumulate_grad_batches", 1)
    (alone,) = ranks.run("fit", 1, batch_size=2, steps=steps, **changes)
    together = ranks.run("fit", 2, batch_size=1, steps=steps, strategy=strategy, **changes)
    tasks = [[targets_of(windows) for windows in step] for step in zip(*(r["windows"] for r in together), strict=True)]
    # What the run is about does happen in it.
    assert any("position" in first ^ second for first, second in tasks)
    assert any(not first or not second for first, second in tasks)
    assert any("position" not in first | second for first, second in tasks[1:])
    # Where a gradient is all but zero, AdamW divides rounding by rounding.
    assert_same_training(together, alone, tolerance=1e-5 if "optimizer" in changes else 1e-6)


@pytest.mark.parametrize("strategy", ["ddp_find_unused_parameters_true", "sharded"])
def test_a_backbone_that_is_released_later_trains_as_in_one_process(ranks, strategy):
    (begun,), (frozen,), (alone,) = (ranks.run("fit", 1, batch_size=4, steps=n, released=2) for n in (1, 2, 4))
    # What the run is about does happen in it: the encoder waits, and then learns.
    encoder = next(name for name in alone["state"] if name.startswith("model.enc_atn") and name.endswith("weight"))
    assert torch.equal(frozen["state"][encoder], begun["state"][encoder])
    assert not torch.equal(alone["state"][encoder], frozen["state"][encoder])
    assert_same_training(ranks.run("fit", 2, batch_size=2, steps=4, strategy=strategy, released=2), alone)


def test_a_model_with_one_readout_trains_as_in_one_process(ranks):
    (alone,) = ranks.run("fit", 1, batch_size=4, steps=3, single=True)
    assert_same_training(ranks.run("fit", 2, batch_size=2, steps=3, single=True), alone)


@pytest.mark.parametrize("single", [False, True], ids=["several readouts", "one readout"])
@pytest.mark.parametrize("number", [2, 3])
def test_stitched_metrics_of_several_ranks_are_those_of_one_process_to_the_bit(ranks, number, single):
    (alone,) = ranks.run("evaluate", 1, single=single)
    batches = alone["batches"][0]
    together = ranks.run("evaluate", number, single=single)
    for rank in together:
        assert_same_scores(rank, alone)
        # As many batches on every rank: none waits for another in a collective that the other does not reach.
        assert rank["batches"] == [-(-batches // number)]
    assert batches % number  # so that some windows are on two ranks


@pytest.mark.parametrize("single", [False, True], ids=["several readouts", "one readout"])
def test_predicted_traces_of_two_ranks_are_those_of_one_process_to_the_bit_on_each(ranks, single):
    (alone,) = ranks.run("predict", 1, single=single)
    for rank in ranks.run("predict", 2, single=single):
        assert rank.keys() == alone.keys()
        for name, trace in alone.items():
            for part, values in trace.items():
                torch.testing.assert_close(rank[name][part], values, rtol=0, atol=0, equal_nan=True)


def test_a_rank_for_which_there_are_no_windows_evaluates_with_the_others(ranks):
    (alone,) = ranks.run("evaluate", 1, batch_size=64)
    assert alone["batches"] == [2]
    for strategy in ("ddp", "sharded"):
        for rank in ranks.run("evaluate", 3, batch_size=64, strategy=strategy):
            assert_same_scores(rank, alone)


def test_a_plain_loader_of_any_sampler_gives_the_same_metrics(ranks):
    # Windows one by one, so that those that Lightning's own sampler repeats are in batches of their own too.
    (alone,) = ranks.run("evaluate_plain_loader", 1)
    together = ranks.run("evaluate_plain_loader", 2)
    assert together[0]["batches"] == together[1]["batches"]
    for rank in together:
        assert_same_scores(rank, alone)


@pytest.mark.parametrize("strategy", ["ddp", "sharded"])
def test_a_run_on_two_ranks_resumes_within_an_epoch_to_the_bit(ranks, strategy):
    whole = ranks.run("fit", 2, batch_size=2, steps=5, strategy=strategy)
    stopped = ranks.checkpoint("fit", 2, batch_size=2, steps=3, strategy=strategy)
    resumed = ranks.run("fit", 2, batch_size=2, steps=5, resume=stopped, strategy=strategy)
    for rank, through in zip(resumed, whole, strict=True):
        assert rank["windows"] == through["windows"][3:]
        assert rank["losses"] == through["losses"][3:]
        for name, weight in through["state"].items():
            assert torch.equal(rank["state"][name], weight), name
        assert_same_scores(rank["validation"], through["validation"])


@pytest.mark.parametrize("strategy", ["ddp", "sharded"])
def test_a_checkpoint_of_two_ranks_goes_on_in_one_process_and_the_other_way_round(ranks, strategy):
    (alone,) = ranks.run("fit", 1, batch_size=4, steps=5)
    of_two = ranks.checkpoint("fit", 2, batch_size=2, steps=3, strategy=strategy)
    of_one = ranks.checkpoint("fit", 1, batch_size=4, steps=3)
    for number, checkpoint in ((1, of_two), (2, of_one)):
        resumed = ranks.run("fit", number, batch_size=4 // number, steps=5, resume=checkpoint, strategy=strategy)
        assert windows_of_steps(resumed) == windows_of_steps([alone])[3:]
        assert_same_training(resumed, {**alone, "losses": alone["losses"][3:]}, tolerance=2e-6)


def test_ranks_that_cannot_share_the_rest_of_an_epoch_evenly_say_so(ranks):
    of_two = ranks.checkpoint("fit", 2, batch_size=2, steps=3)
    with pytest.raises(
        RuntimeError, match="after 6 of the epoch on each of 2 ranks, which 5 ranks cannot share evenly"
    ):
        ranks.run("fit", 5, batch_size=1, steps=5, resume=of_two)


def test_split_weights_of_other_recordings_are_refused_on_resume(ranks):
    of_two = ranks.checkpoint("fit", 2, batch_size=2, steps=3, strategy="sharded")
    with pytest.raises(RuntimeError, match=r"model.unit_emb has a vocabulary of 19 there and of 7 here"):
        ranks.run("fit", 2, batch_size=2, steps=5, strategy="sharded", entries=1, resume=of_two)


def test_targets_scaled_on_the_training_split_are_so_on_every_rank_and_after_a_resume(ranks):
    scaled = {"batch_size": 2, "data": {"normalize": "train"}}
    (alone,) = ranks.run("fit", 1, **{**scaled, "batch_size": 4}, steps=2)
    (plain,) = ranks.run("fit", 1, batch_size=4, steps=2)
    assert alone["losses"] != plain["losses"]
    assert_same_training(ranks.run("fit", 2, **scaled, steps=2), alone)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_the_command_line_runs_to_its_end_on_two_ranks(ranks, strategy):
    together = ranks.run("command_line", 2, batch_size=4, strategy=strategy)
    left = [Path(name) for name in together[0]["files"]]
    # One folder, which rank 0 wrote.
    assert {path.parts[1] for path in left if path.parts[0] == "lightning_logs"} == {"version_0"}
    wanted = ["config.yaml", "run.json", "metrics.csv", "test_scores.json", "test_traces.h5", "checkpoints/last.ckpt"]
    assert {f"lightning_logs/version_0/{name}" for name in wanted} <= set(together[0]["files"])
    folders = [ranks.folder("command_line", 1, batch_size=8)]
    folders += [ranks.folder("command_line", 2, batch_size=4, strategy=strategy)]
    expected, found = (
        json.loads((folder / "lightning_logs/version_0/test_scores.json").read_text()) for folder in folders
    )
    assert found.keys() == expected.keys()
    for recording, tasks in expected.items():
        for task, scores in tasks.items():
            assert found[recording][task] == pytest.approx(scores, rel=1e-3)
