"""``nd-train fit | validate | test | predict``: decoding of spikes on the command line."""

import json
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from nd_data import Dataset
from nd_eval.whole_file import whole_file
from nd_models import DecoderModel, ModalitySpec, MultitaskDecoderModel, from_pretrained
from nd_models.target_scale import TargetStatistics
from nd_train.callbacks import DecodingStitchEvaluator, MultiTaskDecodingStitchEvaluator
from nd_train.callbacks.prediction_traces import PredictionTraces
from nd_train.commands.run_command_line import RunCommandLine
from nd_train.configured_readouts import configured_readouts
from nd_train.data_module import NeuralDataModule
from nd_train.learning_rate import Schedule
from nd_train.neural_decoder import NeuralDecoder
from nd_train.optimizers import OptimizerName
from nd_train.prediction_windows import SINGLE, PredictionWindows, prediction_windows, readouts_of
from nd_train.report import leave_report
from nd_train.results_table import results_console, results_table
from nd_train.target_statistics import statistics_of_checkpoint
from nd_train.trace_attributes import readout_attributes, target_scales, traces_in_data_units
from nd_train.traces import Traces, check_traces_path, has_targets, write_traces


def configured_decoder(
    network: dict[str, Any],
    lr: float = 1e-3,
    optimizer: OptimizerName = "sparse_lamb",
    optimizer_arguments: dict[str, Any] | None = None,
    weight_decay: float = 1e-4,
    base_batch_size: int | None = None,
    schedule: Schedule = "one_cycle",
    warmup: float = 0.1,
    schedule_steps: int | None = None,
    start_factor: float = 0.04,
    end_factor: float = 4e-6,
) -> NeuralDecoder:
    """Build the module of a run from its configuration.

    Args:
        network: Arguments of the architecture, whose name is under ``architecture``, such as POYO or POYOPlus.
        lr: Peak learning rate; with `base_batch_size`, that of a batch of so many windows.
        optimizer: sparse_lamb, adamw, sgd, or another of `nd_train.optimizers.OPTIMIZERS`.
        optimizer_arguments: More of the optimizer's own arguments.
        weight_decay: Weight decay of matrices.
        base_batch_size: The peak rate grows in proportion to the windows of a step, over this number.
        schedule: constant, warmup, one_cycle or cosine.
        warmup: How long the rate rises: a share of the steps if below 1, else a number of steps.
        schedule_steps: Length of the schedule in steps; the run's where none is given.
        start_factor: Share of the peak rate that the rise begins with.
        end_factor: Share of the peak rate that the descent ends with.
    """
    return NeuralDecoder(
        network,
        lr,
        optimizer=optimizer,
        optimizer_arguments=optimizer_arguments,
        weight_decay=weight_decay,
        base_batch_size=base_batch_size,
        schedule=schedule,
        warmup=warmup,
        schedule_steps=schedule_steps,
        start_factor=start_factor,
        end_factor=end_factor,
    )


