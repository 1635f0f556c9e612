"""What the command lines of decoding and of forecasting share: checkpoints, where results go, and who prints."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from nd_models.checkpoint import read_checkpoint
from nd_train.callbacks.last_checkpoint import LastCheckpoint
from nd_train.callbacks.requeue_between_steps import RequeueBetweenSteps
from nd_train.callbacks.step_seeds import StepSeeds
from nd_train.checkpoints.resumed_run import LAST, go_on_with_last_run
from nd_train.commands.readable_parser import ReadableParser
from nd_train.commands.run_trainer import RunTrainer
from nd_train.commands.usage_errors import check_options, option_names
from nd_train.loggers import check_logger_packages
from nd_train.run_folder import run_folder
from nd_train.run_record import SaveRun, words_of_the_program


class RunCommandLine(LightningCLI):
    """Lightning's command line, with a best checkpoint, loggers by name, and a network that comes out of a checkpoint.

    Every run leaves ``config.yaml``, ``run.json`` (see `nd_train.run_record`) and ``metrics.csv`` in its folder.

    Args:
        model_class: What builds the module from its configuration.
        datamodule_class: What builds the data module.
        args: The command line's words; None takes the program's own.
        **keywords: As `lightning.pytorch.cli.LightningCLI`.
    """

    last_stage: Literal["val", "test"]
    """What the scores at the end of ``fit`` are of."""

    def __init__(
        self,
        model_class: Callable[..., L.LightningModule],
        datamodule_class: type[L.LightningDataModule],
        *,
        args: ArgsType = None,
        **keywords: Any,
    ) -> None:
        self._asked = str(args[0]) if isinstance(args, list) and args else ""
        command = words_of_the_program(args if isinstance(args, list) else None)
        keywords.setdefault("trainer_class", RunTrainer)
        keywords.setdefault("parser_class", ReadableParser)
        keywords.setdefault("save_config_callback", SaveRun)
        kept = {"overwrite": True, "command": command, **(keywords.pop("save_config_kwargs", None) or {})}
        super().__init__(model_class, datamodule_class, save_config_kwargs=kept, args=args, **keywords)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # Lightning asks the instance
        """The one that is asked for: parsers of the others would take their time. All, where none of them is."""
        known = LightningCLI.subcommands()
        return {self._asked: known[self._asked]} if self._asked in known else known

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the words; an option that does not exist is what is said first.

        Raises:
            UsageError: a word that makes no sense.
        """
        if isinstance(args, list) and args and args[0] in self._subcommand_parsers:
            check_options(args[1:], option_names(self._subcommand_parsers[args[0]]))
        super().parse_arguments(parser, args)

    @property
    def best_checkpoint(self) -> str:
        """Path of the checkpoint with the best validation score; empty before the first validation."""
        callback = self.trainer.checkpoint_callback
        return callback.best_model_path if isinstance(callback, ModelCheckpoint) else ""

    def _add_run_arguments(
        self, parser: LightningArgumentParser, *, system: str, monitor: str, mode: str, digits: int
    ) -> None:
        # The system, and checkpoints that a run has unless its configuration says otherwise.
        parser.add_argument("--system", type=Literal["decoding", "longitudinal"], default=system)
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(LastCheckpoint, "last_checkpoint")
        parser.set_defaults(
            {
                "checkpoint.monitor": monitor,
                "checkpoint.mode": mode,
                "checkpoint.filename": f"best-{{epoch:03d}}-{{{monitor}:.{digits}f}}",
                "checkpoint.auto_insert_metric_name": False,
            }
        )

    def instantiate_classes(self) -> None:
        """Build module, data module and trainer, which can be resumed and requeued as if nothing had happened."""
        super().instantiate_classes()
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]  # it has them
            if isinstance(callback, SaveRun):
                callback.datamodule = self.datamodule
        # In front of what reads and saves their doing.
        self.trainer.callbacks[:0] = [StepSeeds(), RequeueBetweenSteps()]  # type: ignore[attr-defined]  # it has them

    def _parse_ckpt_path(self) -> None:
        # Lightning would read a checkpoint's hyperparameters as arguments of the same names; ours describe the network.
        settings = self.config[self.config.subcommand]
        if settings.get("ckpt_path") == LAST:
            _print_once(go_on_with_last_run(settings))
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        checkpoint_path = settings.get("ckpt_path")
        if checkpoint_path and Path(checkpoint_path).is_file():
            settings.model.network, _ = read_checkpoint(Path(checkpoint_path))
            self._take_from_checkpoint(settings, Path(checkpoint_path))

    def _take_from_checkpoint(self, settings: Any, path: Path) -> None:
        """What else of a run's settings follows from its checkpoint."""

    def _settings_of_the_command(self) -> Any:
        settings = self.config[self.subcommand]
        check_logger_packages(settings.trainer.logger)
        settings.weights_only = True  # No checkpoint's code is ever run.
        if "verbose" in settings:
            settings.verbose = False  # Lightning's own table of what `report` prints.
        return settings

    def _folder(self) -> Path:
        # Beside the run's logs; for rank 0.
        folder = run_folder(self.trainer)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _print(self, text: str) -> None:
        if self.trainer.is_global_zero:
            print(text)


@rank_zero_only
def _print_once(text: str) -> None:
    print(text)
