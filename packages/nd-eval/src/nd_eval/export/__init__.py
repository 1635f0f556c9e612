"""Predictions in the layouts that the field scores with: Neural Latents Benchmark, FALCON, IBL BrainWideBench.

h5py and safetensors (extra ``export``) are imported when a file is written.
"""

from nd_eval.export.brain_wide_bench import (
    BRAIN_WIDE_DECODING_TASKS,
    BRAIN_WIDE_REGIONS,
    BrainWideTrials,
    save_brain_wide_activity,
    save_brain_wide_decoding,
    save_brain_wide_regions,
)
from nd_eval.export.falcon import FalconBins, FalconPredictions, falcon_predictions
from nd_eval.export.falcon_datasets import FALCON_DATASETS, FALCON_DIMENSIONS
from nd_eval.export.falcon_replay import FalconReplay
from nd_eval.export.lookup import predictions_at
from nd_eval.export.neural_latents import NLB_DATASETS, nlb_rates, save_nlb_submission

__all__ = [
    "BRAIN_WIDE_DECODING_TASKS",
    "BRAIN_WIDE_REGIONS",
    "FALCON_DATASETS",
    "FALCON_DIMENSIONS",
    "NLB_DATASETS",
    "BrainWideTrials",
    "FalconBins",
    "FalconPredictions",
    "FalconReplay",
    "falcon_predictions",
    "nlb_rates",
    "predictions_at",
    "save_brain_wide_activity",
    "save_brain_wide_decoding",
    "save_brain_wide_regions",
    "save_nlb_submission",
]
