"""Train POYO+ on real recordings through ``nd-train fit``, beside a GRU, ridge regression and torch_brain's POYO+.

usage: python tests-integration/real_runs.py NAME --recordings FOLDER --out FOLDER [OPTION ...] [ARGUMENT ...]
       python tests-integration/real_runs.py all --recordings FOLDER --out FOLDER [--peer PYTHON] --table FILE
OPTION is --fold K, --peer PYTHON, --seeds N.
NAME is m1_center_out, head_direction or sleep_states. For sleep_states, fold K (0 to 3) tests on that fifth of the
recording and leaves the last fifth out: settings are chosen by these. Any other ARGUMENT goes to ``nd-train fit``.
PYTHON is an interpreter that has torch_brain 0.1.2 beside these packages; without it, torch_brain is left out unless it
is installed here. Everything that is trained is trained N times, with seeds 0 to N - 1; without --seeds, as often as
`RUNS` says.

A NAME converts its recordings, writes the data's configuration, trains POYO+ and the GRU through the command line, fits
the ridge regression on the same splits, trains the peer with the settings of POYO+'s runs, and prints one JSON line:
every score with its 95 % interval, wall time and processor time. Runs that ended in OUT are not run again with the same
words. ``all`` does so for every NAME that has no result in OUT yet, and writes the table into FILE, between its marks.
"""

import argparse
import importlib.util
import json
import os
import resource
import shutil
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
from nd_eval import StitchedTrace
from nd_models import MODALITY_REGISTRY, DataType, ModalitySpec
from nd_models.readout_configuration import readout_from_config
from nd_train.ridge_baseline import ridge_traces
from nd_train.traces import read_traces
from real_runs_scores import ahead_of, scored
from real_runs_table import over_seeds, write_table

HERE = Path(__file__).parent
ENDED = "ended.json"
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
    # The GRU sees time in order, and takes finer bins than the regression; never finer than the data are worth.
    gru_bin: float = 0.05
    # As the ridge regression: when all is chosen, learn from train and valid together, and test the last state.
    refit: bool = False
    seeds: int = 3


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
            # With 300 the score on valid still rises at the end.
            "--trainer.max_steps=600",
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
        gru_bin=4.0,
        refit=True,
        seeds=5,
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
    name: str,
    recordings: Path,
    out: Path,
    more: list[str] | None = None,
    fold: int | None = None,
    *,
    peer: str | None = None,
    gru: bool = False,
    seeds: int = 1,
) -> dict[str, Any]:
    """Convert, train, test; returns scores of all decoders by recording, their intervals, and what they took.

    Scores are means over seeds 0 to `seeds` - 1; ``"intervals"`` has each seed's score and the ends of its interval,
    ``"poyo_plus_ahead_of"`` how far POYO+'s mean is ahead of each other decoder's, with an interval over time.
    """
    run = RUNS[name]
    root = out / "processed"
    convert = run.convert if fold is None else partial(run.convert, fold=fold)
    convert(recordings / run.folder, root)
    config = out / "data.yaml"
    config.write_text(yaml.safe_dump(configuration(run, root)))
    learnt_from = with_valid_in_train(root, out / "refit") if run.refit else root
    data = [f"--data.root={learnt_from}", f"--data.config={config}", "--trainer.enable_progress_bar=false"]
    intervals: dict[str, dict[str, list[list[float]]]] = {}
    traces: dict[str, dict[str, list[StitchedTrace]]] = {}
    took: dict[str, list[dict[str, float]]] = {}

    def note(decoder: str, found: dict[str, StitchedTrace], times: dict[str, float]) -> None:
        for recording, score in scored(found, run.metric, run.spec).items():
            intervals.setdefault(decoder, {}).setdefault(recording, []).append(score)
            traces.setdefault(decoder, {}).setdefault(recording, []).append(found[recording])
        took.setdefault(decoder, []).append({key: round(value, 1) for key, value in times.items()})

    for seed in range(seeds):
        folder = out / f"seed_{seed}"
        shared = [*data, f"--seed_everything={seed}", f"--data.seed={seed}"]
        command = [
            *("nd_train", "fit", "--config", "poyo_plus_small"),
            f"--model.network.sequence_length={run.window_length}",
            f"--model.network.readout_specs={json.dumps(run.readout_specs)}",
            *(*run.arguments, *shared, f"--trainer.default_root_dir={folder / 'run'}", *(more or [])),
        ]
        times = timed([sys.executable, "-m", *command], folder / "run")
        note("poyo_plus", traces_of(folder / "run", run), times)
        if gru:
            of_both = [word for word in more or [] if not word.startswith(("--model", "--checkpoint"))]
            command = gru_command(run, [*shared, *of_both], folder / "gru")
            times = timed([sys.executable, "-m", *command], folder / "gru", settings=(folder / "gru.yaml").read_text())
            note("gru", traces_of(folder / "gru", run), times)
        if peer is not None:
            (settings,) = (folder / "run").rglob("config.yaml")
            script = [str(HERE / "peer_runs.py"), f"--like={settings}", f"--out={folder / 'peer'}"]
            sources = {"PYTHONPATH": os.pathsep.join(source_folders(peer))}
            times = timed([peer, *script], folder / "peer", settings=settings.read_text(), environment=sources)
            note("peer", traces_of(folder / "peer", run), times)
    started, cpu = time.perf_counter(), time.process_time()
    by_ridge = ridge_traces(root, config, run.spec, window_length=run.window_length, bin_width=run.bin_width)
    note("ridge", by_ridge, {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu})
    ours = traces.pop("poyo_plus")
    result = {
        "name": name,
        "metric": run.metric,
        "seeds": list(range(seeds)),
        **{
            decoder: {recording: round(over_seeds(found)[0], 4) for recording, found in by.items()}
            for decoder, by in intervals.items()
        },
        "intervals": intervals,
        "poyo_plus_ahead_of": {
            decoder: {
                recording: ahead_of(ours[recording], found, run.metric, run.spec) for recording, found in by.items()
            }
            for decoder, by in traces.items()
        },
        "took": took,
    }
    (out / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    return result


def gru_command(run: RealRun, shared: list[str], folder: Path) -> list[str]:
    """The GRU baseline through the same command, with the same windows, steps and batches; nothing of it was tuned."""
    network = {
        "architecture": "GRUDecoder",
        "sequence_length": run.window_length,
        "bin_size": run.gru_bin,
        "readout_specs": run.readout_specs,
    }
    kept = [
        word
        for word in run.arguments
        if not word.startswith(("--model.network", "--model.optimizer", "--model.lr", "--model.weight_decay"))
    ]
    settings = {
        "model": {"network": network, "optimizer": "adamw", "lr": 2e-3, "schedule": "one_cycle"},
        "data": {"batch_size": 32, "eval_batch_size": 64},
        "trainer": {
            "max_epochs": -1,
            "check_val_every_n_epoch": None,
            "val_check_interval": 100,
            "gradient_clip_val": 1.0,
        },
    }
    file = folder.with_name("gru.yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(settings))
    return [
        "nd_train",
        "fit",
        f"--config={file}",
        *kept,
        *shared,
        f"--trainer.default_root_dir={folder}",
    ]


def timed(
    command: list[str], folder: Path, *, settings: str = "", environment: dict[str, str] | None = None
) -> dict[str, float]:
    """Run a program to its end; wall and processor seconds of all its processes.

    Args:
        command: What to run.
        folder: Where it writes. What a run left there that ended with the same words stays, with what it took then;
            anything else is removed first.
        settings: What it reads from a file.
        environment: Variables to set.
    """
    words = [*command, settings]
    if (folder / ENDED).is_file():
        ended = json.loads((folder / ENDED).read_text())
        if ended["words"] == words:
            return dict(ended["took"])
    if (folder / ENDED).is_file() or any(folder.glob("lightning_logs")):
        shutil.rmtree(folder)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, **(environment or {})})
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - started
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    took = {"seconds": seconds, "cpu_seconds": cpu}
    (folder / ENDED).write_text(json.dumps({"words": words, "took": took}) + "\n")
    return took


