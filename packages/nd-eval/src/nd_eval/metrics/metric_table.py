"""The metrics that a configuration can name: a fixed table, so that no name ever leads to an import."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torchmetrics

from nd_eval.known_name import did_you_mean
from nd_eval.metrics.circular_metrics import CircularCorrelation, CircularError
from nd_eval.metrics.classification_metrics import Accuracy, BalancedAccuracy, F1Score
from nd_eval.metrics.count_metrics import BitsPerSpike, PoissonPseudoR2
from nd_eval.metrics.masked_metrics import (
    MaskedMeanAbsoluteError,
    MaskedMeanSquaredError,
    MaskedPearsonCorrCoef,
    MaskedSMAPE,
)
from nd_eval.metrics.regression_metrics import MeanAbsoluteError, MeanSquaredError, PearsonCorrCoef, R2Score


@dataclass(frozen=True)
class MetricSpec:
    """One metric of the table.

    Attributes:
        name: What a configuration calls it.
        larger_is_better: False for errors.
        targets: What it scores: ``continuous`` targets, ``classes``, ``angles`` in radians, spike ``counts`` per bin
            (against expected counts), or ``sequences`` with masks (a stitched trace is one sequence).
        summary: One line about it.
        build: Makes it, from (num_outputs, num_classes).
    """

    name: str
    larger_is_better: bool
    targets: Literal["continuous", "classes", "angles", "counts", "sequences"]
    summary: str
    build: Callable[[int | None, int | None], torchmetrics.Metric]


METRICS: Mapping[str, MetricSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            MetricSpec(
                "r2",
                larger_is_better=True,
                targets="continuous",
                summary="R², averaged over the output's dimensions",
                build=lambda outputs, _: R2Score(num_outputs=outputs),
            ),
            MetricSpec(
                "r2_variance_weighted",
                larger_is_better=True,
                targets="continuous",
                summary="R², dimensions weighted by their variance",
                build=lambda outputs, _: R2Score(num_outputs=outputs, multioutput="variance_weighted"),
            ),
            MetricSpec(
                "pearsonr",
                larger_is_better=True,
                targets="continuous",
                summary="Pearson's correlation, averaged over the output's dimensions",
                build=lambda outputs, _: PearsonCorrCoef(num_outputs=outputs),
            ),
            MetricSpec(
                "mse",
                larger_is_better=False,
                targets="continuous",
                summary="mean squared error",
                build=lambda outputs, _: MeanSquaredError(num_outputs=outputs),
            ),
            MetricSpec(
                "mae",
                larger_is_better=False,
                targets="continuous",
                summary="mean absolute error",
                build=lambda outputs, _: MeanAbsoluteError(num_outputs=outputs),
            ),
            MetricSpec(
                "accuracy",
                larger_is_better=True,
                targets="classes",
                summary="share of times with the right class",
                build=lambda _, classes: Accuracy(num_classes=classes),
            ),
            MetricSpec(
                "balanced_accuracy",
                larger_is_better=True,
                targets="classes",
                summary="recall averaged over the classes",
                build=lambda _, classes: BalancedAccuracy(num_classes=classes),
            ),
            MetricSpec(
                "f1_macro",
                larger_is_better=True,
                targets="classes",
                summary="F1 averaged over the classes",
                build=lambda _, classes: F1Score(num_classes=classes),
            ),
            MetricSpec(
                "f1_weighted",
                larger_is_better=True,
                targets="classes",
                summary="F1 averaged over the classes by how often they occur",
                build=lambda _, classes: F1Score(num_classes=classes, average="weighted"),
            ),
            MetricSpec(
                "circular_error",
                larger_is_better=False,
                targets="angles",
                summary="mean absolute angle, the short way round, in radians",
                build=lambda outputs, _: CircularError(num_outputs=outputs),
            ),
            MetricSpec(
                "circular_correlation",
                larger_is_better=True,
                targets="angles",
                summary="correlation of angles (Fisher and Lee)",
                build=lambda outputs, _: CircularCorrelation(num_outputs=outputs),
            ),
            MetricSpec(
                "bits_per_spike",
                larger_is_better=True,
                targets="counts",
                summary="Poisson log-likelihood beyond each neuron's mean rate, in bits per spike",
                build=lambda outputs, _: BitsPerSpike(num_outputs=outputs),
            ),
            MetricSpec(
                "poisson_pseudo_r2",
                larger_is_better=True,
                targets="counts",
                summary="explained Poisson deviance, averaged over the neurons",
                build=lambda outputs, _: PoissonPseudoR2(num_outputs=outputs),
            ),
            MetricSpec(
                "masked_mse",
                larger_is_better=False,
                targets="sequences",
                summary="mean squared error within sequences, where observed",
                build=lambda *_: MaskedMeanSquaredError(),
            ),
            MetricSpec(
                "masked_mae",
                larger_is_better=False,
                targets="sequences",
                summary="mean absolute error within sequences, where observed",
                build=lambda *_: MaskedMeanAbsoluteError(),
            ),
            MetricSpec(
                "masked_smape",
                larger_is_better=False,
                targets="sequences",
                summary="symmetric mean absolute percentage error within sequences, where observed",
                build=lambda *_: MaskedSMAPE(),
            ),
            MetricSpec(
                "masked_pearsonr",
                larger_is_better=True,
                targets="sequences",
                summary="Pearson's correlation within sequences, where observed",
                build=lambda *_: MaskedPearsonCorrCoef(),
            ),
        )
    }
)

# torchmetrics classes that existing configurations name (`_target_: torchmetrics.R2Score`), without their module.
_TORCHMETRICS_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "R2Score": "r2",
        "PearsonCorrCoef": "pearsonr",
        "MeanSquaredError": "mse",
        "MeanAbsoluteError": "mae",
        "Accuracy": "accuracy",
        "BinaryAccuracy": "accuracy",
        "MulticlassAccuracy": "balanced_accuracy",
        "F1Score": "accuracy",  # over all decisions, which torchmetrics does unless told otherwise
        "MulticlassF1Score": "f1_macro",
    }
)
_ACCURACIES = {"micro": "accuracy", "macro": "balanced_accuracy"}
_F1_SCORES = {"micro": "accuracy", "macro": "f1_macro", "weighted": "f1_weighted"}
# What a setting of a torchmetrics class makes of it.
_CHOICES: Mapping[tuple[str, str], Mapping[str, str]] = MappingProxyType(
    {
        ("Accuracy", "average"): _ACCURACIES,
        ("BinaryAccuracy", "average"): _ACCURACIES,
        ("MulticlassAccuracy", "average"): _ACCURACIES,
        ("F1Score", "average"): _F1_SCORES,
        ("MulticlassF1Score", "average"): _F1_SCORES,
        ("R2Score", "multioutput"): {"uniform_average": "r2", "variance_weighted": "r2_variance_weighted"},
    }
)
_TORCHMETRICS_MODULES = ("torchmetrics", "torchmetrics.regression", "torchmetrics.classification")


def build_metric(name: str, *, num_outputs: int | None = None, num_classes: int | None = None) -> torchmetrics.Metric:
    """Make a metric of the table by name.

    Args:
        name: One of :data:`METRICS`.
        num_outputs: Number of output dimensions, checked by the metrics of continuous targets; None takes any.
        num_classes: Number of classes, checked by the metrics of classes (1, a single logit, means two); None takes
            any.

    Raises:
        KeyError: there is no such metric; the message lists those there are.

    Example:
        >>> from nd_eval import build_metric
        >>> build_metric("r2", num_outputs=2)
        R2Score()
    """
    if name not in METRICS:
        raise KeyError(f"there is no metric {name!r}{did_you_mean(name, METRICS)}; known are {', '.join(METRICS)}")
    return METRICS[name].build(num_outputs, 2 if num_classes == 1 else num_classes)


def metric_name_from_target(target: str, settings: Mapping[str, Any] | None = None) -> str:
    """Translate a torchmetrics class named in a configuration into a name of the table; nothing is imported.

    Args:
        target: Such as ``torchmetrics.R2Score``.
        settings: What stands beside ``_target_``: sizes and task are taken from the readout and may be given;
            ``average`` and ``multioutput`` choose between metrics of the table; anything else is refused.

    Raises:
        KeyError: the class is not in the table.
        ValueError: a setting asks for what the table does not have.

    Example:
        >>> from nd_eval import metric_name_from_target
        >>> metric_name_from_target("torchmetrics.R2Score")
        'r2'
    """
    module, _, class_name = target.rpartition(".")
    if module not in _TORCHMETRICS_MODULES or class_name not in _TORCHMETRICS_NAMES:
        known = ", ".join(f"torchmetrics.{name}" for name in _TORCHMETRICS_NAMES)
        raise KeyError(
            f"no metric of the table stands for {target!r}{did_you_mean(class_name, _TORCHMETRICS_NAMES)}; known are "
            f"{known}; or give a name of the table: {', '.join(METRICS)}"
        )
    name = _TORCHMETRICS_NAMES[class_name]
    for key, value in (settings or {}).items():
        chosen = _CHOICES.get((class_name, key), {}).get(str(value))
        if chosen is not None:
            name = chosen
            continue
        f1_of_two = class_name == "F1Score" and key == "task" and value != "multiclass"
        plain = key in ("task", "num_classes", "num_outputs") or (key == "squared" and value is True)
        if f1_of_two or not plain:
            raise ValueError(f"{target} with {key}={value!r} has no counterpart in the table: {', '.join(METRICS)}")
    return name
