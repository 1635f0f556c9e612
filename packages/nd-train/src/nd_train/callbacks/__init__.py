"""Lightning callbacks: stitched evaluation, and what one wants to know of a run."""

from nd_train.callbacks.epoch_time_logger import EpochTimeLogger
from nd_train.callbacks.gradual_unfreezing import GradualUnfreezing
from nd_train.callbacks.last_checkpoint import LastCheckpoint
from nd_train.callbacks.mem_info import MemInfo
from nd_train.callbacks.model_weight_stats_logger import ModelWeightStatsLogger
from nd_train.callbacks.prediction_traces import PredictionTraces
from nd_train.callbacks.requeue_between_steps import RequeueBetweenSteps
from nd_train.callbacks.step_seeds import StepSeeds
from nd_train.callbacks.stitch_evaluators import DecodingStitchEvaluator, MultiTaskDecodingStitchEvaluator
from nd_train.callbacks.throughput import Throughput

__all__ = [
    "DecodingStitchEvaluator",
    "EpochTimeLogger",
    "GradualUnfreezing",
    "LastCheckpoint",
    "MemInfo",
    "ModelWeightStatsLogger",
    "MultiTaskDecodingStitchEvaluator",
    "PredictionTraces",
    "RequeueBetweenSteps",
    "StepSeeds",
    "Throughput",
]