def source_folders(python: str) -> list[str]:
    """What another interpreter has to find to import these packages; this one finds them already."""
    if python == sys.executable:
        return []
    names = ("nd_data", "nd_models", "nd_eval", "nd_optim", "nd_train")
    found = [importlib.util.find_spec(name) for name in names]
    return [str(Path(str(spec.origin)).parent.parent) for spec in found if spec is not None]


def traces_of(folder: Path, run: RealRun) -> dict[str, StitchedTrace]:
    """The stitched test traces that a run left, by recording."""
    (file,) = folder.rglob("test_traces.h5")
    return {recording: tasks[run.readout_id] for recording, tasks in read_traces(file).items()}


def run_all(
    recordings: Path, out: Path, peer: str | None, more: list[str], seeds: int | None = None
) -> list[dict[str, Any]]:
    """Every run that has no result yet; the results of all."""
    results = []
    for name, run in RUNS.items():
        file = out / name / "result.json"
        if not file.is_file():
            (out / name).mkdir(parents=True, exist_ok=True)
            train(name, recordings, out / name, more, peer=peer, gru=True, seeds=seeds or run.seeds)
        results.append(json.loads(file.read_text()))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*RUNS, "all"])
    parser.add_argument("--recordings", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fold", type=int, choices=range(4))
    parser.add_argument("--peer", help="an interpreter with torch_brain 0.1.2")
    parser.add_argument("--seeds", type=int, help="train with so many seeds; otherwise as many as `RUNS` says")
    parser.add_argument("--table", type=Path, help="the document that the table goes into; with all")
    options, overrides = parser.parse_known_args()
    if options.fold is not None and options.name != "sleep_states":
        parser.error("--fold: only sleep_states has folds")
    if options.table is not None and options.name != "all":
        parser.error("--table: the table is of all")
    if options.seeds is not None and options.seeds < 1:
        parser.error(f"--seeds: expected 1 or more, found {options.seeds}")
    peer = options.peer or (sys.executable if importlib.util.find_spec("torch_brain") else None)
    if options.name == "all":
        results = run_all(options.recordings, options.out, peer, overrides, options.seeds)
        if options.table is not None:
            write_table(options.table, results)
        print(json.dumps(results))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    seeds = options.seeds or RUNS[options.name].seeds
    arguments = (options.name, options.recordings, options.out, overrides, options.fold)
    print(json.dumps(train(*arguments, peer=peer, gru=True, seeds=seeds)))


if __name__ == "__main__":
    main()
