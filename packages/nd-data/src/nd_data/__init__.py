"""Recordings on disk to batches of windows: containers, HDF5, datasets, samplers, transforms, collate."""

from nd_data.__about__ import __version__

__all__ = ["__version__"]
