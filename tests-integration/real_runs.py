"""Train POYO+ on real recordings through ``nd-train fit``, beside a GRU, ridge regression and torch_brain's POYO+.

usage: python tests-integration/real_runs.py NAME --recordings FOLDER --out FOLDER [OPTION ...] [ARGUMENT ...]
       python tests-integration/real_runs.py all --recordings FOLDER --out FOLDER [--peer PYTHON] --table FILE
OPTION is --fold K, --peer PYTHON.
NAME is m1_center_out, head_direction or sleep_states. For sleep_states, fold K (0 to 3) tests on that fifth of the
recording and leaves the last fifth out: settings are chosen by these. Any other ARGUMENT goes to ``nd-train fit``.
PYTHON is an interpreter that has torch_brain 0.1.2 beside these packages; without it, torch_brain is left out unless it
is installed here.

A NAME converts its recordings, writes the data's configuration, trains POYO+ and the GRU through the command line, fits
the ridge regression on the same splits, trains the peer with the settings of POYO+'s run, and prints one JSON line:
every score with its 95 % interval, wall time and processor time. ``all`` does so for every NAME that has no result in
OUT yet, and writes the table into FILE, between its marks.
"""

import argparse
import importlib.util
import json
import os
import resource
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
from nd_eval import StitchedTrace, bootstrap_interval, build_metric
from nd_models import MODALITY_REGISTRY, DataType, ModalitySpec
from nd_models.readout_configuration import readout_from_config
from nd_train.ridge_baseline import ridge_traces
from nd_train.traces import read_traces

