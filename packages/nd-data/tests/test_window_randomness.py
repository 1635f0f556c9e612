"""Random transforms behind a dataset: the same seed gives the same samples, whatever loads them, in any order."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from nd_data import Dataset, DatasetIndex, ResumableDataLoader
from nd_data.random_seed import WindowDraws
from nd_data.samplers import DistributedTrainingSamplerWrapper, RandomFixedWindowSampler, TrialSampler
from nd_data.transforms import (
    Compose,
    ConditionalChoice,
    RandomChoice,
    RandomCrop,
    RandomOutputSampler,
    RandomStream,
    RandomTimeScaling,
    UnitDropout,
)


def identity(data):
    return data


def has_many_spikes(data):
    return len(data.spikes) > 60


class Jitter:
    """A transform of one's own."""

    def __init__(self, generator=None, seed=None):
        self.random = RandomStream(generator, seed=seed)

    def __call__(self, data):
        data.jitter = float(self.random.numpy().normal())
        return data


def content(data):
    """Everything about a sample that a transform here may change."""
    return (
        data.absolute_start,
        data.spikes.timestamps.tolist(),
        data.spikes.unit_index.tolist(),
        data.units.id.tolist(),
        data.cursor.timestamps.tolist(),
        getattr(data, "jitter", None),
    )


