"""The arguments of a longitudinal run: names, defaults, checks, and who reads each of them.

Names and defaults are those that LongitudeML's users know; what ours add is said beside each.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args, get_origin

from nd_data.nearest_names import name_hint, nearest_names

Reduction = Literal["within-seq", "between-seq", "flatten", "none"]
Split = Literal["train", "val", "test", "predict"]

READ_ELSEWHERE: dict[str, str] = {
    **dict.fromkeys(
        (
            *("data_dir", "data_file", "train_file", "val_file", "test_file"),
            *("output_dir", "overwrite_output_dir", "do_train", "do_test", "do_hparam_tune", "n_trials"),
        ),
        "your script",
    ),
    **dict.fromkeys(
        (
            *("model_type", "custom_model", "input_size", "hidden_size", "projection_size", "num_layers", "dropout"),
            *("output_dropout", "positional_encoding_type", "pre_ln", "bidirectional", "num_heads", "max_history_len"),
            *("subscale_weights_path", "lang_weights_path"),
        ),
        "what builds the model",
    ),
    **dict.fromkeys(("api_key", "workspace", "project_name", "experiment_name"), "what builds the logger"),
}
"""Arguments of the original that a namespace may hold and that the module has no use for, by who reads them."""

WITHOUT_EFFECT: dict[str, str] = {
    "sliding_window_size": "it never had one; the models' max_history and max_len limit what a prediction sees",
}
"""Arguments of the original that nothing reads: an error where they are set, with what to use instead."""


def _about(text: str, reader: str = "module") -> dict[str, str]:
    return {"about": text, "reader": reader}


@dataclass(frozen=True, kw_only=True)
class LongitudinalSettings:
    """Typed, checked arguments of `MILightningModule`, of its trainer and of its data module.

    Every field has its meaning in ``dataclasses.fields(LongitudinalSettings)[i].metadata["about"]`` and in the
    reference of arguments.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: a value out of range, or values that exclude each other.

    Example:
        >>> from argparse import Namespace
        >>> LongitudinalSettings.from_args(Namespace(lr=0.01, hidden_size=64)).lr
        0.01
        >>> LongitudinalSettings.from_args({"learning_rate": 0.01})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: unknown argument 'learning_rate'...
    """

    # What is predicted, and how it is judged.
    num_classes: int = field(default=1, metadata=_about("1: regression; 2: binary, one logit; more: one logit a class"))
    num_outcomes: int = field(default=1, metadata=_about("outcomes K of every step"))
    loss_reduction: Reduction = field(
        default="flatten",
        metadata=_about(
            "how the loss is reduced; `none` is for inspection, not training; `between-seq` for regression",
        ),
    )
    metrics_reduction: Reduction = field(
        default="within-seq", metadata=_about("how metrics are reduced; with `none` no metric is logged")
    )
    cross_entropy_class_weight: tuple[float, ...] | None = field(default=None, metadata=_about("one weight a class"))
    do_shift: bool = field(
        default=False, metadata=_about("predict the change since the step before; metrics stay on levels")
    )
    interpolated_output: bool = field(
        default=False, metadata=_about("with `do_shift`: changes add up over steps without an observation before them")
    )
    predict_last_valid_timestep: bool = field(
        default=False, metadata=_about("predict only at each sequence's last valid step")
    )
    shift_loss_mask: Literal["compat", "baseline", "lag1"] = field(
        default="compat",
        metadata=_about(
            "steps of a shifted loss: all (the first is a level), with any observation before, or with one just before",
        ),
    )
    undefined_correlation: Literal["skip", "zero"] = field(
        default="skip", metadata=_about("Pearson of a constant: left out, or 0")
    )

    # How it is learned.
    optimizer: Literal["adamw", "sgd"] = field(default="adamw", metadata=_about("the optimizer"))
    lr: float = field(default=0.001, metadata=_about("learning rate"))
    weight_decay: float = field(default=0.0, metadata=_about("weight decay of the optimizer"))
    lr_scheduler: Literal["none", "linear", "cosine"] = field(
        default="none",
        metadata=_about(
            "`linear`: warm-up only; `cosine`: warm-up, then a descent to 0 at the run's end; by optimizer step"
        ),
    )
    warmup_epochs: float = field(default=1, metadata=_about("length of the warm-up in epochs"))
    start_factor: float = field(default=0.5, metadata=_about("share of `lr` that the warm-up begins with"))
    end_factor: float = field(default=1.0, metadata=_about("share of `lr` that the warm-up ends with"))
    mute_eval_mode: bool = field(
        default=False, metadata=_about("put parts with `mute_grad=True` in evaluation mode while training")
    )
    seq_len_scheduler_type: Literal["none", "linear", "exponential"] = field(
        default="none", metadata=_about("let the length that is learned from grow over the epochs")
    )
    seq_len_progress: Literal["full", "compat"] = field(
        default="full",
        metadata=_about("`full`: the last scheduled epoch has the full length; `compat`: the epoch after it"),
    )
    min_seq_len: int = field(default=10, metadata=_about("length of the first epoch"))
    max_seq_len: int = field(default=-1, metadata=_about("full length; -1: `max_len`"))
    max_scheduled_epochs: int = field(
        default=-1, metadata=_about("epochs until the full length; -1: `epochs`, else the trainer's")
    )
    max_len: int = field(default=130, metadata=_about("longest sequence"))

    # What is kept.
    keep_predictions: Literal["last", "best", "none"] = field(
        default="last",
        metadata=_about("predictions to keep: of the last epoch, of the one with the lowest val_loss, or none"),
    )
    keep_predictions_of: tuple[Split, ...] = field(
        default=("val", "test", "predict"), metadata=_about("splits whose predictions are kept")
    )
    max_stored_predictions: int = field(
        default=10_000_000, metadata=_about("predictions kept a split at most; more are counted, not kept")
    )
    max_stored_epochs: int = field(default=10_000, metadata=_about("epochs whose scores are kept a split"))

    # The trainer's part, through `trainer_arguments`.
    epochs: int | None = field(default=None, metadata=_about("epochs to train; -1: until stopped", "trainer"))
    min_epochs: int = field(default=1, metadata=_about("epochs to train at least", "trainer"))
    log_interval: int = field(default=10, metadata=_about("training steps between logs", "trainer"))
    save_strategy: Literal["best", "all"] = field(
        default="best", metadata=_about("checkpoints: the best and the last, or every", "trainer")
    )
    save_dir: str | None = field(default=None, metadata=_about("folder of checkpoints and logs", "trainer"))
    early_stopping_patience: int = field(
        default=0, metadata=_about("validations without a better val_loss until the end; 0: never", "trainer")
    )
    early_stopping_min_delta: float = field(
        default=0.0, metadata=_about("least change that counts as better", "trainer")
    )
    early_stopping_mode: Literal["min", "max"] = field(
        default="min", metadata=_about("whether a better val_loss is smaller", "trainer")
    )

    # The data module's part, through `data_arguments`.
    train_batch_size: int = field(default=32, metadata=_about("sequences in a training batch", "data"))
    val_batch_size: int = field(default=64, metadata=_about("sequences in an evaluation batch", "data"))
    val_folds: tuple[int | str, ...] = field(default=(), metadata=_about("folds held out for validation", "data"))
    test_folds: tuple[int | str, ...] = field(default=(), metadata=_about("folds held out for the test", "data"))
    num_workers: int = field(default=0, metadata=_about("loader processes (the original's default is 4)", "data"))
    seed: int = field(
        default=42, metadata=_about("seed of the order of training sequences and of random splits", "data")
    )

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            object.__setattr__(self, spec.name, _checked(spec.name, getattr(self, spec.name), spec.type))
        self._check_ranges()
        self._check_together()

    def _check_ranges(self) -> None:
        for name in ("num_classes", "num_outcomes", "min_seq_len", "max_len", "log_interval", "train_batch_size"):
            _require(getattr(self, name) >= 1, name, "1 or more", getattr(self, name))
        for name in ("val_batch_size", "max_stored_predictions", "max_stored_epochs"):
            _require(getattr(self, name) >= 1, name, "1 or more", getattr(self, name))
        for name in ("lr", "weight_decay", "warmup_epochs", "min_epochs", "early_stopping_patience", "num_workers"):
            _require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        _require(0 < self.start_factor <= 1, "start_factor", "above 0 and at most 1", self.start_factor)
        _require(0 <= self.end_factor <= 1, "end_factor", "from 0 to 1", self.end_factor)
        for name in ("max_seq_len", "max_scheduled_epochs"):
            _require(
                getattr(self, name) >= 1 or getattr(self, name) == -1, name, "1 or more, or -1", getattr(self, name)
            )
        _require(self.epochs is None or self.epochs >= -1, "epochs", "-1, 0 or more, or None", self.epochs)

    def _check_together(self) -> None:
        weights = self.cross_entropy_class_weight
        if weights is not None:
            if self.num_classes == 1:
                raise ValueError("cross_entropy_class_weight is for classes, but num_classes is 1 (regression)")
            if len(weights) != self.num_classes:
                raise ValueError(
                    f"cross_entropy_class_weight: expected {self.num_classes} weights, one a class, got {len(weights)}"
                )
            if min(weights) < 0 or sum(weights) == 0:
                raise ValueError(f"cross_entropy_class_weight: expected weights of 0 or more, found {weights}")
        if self.num_classes > 1:
            for name in ("loss_reduction", "metrics_reduction"):
                if getattr(self, name) == "between-seq":
                    raise ValueError(
                        f"{name}='between-seq' compares means of sequences, which classes have not: "
                        "choose 'within-seq' or 'flatten'"
                    )
            if self.do_shift:
                raise ValueError("do_shift predicts changes of numbers; it excludes num_classes > 1")
        if self.interpolated_output and self.predict_last_valid_timestep:
            raise ValueError(
                "interpolated_output adds up predictions of every step; it excludes predict_last_valid_timestep"
            )
        if self.seq_len_scheduler_type != "none" and self.min_seq_len > self.full_length:
            raise ValueError(f"min_seq_len {self.min_seq_len} is above max_seq_len {self.full_length}")

    @property
    def full_length(self) -> int:
        """Length that the sequence-length schedule ends with: `max_seq_len`, or `max_len` where that is -1."""
        return self.max_len if self.max_seq_len == -1 else self.max_seq_len

    @classmethod
    def from_args(cls, args: Any, *, ignore: Iterable[str] = ()) -> Self:
        """Settings from a namespace, a mapping or settings; `args` is only read.

        Args:
            args: What holds the arguments. Those that only a script, a model or a logger reads may be among them.
            ignore: Names of the caller's own to pass over.

        Raises:
            TypeError: `args` holds no arguments at all, or a value of the wrong type.
            ValueError: an argument that does not exist, named with the nearest that do, or a value that is not allowed.
        """
        if isinstance(args, cls):
            return args
        if isinstance(args, Mapping):
            given = dict(args)
        elif hasattr(args, "__dict__") and not isinstance(args, type):
            given = {name: value for name, value in vars(args).items() if not name.startswith("_")}
        else:
            raise TypeError(f"args: expected a namespace, a mapping or LongitudinalSettings, found {args!r}")
        names = {spec.name for spec in dataclasses.fields(cls)}
        known = names | READ_ELSEWHERE.keys() | WITHOUT_EFFECT.keys()
        unknown = sorted(str(name) for name in given if name not in known and name not in set(ignore))
        if unknown:
            listed = []
            for name in unknown:
                nearest = nearest_names(name, names | READ_ELSEWHERE.keys(), most=1)
                listed.append(f"{name!r} (did you mean {nearest[0]!r}?)" if nearest else repr(name))
            raise ValueError(
                f"unknown argument {', '.join(listed)}; the arguments are the fields of LongitudinalSettings"
            )
        for name, reason in WITHOUT_EFFECT.items():
            if given.get(name) is not None:
                raise ValueError(f"{name} has no effect: {reason}")
        return cls(**{name: value for name, value in given.items() if name in names})

    def to_dict(self) -> dict[str, Any]:
        """Plain values of every field, as a checkpoint keeps them: lists instead of tuples."""
        values = {spec.name: getattr(self, spec.name) for spec in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def data_arguments(self) -> dict[str, Any]:
        """Keyword arguments of `LongitudinalDataModule` that these settings hold."""
        names = ("train_batch_size", "val_batch_size", "val_folds", "test_folds", "num_workers", "seed", "num_classes")
        return {name: getattr(self, name) for name in names}


def _require(holds: bool, name: str, expected: str, found: Any) -> None:
    if not holds:
        raise ValueError(f"{name}: expected {expected}, found {found!r}")


def _checked(name: str, value: Any, annotation: Any) -> Any:
    """The value as the field's type has it, or an error that names the field."""
    options = get_args(annotation)
    if get_origin(annotation) is Literal:
        if value not in options:
            hint = name_hint(str(value), map(str, options), noun="expected one of")
            raise ValueError(f"{name}={value!r}; {hint}")
        return value
    if type(None) in options:
        if value is None:
            return None
        annotation = next(option for option in options if option is not type(None))
        options = get_args(annotation)
    if get_origin(annotation) is tuple:
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise TypeError(f"{name}: expected a list, found {value!r}")
        return tuple(_checked(name, item, options[0]) for item in value)
    if annotation == int | str:
        annotation = str if isinstance(value, str) else int
    if annotation is bool:
        if not isinstance(value, bool):
            raise TypeError(f"{name}: expected True or False, found {value!r}")
        return value
    if annotation is str:
        return str(value)
    if isinstance(value, bool | str) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number, found {value!r}")
    if not math.isfinite(value) or (annotation is int and int(value) != value):
        raise ValueError(f"{name}: expected a {'whole ' if annotation is int else 'finite '}number, found {value!r}")
    return annotation(value)
