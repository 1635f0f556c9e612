"""``nd-train fit | validate | test | predict --config longitudinal``: forecasting from a table on the command line."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser
from rich.table import Table

from nd_eval.whole_file import whole_file
from nd_train.commands.run_command_line import RunCommandLine
from nd_train.longitudinal.data_module import LongitudinalDataModule
from nd_train.longitudinal.epoch_statistics import CLASS_METRICS, REGRESSION_METRICS
from nd_train.longitudinal.lightning_module import MILightningModule
from nd_train.longitudinal.settings import LongitudinalSettings
from nd_train.longitudinal.subsets import SUBSET_WORDS, SUBSETS
from nd_train.report import leave_report
from nd_train.results_table import results_console

# What a checkpoint's weights mean, whatever the command line says.
_OF_THE_CHECKPOINT = (
    *("num_classes", "num_outcomes", "do_shift", "interpolated_output", "predict_last_valid_timestep"),
    "cross_entropy_class_weight",
)

# Where the trainer's arguments are given on the command line.
_OWN_OPTIONS = {
    "epochs": "trainer.max_epochs",
    "min_epochs": "trainer.min_epochs",
    "log_interval": "trainer.log_every_n_steps",
    "save_strategy": "checkpoint.save_top_k",
    "save_dir": "trainer.default_root_dir",
}


def configured_forecaster(
    network: dict[str, Any],
    args: LongitudinalSettings = LongitudinalSettings(),  # noqa: B008  # frozen; jsonargparse reads its fields
    feature_sizes: dict[str, int] | None = None,
    num_outcomes: int | None = None,
) -> MILightningModule:
    """Build the module of a run from its configuration.

    Args:
        network: Arguments of the architecture, whose name is under ``architecture``; what the data say (`num_features`,
            `num_outcomes`) and `num_classes` may be left out.
        args: The arguments of a longitudinal run.
        feature_sizes: Width of every kind of features; comes from the data.
        num_outcomes: Outcomes of every step; comes from the data.

    Raises:
        KeyError: the network wants features that the data have not.
        ValueError: the network was made for other features or outcomes than the data have.
    """
    settings = args.to_dict() | ({} if num_outcomes is None else {"num_outcomes": num_outcomes})
    known: dict[str, Any] = {"num_outcomes": settings["num_outcomes"], "num_classes": settings["num_classes"]}
    if feature_sizes is not None:
        known["num_features"] = _width(network.get("inputs", "embeddings"), feature_sizes)
    for name, value in known.items():
        if network.get(name, value) != value:
            raise ValueError(f"{name}: the data have {value}, the network is made for {network[name]}")
    return MILightningModule(settings, {**known, **network})


class LongitudinalCommandLine(RunCommandLine):
    """Lightning's command line around `MILightningModule` and `LongitudinalDataModule`.

    After ``fit`` it scores the checkpoint with the lowest ``val_loss`` on the sequences held out for the test, or where
    there are none on the validation data. Every stage leaves its scores as JSON and its predictions as CSV beside the
    run's logs.

    Args:
        args: The command line's words; None takes the program's own.
    """

    def __init__(self, args: ArgsType = None) -> None:
        super().__init__(
            configured_forecaster,
            LongitudinalDataModule,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            args=args,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What the data say goes to the model; checkpoints as a run has unless its configuration says otherwise."""
        parser.link_arguments("data.feature_sizes", "model.feature_sizes", apply_on="instantiate")
        parser.link_arguments("data.num_outcomes", "model.num_outcomes", apply_on="instantiate")
        parser.link_arguments("model.args.num_classes", "data.num_classes")
        self._add_run_arguments(parser, system="longitudinal", monitor="val_loss", mode="min", digits=4)

    def _take_from_checkpoint(self, settings: Any, path: Path) -> None:
        saved = read_arguments(path)
        for name in _OF_THE_CHECKPOINT:
            if name in saved:
                settings.model.args[name] = saved[name]
        settings.data.num_classes = saved.get("num_classes", settings.data.num_classes)

    def before_instantiate_classes(self) -> None:
        """No checkpoint's code is ever run, and no argument is silently without effect."""
        settings = self._settings_of_the_command()
        _refuse_arguments_without_effect(settings.model.args)

    def instantiate_classes(self) -> None:
        """Build module, data module and trainer; save the end of a run too, and stop early where that is asked for."""
        super().instantiate_classes()
        arguments, kept = self.model.settings, self.trainer.checkpoint_callback
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]  # it has; its annotation lacks it
        if arguments.early_stopping_patience > 0:
            callbacks.append(
                EarlyStopping(
                    # The score that the best checkpoint has the lowest (or highest) of.
                    (kept.monitor if isinstance(kept, ModelCheckpoint) else None) or "val_loss",
                    patience=arguments.early_stopping_patience,
                    min_delta=arguments.early_stopping_min_delta,
                    mode=arguments.early_stopping_mode,
                )
            )

    def before_fit(self) -> None:
        """Find out on what the run will end, before it takes its time."""
        self.last_stage = "test" if self.datamodule.has_test else "val"
        if self.last_stage == "val":
            self._print(
                "No sequence is held out for the test: the run will end with the scores of the validation data."
            )

    def after_fit(self) -> None:
        """Score the best checkpoint, or a model without parameters as it is, and print the table."""
        best = self.best_checkpoint
        # A model without parameters takes no step, and nothing is saved of it.
        validated = any(not entry["sanity_check"] for entry in self.model.epoch_scores["val"])
        if not best and not validated:
            self._print(
                f"The run ended before its first validation ({self.trainer.global_step} steps): nothing to test."
            )
            return
        evaluate = self.trainer.test if self.last_stage == "test" else self.trainer.validate
        evaluate(self.model, datamodule=self.datamodule, ckpt_path=best or None, verbose=False, weights_only=True)
        self.report(self.last_stage)
        if best:
            self._print(f"best checkpoint: {best}")
        self._leave_report(self.last_stage)

    def after_validate(self) -> None:
        """Print the scores."""
        self.report("val")

    def after_test(self) -> None:
        """Print the scores, and leave the report card."""
        self.report("test")
        self._leave_report("test")

    def after_predict(self) -> None:
        """Leave the predictions as CSV."""
        self._print(f"predictions: {self._write_predictions('predict')}")

    def _leave_report(self, stage: Literal["val", "test"]) -> None:
        if self.trainer.is_global_zero:
            self._print(leave_report(self._folder(), stage))

    def report(self, stage: Literal["val", "test"]) -> None:
        """Print the table of one stage, and leave its scores and predictions beside the run's logs."""
        if not self.trainer.is_global_zero:
            return
        scores = self.model.epoch_scores[stage][-1]
        results_console().print(scores_table(scores, stage))
        plain = {name: value for name, value in scores.items() if not name.startswith(f"{stage}_epoch_")}
        with whole_file(self._folder() / f"{stage}_scores.json") as unfinished:
            unfinished.write_text(json.dumps(plain, indent=2) + "\n")
        if stage in self.model.predictions:
            self._print(f"predictions: {self._write_predictions(stage)}")

    def _write_predictions(self, split: str) -> Path:
        stored = self.model.predictions[split]
        if not self.trainer.is_global_zero:
            return Path()
        path: Path = stored.to_csv(
            self._folder() / f"{split}_predictions.csv", **self.datamodule.table_arguments(split)
        )
        return path


