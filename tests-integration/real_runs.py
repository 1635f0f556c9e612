"""Train POYO+ on real recordings through ``nd-train fit``, beside ridge regression.

usage: python tests-integration/real_runs.py NAME --recordings FOLDER --out FOLDER [--fold K] [ARGUMENT ...]
NAME is m1_center_out, head_direction or sleep_states. For sleep_states, fold K (0 to 3) tests on that fifth of the
recording and leaves the last fifth out: settings are chosen by these. Any other ARGUMENT goes to ``nd-train fit``.

Converts the recordings, writes the data's configuration, runs the command line, fits the baseline on the same splits,
and prints one JSON line with both scores and the wall time.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from converters import head_direction, m1_center_out, sleep_states
from nd_data import Data, Dataset
from nd_models import MODALITY_REGISTRY, DataType, ModalitySpec
from nd_models.readout_configuration import readout_from_config
from nd_train.ridge_baseline import ridge_scores

HEADING = {
    "heading": {
        "id": 101,
        "dim": 2,
        "type": "CONTINUOUS",
        "loss_fn": "MSELoss",
        "timestamp_key": "head.timestamps",
        "value_key": "head.heading",
    }
}
AROUSAL = {
    "arousal": {
        "id": 102,
        "dim": 3,
        "type": "MULTINOMIAL",
        "loss_fn": "CrossEntropyLoss",
        "timestamp_key": "arousal.timestamps",
        "value_key": "arousal.state",
    }
}


@dataclass(frozen=True)
class RealRun:
    """What to convert, how to train, and what the baseline is."""

    folder: str
    convert: Callable[..., list[Path]]
    spec: ModalitySpec
    readout_id: str
    readout_specs: Any
    metric: str
    window_length: float
    arguments: list[str]
    readout_settings: dict[str, Any] = field(default_factory=dict)
    bin_width: float = 0.1
    # As the ridge regression: when all is chosen, learn from train and valid together, and test the last state.
    refit: bool = False


RUNS = {
    "m1_center_out": RealRun(
        folder="m1_center_out",
        convert=m1_center_out.convert,
        spec=MODALITY_REGISTRY["cursor_velocity_2d"],
        readout_id="cursor_velocity_2d",
        readout_specs=["cursor_velocity_2d"],
        metric="r2",
        window_length=0.75,
        arguments=[
            "--data.unit_dropout={min_units: 60, mode_units: 140, max_units: 190}",
            "--data.eval_step=0.25",
            "--trainer.max_steps=300",
            "--trainer.val_check_interval=100",
        ],
    ),
    "head_direction": RealRun(
        folder="head_direction_nwb",
        convert=head_direction.convert,
        spec=readout_from_config(HEADING["heading"]),
        readout_id="heading",
        readout_specs=HEADING,
        metric="r2",
        window_length=1.0,
        arguments=[
            "--data.unit_dropout=null",
            "--data.eval_step=0.25",
            "--trainer.max_steps=300",
            "--trainer.val_check_interval=100",
        ],
    ),
    "sleep_states": RealRun(
        folder="sleep_states",
        convert=sleep_states.convert,
        spec=readout_from_config(AROUSAL["arousal"]),
        readout_id="arousal",
        readout_specs=AROUSAL,
        metric="balanced_accuracy",
        # States last for minutes. Chosen with all that follows by folds within the first 80 %; see the results.
        window_length=120.0,
        # Inverse to how often a state occurs: the score counts states alike.
        readout_settings={"weights": {"states.state_0": 0.85, "states.state_1": 0.6, "states.state_2": 5.7}},
        arguments=[
            "--model.network.latent_step=12.0",
            "--model.network.num_latents_per_step=4",
            "--model.network.depth=1",
            "--model.network.dim_head=32",
            "--model.network.self_heads=2",
            # Spike times within a bin mean nothing: rotary periods from a bin on.
            "--model.network.t_min=4.0",
            "--model.network.t_max=480.0",
            "--model.network.emb_init_scale=0.5",
            # Train holds few stretches of a state: regularise.
            "--model.network.ffn_dropout=0.2",
            "--model.network.lin_dropout=0.2",
            "--model.optimizer=sparse_lamb",
            "--model.weight_decay=0.05",
            "--model.lr=4e-3",
            "--data.unit_dropout={min_units: 24, mode_units: 38, max_units: 42}",
            "--data.eval_step=4.0",
            "--trainer.max_steps=600",
        ],
        bin_width=4.0,
        refit=True,
    ),
}


def configuration(run: RealRun, root: Path) -> list[dict[str, Any]]:
    """The data's configuration: each recording's targets scaled by the mean and spread of its own training split."""
    everything = Dataset(root, split="train")
    entries = []
    for recording_id, intervals in everything.get_sampling_intervals().items():
        brainset, session = recording_id.split("/")
        readout: dict[str, Any] = {"readout_id": run.readout_id, "metrics": [run.metric], **run.readout_settings}
        if run.spec.type == DataType.CONTINUOUS:
            recording = everything.get_recording_data(recording_id)
            times = np.asarray(recording.get_nested_attribute(run.spec.timestamp_key))
            values = np.asarray(recording.get_nested_attribute(run.spec.value_key), dtype=np.float64)
            train = (times >= intervals.start[0]) & (times < intervals.end[-1])
            readout["normalize_mean"] = values[train].mean(axis=0).tolist()
            readout["normalize_std"] = values[train].std(axis=0).tolist()
        entries.append(
            {
                "selection": [{"brainset": brainset, "session": session}],
                "config": {"multitask_readout": [readout]},
            }
        )
    return entries


def with_valid_in_train(root: Path, copy: Path) -> Path:
    """A copy of the recordings whose train split is train and valid together. The copy's folder."""
    for file in sorted(root.glob("*/*.h5")):
        recording = Data.load(file)
        recording.materialize()
        train = (recording.train_domain | recording.valid_domain).coalesce()
        del recording.train_domain, recording.valid_domain
        recording.set_train_domain(train)
        target = copy / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        recording.save(target)
    return copy


