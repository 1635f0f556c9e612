import os
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from nd_data.transforms import (
    BinSpikes,
    RandomChoice,
    RandomCrop,
    RandomOutputSampler,
    RandomTimeScaling,
    TriangleDistribution,
    UnitDropout,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Draws(torch.utils.data.Dataset):
    """Each item: the process, and a number that a transform draws there."""

    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return os.getpid(), self.transform.sample(1000)


def draws(transform, workers, seed=0, context=None):
    generator = torch.Generator().manual_seed(seed)
    loader = DataLoader(
        Draws(transform),
        batch_size=None,
        num_workers=workers,
        generator=generator,
        multiprocessing_context=context if workers else None,
    )
    by_process = {}
    for process, value in loader:
        by_process.setdefault(process, []).append(value)
    return list(by_process.values())


@pytest.mark.parametrize("kwargs", [{}, {"seed": 5}, {"generator": 5}], ids=["torch", "seed", "generator"])
def test_workers_draw_different_numbers_that_repeat_with_the_seed_of_the_loader(kwargs):
    def make():
        return TriangleDistribution(**{k: seeded(v) if k == "generator" else v for k, v in kwargs.items()})

    one, other = draws(make(), 2)
    assert not set(one) & set(other)
    assert [one, other] == draws(make(), 2)
    assert [one, other] != draws(make(), 2, seed=1)


def test_a_stream_used_before_a_fork_does_not_repeat_in_the_workers():
    transform = TriangleDistribution(seed=5)
    ahead = TriangleDistribution(seed=5)
    transform.sample(1000)
    upcoming = [ahead.sample(1000) for _ in range(10)]
    for values in draws(transform, 2):
        assert not set(values) & set(upcoming)


def test_torch_s_seed_repeats_a_stream_and_two_streams_differ():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        one, other = TriangleDistribution(), TriangleDistribution()
        first = [one.sample(1000), other.sample(1000)]
        torch.manual_seed(3)
        one, other = TriangleDistribution(), TriangleDistribution()
        assert [one.sample(1000), other.sample(1000)] == first
    assert first[0] != first[1]


def test_a_passed_generator_or_seed_repeats_a_stream():
    for make in (
        lambda: UnitDropout(generator=seeded(1)),
        lambda: UnitDropout(generator=np.random.default_rng(1)),
        lambda: UnitDropout(seed=1),
    ):
        assert make().distribution.sample(999) == make().distribution.sample(999)
    with pytest.raises(ValueError, match="a generator or a seed, not both"):
        UnitDropout(seed=1, generator=seeded())


@pytest.mark.parametrize(
    "transform",
    [
        UnitDropout(),
        RandomChoice([str]),
        RandomCrop(1.0),
        RandomTimeScaling(1, 2),
        RandomOutputSampler(3),
        BinSpikes(0.1),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_a_transform_can_be_pickled(transform):
    assert type(pickle.loads(pickle.dumps(transform))) is type(transform)  # noqa: S301
