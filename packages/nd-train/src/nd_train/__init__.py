"""Lightning modules, data modules, callbacks and the command line of nd."""

from nd_train.__about__ import __version__
from nd_train.data_module import NeuralDataModule
from nd_train.longitudinal import LongitudinalDataModule, MILightningModule
from nd_train.neural_decoder import NeuralDecoder

__all__ = ["LongitudinalDataModule", "MILightningModule", "NeuralDataModule", "NeuralDecoder", "__version__"]
