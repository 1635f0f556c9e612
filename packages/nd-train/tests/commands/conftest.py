"""A model pretrained on two recordings, and a third to adapt it to: what the tests of several commands share."""

import json
import sys
import warnings
from pathlib import Path

import pytest
import torch
import yaml

from nd_data import Data
from nd_data.simulate import simulate_recordings
from nd_train.cli import main

VELOCITY = "cursor_velocity_2d"
QUIET = [
    *("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
    "--data.batch_size=32",
]


class Commands:
    """Runs commands as a user would, in this process."""

    task = VELOCITY
    quiet = QUIET
    network = {  # noqa: RUF012  # nobody changes it
        "architecture": "POYOPlus",
        "sequence_length": 1.0,
        "latent_step": 0.25,
        "num_latents_per_step": 4,
        "dim": 32,
        "depth": 1,
        "dim_head": 16,
        "self_heads": 2,
        "ffn_dropout": 0.0,
        "lin_dropout": 0.0,
    }

    def __init__(self, folder: Path):
        self.folder = folder

    def configuration(self, sessions, readouts=(VELOCITY,), *, single=False, **more):
        """A data configuration of some sessions, as a file."""
        entries = [{"readout_id": name, "metrics": ["r2"], **more} for name in readouts]
        chosen = {"readout": entries[0]} if single else {"multitask_readout": entries}
        path = self.folder / f"{'_'.join([*sessions, *readouts])}{'_single' * single}.yaml"
        selection = [{"brainset": "simulated", "sessions": list(sessions)}]
        path.write_text(yaml.safe_dump([{"selection": selection, "config": chosen}]))
        return path

    def __call__(self, *words):
        """Run a command; its exit code must be 0."""
        with pytest.MonkeyPatch.context() as monkeypatch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            monkeypatch.setattr(sys, "argv", ["nd-train"])
            assert main([str(word) for word in words]) == 0

    def score(self, folder, session="simulated/session_02", task=VELOCITY):
        """The tested R² of a run."""
        (file,) = Path(folder).rglob("test_scores.json")
        return json.loads(file.read_text())[session][task]["r2"]

    def best(self, folder):
        """The best checkpoint of a run."""
        (file,) = Path(folder).rglob("best-*.ckpt")
        return file


@pytest.fixture
def nd_train(tmp_path) -> Commands:
    """Runs commands."""
    return Commands(tmp_path)


@pytest.fixture(scope="session")
def three_recordings(tmp_path_factory) -> Path:
    """Three simulated recordings of a minute: two to pretrain on, one to adapt to."""
    root = tmp_path_factory.mktemp("three") / "processed"
    simulate_recordings(root, sessions=3, minutes=1.0, units=30, seed=0)
    return root


@pytest.fixture(scope="session")
def pretrained(three_recordings, tmp_path_factory) -> Path:
    """The best checkpoint of a short run on the first two of them."""
    folder = tmp_path_factory.mktemp("pretrained")
    commands = Commands(folder)
    with torch.random.fork_rng():
        commands(
            *("fit", f"--model.network={json.dumps(commands.network)}", f"--data.root={three_recordings}"),
            f"--data.config={commands.configuration(['session_00', 'session_01'])}",
            *("--model.optimizer=adamw", "--model.lr=5e-3", "--trainer.max_steps=120"),
            *("--trainer.val_check_interval=60", "--trainer.check_val_every_n_epoch=null"),
            *(f"--trainer.default_root_dir={folder / 'run'}", *commands.quiet),
        )
    return commands.best(folder)


@pytest.fixture
def without_behaviour(three_recordings, tmp_path) -> Path:
    """One of the pretrained recordings as new data are: spikes, and nothing that was done at the time."""
    root = tmp_path / "bare"
    recording = Data.load(three_recordings / "simulated" / "session_00.h5").materialize()
    for name in ("cursor", "movement_phases", "trials", "train_domain", "valid_domain", "test_domain"):
        delattr(recording, name)
    (root / "simulated").mkdir(parents=True)
    recording.save(root / "simulated" / "session_00.h5")
    return root
