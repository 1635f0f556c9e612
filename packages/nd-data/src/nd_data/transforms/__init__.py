"""Transforms: each takes a window and returns it changed; chain them with `Compose`, a model's tokenizer last."""

from nd_data.transforms.bin_spikes import BinSpikes
from nd_data.transforms.compose import Compose
from nd_data.transforms.conditional_choice import ConditionalChoice
from nd_data.transforms.random_choice import RandomChoice
from nd_data.transforms.random_crop import RandomCrop
from nd_data.transforms.random_output_sampler import RandomOutputSampler
from nd_data.transforms.random_stream import RandomStream
from nd_data.transforms.random_time_scaling import RandomTimeScaling
from nd_data.transforms.triangle_distribution import TriangleDistribution
from nd_data.transforms.unit_dropout import UnitDropout
from nd_data.transforms.unit_filter import UnitFilter, UnitFilterById

__all__ = [
    "BinSpikes",
    "Compose",
    "ConditionalChoice",
    "RandomChoice",
    "RandomCrop",
    "RandomOutputSampler",
    "RandomStream",
    "RandomTimeScaling",
    "TriangleDistribution",
    "UnitDropout",
    "UnitFilter",
    "UnitFilterById",
]
