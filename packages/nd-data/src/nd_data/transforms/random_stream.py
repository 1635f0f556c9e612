"""The random numbers of one transform: one stream in each process, none of them shared and none of them global."""

import os

import numpy as np
import torch
from torch.utils.data import get_worker_info

from nd_data.random_seed import RandomGenerator, draw_seed


class RandomStream:
    """Hand out a NumPy generator that belongs to the process that asks.

    With nothing given, each process draws its seed from torch's default generator when it first needs one: so
    ``torch.manual_seed`` repeats a run, and since torch seeds that generator in every DataLoader worker with the
    worker's own seed (base seed + worker id), workers differ from each other and from epoch to epoch.

    With a seed or a generator, the main process uses exactly that, and a worker mixes its own seed in: copies of one
    generator in all workers would make them all do the same.

    Args:
        generator: Where the seed is drawn from, once.
        seed: The seed itself.

    Raises:
        ValueError: both are given.
    """

    def __init__(self, generator: RandomGenerator | None = None, *, seed: int | None = None) -> None:
        if generator is not None and seed is not None:
            raise ValueError("give a generator or a seed, not both")
        self._seed = draw_seed(generator) if generator is not None else seed
        self._process: int | None = None
        self._numpy: np.random.Generator | None = None

    def numpy(self) -> np.random.Generator:
        """This process's generator."""
        if self._numpy is None or self._process != os.getpid():
            self._process = os.getpid()
            self._numpy = self._start()
        return self._numpy

    def _start(self) -> np.random.Generator:
        if self._seed is None:
            return np.random.default_rng(draw_seed())
        if get_worker_info() is None:
            return np.random.default_rng(self._seed)
        return np.random.default_rng((self._seed, torch.initial_seed()))
