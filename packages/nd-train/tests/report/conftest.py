"""A run's folder, written by hand in the layout that runs leave, with scores in float64 NumPy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from nd_eval import StitchedTrace
from nd_train.traces import write_traces

VELOCITY, PHASE = "cursor_velocity_2d", "movement_phase"


def r2(preds, targets):
    """R², averaged over dimensions."""
    preds, targets = preds.astype(np.float64), targets.astype(np.float64)
    residual = ((targets - preds) ** 2).sum(axis=0)
    return float(np.mean(1.0 - residual / ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)))


def balanced_accuracy(labels, targets):
    """Recall averaged over the classes that occur."""
    return float(np.mean([(labels[targets == one] == one).mean() for one in np.unique(targets)]))


def velocity(times, seed):
    rng = np.random.default_rng(seed)
    targets = np.stack([8 * np.sin(1.3 * times), 5 * np.cos(0.7 * times)], axis=1)
    preds = (targets + rng.normal(scale=1.5 + 0.3 * seed, size=targets.shape)).astype(np.float32)
    return preds, targets.astype(np.float32)


def phase(times, seed):
    rng = np.random.default_rng(seed + 100)
    targets = (times // 3).astype(int) % 4
    logits = 1.5 * np.eye(4)[targets] + rng.normal(size=(len(times), 4))
    return logits.astype(np.float32), targets


@pytest.fixture
def make_run(tmp_path, make_run_in) -> Callable[..., Path]:
    """A run of some recordings in the test's own folder."""

    def make(*names: str, **options: Any) -> Path:
        return make_run_in(tmp_path, *names, **options)

    return make


@pytest.fixture(scope="session")
def make_run_in() -> Callable[..., Path]:
    """A run of some recordings: times of a minute at 100 Hz with a gap, two tasks."""

    def make(
        root: Path,
        *names: str,
        seconds: float = 60.0,
        classes: bool = True,
        left_out: tuple[str, ...] = (),
        seed: int = 0,
        known: dict[str, Any] | None = None,
    ) -> Path:
        folder = root / "run" / "lightning_logs" / "version_0"
        folder.mkdir(parents=True)
        times = 500.0 + np.arange(round(seconds * 100)) * 0.01
        times = times[(times < 520.0) | (times >= 525.0)]
        traces: dict[str, Any] = {}
        scores: dict[str, Any] = {}
        recordings: dict[str, Any] = {}
        for number, name in enumerate(names):
            preds, targets = velocity(times, seed + number)
            traces[name] = {VELOCITY: StitchedTrace(*map(torch.as_tensor, (times, preds, targets)))}
            error = preds.astype(np.float64) - targets
            scores[name] = {VELOCITY: {"r2": r2(preds, targets), "mse": float((error**2).mean())}}
            if classes:
                logits, labels = phase(times, seed + number)
                traces[name][PHASE] = StitchedTrace(*map(torch.as_tensor, (times, logits, labels)))
                scores[name][PHASE] = {"balanced_accuracy": balanced_accuracy(logits.argmax(axis=1), labels)}
            splits = {"test": seconds, "train": 4 * seconds, "valid": seconds}
            recordings[name] = {"units": 50 + number, "spikes": 123_456, "duration": 6 * seconds, "splits": splits}
        settings = {
            "seed_everything": 7,
            "system": "decoding",
            "model": {
                "network": {"architecture": "POYOPlus", "dim": 64, "depth": 2, "sequence_length": 1.0},
                "lr": 3e-3,
            },
            "data": {"root": str(root / "gone"), "config": "data.yaml", "batch_size": 32},
            "trainer": {"max_steps": 100},
        }
        record = {
            "format": "nd-train run",
            "version": 1,
            "command": ["nd-train", "fit", "--data.root", "my recordings", "--seed_everything=7"],
            "started": "2026-11-20T10:12:00+00:00",
            "seed": 7,
            "packages": {"nd-train": "0.1.0", "torch": "2.13.0"},
            "python": "3.12.1",
            "platform": "Linux",
            "git": {"commit": "4f1c9e0", "changed": True},
            "data": {"root": "/there", "hash": "ab" * 32, "leakage_checked": True, "recordings": recordings},
            "hyperparameters": settings,
        }
        curve = [f"{step},{1.0 / step},{step / 200}," for step in range(10, 101, 10)]
        contents = {
            "config.yaml": yaml.safe_dump(settings),
            "run.json": json.dumps(record),
            "test_scores.json": json.dumps(scores),
            "metrics.csv": "\n".join(["step,train_loss,average_val_metric,epoch", *curve]) + "\n",
        }
        for name, text in contents.items():
            if name not in left_out:
                (folder / name).write_text(text)
        if "test_traces.h5" not in left_out and traces:
            write_traces(folder / "test_traces.h5", traces, attributes={VELOCITY: {"unit": "cm/s"}, **(known or {})})
        return folder

    return make
