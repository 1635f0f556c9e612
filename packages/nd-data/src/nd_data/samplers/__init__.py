"""Samplers: each turns the sampling intervals of many recordings into the windows of an epoch."""

from nd_data.samplers.distributed_evaluation import DistributedEvaluationSamplerWrapper
from nd_data.samplers.distributed_stitching import DistributedStitchingFixedWindowSampler
from nd_data.samplers.distributed_training import DistributedTrainingSamplerWrapper
from nd_data.samplers.random_fixed_window import RandomFixedWindowSampler
from nd_data.samplers.resumable import ResumableSampler
from nd_data.samplers.sequential_fixed_window import SequentialFixedWindowSampler
from nd_data.samplers.token_budget import TokenBudgetBatchSampler
from nd_data.samplers.token_counts import SpikeCounts
from nd_data.samplers.trial import TrialSampler

__all__ = [
    "DistributedEvaluationSamplerWrapper",
    "DistributedStitchingFixedWindowSampler",
    "DistributedTrainingSamplerWrapper",
    "RandomFixedWindowSampler",
    "ResumableSampler",
    "SequentialFixedWindowSampler",
    "SpikeCounts",
    "TokenBudgetBatchSampler",
    "TrialSampler",
]