class DecoderCommandLine(RunCommandLine):
    """Lightning's command line around `NeuralDecoder` and `NeuralDataModule`.

    It adds the stitching evaluator that fits the model and, after ``fit``, tests the best checkpoint and prints the
    table of stitched scores.

    Args:
        args: The command line's words; None takes the program's own.
        print_scores: Print the tables of stitched scores; False leaves that to the caller.
        command: The words that the run is recorded with; None takes `args`.
    """

    evaluator: DecodingStitchEvaluator | MultiTaskDecodingStitchEvaluator
    shared_model: DecoderModel | None = None
    """The model of a shared folder, where one was given in place of a checkpoint."""
    shared_folder: str | None = None
    """That folder."""
    collected: PredictionTraces
    """What ``predict`` predicts."""
    predicted: PredictionWindows
    """What ``predict`` predicts on."""
    validates: bool = True
    """Whether ``fit`` validates; without a ``valid`` split it trains to its last step, and that state is tested."""

    def __init__(self, args: ArgsType = None, *, print_scores: bool = True, command: list[str] | None = None) -> None:
        self.print_scores = print_scores
        super().__init__(
            configured_decoder,
            NeuralDataModule,
            save_config_kwargs={"overwrite": True, **({} if command is None else {"command": command})},
            seed_everything_default=0,
            args=args,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Checkpoints and logs that a run has unless its configuration says otherwise."""
        self._add_run_arguments(parser, system="decoding", monitor="average_val_metric", mode="max", digits=3)

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **keywords: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **keywords)
        if subcommand == "predict":
            parser.add_argument(
                "--output", type=str | None, default=None, help="file to write, .h5 or .csv; else in the run's folder"
            )
            parser.add_argument(
                "--split", type=str | None, default=None, help="a split, or 'whole'; else test where there is one"
            )
            parser.add_argument("--start", type=float | None, default=None, help="seconds; predict nothing before it")
            parser.add_argument("--end", type=float | None, default=None, help="seconds; predict nothing from it on")
            parser.add_argument(
                "--rate", type=float | None, default=None, help="predictions a second; else as the recording's targets"
            )
        if subcommand != "fit":
            # The checkpoint describes it.
            parser.set_defaults({"model.network": {}})
        return parser

    def before_instantiate_classes(self) -> None:
        """Read out what the data's configuration names, where the network's arguments do not say what to read out."""
        settings = self._settings_of_the_command()
        if self.subcommand != "fit":
            self._take_shared_model(settings)
        network = settings.model.network
        single = network.get("architecture", "POYOPlus") == "POYO"
        wanted = "readout_spec" if single else "readout_specs"
        if wanted not in network:
            names = configured_readouts(settings.data.config, single=single)
            network[wanted] = names[0] if single else names

    def _take_shared_model(self, settings: Any) -> None:
        # A folder of `nd-train export` is as good as a checkpoint.
        path = settings.ckpt_path
        if path is None:
            raise ValueError(
                f"nd-train {self.subcommand} needs a trained model: nd-train {self.subcommand} CHECKPOINT --data.root …"
            )
        if Path(path).is_dir():
            self.shared_model, self.shared_folder = from_pretrained(Path(path)), str(path)
            settings.model.network, settings.ckpt_path = self.shared_model.to_config(), None

    def instantiate_classes(self) -> None:
        """Build module, data module and trainer, and give the trainer its evaluator."""
        super().instantiate_classes()
        if self.shared_model is not None:
            self.model.model.load_state_dict(self.shared_model.state_dict())
            self._scale_as(self.shared_model.target_statistics)
        single = not isinstance(self.model.model, MultitaskDecoderModel)
        self.evaluator = DecodingStitchEvaluator() if single else MultiTaskDecodingStitchEvaluator()
        # Before the checkpoint callback, which reads what the evaluator logs.
        self.trainer.callbacks.insert(0, self.evaluator)  # type: ignore[attr-defined]  # it has; its annotation lacks it

    def _scale_as(self, statistics: TargetStatistics | None) -> None:
        if statistics is not None:
            self.datamodule.load_state_dict({"target_statistics": statistics})

    def before_fit(self) -> None:
        """Find out on which splits the run validates and ends, before it takes its time.

        Raises:
            ValueError: there is neither a ``valid`` nor a ``test`` split, so that nothing could ever be scored.
        """
        self.last_stage = "test" if self.datamodule.has_split("test") else "val"
        self.validates = self.datamodule.has_split("valid")
        if not self.validates:
            self._train_without_validation()
            return
        if self.last_stage == "val":
            self._print("No 'test' split in every recording: the run will end with the scores of 'valid'.")
        self.before_validate()

    def _train_without_validation(self) -> None:
        if self.last_stage == "val":
            raise ValueError(
                f"the recordings in {self.datamodule.root} have neither a 'valid' nor a 'test' split in all of them: "
                "expected valid_domain or test_domain, so that there is something to score"
            )
        self._print("No 'valid' split in every recording: the run trains to its last step, and that state is tested.")
        self.trainer.limit_val_batches = 0
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]  # it has; its annotation lacks it
            if isinstance(callback, ModelCheckpoint):
                # There is no score to keep the best of; `LastCheckpoint` keeps the last state.
                callback.save_top_k = 0

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        keywords = super()._prepare_subcommand_kwargs(subcommand)
        if subcommand == "predict":
            del keywords["datamodule"]
            keywords |= {"dataloaders": self.predicted.loader, "return_predictions": False}
        return keywords

    def before_predict(self) -> None:
        """Find out what to predict on, and where to write it."""
        settings = self.config[self.subcommand]
        model: DecoderModel = self.model.model
        self.datamodule.link_model(model)
        self.datamodule.trainer = self.trainer
        if settings.ckpt_path is not None:
            # Lightning brings it back only where it makes the batches.
            self._scale_as(statistics_of_checkpoint(settings.ckpt_path))
        chosen = {name: settings[name] for name in ("split", "start", "end", "rate")}
        if settings.output is not None:
            check_traces_path(settings.output)
        self.predicted = prediction_windows(self.datamodule, model, **chosen)
        self.collected = PredictionTraces(
            {name: spec.id for name, spec in readouts_of(model).items()},
            self.predicted.asked,
            task=self._single_task(),
        )
        self.trainer.callbacks.append(self.collected)  # type: ignore[attr-defined]  # it has; its annotation lacks it

    def after_predict(self) -> None:
        """Write the stitched traces in the units of the data, and say where."""
        if not self.trainer.is_global_zero:
            return
        traces = self.in_data_units(self.collected.traces)
        given = self.config[self.subcommand].output
        path = Path(given) if given is not None else self._folder() / "predict_traces.h5"
        self._write_traces(path, traces, "predict")
        every = [trace for tasks in traces.values() for trace in tasks.values()]
        times, recordings = sum(map(len, every)), f"{len(traces)} recording{'s' if len(traces) > 1 else ''}"
        without = sum(not has_targets(trace) for trace in every)
        self._print(f"predicted {times:,} times of {recordings}: {self.predicted.covered}")
        if without:
            self._print(f"{without} of {len(every)} traces have no targets: they were asked for at regular times")
        self._print(f"traces: {path}")

    def _write_traces(self, path: Path, traces: Traces, stage: str) -> None:
        attributes = {name: readout_attributes(spec) for name, spec in self.named_readouts().items()}
        # At the end of a run it is the best that is tested, not what it was resumed from.
        checkpoint = self.best_checkpoint if self.subcommand == "fit" else self.config[self.subcommand].ckpt_path
        about = {"stage": stage, "checkpoint": str(checkpoint or self.shared_folder or "")}
        # What is predicted is already in the units of the data; what is scored stays in the scale of its scores.
        scales = None if stage == "predict" else self._target_scales()
        write_traces(path, traces, attributes=attributes, of_recordings=scales, about=about)

    def in_data_units(self, traces: Traces) -> Traces:
        """Traces of the run in the units of the data: without the scale that targets were trained and scored in."""
        return traces_in_data_units(traces, self._target_scales())

    def _target_scales(self) -> dict[str, dict[str, dict[str, Any]]]:
        return target_scales(Dataset(self.datamodule.root, config=self.datamodule.config), self.named_readouts())

    def named_readouts(self) -> dict[str, ModalitySpec]:
        """The model's readouts by the names that they have in scores and traces."""
        readouts = readouts_of(self.model.model)
        return {self._single_task() if name == SINGLE else name: spec for name, spec in readouts.items()}

    def _single_task(self) -> str:
        # As stitched evaluation calls the readout of a model that has one.
        if isinstance(self.model.model, MultitaskDecoderModel):
            return SINGLE
        return configured_readouts(self.datamodule.config, single=True)[0]

    def before_validate(self) -> None:
        """Find out whether the data's configuration names metrics that exist, before the run takes its time."""
        self._check_metrics("valid")

    def before_test(self) -> None:
        """As before validation, for the test split."""
        self._check_metrics("test")

    def _check_metrics(self, split: str) -> None:
        # The evaluator takes them by itself, when the windows have come.
        self.datamodule.link_model(self.model.model)
        self.datamodule.get_metrics(split)

    def after_fit(self) -> None:
        """Evaluate the best checkpoint (without validation, the last state), on the test split where there is one."""
        best = self.best_checkpoint if self.validates else None
        if best == "":
            self._print(
                f"The run ended before its first validation ({self.trainer.global_step} steps): nothing to test."
            )
            return
        evaluate = self.trainer.test if self.last_stage == "test" else self.trainer.validate
        evaluate(self.model, datamodule=self.datamodule, ckpt_path=best, verbose=False, weights_only=True)
        self.report(self.last_stage)
        if self.print_scores and best is not None:
            self._print(f"best checkpoint: {best}")
        self._leave_report(self.last_stage)

    def after_test(self) -> None:
        """Print the stitched scores, and leave the report card."""
        self.report("test")
        self._leave_report("test")

    def after_validate(self) -> None:
        """Print the stitched scores."""
        self.report("val")

    def _leave_report(self, stage: Literal["val", "test"]) -> None:
        if self.print_scores and self.trainer.is_global_zero:
            self._print(leave_report(self._folder(), stage))

    def report(self, stage: Literal["val", "test"]) -> None:
        """Print the table of one stage and leave its scores as JSON beside the run's logs."""
        result = self.evaluator.results[stage]
        if not self.trainer.is_global_zero:
            return
        if self.print_scores:
            results_console().print(results_table(result, title=f"stitched scores, {stage}"))
        with whole_file(self._folder() / f"{stage}_scores.json") as unfinished:
            unfinished.write_text(json.dumps(result.scores, indent=2) + "\n")
        if result.traces:
            self._write_traces(self._folder() / f"{stage}_traces.h5", result.traces, stage)
