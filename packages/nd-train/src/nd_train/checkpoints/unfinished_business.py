"""What a run has begun and not finished when a checkpoint is written, and Lightning (2.6) does not save.

Two things: gradients that were accumulated for a step that is yet to come, and the numbers of the latest step, which
Lightning logs after the callbacks that save. And one on the other side: numbers in the files of loggers that were
written after the checkpoint, by a run that went on and was killed.
"""

# ruff: noqa: SLF001 -- Lightning's loops and connectors have no public spelling of where they stand
from collections.abc import Mapping
from typing import Any

import lightning as L

from nd_train.metrics_file import MetricsFile

KEY = "nd_train"
"""Where it is in a checkpoint."""


def unfinished_business(trainer: L.Trainer) -> dict[str, Any]:
    """What a run that goes on from here must know, as tensors and plain values."""
    loop: Any = trainer.fit_loop.epoch_loop
    business: dict[str, Any] = {"logged_steps": loop._batches_that_stepped}
    if trainer.is_global_zero:
        business["logged_rows"] = [logger.rows for logger in trainer.loggers if isinstance(logger, MetricsFile)]
    progress, connector = loop.batch_progress.total, trainer._logger_connector
    is_ending = progress.processed != progress.completed
    if is_ending and connector.should_update_logs and not loop._should_accumulate():
        # The numbers of the step that is just ending follow.
        numbers = {name: float(value) for name, value in connector.metrics["log"].items()}
        business["step_metrics"] = {"epoch": trainer.current_epoch, **numbers}
    if loop._should_accumulate() and trainer.world_size == 1:
        module = trainer.lightning_module
        business["gradients"] = {
            name: parameter.grad.detach().clone()
            for name, parameter in module.named_parameters()
            if parameter.grad is not None
        }
    return business


def is_before_validation(trainer: L.Trainer) -> bool:
    """Whether a step is just ending after which the run validates, in the middle of an epoch."""
    loop: Any = trainer.fit_loop
    progress = loop.epoch_loop.batch_progress
    is_ending = progress.total.processed != progress.total.completed
    return is_ending and not progress.is_last_batch and bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher))


def begin_validation_anew(checkpoint: dict[str, Any], *, before: bool = False) -> None:
    """Let a run that goes on from a checkpoint in the middle of a validation run the whole of it.

    Lightning would leave it out, or count the batches that were done and run as many less from the beginning.

    Args:
        checkpoint: Changed in place.
        before: Whether the validation had not begun: Lightning counts that step twice then.
    """
    if before:
        checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
    for part in ("total", "current"):
        progress[part] = {**progress[part], "ready": 1, "started": 1, "processed": 0, "completed": 0}
    progress["is_last_batch"] = False


def take_up(trainer: L.Trainer, business: Mapping[str, Any]) -> None:
    """Go on with it, when training starts again; without any, start anew where a killed run left numbers."""
    module = trainer.lightning_module
    for name, gradient in business.get("gradients", {}).items():
        parameter = module.get_parameter(name)
        parameter.grad = gradient.to(parameter.device, parameter.dtype).clone()
    fit_loop = trainer.fit_loop
    epochs: Any = fit_loop.epoch_progress.current
    if fit_loop.restarted_mid_epoch and epochs.processed == epochs.started:
        # Saved in the last step of an epoch: Lightning would not count the one that begins now, and what is saved in it
        # could not be resumed.
        fit_loop.reset_restart_stage()
    files = [logger for logger in trainer.loggers if isinstance(logger, MetricsFile)]
    if "logged_rows" not in business:
        for file in files:
            file.forget_inherited()
    for file, rows in zip(files, business.get("logged_rows", []), strict=False):
        file.keep_first(rows)
    numbers = business.get("step_metrics")
    for logger in trainer.loggers:
        if numbers:
            logger.log_metrics(numbers, step=business["logged_steps"])
        logger.save()
