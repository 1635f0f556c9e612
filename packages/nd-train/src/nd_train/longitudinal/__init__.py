"""Longitudinal forecasting: `MILightningModule`, its data module, and the pure functions of its eight steps."""

from nd_train.longitudinal.batch import BatchMasks, UnpackedBatch, batch_masks, check_labels, unpack_batch
from nd_train.longitudinal.data_module import LongitudinalDataModule
from nd_train.longitudinal.epoch_statistics import EpochStatistics, sequence_rows, subset_scores
from nd_train.longitudinal.forecast import Forecast, forecast, in_own_units
from nd_train.longitudinal.forward import forward_model, shaped_output
from nd_train.longitudinal.lightning_module import MILightningModule
from nd_train.longitudinal.loss import longitudinal_loss
from nd_train.longitudinal.optimization import build_optimizer, learning_parameters, mute_parameters, rate_factor
from nd_train.longitudinal.prediction_store import PredictionStore, storable
from nd_train.longitudinal.sequence_length import SequenceLengthScheduler, trim_mask
from nd_train.longitudinal.settings import LongitudinalSettings
from nd_train.longitudinal.shift import previous_levels, reshift_output, shift_labels, shifted_loss_mask
from nd_train.longitudinal.stored_predictions import StoredPredictions
from nd_train.longitudinal.subsets import SUBSETS, subset_masks
from nd_train.longitudinal.trainer_arguments import trainer_arguments

__all__ = [
    "SUBSETS",
    "BatchMasks",
    "EpochStatistics",
    "Forecast",
    "LongitudinalDataModule",
    "LongitudinalSettings",
    "MILightningModule",
    "PredictionStore",
    "SequenceLengthScheduler",
    "StoredPredictions",
    "UnpackedBatch",
    "batch_masks",
    "build_optimizer",
    "check_labels",
    "forecast",
    "forward_model",
    "in_own_units",
    "learning_parameters",
    "longitudinal_loss",
    "mute_parameters",
    "previous_levels",
    "rate_factor",
    "reshift_output",
    "sequence_rows",
    "shaped_output",
    "shift_labels",
    "shifted_loss_mask",
    "storable",
    "subset_masks",
    "subset_scores",
    "trainer_arguments",
    "trim_mask",
    "unpack_batch",
]
