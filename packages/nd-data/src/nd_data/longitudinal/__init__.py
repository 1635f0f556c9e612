"""Sequences of people or things followed over time: datasets, gaps, splits, batches."""

from nd_data.longitudinal.carrying import carry_forward
from nd_data.longitudinal.collating import collate_sequences
from nd_data.longitudinal.dataset import LongitudinalDataset
from nd_data.longitudinal.infill import fill_gaps, find_gaps
from nd_data.longitudinal.splits import (
    LongitudinalSplits,
    mark_out_of_time,
    split_by_folds,
    split_by_ids,
    split_sequences,
)
from nd_data.longitudinal.standardizer import Standardizer
from nd_data.longitudinal.time_axis import TimeAxis

__all__ = [
    "LongitudinalDataset",
    "LongitudinalSplits",
    "Standardizer",
    "TimeAxis",
    "carry_forward",
    "collate_sequences",
    "fill_gaps",
    "find_gaps",
    "mark_out_of_time",
    "split_by_folds",
    "split_by_ids",
    "split_sequences",
]
