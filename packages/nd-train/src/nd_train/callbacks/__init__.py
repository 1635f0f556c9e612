"""Lightning callbacks: stitched evaluation, and what one wants to know of a run."""

from nd_train.callbacks.epoch_time_logger import EpochTimeLogger
from nd_train.callbacks.mem_info import MemInfo
from nd_train.callbacks.model_weight_stats_logger import ModelWeightStatsLogger
from nd_train.callbacks.stitch_evaluators import DecodingStitchEvaluator, MultiTaskDecodingStitchEvaluator

__all__ = [
    "DecodingStitchEvaluator",
    "EpochTimeLogger",
    "MemInfo",
    "ModelWeightStatsLogger",
    "MultiTaskDecodingStitchEvaluator",
]