HERE = Path(__file__).parent
BEGIN, END = "<!-- real runs: begin -->", "<!-- real runs: end -->"
DECODERS = {"poyo_plus": "POYO+", "gru": "GRU", "peer": "POYO+ of torch_brain 0.1.2", "ridge": "ridge"}
LABELS = {
    "m1_center_out/chewie_20131003": "`m1_center_out`, session 2013-10-03",
    "m1_center_out/chewie_20131219": "`m1_center_out`, session 2013-12-19",
    "head_direction/A2929-200711": "`head_direction`, (cos, sin)",
    "sleep_states/ca1_12h": "`sleep_states`",
}
METRIC_NAMES = {"r2": "R²", "balanced_accuracy": "balanced accuracy"}

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
        gru_bin=4.0,
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
    name: str,
    recordings: Path,
    out: Path,
    more: list[str] | None = None,
    fold: int | None = None,
    *,
    peer: str | None = None,
    gru: bool = False,
) -> dict[str, Any]:
    """Convert, train, test; returns scores of all decoders by recording, their intervals, and what they took."""
    run = RUNS[name]
    root = out / "processed"
    convert = run.convert if fold is None else partial(run.convert, fold=fold)
    convert(recordings / run.folder, root)
    config = out / "data.yaml"
    config.write_text(yaml.safe_dump(configuration(run, root)))
    learnt_from = with_valid_in_train(root, out / "refit") if run.refit else root
    shared = [f"--data.root={learnt_from}", f"--data.config={config}", "--trainer.enable_progress_bar=false"]
    traces, took = {}, {}
    command = [
        *("nd_train", "fit", "--config", "poyo_plus_small"),
        f"--model.network.sequence_length={run.window_length}",
        f"--model.network.readout_specs={json.dumps(run.readout_specs)}",
        *(*run.arguments, *shared, f"--trainer.default_root_dir={out / 'run'}", *(more or [])),
    ]
    took["poyo_plus"] = timed([sys.executable, "-m", *command])
    traces["poyo_plus"] = traces_of(out / "run", run)
    if gru:
        of_both = [word for word in more or [] if not word.startswith(("--model", "--checkpoint"))]
        took["gru"] = timed([sys.executable, "-m", *gru_command(run, [*shared, *of_both], out / "gru")])
        traces["gru"] = traces_of(out / "gru", run)
    started, cpu = time.perf_counter(), time.process_time()
    traces["ridge"] = ridge_traces(root, config, run.spec, window_length=run.window_length, bin_width=run.bin_width)
    took["ridge"] = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    if peer is not None:
        (settings,) = (out / "run").rglob("config.yaml")
        script = [str(HERE / "peer_runs.py"), f"--like={settings}", f"--out={out / 'peer'}"]
        took["peer"] = timed([peer, *script], {"PYTHONPATH": os.pathsep.join(source_folders(peer))})
        traces["peer"] = traces_of(out / "peer", run)
    intervals = {decoder: scored(found, run) for decoder, found in traces.items()}
    result = {
        "name": name,
        "metric": run.metric,
        **{decoder: {one: found[0] for one, found in by.items()} for decoder, by in intervals.items()},
        "intervals": intervals,
        "took": {decoder: {key: round(value, 1) for key, value in times.items()} for decoder, times in took.items()},
        "seconds": round(took["poyo_plus"]["seconds"], 1),
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
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gru.yaml").write_text(yaml.safe_dump(settings))
    return [
        "nd_train",
        "fit",
        f"--config={folder / 'gru.yaml'}",
        *kept,
        *shared,
        f"--trainer.default_root_dir={folder}",
    ]


def timed(command: list[str], environment: dict[str, str] | None = None) -> dict[str, float]:
    """Run a program to its end; wall and processor seconds of all its processes."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, **(environment or {})})
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - started
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu}


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


def scored(traces: dict[str, StitchedTrace], run: RealRun) -> dict[str, list[float]]:
    """Score of each recording with the ends of its 95 % interval (block bootstrap over time)."""
    found = {}
    for recording, trace in sorted(traces.items()):
        interval = bootstrap_interval(build_metric(run.metric), trace.preds, class_targets(trace, run))
        found[recording] = [round(number, 4) for number in (interval.value, interval.low, interval.high)]
    return found


def class_targets(trace: StitchedTrace, run: RealRun) -> Any:
    """Targets as the metric takes them: classes are whole numbers, also out of a file of floats."""
    return trace.targets if run.spec.type == DataType.CONTINUOUS else trace.targets.long().reshape(len(trace))


def markdown(results: list[dict[str, Any]]) -> str:
    """The table of all results, and below it what they took."""
    present = [decoder for decoder in DECODERS if any(decoder in result["intervals"] for result in results)]
    lines = [f"| recording | score | {' | '.join(DECODERS[decoder] for decoder in present)} |"]
    lines.append("|---|---|" + "---|" * len(present))
    for result in results:
        for recording in sorted(result["intervals"]["poyo_plus"]):
            best = max(
                result["intervals"][decoder][recording][0] for decoder in present if decoder in result["intervals"]
            )
            cells = [_cell(result["intervals"].get(decoder, {}).get(recording), best) for decoder in present]
            lines.append(f"| {LABELS[recording]} | {METRIC_NAMES[result['metric']]} | {' | '.join(cells)} |")
    lines += [
        "",
        f"| training and test, wall (processor) seconds | {' | '.join(DECODERS[decoder] for decoder in present)} |",
    ]
    lines.append("|---|" + "---|" * len(present))
    for result in results:
        spent = [result["took"].get(decoder) for decoder in present]
        cells = ["–" if one is None else f"{one['seconds']:.0f} ({one['cpu_seconds']:.0f})" for one in spent]
        lines.append(f"| `{result['name']}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(found: list[float] | None, best: float) -> str:
    if found is None:
        return "–"
    value = f"**{found[0]:.3f}**" if found[0] == best else f"{found[0]:.3f}"
    return f"{value} [{found[1]:.3f}, {found[2]:.3f}]"


def write_table(file: Path, results: list[dict[str, Any]]) -> None:
    """Put the table between the marks of a document, in place of what stands there."""
    text = file.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{file}: expected the lines {BEGIN} and {END}, between which the table goes")
    before, rest = text.split(BEGIN, 1)
    file.write_text(f"{before}{BEGIN}\n\n{markdown(results)}\n\n{END}{rest.split(END, 1)[1]}")


def run_all(recordings: Path, out: Path, peer: str | None, more: list[str]) -> list[dict[str, Any]]:
    """Every run that has no result yet; the results of all."""
    results = []
    for name in RUNS:
        file = out / name / "result.json"
        if not file.is_file():
            (out / name).mkdir(parents=True, exist_ok=True)
            train(name, recordings, out / name, more, peer=peer, gru=True)
        results.append(json.loads(file.read_text()))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*RUNS, "all"])
    parser.add_argument("--recordings", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fold", type=int, choices=range(4))
    parser.add_argument("--peer", help="an interpreter with torch_brain 0.1.2")
    parser.add_argument("--table", type=Path, help="the document that the table goes into; with all")
    options, overrides = parser.parse_known_args()
    if options.fold is not None and options.name != "sleep_states":
        parser.error("--fold: only sleep_states has folds")
    if options.table is not None and options.name != "all":
        parser.error("--table: the table is of all")
    peer = options.peer or (sys.executable if importlib.util.find_spec("torch_brain") else None)
    if options.name == "all":
        results = run_all(options.recordings, options.out, peer, overrides)
        if options.table is not None:
            write_table(options.table, results)
        print(json.dumps(results))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    found = train(options.name, options.recordings, options.out, overrides, options.fold, peer=peer, gru=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
