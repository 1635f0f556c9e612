"""A few steps of a real model on its real loader, timed."""

import math
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from nd_train.doctor.findings import Findings

LONGEST_STEP = 15.0
"""Seconds of a step after which no more are measured."""


@dataclass
class StepClock(L.Callback):
    """When training steps began and ended."""

    began: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def on_train_batch_start(self, *_: Any) -> None:
        """Data are there."""
        self.began.append(time.perf_counter())

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:  # noqa: ARG002
        """The optimizer has stepped."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            self.losses.append(float(loss))
        self.ended.append(time.perf_counter())
        if self.ended[-1] - self.began[-1] > LONGEST_STEP:
            trainer.should_stop = True

    @property
    def step(self) -> float:
        """Median seconds of a step, the first left out where there are more."""
        spans = [end - start for start, end in zip(self.began, self.ended, strict=False)]
        return float(np.median(spans[1:] or spans))

    @property
    def wait(self) -> float:
        """Median seconds from a step's end to the next batch."""
        waits = [start - end for end, start in zip(self.ended, self.began[1:], strict=False)]
        return float(np.median(waits)) if waits else 0.0


def timed_steps(
    module: L.LightningModule, datamodule: L.LightningDataModule, settings: Any, steps: int, findings: Findings
) -> "StepClock | None":
    """Train for a few steps with the run's own optimizer and precision, and throw it away.

    Args:
        module: It is changed by the steps.
        datamodule: Its training loader.
        settings: The trainer's.
        steps: How many, beside a first one that is not timed.
        findings: Where to note what fails.

    Returns:
        What the clock saw; None where no step could be taken.
    """
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            trainer = L.Trainer(
                max_steps=steps + 1,
                accelerator=_accelerator(settings, findings),
                devices=1,
                precision=setting(settings, "precision"),
                gradient_clip_val=setting(settings, "gradient_clip_val"),
                limit_val_batches=0,
                num_sanity_val_steps=0,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=folder,
                callbacks=[clock],
            )
            trainer.fit(module, datamodule=datamodule)
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            message = error.args[0] if error.args else error
            findings.problem("cost steps", f"the first steps fail: {message}", advice="nd-train fit would end the same")
            return None
    if not clock.ended:
        what = "there is no whole batch in an epoch"
        findings.problem("cost steps", what, advice="make data.batch_size smaller, or give train more time")
        return None
    if not all(map(math.isfinite, clock.losses)):
        what = "the loss of the first steps is NaN or infinite"
        advice = "look at the targets above; lower model.lr; try --trainer.precision 32-true"
        findings.problem("cost steps", what, advice=advice)
    findings.settle("cost steps", f"{len(clock.ended)} steps of the real model on the real data work")
    return clock


def _accelerator(settings: Any, findings: Findings) -> str:
    if wants_gpu(settings) and not torch.cuda.is_available():
        findings.ok("cost device", "there is no GPU here: times are of this machine's processor")
        return "cpu"
    wanted = setting(settings, "accelerator")
    return wanted if isinstance(wanted, str) else "auto"


def wants_gpu(settings: Any) -> bool:
    """Whether the run is to be on a GPU."""
    wanted = setting(settings, "accelerator")
    return wanted in ("gpu", "cuda") or (wanted == "auto" and torch.cuda.is_available())


def setting(settings: Any, name: str) -> Any:
    """One of the trainer's settings."""
    return settings.get(name) if hasattr(settings, "get") else getattr(settings, name, None)


def duration(seconds: float) -> str:
    """Seconds as one would say them."""
    if math.isinf(seconds):
        return "no end"
    if seconds < 100:
        return f"{seconds:.2g} s"
    if seconds < 6000:
        return f"{seconds / 60:.2g} min"
    return f"{seconds / 3600:.2g} h" if seconds < 172800 else f"{seconds / 86400:.2g} days"
