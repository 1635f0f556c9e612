"""``nd-train quickstart``: from nothing to a decoded recording in one command."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml

from nd_train.commands.ready_configurations import with_ready_configurations

TASK = "cursor_velocity_2d"


def main(arguments: Sequence[str]) -> int:
    """Simulate (or take) recordings, train POYO+, show its stitched R² beside ridge regression's and the ceiling."""
    options = _parser().parse_args(arguments)
    if (options.data is None) != (options.config is None):
        raise ValueError(
            "--data and --config go together: a folder of recordings and the configuration that reads them"
        )
    # Behind the parser: its help comes at once.
    from nd_data.simulate import simulate_recordings
    from nd_eval.plot import plot_traces
    from nd_models import MultitaskDecoderModel
    from nd_train.commands.decoder_command_line import DecoderCommandLine
    from nd_train.report import leave_report
    from nd_train.report.baselines import CEILING, RIDGE, write_baselines
    from nd_train.results_table import results_console, results_table
    from nd_train.ridge_baseline import ridge_scores
    from nd_train.run_folder import run_folder

    console = results_console()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    ceiling: dict[str, float] = {}
    if options.data is None:
        console.print(
            f"simulating {options.sessions} recordings of {options.minutes:g} minutes in {out / 'recordings'}"
        )
        simulated = simulate_recordings(
            out / "recordings", sessions=options.sessions, minutes=options.minutes, seed=options.seed
        )
        ceiling = {recording.recording_id: recording.ideal_r2 for recording in simulated}
        root, config = out / "recordings", out / "data.yaml"
        config.write_text(yaml.safe_dump(_simulated_configuration(simulated[0].recording_id.split("/")[0])))
    else:
        root, config = Path(options.data), Path(options.config)

    command_line = DecoderCommandLine(
        with_ready_configurations(
            [
                *("fit", "--config", options.run_config, f"--seed_everything={options.seed}"),
                *(f"--data.root={root}", f"--data.config={config}", f"--trainer.default_root_dir={out}"),
                *options.overrides,
            ]
        ),
        print_scores=False,
    )
    if not command_line.trainer.is_global_zero:
        return 0  # One process tells.
    stage = command_line.last_stage
    if stage not in command_line.evaluator.results:
        raise ValueError("the run ended before its first validation: give it more steps, or lower val_check_interval")
    result = command_line.evaluator.results[stage]
    model = command_line.model.model
    beside: dict[str, dict[str, float]] = {}
    tasks = sorted({task for by_task in result.scores.values() for task in by_task})
    continuous = [task for task in tasks if "r2" in next(s[task] for s in result.scores.values() if task in s)]
    # Ridge regression learns from the validation split too: without a test split there is nothing to score it on.
    if continuous and stage == "test" and isinstance(model, MultitaskDecoderModel):
        spec = model.readout_specs[continuous[0]]
        beside["ridge R²"] = ridge_scores(root, config, spec, window_length=model.sequence_length)
    if ceiling:
        beside["ceiling R²"] = ceiling
        beside["share of ceiling"] = {
            recording: by_task[TASK]["r2"] / ceiling[recording] for recording, by_task in result.scores.items()
        }
    console.print(results_table(result, title=f"stitched scores, {stage}, beside", beside=beside))
    if continuous:
        task = continuous[0]
        traces = command_line.in_data_units(result.traces)
        drawn = {name: by_task[task] for name, by_task in sorted(traces.items()) if task in by_task}
        unit = command_line.named_readouts()[task].unit
        picture = plot_traces(drawn, seconds=20.0, unit=unit).save(out / "predicted_and_true.png")
        console.print(f"picture: {picture}")
    console.print(f"checkpoint: {command_line.best_checkpoint}")
    # The baselines first: the report card shows them.
    names = {"ridge R²": RIDGE, "ceiling R²": CEILING}
    baselines = {
        names[column]: {recording: {continuous[0]: {"r2": value}} for recording, value in values.items()}
        for column, values in beside.items()
        if column in names
    }
    folder = run_folder(command_line.trainer)
    write_baselines(folder, stage, baselines)
    console.print(leave_report(folder, stage))
    return 0


def _simulated_configuration(brainset: str) -> list[dict[str, object]]:
    return [
        {
            "selection": [{"brainset": brainset}],
            "config": {"multitask_readout": [{"readout_id": TASK, "metrics": ["r2"]}]},
        }
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nd-train quickstart", description="Train a decoder, and show its stitched R² per recording."
    )
    parser.add_argument("--out", default="quickstart", help="folder for recordings, checkpoint and picture")
    parser.add_argument("--data", help="train on the recordings of this folder instead of simulated ones")
    parser.add_argument("--config", help="configuration of those recordings (YAML)")
    parser.add_argument("--run-config", default="quickstart", help="run configuration: a file or a ready one's name")
    parser.add_argument("--sessions", type=int, default=4, help="simulated recordings")
    parser.add_argument("--minutes", type=float, default=5.0, help="length of each")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulation and of the run")
    parser.add_argument("overrides", nargs="*", help="more of `nd-train fit`'s options, after `--`")
    return parser
