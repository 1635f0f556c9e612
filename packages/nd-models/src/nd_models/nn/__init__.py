"""Layers that the architectures are built from."""

from nd_models.nn.dropout import Dropout
from nd_models.nn.embedding import Embedding
from nd_models.nn.feedforward import GEGLU, FeedForward, NormedFeedForward
from nd_models.nn.fused import plain_layers
from nd_models.nn.infinite_vocab_embedding import InfiniteVocabEmbedding
from nd_models.nn.multitask_readout import MultitaskReadout
from nd_models.nn.rotary_attention import RotaryCrossAttention, RotarySelfAttention
from nd_models.nn.time_embedding import RotaryTimeEmbedding, Rotation, SinusoidalTimeEmbedding

__all__ = [
    "GEGLU",
    "Dropout",
    "Embedding",
    "FeedForward",
    "InfiniteVocabEmbedding",
    "MultitaskReadout",
    "NormedFeedForward",
    "RotaryCrossAttention",
    "RotarySelfAttention",
    "RotaryTimeEmbedding",
    "Rotation",
    "SinusoidalTimeEmbedding",
    "plain_layers",
]
