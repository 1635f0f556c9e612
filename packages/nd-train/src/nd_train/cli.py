"""The command line: ``nd-train fit | validate | test | predict``, and ``nd-train quickstart``."""

import json
import logging
import sys
import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from nd_models import MultitaskDecoderModel
from nd_train.callbacks import DecodingStitchEvaluator, MultiTaskDecodingStitchEvaluator
from nd_train.callbacks.last_checkpoint import LastCheckpoint
from nd_train.configured_readouts import configured_readouts
from nd_train.data_module import NeuralDataModule
from nd_train.neural_decoder import NeuralDecoder
from nd_train.results_table import results_console, results_table
from nd_train.run_command_line import RunCommandLine

USER_ERRORS = (ValueError, KeyError, TypeError, FileNotFoundError, FileExistsError, PermissionError)


def configured_decoder(
    network: dict[str, Any],
    lr: float = 1e-3,
    optimizer: Literal["sparse_lamb", "adamw"] = "sparse_lamb",
    weight_decay: float = 1e-4,
    schedule: Literal["constant", "one_cycle"] = "one_cycle",
    warmup: float = 0.1,
) -> NeuralDecoder:
    """Build the module of a run from its configuration.

    Args:
        network: Arguments of the architecture, whose name is under ``architecture`` (POYO or POYOPlus).
        lr: Peak learning rate.
        optimizer: sparse_lamb or adamw.
        weight_decay: Decoupled weight decay of matrices.
        schedule: constant or one_cycle.
        warmup: Share of the steps that the learning rate rises.
    """
    return NeuralDecoder(network, lr, optimizer=optimizer, weight_decay=weight_decay, schedule=schedule, warmup=warmup)


