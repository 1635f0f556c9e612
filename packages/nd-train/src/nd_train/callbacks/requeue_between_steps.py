"""A SLURM requeue that loses nothing: the checkpoint is written between two steps."""

# ruff: noqa: SLF001 -- Lightning's loops and connectors have no public spelling of where they stand
import signal
from types import FrameType
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment


class RequeueBetweenSteps(L.Callback):
    """Let Lightning's SLURM requeue wait for the end of the step that is running.

    SLURM announces the end of a job by a signal (``#SBATCH --signal=SIGUSR1@90``). Lightning then writes
    ``hpc_ckpt_<n>.ckpt`` at once, whatever the run is doing: in the middle of a step its batch would be lost, in the
    middle of an optimizer step half of the weights would be new. Here the signal is noted, and Lightning's handler runs
    when the step, the validation batch or (with several ranks, which agree on it) the validation is over.

    Outside of SLURM, and with ``SLURMEnvironment(auto_requeue=False)``, it does nothing.
    """

    def __init__(self) -> None:
        self._requeue: Any = None
        self._signal: signal.Signals | None = None
        self._noted = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Stand between the signal and Lightning's handler."""
        environment = trainer._accelerator_connector.cluster_environment
        if not (isinstance(environment, SLURMEnvironment) and environment.auto_requeue and environment.requeue_signal):
            return
        handler = signal.getsignal(environment.requeue_signal)
        if callable(handler):
            self._requeue, self._signal, self._noted = handler, environment.requeue_signal, False
            trainer._signal_connector._register_signal(self._signal, self._note)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Requeue, unless a validation comes first: it would be left out after the resume."""
        loop: Any = trainer.fit_loop
        if self._agreed(trainer) and not loop.epoch_loop._should_check_val_fx(loop._data_fetcher):
            self._run()

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Requeue; the validation starts anew after the resume. Ranks may differ in their number of batches."""
        if self._noted and trainer.world_size == 1:
            self._run()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Requeue."""
        if self._agreed(trainer):
            self._run()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Hand the signal back: the run is over."""
        if self._signal is not None:
            trainer._signal_connector._register_signal(self._signal, self._requeue)
            self._signal = None

    def _note(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._noted = True

    def _agreed(self, trainer: L.Trainer) -> bool:
        if self._signal is None or trainer.world_size == 1:
            return self._noted
        return trainer.strategy.reduce_boolean_decision(self._noted, all=False)

    def _run(self) -> None:
        self._noted = False
        self._requeue(self._signal, None)
