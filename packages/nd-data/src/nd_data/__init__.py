"""Recordings on disk to batches of windows: containers, HDF5, datasets, samplers, transforms, collate."""

from nd_data.__about__ import __version__
from nd_data.array_dict import ArrayDict, LazyArrayDict
from nd_data.binning import bin_spikes
from nd_data.collate import chain, collate, pad, pad8, track_batch, track_mask, track_mask8
from nd_data.concat import concat
from nd_data.data import Data
from nd_data.dataset import Dataset, DatasetIndex
from nd_data.interval import Interval
from nd_data.interval_membership import isin_interval, resolve_weights_based_on_interval_membership
from nd_data.irregular_time_series import IrregularTimeSeries, LazyIrregularTimeSeries
from nd_data.lazy_interval import LazyInterval
from nd_data.regular_time_series import LazyRegularTimeSeries, RegularTimeSeries
from nd_data.resumable_loader import ResumableDataLoader

__all__ = [
    "ArrayDict",
    "Data",
    "Dataset",
    "DatasetIndex",
    "Interval",
    "IrregularTimeSeries",
    "LazyArrayDict",
    "LazyInterval",
    "LazyIrregularTimeSeries",
    "LazyRegularTimeSeries",
    "RegularTimeSeries",
    "ResumableDataLoader",
    "__version__",
    "bin_spikes",
    "chain",
    "collate",
    "concat",
    "isin_interval",
    "pad",
    "pad8",
    "resolve_weights_based_on_interval_membership",
    "track_batch",
    "track_mask",
    "track_mask8",
]
