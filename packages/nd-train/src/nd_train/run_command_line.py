"""What the command lines of decoding and of forecasting share: checkpoints, where results go, and who prints."""

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from nd_models.checkpoint import read_checkpoint


class RunCommandLine(LightningCLI):
    """Lightning's command line, with a best checkpoint and a network that comes out of a checkpoint."""

    last_stage: Literal["val", "test"]
    """What the scores at the end of ``fit`` are of."""

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
        parser.set_defaults(
            {
                "checkpoint.monitor": monitor,
                "checkpoint.mode": mode,
                "checkpoint.filename": f"best-{{epoch:03d}}-{{{monitor}:.{digits}f}}",
                "checkpoint.auto_insert_metric_name": False,
            }
        )

    def _parse_ckpt_path(self) -> None:
        # Lightning would read a checkpoint's hyperparameters as arguments of the same names; ours describe the network.
        settings = self.config[self.config.subcommand]
        checkpoint_path = settings.get("ckpt_path")
        if checkpoint_path and Path(checkpoint_path).is_file():
            settings.model.network, _ = read_checkpoint(Path(checkpoint_path))
            self._take_from_checkpoint(settings, Path(checkpoint_path))

    def _take_from_checkpoint(self, settings: Any, path: Path) -> None:
        """What else of a run's settings follows from its checkpoint."""

    def _settings_of_the_command(self) -> Any:
        settings = self.config[self.subcommand]
        settings.weights_only = True  # No checkpoint's code is ever run.
        if "verbose" in settings:
            settings.verbose = False  # Lightning's own table of what `report` prints.
        return settings

    def _folder(self) -> Path:
        # Beside the run's logs.
        folder = Path(self.trainer.log_dir or self.trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _print(self, text: str) -> None:
        if self.trainer.is_global_zero:
            print(text)
