"""The metrics that a configuration can name: a fixed table, so that no name ever leads to an import."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torchmetrics

from nd_eval.metrics.classification_metrics import Accuracy, BalancedAccuracy
from nd_eval.metrics.regression_metrics import MeanAbsoluteError, MeanSquaredError, PearsonCorrCoef, R2Score


@dataclass(frozen=True)
class MetricSpec:
    """One metric of the table.

    Attributes:
        name: What a configuration calls it.
        larger_is_better: False for errors.
        targets: What it scores: ``continuous`` targets or ``classes``.
        summary: One line about it.
        build: Makes it, from (num_outputs, num_classes).
    """

    name: str
    larger_is_better: bool
    targets: Literal["continuous", "classes"]
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
        raise KeyError(f"there is no metric {name!r}{_nearest(name, METRICS)}; known are {', '.join(METRICS)}")
    return METRICS[name].build(num_outputs, 2 if num_classes == 1 else num_classes)


def metric_name_from_target(target: str, settings: Mapping[str, Any] | None = None) -> str:
    """Translate a torchmetrics class named in a configuration into a name of the table; nothing is imported.

    Args:
        target: Such as ``torchmetrics.R2Score``.
        settings: What stands beside ``_target_``: sizes and task are taken from the readout and may be given;
            ``average`` (``micro`` or ``macro``) and ``multioutput`` choose between metrics of the table; anything else
            is refused.

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
            f"no metric of the table stands for {target!r}{_nearest(class_name, _TORCHMETRICS_NAMES)}; known are "
            f"{known}; or give a name of the table: {', '.join(METRICS)}"
        )
    name = _TORCHMETRICS_NAMES[class_name]
    for key, value in (settings or {}).items():
        if key in ("task", "num_classes", "num_outputs") or (key == "squared" and value is True):
            continue
        if key == "average" and name in ("accuracy", "balanced_accuracy") and value in ("micro", "macro"):
            name = "accuracy" if value == "micro" else "balanced_accuracy"
        elif key == "multioutput" and name == "r2" and value in ("uniform_average", "variance_weighted"):
            name = "r2" if value == "uniform_average" else "r2_variance_weighted"
        else:
            raise ValueError(f"{target} with {key}={value!r} has no counterpart in the table: {', '.join(METRICS)}")
    return name


def _nearest(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
