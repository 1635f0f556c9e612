"""Small simulated recordings, models and trainers that the tests share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import yaml

from nd_data.longitudinal import LongitudinalDataset
from nd_data.simulate import simulate_recordings
from nd_models import POYO, POYOPlus, model_from_config

SIZES = {
    "sequence_length": 1.0,
    "latent_step": 0.5,
    "num_latents_per_step": 2,
    "dim": 16,
    "depth": 1,
    "dim_head": 8,
    "self_heads": 2,
}
VELOCITY = {"readout_id": "cursor_velocity_2d"}


@pytest.fixture(autouse=True)
def one_seed():
    """Weights are drawn from torch's generator; every test starts it anew and leaves it as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="session")
def recordings(tmp_path_factory) -> Path:
    """Two simulated recordings of a minute, shared by all tests: read only."""
    root = tmp_path_factory.mktemp("simulated") / "processed"
    simulate_recordings(root, sessions=2, minutes=1.0, units=30, seed=0)
    return root


@pytest.fixture
def single() -> dict[str, Any]:
    """The data's configuration for POYO."""
    return {"config": {"readout": dict(VELOCITY)}}


@pytest.fixture
def multitask() -> dict[str, Any]:
    """The data's configuration for POYO+, with two readouts."""
    return {"config": {"multitask_readout": [dict(VELOCITY), {"readout_id": "cursor_position_2d"}]}}


@pytest.fixture
def make_model() -> Callable[..., POYO | POYOPlus]:
    """A tiny model, by the name of its architecture."""

    def make(architecture: str = "POYOPlus", **changes: Any) -> POYO | POYOPlus:
        readouts: dict[str, Any] = {"readout_specs": ["cursor_velocity_2d", "cursor_position_2d"]}
        if architecture == "POYO":
            readouts = {"readout_spec": "cursor_velocity_2d"}
        return model_from_config({"architecture": architecture, **SIZES, **readouts, **changes})

    return make


@pytest.fixture
def make_trainer(tmp_path) -> Callable[..., L.Trainer]:
    """A trainer that writes and prints nothing unless it is asked to."""

    def make(**keywords: Any) -> L.Trainer:
        settings: dict[str, Any] = {
            "accelerator": "cpu",
            "default_root_dir": tmp_path,
            "enable_checkpointing": False,
            "enable_model_summary": False,
            "enable_progress_bar": False,
            "logger": False,
            "max_steps": 2,
            "num_sanity_val_steps": 0,
        }
        return L.Trainer(**{**settings, **keywords})

    return make


@pytest.fixture
def make_panel() -> Callable[..., LongitudinalDataset]:
    """Ragged sequences with missing outcomes and features, by their number, outcomes K and classes C."""

    def make(sequences: int = 6, *, outcomes: int = 1, classes: int = 1, longest: int = 9, seed: int = 0) -> Any:
        rng = np.random.default_rng(seed)
        columns: dict[str, list[Any]] = {"embeddings": [], "outcomes": [], "mask": [], "oots_mask": []}
        for number in range(sequences):
            steps = longest if number == 0 else int(rng.integers(3, longest + 1))
            features = rng.normal(size=(steps, 4))
            if classes == 1:
                values = features[:, :1] + rng.normal(scale=0.1, size=(steps, outcomes))
            else:
                values = rng.integers(0, classes, size=(steps, outcomes)).astype(float)
            values[rng.random((steps, outcomes)) < 0.2] = np.nan
            values[0] = 0.0
            columns["embeddings"].append(features)
            columns["outcomes"].append(values)
            columns["mask"].append(rng.random(steps) < 0.2)
            columns["oots_mask"].append(np.arange(steps) >= steps - 2)
        return LongitudinalDataset.from_sequences(columns, num_classes=classes)

    return make


class Scale(torch.nn.Module):
    """The prediction is a multiple of the first feature."""

    def __init__(self, start: float = 0.5):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(start))

    def forward(self, embeddings, **others):
        return self.weight * embeddings[..., :1]


@pytest.fixture
def scale_model() -> Callable[..., torch.nn.Module]:
    """A forecaster with one weight: the prediction is that many times the first feature."""
    return Scale


@pytest.fixture
def run_words(recordings, multitask, make_model, tmp_path) -> list[str]:
    """What every run of the tiny model on the simulated recordings says on the command line."""
    config = tmp_path / "data.yaml"
    config.write_text(yaml.safe_dump(multitask))
    network = {key: value for key, value in make_model().to_config().items() if key != "readout_specs"}
    return [
        f"--model.network={json.dumps(network)}",
        *(f"--data.root={recordings}", f"--data.config={config}", "--data.batch_size=4"),
        *("--trainer.accelerator=cpu", f"--trainer.default_root_dir={tmp_path / 'run'}"),
    ]


@pytest.fixture
def make_recording() -> Callable[..., Any]:
    """A healthy recording of 100 s in memory, as the doctor sees it, with some of its parts replaced.

    20 units fire about 8 times a second, a target of two dimensions changes smoothly at 50 Hz, and ten classes of 0.5 s
    follow each other at random; train, valid and test take 60, 20 and 20 s.
    """
    from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries
    from nd_train.doctor.recordings import Recording

    def make(*, name: str = "lab/day1", sampling: dict[str, Any] | None = None, **changes: Any) -> Any:
        rng = np.random.default_rng(0)
        domain = Interval(0.0, 100.0)
        spikes = np.sort(rng.uniform(0.0, 100.0, size=16_000))
        times = np.arange(5000) * 0.02
        smooth = np.exp(-0.5 * (np.arange(-50, 51) / 12.0) ** 2)
        noise = rng.normal(size=(5100, 2))
        motion = np.stack([np.convolve(noise[:, axis], smooth, mode="valid") for axis in range(2)], axis=1)
        parts: dict[str, Any] = {
            "domain": domain,
            "units": ArrayDict(id=np.array([f"unit_{unit:02d}" for unit in range(20)])),
            "spike_times": spikes,
            "unit_index": rng.integers(0, 20, size=len(spikes)),
            "times": times,
            "values": (motion / motion.std(axis=0)).astype(np.float32),
            "states": np.repeat(rng.integers(0, 3, size=200), 25),
            "train_domain": Interval(0.0, 60.0),
            "valid_domain": Interval(60.0, 80.0),
            "test_domain": Interval(80.0, 100.0),
        } | changes
        data = Data(
            units=parts["units"],
            spikes=IrregularTimeSeries(
                timestamps=parts["spike_times"], unit_index=parts["unit_index"], domain=Interval(-1e6, 1e6)
            ),
            cursor=IrregularTimeSeries(timestamps=parts["times"], vel=parts["values"], domain=Interval(-1e6, 1e6)),
            stimulus=IrregularTimeSeries(timestamps=parts["times"], state=parts["states"], domain=Interval(-1e6, 1e6)),
            reaches=Interval(np.arange(0.0, 100.0, 4.0), np.arange(1.0, 101.0, 4.0)),
            domain=parts["domain"],
        )
        for split in ("train", "valid", "test"):
            if parts[f"{split}_domain"] is not None:
                setattr(data, f"{split}_domain", parts[f"{split}_domain"])
        stored = {split: parts[f"{split}_domain"] for split in ("train", "valid", "test")}
        one = Recording(
            name=name,
            path=Path("nowhere.h5"),
            config={"multitask_readout": [{"readout_id": "cursor_velocity_2d"}]},
            known=None,
            sampling=sampling or {split: at for split, at in stored.items() if at is not None},
        )
        one.__dict__["data"] = data
        return one

    return make
