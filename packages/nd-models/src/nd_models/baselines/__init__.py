"""Decoders of binned spike counts that every other has to beat, with the tokens and outputs of POYO+."""

from nd_models.baselines.binned_decoder import BinnedDecoder
from nd_models.baselines.gru import GRUDecoder
from nd_models.baselines.mlp import MLPDecoder
from nd_models.baselines.ndt import NDTDecoder
from nd_models.baselines.wiener import WienerDecoder
from nd_models.baselines.wiener_fit import WienerFit

__all__ = ["BinnedDecoder", "GRUDecoder", "MLPDecoder", "NDTDecoder", "WienerDecoder", "WienerFit"]
