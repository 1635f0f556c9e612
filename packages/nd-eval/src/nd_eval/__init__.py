"""Exact stitching of overlapping windows, and the metrics computed on them."""

from nd_eval.__about__ import __version__

__all__ = ["__version__"]
