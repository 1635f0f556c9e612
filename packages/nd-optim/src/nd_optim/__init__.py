"""SparseLamb: layer-wise adaptive optimization, dense and row-sparse."""

from nd_optim.__about__ import __version__

__all__ = ["__version__"]
