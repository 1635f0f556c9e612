"""What ``nd-train --help`` and ``nd-train COMMAND --help`` print: short pages for people.

Every option is on the page of ``nd-train COMMAND --help_all``, which jsonargparse makes.
"""

from collections.abc import Mapping

HELP_ALL = "--help_all"
"""Asks for the page with every option."""

VERBS: Mapping[str, str] = {
    "fit": "train a decoder, validate it on the way, and test the best checkpoint",
    "validate": "score a checkpoint on the valid split",
    "test": "score a checkpoint on the test split",
    "predict": "write a checkpoint's predictions, for new recordings too, as HDF5 or CSV",
    "finetune": "adapt a pretrained model to new animals, sessions or tasks",
    "export": "write a model as a folder to share, or traces as a benchmark wants them",
    "doctor": "check a configuration against the data before an expensive run",
    "report": "one page about a run: scores, curves, traces",
    "quickstart": "from nothing to a decoded recording in one command",
}
"""Every command and what it does."""

_DATA = {
    "--data.root FOLDER": "recordings, <folder>/<brainset>/<session>.h5",
    "--data.config FILE": "which recordings, and what to read out of them (YAML)",
    "--data.batch_size N": "windows in a batch (32)",
    "--data.num_workers N": "processes that load (0)",
}
_PLACE = {
    "--trainer.default_root_dir FOLDER": "where the run's folder is made (here)",
    "--trainer.accelerator NAME": "cpu, gpu, mps (what there is)",
    "--trainer.devices N": "how many of them",
    "--trainer.precision KIND": "32-true, bf16-mixed or 16-mixed",
    "--trainer.enable_progress_bar BOOL": "false for logs in a file",
}
_LEARNING = {
    "--model.lr NUMBER": "peak learning rate",
    "--model.network.… VALUE": "sizes of the network, such as --model.network.dim 128",
    "--trainer.max_steps N": "length of the run in optimizer steps",
    "--trainer.val_check_interval N": "steps between validations",
    "--trainer.logger NAME": "csv, tensorboard, wandb, mlflow, or a logger's class",
    "--checkpoint.monitor NAME": "what the best checkpoint has the highest of (average_val_metric)",
    "--seed_everything N": "seed of weights, windows and dropout (0)",
}
_CHECKPOINT = {"--ckpt_path FILE": "the checkpoint; also as the first word, without --ckpt_path"}
_CONFIG = {"--config NAME|FILE": "a run configuration: a ready one by name, or a YAML file"}

PAGES: Mapping[str, tuple[str, Mapping[str, str], str]] = {
    "fit": (
        "[--config NAME|FILE] --data.root FOLDER --data.config FILE [options]",
        {**_CONFIG, **_DATA, **_LEARNING, **_PLACE, "--ckpt_path FILE": "take up a run from its checkpoint"},
        "fit --config poyo_plus_small --data.root processed --data.config config.yaml",
    ),
    "validate": (
        "CHECKPOINT --data.root FOLDER --data.config FILE [options]",
        {**_CHECKPOINT, **_DATA, **_PLACE},
        "validate last.ckpt --data.root processed --data.config config.yaml",
    ),
    "test": (
        "CHECKPOINT --data.root FOLDER --data.config FILE [options]",
        {**_CHECKPOINT, **_DATA, **_PLACE},
        "test last.ckpt --data.root processed --data.config config.yaml",
    ),
    "predict": (
        "CHECKPOINT --data.root FOLDER --data.config FILE [options]",
        {
            "--output FILE": "traces.h5 or traces.csv (predict_traces.h5 in the run's folder)",
            "--split NAME": "a split, or 'whole' for whole recordings (test where there is one)",
            "--start SECONDS": "predict nothing before it",
            "--end SECONDS": "predict nothing from it on",
            "--rate HZ": "predictions a second (as the recording's targets; 100 where it has none)",
            **_CHECKPOINT,
            **_DATA,
            **_PLACE,
        },
        "predict last.ckpt --data.root processed --data.config config.yaml --output traces.csv",
    ),
    "finetune": (
        "CHECKPOINT|FOLDER --data.root FOLDER --data.config FILE [options]",
        {
            "--freeze_steps N": "steps with a frozen backbone (a quarter of all)",
            "--unfreeze_every N": "steps between the release of its parts (0: all at once)",
            "--lora RANK": "learn low-rank changes of a backbone that stays frozen",
            "--fresh_readouts [NAME,…]": "readouts that begin anew though the model has them",
            "--keep_other_units BOOL": "false forgets the units of other recordings (true)",
            **_CONFIG,
            **_DATA,
            **_LEARNING,
            **_PLACE,
            "--ckpt_path FILE": "take up a run of finetune from its checkpoint",
        },
        "finetune best.ckpt --data.root new --data.config new.yaml --trainer.max_steps 500",
    ),
}
"""Usage, common options and an example of each command with a long list of them."""

_FORECASTING = {
    "--data.table FILE": "CSV, TSV or parquet, a line for each person and time",
    "--data.sequence COLUMN": "who",
    "--data.time COLUMN": "when",
    "--data.outcomes COLUMN": "what to forecast",
    "--data.horizon N": "steps ahead",
    "--model.args.lr NUMBER": "peak learning rate",
    "--trainer.max_epochs N": "length of the run",
}


def overview() -> str:
    """All commands, a line each, and how to begin."""
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {verb:{width}}{what}" for verb, what in VERBS.items())
    return f"""usage: nd-train COMMAND [options]

From recordings on disk to a trained neural decoder and its stitched scores.

{verbs}

  nd-train quickstart
  nd-train fit --config poyo_plus_small --data.root processed --data.config config.yaml
  nd-train test last.ckpt --data.root processed --data.config config.yaml

nd-train COMMAND --help   what a command takes
nd-train --version        the version
--debug, with any command, shows the trace of an error
"""


def page(verb: str, *, forecasting: bool = False) -> str:
    """The common options of a command.

    Args:
        verb: A command of `PAGES`.
        forecasting: Whether ``--config longitudinal`` is given too.
    """
    usage, options, example = PAGES[verb]
    if forecasting:
        usage = "--config longitudinal --data.table FILE --data.sequence COLUMN --data.time COLUMN [options]"
        kept = {key: what for key, what in options.items() if not key.startswith(("--data", "--model", "--checkpoint"))}
        options = {**_FORECASTING, **kept}
        example = f"{verb} --config longitudinal --data.table diary.csv --data.sequence person --data.time day"
    width = max(map(len, options)) + 2
    listed = "\n".join(f"  {option:{width}}{what}" for option, what in options.items())
    return f"""usage: nd-train {verb} {usage}

{VERBS[verb][0].upper()}{VERBS[verb][1:]}.

{listed}

  nd-train {example}

nd-train {verb} --help_all   every option
"""
