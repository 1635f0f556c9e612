"""Models that forecast outcomes of people or things followed over time."""

from nd_models.longitudinal.baselines import LastValue, MeanValue
from nd_models.longitudinal.configuration import ARCHITECTURES, model_from_config
from nd_models.longitudinal.forecaster import LongitudinalForecaster
from nd_models.longitudinal.last_step import gather_last_valid, last_valid_index, selectable_steps
from nd_models.longitudinal.recurrent import Recurrent
from nd_models.longitudinal.transformer import AutoRegressiveTransformer
from nd_models.longitudinal.windows import AutoRegressiveLinear, WindowedMeanLinear, window_mean

__all__ = [
    "ARCHITECTURES",
    "AutoRegressiveLinear",
    "AutoRegressiveTransformer",
    "LastValue",
    "LongitudinalForecaster",
    "MeanValue",
    "Recurrent",
    "WindowedMeanLinear",
    "gather_last_valid",
    "last_valid_index",
    "model_from_config",
    "selectable_steps",
    "window_mean",
]
