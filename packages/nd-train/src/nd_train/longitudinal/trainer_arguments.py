"""What the settings say about a trainer: epochs, logs, checkpoints and early stopping."""

from typing import Any

from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from nd_train.longitudinal.settings import LongitudinalSettings


def trainer_arguments(args: Any) -> dict[str, Any]:
    """Keyword arguments of a `lightning.Trainer`: ``L.Trainer(**trainer_arguments(args), logger=…)``.

    Args:
        args: A namespace, a mapping or `LongitudinalSettings`.

    Returns:
        `min_epochs`, `max_epochs` (where `epochs` is set), `log_every_n_steps`, `default_root_dir` (where `save_dir` is
        set) and `callbacks`: checkpoints of the best and last epoch, or of all of them, and early stopping.

    Example:
        >>> sorted(trainer_arguments({"epochs": 3, "early_stopping_patience": 2}))
        ['callbacks', 'log_every_n_steps', 'max_epochs', 'min_epochs']
    """
    settings = LongitudinalSettings.from_args(args)
    every = settings.save_strategy == "all"
    callbacks: list[Callback] = [
        ModelCheckpoint(
            monitor=None if every else "val_loss",
            mode=settings.early_stopping_mode,
            save_top_k=-1 if every else 1,
            save_last=True,
        )
    ]
    if settings.early_stopping_patience > 0:
        callbacks.append(
            EarlyStopping(
                "val_loss",
                patience=settings.early_stopping_patience,
                min_delta=settings.early_stopping_min_delta,
                mode=settings.early_stopping_mode,
            )
        )
    arguments: dict[str, Any] = {
        "min_epochs": settings.min_epochs,
        "log_every_n_steps": settings.log_interval,
        "callbacks": callbacks,
    }
    if settings.epochs is not None:
        arguments["max_epochs"] = settings.epochs
    if settings.save_dir is not None:
        arguments["default_root_dir"] = settings.save_dir
    return arguments
