"""Exact stitching of overlapping windows, and the metrics computed on them."""

from nd_eval.__about__ import __version__
from nd_eval.accumulator import StitchedTrace, StitchingAccumulator
from nd_eval.evaluation import DecodingStitchEvaluation, MultiTaskDecodingStitchEvaluation
from nd_eval.evaluation_result import EvaluationResult
from nd_eval.evaluator_data import DataForDecodingStitchEvaluator, DataForMultiTaskDecodingStitchEvaluator
from nd_eval.metrics.classification_metrics import Accuracy, BalancedAccuracy
from nd_eval.metrics.classification_scores import accuracy, balanced_accuracy
from nd_eval.metrics.masked_metrics import (
    MaskedMeanAbsoluteError,
    MaskedMeanSquaredError,
    MaskedPearsonCorrCoef,
    MaskedSMAPE,
)
from nd_eval.metrics.masked_scores import masked_mae, masked_mse, masked_pearsonr, masked_smape
from nd_eval.metrics.metric_table import METRICS, MetricSpec, build_metric, metric_name_from_target
from nd_eval.metrics.regression_metrics import MeanAbsoluteError, MeanSquaredError, PearsonCorrCoef, R2Score
from nd_eval.metrics.regression_scores import mae, mse, pearsonr, r2_score
from nd_eval.stitch import stitch

__all__ = [
    "METRICS",
    "Accuracy",
    "BalancedAccuracy",
    "DataForDecodingStitchEvaluator",
    "DataForMultiTaskDecodingStitchEvaluator",
    "DecodingStitchEvaluation",
    "EvaluationResult",
    "MaskedMeanAbsoluteError",
    "MaskedMeanSquaredError",
    "MaskedPearsonCorrCoef",
    "MaskedSMAPE",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "MetricSpec",
    "MultiTaskDecodingStitchEvaluation",
    "PearsonCorrCoef",
    "R2Score",
    "StitchedTrace",
    "StitchingAccumulator",
    "__version__",
    "accuracy",
    "balanced_accuracy",
    "build_metric",
    "mae",
    "masked_mae",
    "masked_mse",
    "masked_pearsonr",
    "masked_smape",
    "metric_name_from_target",
    "mse",
    "pearsonr",
    "r2_score",
    "stitch",
]
