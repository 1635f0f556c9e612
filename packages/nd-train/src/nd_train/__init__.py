"""Lightning modules, data modules, callbacks and the command line of nd."""

from nd_train.__about__ import __version__

__all__ = ["__version__"]