TRANSFORMS = {
    "UnitDropout": lambda seed: UnitDropout(min_units=1, mode_units=2, max_units=5, generator=seed),
    "RandomCrop": lambda seed: RandomCrop(0.4, generator=seed),
    "RandomTimeScaling": lambda seed: RandomTimeScaling(0.8, 1.2, -0.1, 0.1, generator=seed),
    "RandomOutputSampler": lambda seed: RandomOutputSampler(7, "cursor", generator=seed),
    "RandomChoice": lambda seed: RandomChoice([identity, RandomCrop(0.3, generator=seed)], generator=seed),
    "ConditionalChoice": lambda seed: ConditionalChoice(has_many_spikes, RandomCrop(0.3, generator=seed), Jitter(seed)),
    "one's own": Jitter,
    "all": lambda seed: Compose(
        [
            UnitDropout(min_units=1, mode_units=2, max_units=5, generator=seed),
            RandomCrop(0.8, generator=seed),
            RandomTimeScaling(0.8, 1.2, generator=seed),
            RandomOutputSampler(5, "cursor", generator=seed),
            Jitter(seed),
        ]
    ),
}
every_transform = pytest.mark.parametrize("make", TRANSFORMS.values(), ids=TRANSFORMS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def dataset(root, make, seed=3):
    transform = Compose([make(None if seed is None else seeded(seed)), content])
    return Dataset(root, split="train", transform=transform)


def sampler(data, seed=1, window_length=4.0):
    return RandomFixedWindowSampler(data.get_sampling_intervals(), window_length, generator=seeded(seed))


def samples(root, make, *, workers=0, epochs=2, context=None, seed=3, loader=DataLoader):
    data = dataset(root, make, seed)
    batches = loader(
        data,
        sampler=sampler(data),
        batch_size=4,
        collate_fn=list,
        num_workers=workers,
        multiprocessing_context=context if workers else None,
    )
    return [[sample for batch in batches for sample in batch] for _ in range(epochs)]


@every_transform
def test_any_number_of_workers_gives_the_same_samples_and_epochs_differ(root, make):
    alone = samples(root, make)
    assert samples(root, make, workers=1) == alone
    assert samples(root, make, workers=2) == alone
    assert samples(root, make, workers=2, loader=ResumableDataLoader) == alone
    assert alone[0] != alone[1]
    assert samples(root, make, seed=4) != alone


def test_spawned_workers_give_the_same_samples(root):
    alone = samples(root, TRANSFORMS["all"], epochs=1)
    assert samples(root, TRANSFORMS["all"], workers=1, epochs=1, context="spawn") == alone


def test_unseeded_transforms_repeat_with_torch_s_seed_whatever_the_number_of_workers(root):
    def run(workers):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            return samples(root, TRANSFORMS["all"], workers=workers, seed=None)

    assert run(0) == run(2)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_resumed_within_an_epoch_gets_the_samples_it_would_have_got(root, workers):
    def loader(seed):
        data = dataset(root, TRANSFORMS["all"])
        return ResumableDataLoader(
            data, sampler=sampler(data, seed), batch_size=5, collate_fn=list, num_workers=workers
        )

    whole = loader(1)
    epochs = [list(whole) for _ in range(3)]
    first = loader(1)
    list(first)
    iterator = iter(first)
    used = [next(iterator) for _ in range(2)]
    resumed = loader(77)
    resumed.load_state_dict(first.state_dict())
    assert used + list(resumed) == epochs[1]
    assert list(resumed) == epochs[2]


def test_ranks_get_the_samples_of_one_process(root):
    data = dataset(root, TRANSFORMS["all"])
    alone = [data[index] for index in sampler(data)]
    ranks = []
    for rank in range(2):
        mine = dataset(root, TRANSFORMS["all"])
        ranks.append([mine[index] for index in DistributedTrainingSamplerWrapper(sampler(mine), 2, rank)])
    assert [sample for step in zip(*ranks, strict=True) for sample in step] == alone[: 2 * len(ranks[0])]


def test_a_sample_does_not_depend_on_what_was_loaded_before(root):
    data = dataset(root, TRANSFORMS["all"])
    windows = list(sampler(data))
    forward = {window: data[window] for window in windows}
    assert {window: data[window] for window in reversed(windows)} == forward


def test_the_same_trial_is_changed_in_another_way_in_every_epoch(root):
    data = Dataset(root, split="train", transform=Compose([Jitter(seed=0), lambda sample: sample.jitter]))
    trials = TrialSampler({"alpha/s1": [(0.0, 1.0)]}, shuffle=True, generator=seeded())
    assert len({data[index] for _ in range(20) for index in trials}) == 20


def test_windows_that_were_addressed_by_hand_are_changed_anew_each_time(root):
    data = Dataset(root, transform=Compose([Jitter(seed=0), lambda sample: sample.jitter]))
    index = DatasetIndex("alpha/s1", 0.0, 1.0)
    assert len({data[index] for _ in range(20)}) == 20
    with_seed = DatasetIndex("alpha/s1", 0.0, 1.0, seed=3)
    assert with_seed == index
    assert hash(with_seed) == hash(index)
    assert len({data[with_seed] for _ in range(20)}) == 1


def test_a_window_within_a_window_leaves_the_outer_one_s_numbers_alone(root):
    inner = Dataset(root, transform=Compose([Jitter(seed=1), lambda sample: sample.jitter]))

    def outer(looks_inside):
        jitter = Jitter(seed=0)

        def transform(data):
            first = jitter(data).jitter
            if looks_inside:
                inner[DatasetIndex("alpha/s2", 0.0, 1.0, seed=9)]
            return first, jitter(data).jitter

        return Dataset(root, transform=transform)[DatasetIndex("alpha/s1", 0.0, 1.0, seed=2)]

    assert outer(looks_inside=True) == outer(looks_inside=False)
    assert outer(looks_inside=True)[0] != outer(looks_inside=True)[1]


def test_an_error_in_a_transform_does_not_leave_its_window_behind(root):
    def fail(data):
        raise RuntimeError("no")

    stream = RandomStream(seed=0)
    with pytest.raises(RuntimeError, match="no"):
        Dataset(root, transform=fail)[DatasetIndex("alpha/s1", 0.0, 1.0, seed=2)]
    assert stream.numpy().random() == np.random.default_rng(0).random()


def test_numbers_of_neighbouring_windows_and_streams_are_uniform_and_uncorrelated():
    n = 4000
    draws = np.array(
        [
            [
                WindowDraws(DatasetIndex("a/1", float(i), i + 1.0, seed)).generator(stream).random()
                for seed, stream in ((0, 0), (1, 0), (0, 1))
            ]
            for i in range(n)
        ]
    )
    for column in draws.T:
        gap = np.abs(np.sort(column) - (np.arange(n) + 0.5) / n).max()
        assert gap < 1.95 / np.sqrt(n)  # Kolmogorov-Smirnov, 0.1 %
        assert abs(np.corrcoef(column[1:], column[:-1])[0, 1]) < 4 / np.sqrt(n)
    correlations = np.corrcoef(draws.T)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(n)


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, "x"])
def test_a_seed_that_is_none_is_refused(root, seed):
    data = Dataset(root, transform=Jitter(seed=0))
    with pytest.raises(ValueError, match=r"a window's seed is an integer from 0 to 2\*\*63 - 1.*got seed"):
        data[DatasetIndex("alpha/s1", 0.0, 1.0, seed=seed)]