def _refuse_arguments_without_effect(args: Mapping[str, Any]) -> None:
    """In Python the trainer's and the data's arguments may come with the module's; here they have their own options."""
    for spec in dataclasses.fields(LongitudinalSettings):
        own = _OWN_OPTIONS.get(spec.name, f"data.{spec.name}" if spec.metadata["reader"] == "data" else None)
        value = args[spec.name]
        if own is not None and (tuple(value) if isinstance(value, list) else value) != spec.default:
            raise ValueError(f"model.args.{spec.name} has no effect on the command line: give --{own}")


def read_arguments(path: Path) -> dict[str, Any]:
    """The arguments that a checkpoint of `MILightningModule` was trained with."""
    import torch

    stored = torch.load(path, map_location="cpu", weights_only=True)
    saved = stored.get("hyper_parameters", {}).get("args")
    if not isinstance(saved, Mapping):
        raise ValueError(f"{path}: not a checkpoint of a longitudinal run: its hyperparameters hold no 'args'")
    return dict(saved)


def scores_table(scores: Mapping[str, float], stage: str) -> Table:
    """One line a subset that has any score: its loss, metrics and number of points."""
    kinds = ("loss", *REGRESSION_METRICS, *CLASS_METRICS, "count")
    found = {
        subset: {kind: scores[f"{stage}_{subset}_{kind}"] for kind in kinds if f"{stage}_{subset}_{kind}" in scores}
        for subset in SUBSETS
    }
    columns = list(dict.fromkeys(name for values in found.values() for name in values if name != "count"))
    table = Table(title=f"scores, {stage}")
    table.add_column("subset")
    table.add_column("what")
    for name in (*columns, "points"):
        table.add_column(name, justify="right")
    for subset, values in found.items():
        if values.get("count"):
            cells = [f"{values[name]:.3f}" if name in values else "-" for name in columns]
            table.add_row(subset, SUBSET_WORDS[subset], *cells, f"{int(values['count']):,}")
    return table


def _width(inputs: str | list[str], feature_sizes: Mapping[str, int]) -> int:
    wanted = [inputs] if isinstance(inputs, str) else list(inputs)
    for name in wanted:
        if name not in feature_sizes:
            raise KeyError(
                f"the network takes {name!r}, but the data have {', '.join(map(repr, feature_sizes)) or 'none'}"
            )
    return sum(feature_sizes[name] for name in wanted)
