"""Dropout that draws its mask quickly on CPU.

PyTorch's CPU dropout draws one Bernoulli number an element in a serial loop (about 6 ns each), which is longer than the
matrix products of a small decoder take. Here a random byte decides an element. Bytes know 256 probabilities; to hit
those between, each run of elements drops by the level below or the one above, drawn so that every element is dropped
with the probability that was asked for.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nd_models.nn.followers import is_followed

# Elements that share a level.
_RUN = 256
# Outside of these, one level of a byte would be too large a part of the probability, and two bytes decide.
_LEAST, _MOST = 1 / 16, 15 / 16
# Above, everything is dropped.
_ALL = 1 - 2.0**-16


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` with the same meaning and a faster mask on CPU.

    Random numbers come from PyTorch's default generator, as in `nn.Dropout`, but in another way: the same seed drops
    other elements. On every other device, and under `torch.compile` and function transforms, this is `nn.Dropout`.
    """

    @property
    def probability(self) -> float:
        """Of zeroing an element now: `p` while training, else 0."""
        return self.p if self.training else 0.0

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the parent's name
        """Zero a share `p` of the elements while training. Any shape and floating dtype."""
        if self.inplace:
            return functional.dropout(input, self.p, self.training, inplace=True)
        return dropped(input, self.probability)


def dropped(x: Tensor, probability: float) -> Tensor:
    """What `Dropout` makes of `x` while training."""
    if probability == 0.0:
        return x
    if x.device.type != "cpu" or is_followed():
        return functional.dropout(x, probability)
    return x * random_mask(x, probability)


def kept(shape: Sequence[int], probability: float) -> Tensor:
    """One where an element stays and zero where it is dropped; `kept_scale` keeps the mean.

    Returns:
        uint8 on CPU. Not bool, of which PyTorch makes floats seven times as slowly.
    """
    count = math.prod(shape)
    if probability > _ALL:
        return torch.zeros(tuple(shape), dtype=torch.uint8, device="cpu")
    draws_of = torch.int8 if _LEAST <= probability <= _MOST else torch.int16
    runs = -(-count // _RUN)
    levels = 256 if draws_of is torch.int8 else 65536
    level = math.floor(probability * levels)
    thresholds = torch.full((runs, 1), level - levels // 2, dtype=draws_of, device="cpu")
    thresholds += _draws((runs, 1), torch.int16) < round((probability * levels - level) * 65536) - 32768
    stay = _draws((runs, _RUN), draws_of) >= thresholds
    return stay.view(torch.uint8).view(-1)[:count].view(tuple(shape))


def kept_scale(probability: float) -> float:
    """The factor of what `kept` keeps."""
    return 0.0 if probability > _ALL else 1 / (1 - probability)


def random_mask(like: Tensor, probability: float) -> Tensor:
    """Zeros with the given probability, elsewhere the factor that keeps the mean; shape and dtype of `like`, on CPU."""
    return kept(like.shape, probability).to(like.dtype).mul_(kept_scale(probability))


def _draws(shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Integers of the whole range of a dtype."""
    words = -(-math.prod(shape) * dtype.itemsize // 8)
    draws = torch.empty(words, dtype=torch.int64, device="cpu").random_(-(2**63), None)
    return draws.view(dtype)[: math.prod(shape)].view(shape)