def train(
    name: str, recordings: Path, out: Path, more: list[str] | None = None, fold: int | None = None
) -> dict[str, Any]:
    """Convert, train, test; returns scores of both decoders by recording, and the seconds that training took."""
    run = RUNS[name]
    root = out / "processed"
    convert = run.convert if fold is None else partial(run.convert, fold=fold)
    convert(recordings / run.folder, root)
    config = out / "data.yaml"
    config.write_text(yaml.safe_dump(configuration(run, root)))
    learnt_from = with_valid_in_train(root, out / "refit") if run.refit else root
    command = [
        *(sys.executable, "-m", "nd_train", "fit", "--config", "poyo_plus_small"),
        f"--model.network.sequence_length={run.window_length}",
        f"--model.network.readout_specs={json.dumps(run.readout_specs)}",
        *run.arguments,
        *(f"--data.root={learnt_from}", f"--data.config={config}", f"--trainer.default_root_dir={out / 'run'}"),
        "--trainer.enable_progress_bar=false",
        *(more or []),
    ]
    started = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - started
    (scores_file,) = (out / "run").rglob("test_scores.json")
    scores = json.loads(scores_file.read_text())
    baseline = ridge_scores(root, config, run.spec, window_length=run.window_length, bin_width=run.bin_width)
    return {
        "name": name,
        "metric": run.metric,
        "poyo_plus": {recording: tasks[run.readout_id][run.metric] for recording, tasks in scores.items()},
        "ridge": baseline,
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=RUNS)
    parser.add_argument("--recordings", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fold", type=int, choices=range(4))
    options, overrides = parser.parse_known_args()
    if options.fold is not None and options.name != "sleep_states":
        parser.error("--fold: only sleep_states has folds")
    print(json.dumps(train(options.name, options.recordings, options.out, overrides, options.fold)))


if __name__ == "__main__":
    main()
