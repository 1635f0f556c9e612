"""Learning rates as functions of the step: the same after a resume, and defined beyond the schedule's end.

torch's OneCycleLR holds its length in itself and fails one step behind it; here the length is a number that a
checkpoint keeps beside it.
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import lightning as L
from torch.utils.data import DataLoader

Schedule = Literal["constant", "warmup", "one_cycle", "cosine"]

SCHEDULES: tuple[str, ...] = get_args(Schedule)


def rate_factor(
    schedule: Schedule,
    *,
    total_steps: float,
    warmup_steps: float,
    start_factor: float = 0.04,
    end_factor: float = 4e-6,
) -> Callable[[int], float]:
    """What the peak rate is multiplied with at each optimizer step, counted from 0.

    ``constant`` is 1. ``warmup`` rises in a straight line and stays. ``one_cycle`` rises and descends along half
    cosines, as `torch.optim.lr_scheduler.OneCycleLR` (Smith and Topin 2018, arXiv 1708.07120) with the same defaults;
    ``cosine`` rises in a straight line and descends so. The peak is the last step of the rise, step
    ``warmup_steps - 1``, and the end of the descent the last step of all; behind it the rate stays at its end.

    Args:
        schedule: One of `SCHEDULES`.
        total_steps: Length of the descending ones; infinity for the other two.
        warmup_steps: Steps of the rise; one or less is none.
        start_factor: Share of the peak at step 0, where there is a rise.
        end_factor: Share of the peak at the end of a descent.

    Example:
        >>> factor = rate_factor("cosine", total_steps=11, warmup_steps=2, start_factor=0.0, end_factor=0.0)
        >>> [round(factor(step), 3) for step in (0, 1, 6, 10, 50)]
        [0.0, 1.0, 0.413, 0.0, 0.0]
    """
    if schedule == "constant":
        return lambda _: 1.0
    peak = warmup_steps - 1 if warmup_steps > 1 else 0.0
    descends = schedule in ("one_cycle", "cosine")
    rounded = schedule == "one_cycle"

    def factor(step: int) -> float:
        if step <= peak and peak > 0:
            done = step / peak
            return start_factor + (1 - start_factor) * (_half_cosine(done) if rounded else done)
        if not descends:
            return 1.0
        done = min((step - peak) / max(total_steps - 1 - peak, 1.0), 1.0)
        return 1 + (end_factor - 1) * _half_cosine(done)

    return factor


def run_length(trainer: L.Trainer, schedule: str) -> int:
    """Optimizer steps of the whole run, for a schedule that must know them.

    Raises:
        ValueError: the run has no end.
    """
    steps = trainer.estimated_stepping_batches
    if math.isinf(steps) or steps < 0:
        raise ValueError(
            f"schedule={schedule!r} needs the run's length: set the trainer's max_steps or max_epochs, or give "
            "schedule_steps"
        )
    return int(steps)


def global_batch_size(trainer: L.Trainer) -> int:
    """Windows in one optimizer step: of a batch, times ranks, times accumulated batches.

    Raises:
        ValueError: batches have no one size.
    """
    # Makes the loaders, as Lightning does where it is asked for the length of a run.
    trainer.fit_loop.setup_data()
    loader = trainer.train_dataloader
    size = loader.batch_size if isinstance(loader, DataLoader) else None
    if size is None:
        raise ValueError(
            "base_batch_size: the learning rate is to grow with the batch, but the training loader's batches have no "
            f"one size (found {type(loader).__name__} without a batch_size). Leave base_batch_size out, and give the "
            "rate itself as lr"
        )
    return size * trainer.world_size * trainer.accumulate_grad_batches


def _half_cosine(done: float) -> float:
    """0 to 1 along half a cosine, as `done` goes from 0 to 1."""
    return (1 - math.cos(math.pi * done)) / 2
