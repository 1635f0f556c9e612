"""Neural decoding architectures: POYO, POYO+, modality registry, losses, tokenizers."""

from nd_models.__about__ import __version__

__all__ = ["__version__"]