class DecoderCommandLine(RunCommandLine):
    """Lightning's command line around `NeuralDecoder` and `NeuralDataModule`.

    It adds the stitching evaluator that fits the model and, after ``fit``, tests the best checkpoint and prints the
    table of stitched scores.

    Args:
        args: The command line's words; None takes the program's own.
        print_scores: Print the tables of stitched scores; False leaves that to the caller.
    """

    evaluator: DecodingStitchEvaluator | MultiTaskDecodingStitchEvaluator
    validates: bool = True
    """Whether ``fit`` validates; without a ``valid`` split it trains to its last step, and that state is tested."""

    def __init__(self, args: ArgsType = None, *, print_scores: bool = True) -> None:
        self.print_scores = print_scores
        super().__init__(
            configured_decoder,
            NeuralDataModule,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            args=args,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Checkpoints and logs that a run has unless its configuration says otherwise."""
        self._add_run_arguments(parser, system="decoding", monitor="average_val_metric", mode="max", digits=3)

    def before_instantiate_classes(self) -> None:
        """Read out what the data's configuration names, where the network's arguments do not say what to read out."""
        settings = self._settings_of_the_command()
        network = settings.model.network
        single = network.get("architecture", "POYOPlus") == "POYO"
        wanted = "readout_spec" if single else "readout_specs"
        if wanted not in network:
            names = configured_readouts(settings.data.config, single=single)
            network[wanted] = names[0] if single else names

    def instantiate_classes(self) -> None:
        """Build module, data module and trainer, and give the trainer its evaluator."""
        super().instantiate_classes()
        single = not isinstance(self.model.model, MultitaskDecoderModel)
        self.evaluator = DecodingStitchEvaluator() if single else MultiTaskDecodingStitchEvaluator()
        # Before the checkpoint callback, which reads what the evaluator logs.
        self.trainer.callbacks.insert(0, self.evaluator)  # type: ignore[attr-defined]  # it has; its annotation lacks it
        # After it, so that the last checkpoint knows of the best.
        self.trainer.callbacks.append(LastCheckpoint())  # type: ignore[attr-defined]  # as above

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

    def before_validate(self) -> None:
        """Metrics come from the data's configuration, which needs the model's readouts."""
        self._use_configured_metrics("valid")

    def before_test(self) -> None:
        """As before fit, for the test split."""
        self._use_configured_metrics("test")

    def _use_configured_metrics(self, split: str) -> None:
        self.datamodule.link_model(self.model.model)
        metrics = self.datamodule.get_metrics(split)
        if isinstance(self.evaluator, MultiTaskDecodingStitchEvaluator):
            self.evaluator.metrics = metrics
        else:
            # A model with one readout has one set of metrics: the first recording's.
            self.evaluator.metrics = next(iter(next(iter(metrics.values())).values()))

    def after_fit(self) -> None:
        """Evaluate the best checkpoint (without validation, the last state), on the test split where there is one."""
        best = self.best_checkpoint if self.validates else None
        if best == "":
            self._print(
                f"The run ended before its first validation ({self.trainer.global_step} steps): nothing to test."
            )
            return
        if self.last_stage == "test":
            self._use_configured_metrics("test")
        evaluate = self.trainer.test if self.last_stage == "test" else self.trainer.validate
        evaluate(self.model, datamodule=self.datamodule, ckpt_path=best, verbose=False, weights_only=True)
        self.report(self.last_stage)
        if self.print_scores and best is not None:
            self._print(f"best checkpoint: {best}")

    def after_test(self) -> None:
        """Print the stitched scores."""
        self.report("test")

    def after_validate(self) -> None:
        """Print the stitched scores."""
        self.report("val")

    def report(self, stage: Literal["val", "test"]) -> None:
        """Print the table of one stage and leave its scores as JSON beside the run's logs."""
        result = self.evaluator.results[stage]
        if not self.trainer.is_global_zero:
            return
        if self.print_scores:
            results_console().print(results_table(result, title=f"stitched scores, {stage}"))
        (self._folder() / f"{stage}_scores.json").write_text(json.dumps(result.scores, indent=2) + "\n")


def ready_configurations() -> dict[str, Path]:
    """The configurations that come with the package, by name."""
    folder = Path(str(resources.files("nd_train"))) / "configurations"
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def with_ready_configurations(arguments: Sequence[str]) -> list[str]:
    """Replace the name of a ready configuration after ``--config`` or ``-c`` by its file.

    Raises:
        FileNotFoundError: a name that is neither a file nor a ready configuration.
    """
    known = ready_configurations()
    replaced: list[str] = []
    for position, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in ("--config", "-c") and equals:
            replaced.append(f"{option}={_configuration_file(value, known)}")
        elif position and arguments[position - 1] in ("--config", "-c"):
            replaced.append(_configuration_file(argument, known))
        else:
            replaced.append(argument)
    return replaced


def command_line_of(arguments: Sequence[str]) -> type[LightningCLI]:
    """The command line that the arguments ask for: ``--system``, or ``system:`` in the last configuration that has it.

    Args:
        arguments: Words with files in place of the names of ready configurations.
    """
    system = "decoding"
    for position, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if not equals and position + 1 < len(arguments):
            value = arguments[position + 1]
        if option == "--system":
            system = value
        elif option in ("--config", "-c"):
            system = _configured_system(value) or system
    if system != "longitudinal":
        return DecoderCommandLine
    from nd_train.longitudinal.command_line import LongitudinalCommandLine

    return LongitudinalCommandLine


def _configured_system(configuration: str) -> str | None:
    text = Path(configuration).read_text() if Path(configuration).is_file() else configuration
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return None  # The parser says what is wrong with it.
    found = content.get("system") if isinstance(content, dict) else None
    return found if isinstance(found, str) else None


def _quieten() -> None:
    """Leave out what neither tells of the run nor can be changed by who runs it."""
    # Lightning's advertisements and its list of accelerators.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    warnings.filterwarnings("ignore", message="The '.*_dataloader' does not have many workers")
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")


def _configuration_file(name: str, known: dict[str, Path]) -> str:
    # A folder may bear the name of a ready configuration, as the quickstart's own output does.
    if Path(name).is_file() or name.lstrip().startswith("{"):
        return name
    if name in known:
        return str(known[name])
    raise FileNotFoundError(f"--config {name}: no such file, nor a ready configuration; ready are {', '.join(known)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; errors that a user can mend are one line, a trace comes with ``--debug``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    try:
        _quieten()
        if given and given[0] == "quickstart":
            from nd_train.quickstart import main as quickstart

            return quickstart(given[1:])
        words = with_ready_configurations(given)
        command_line_of(words)(args=words)
    except USER_ERRORS as error:
        if debug:
            raise
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", []))
        print(f"error: {message}{notes}\n(the trace comes with --debug)", file=sys.stderr)
        return 1
    return 0
