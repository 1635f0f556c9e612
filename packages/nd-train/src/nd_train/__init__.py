"""Lightning modules, data modules, callbacks and the command line of nd."""

from typing import TYPE_CHECKING

from nd_train.__about__ import __version__
from nd_train.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from nd_train.data_module import NeuralDataModule
    from nd_train.longitudinal import LongitudinalDataModule, MILightningModule
    from nd_train.neural_decoder import NeuralDecoder
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "LongitudinalDataModule": "nd_train.longitudinal",
            "MILightningModule": "nd_train.longitudinal",
            "NeuralDataModule": "nd_train.data_module",
            "NeuralDecoder": "nd_train.neural_decoder",
        },
    )

__all__ = ["LongitudinalDataModule", "MILightningModule", "NeuralDataModule", "NeuralDecoder", "__version__"]
