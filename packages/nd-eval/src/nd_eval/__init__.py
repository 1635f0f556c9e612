"""Exact stitching of overlapping windows, and the metrics computed on them."""

from nd_eval.__about__ import __version__
from nd_eval.accumulator import StitchingAccumulator
from nd_eval.evaluation import DecodingStitchEvaluation, MultiTaskDecodingStitchEvaluation
from nd_eval.evaluation_result import EvaluationResult
from nd_eval.evaluator_data import DataForDecodingStitchEvaluator, DataForMultiTaskDecodingStitchEvaluator
from nd_eval.metrics.circular_metrics import CircularCorrelation, CircularError
from nd_eval.metrics.circular_scores import circular_correlation, circular_error
from nd_eval.metrics.classification_metrics import Accuracy, BalancedAccuracy, F1Score
from nd_eval.metrics.classification_scores import accuracy, balanced_accuracy, f1_score
from nd_eval.metrics.count_metrics import BitsPerSpike, PoissonPseudoR2
from nd_eval.metrics.count_scores import bits_per_spike, poisson_pseudo_r2
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
from nd_eval.stitched_trace import StitchedTrace
from nd_eval.uncertainty.block_length import automatic_block_length
from nd_eval.uncertainty.cluster_bootstrap import ClusterInterval, cluster_bootstrap
from nd_eval.uncertainty.score_intervals import ConfidenceIntervals, ScoreInterval, bootstrap_interval

__all__ = [
    "METRICS",
    "Accuracy",
    "BalancedAccuracy",
    "BitsPerSpike",
    "CircularCorrelation",
    "CircularError",
    "ClusterInterval",
    "ConfidenceIntervals",
    "DataForDecodingStitchEvaluator",
    "DataForMultiTaskDecodingStitchEvaluator",
    "DecodingStitchEvaluation",
    "EvaluationResult",
    "F1Score",
    "MaskedMeanAbsoluteError",
    "MaskedMeanSquaredError",
    "MaskedPearsonCorrCoef",
    "MaskedSMAPE",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "MetricSpec",
    "MultiTaskDecodingStitchEvaluation",
    "PearsonCorrCoef",
    "PoissonPseudoR2",
    "R2Score",
    "ScoreInterval",
    "StitchedTrace",
    "StitchingAccumulator",
    "__version__",
    "accuracy",
    "automatic_block_length",
    "balanced_accuracy",
    "bits_per_spike",
    "bootstrap_interval",
    "build_metric",
    "circular_correlation",
    "circular_error",
    "cluster_bootstrap",
    "f1_score",
    "mae",
    "masked_mae",
    "masked_mse",
    "masked_pearsonr",
    "masked_smape",
    "metric_name_from_target",
    "mse",
    "pearsonr",
    "poisson_pseudo_r2",
    "r2_score",
    "stitch",
]
