"""The random numbers of one transform: seeded by the window it works on, or one stream in each process."""

import os

import numpy as np
import torch
from torch.utils.data import get_worker_info

from nd_data.random_seed import CURRENT_WINDOW, SEED_LIMIT, RandomGenerator, draw_seed


class RandomStream:
    """Hand out the NumPy generator that a transform shall draw from now.

    While a `Dataset` transforms a window that a sampler of `nd_data.samplers` addressed, the generator is a function of
    this stream's seed and of that window (see `nd_data.random_seed.WindowDraws`). So the same seed gives the same
    sample whatever the number of workers, of ranks, or of windows that were drawn before: also when a run resumes in
    the middle of an epoch. Each epoch gives other numbers.

    Elsewhere (called by hand, or on a window without a seed) there is a stream of its own in each process. With a seed
    or a generator the main process uses exactly that, and a worker mixes its own seed in: copies of one generator in
    all workers would make them all do the same. With nothing given, each process draws a seed from torch's default
    generator when it first needs one.

    A transform of your own is as repeatable as those of `nd_data.transforms` if it keeps one of these and calls
    `numpy` whenever it draws.

    Args:
        generator: Where the seed is drawn from, once.
        seed: The seed itself. Without either, the seed is drawn from torch's default generator when the stream is made:
            call ``torch.manual_seed`` (or Lightning's ``seed_everything``) first, or pass a seed, to repeat a run.

    Raises:
        ValueError: both are given.

    Example:
        >>> stream = RandomStream(seed=0)
        >>> float(stream.numpy().random()) == float(np.random.default_rng(0).random())
        True
    """

    def __init__(self, generator: RandomGenerator | None = None, *, seed: int | None = None) -> None:
        if generator is not None and seed is not None:
            raise ValueError("give a generator or a seed, not both")
        self._seed = draw_seed(generator) if generator is not None else seed
        # Drawn here and not when first needed: workers get copies, and all of them must agree.
        self._seed_of_windows = (draw_seed() if self._seed is None else self._seed) % SEED_LIMIT
        self._process: int | None = None
        self._numpy: np.random.Generator | None = None

    def numpy(self) -> np.random.Generator:
        """The generator to draw from: ask for it anew for every window."""
        window = CURRENT_WINDOW.get()
        if window is not None:
            return window.generator(self._seed_of_windows)
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
