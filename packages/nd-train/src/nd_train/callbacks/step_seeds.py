"""Random numbers of a training step that follow from the seed and the step alone."""

import os
import random
from typing import Any

import lightning as L
import numpy as np
import torch

_BETWEEN_STEPS, _STEP = 0, 1


class StepSeeds(L.Callback):
    """Seed the global generators of torch, NumPy and Python before every training step.

    What a step draws (dropout, for one) then is a function of the seed, the process's rank and the number of the batch:
    a run that is resumed draws what it would have drawn, whatever happened before the kill. Validation, the number of a
    loader's workers and what a sanity check draws change nothing of it either. Between two steps, as where a loader
    without workers draws, the same holds.

    Args:
        seed: A number; None takes that of ``lightning.seed_everything``, or else that of torch's generator when the run
            starts. A resumed run has the seed of its checkpoint.

    Example:
        >>> trainer = L.Trainer(callbacks=[StepSeeds(0)], accelerator="cpu", logger=False)
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed
        self._resumed_at: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """The seed: nothing else is needed."""
        return {"seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the seed of the run that is resumed."""
        self.seed = state_dict["seed"]

    def on_load_checkpoint(
        self,
        trainer: L.Trainer,  # noqa: ARG002
        pl_module: L.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Note where the run stands: the loops themselves learn it only after the loaders may have been made."""
        loop = checkpoint.get("loops", {}).get("fit_loop", {})
        self._resumed_at = loop.get("epoch_loop.batch_progress", {}).get("total", {}).get("processed")

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Fix the seed of a new run, and start."""
        if self.seed is None:
            chosen = os.environ.get("PL_GLOBAL_SEED")
            self.seed = torch.initial_seed() if chosen is None else int(chosen)
        if self._resumed_at is not None:
            self._seed(trainer, _BETWEEN_STEPS, self._resumed_at)
            self._resumed_at = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Seed for what comes before the first step."""
        self._seed(trainer, _BETWEEN_STEPS)

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Seed the step."""
        self._seed(trainer, _STEP)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Seed for what comes before the next step."""
        self._seed(trainer, _BETWEEN_STEPS)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Undo what validation drew."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._seed(trainer, _BETWEEN_STEPS)

    def _seed(self, trainer: L.Trainer, purpose: int, step: int | None = None) -> None:
        if step is None:
            progress: Any = trainer.fit_loop.epoch_loop.batch_progress
            step = progress.total.processed
        entropy = (abs(self.seed or 0), trainer.global_rank, step, purpose)
        torch_seed, numpy_seed, python_seed = np.random.SeedSequence(entropy).generate_state(3, np.uint64).tolist()
        if trainer.strategy.root_device.type == "cpu":
            torch.default_generator.manual_seed(torch_seed)  # `torch.manual_seed` asks every accelerator first
        else:
            torch.manual_seed(torch_seed)
        np.random.seed(numpy_seed >> 32)  # noqa: NPY002  # the generator that others draw from
        random.seed(python_seed)
