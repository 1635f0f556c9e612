"""SparseLamb: layer-wise adaptive optimization, dense and row-sparse."""

from nd_optim.__about__ import __version__
from nd_optim.gradient_rows import UnsupportedGradientError
from nd_optim.sparse_lamb import SparseLamb

__all__ = ["SparseLamb", "UnsupportedGradientError", "__version__"]
