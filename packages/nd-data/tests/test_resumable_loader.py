import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader

from nd_data import ResumableDataLoader
from nd_data.samplers import RandomFixedWindowSampler, TokenBudgetBatchSampler

INTERVALS = {"a/1": [(0.0, 11.3), (20.0, 27.0)], "b/1": [(100.0, 109.5)]}


class Addresses(torch.utils.data.Dataset):
    """Each item is the address of its window."""

    def __getitem__(self, index):
        return tuple(index)


def windows(seed=0):
    return RandomFixedWindowSampler(INTERVALS, 1.0, generator=torch.Generator().manual_seed(seed))


def tokens(plan):
    return (np.floor(plan.start * 7.3) % 23).astype(np.int64) + 1


LOADERS = {
    "batches": lambda **kwargs: {"sampler": windows(), "batch_size": 4} | kwargs,
    "batches, last dropped": lambda **kwargs: {"sampler": windows(), "batch_size": 4, "drop_last": True} | kwargs,
    "single windows": lambda **kwargs: {"sampler": windows(), "batch_size": None} | kwargs,
    "batch sampler": lambda **kwargs: {"batch_sampler": BatchSampler(windows(), 4, drop_last=False)} | kwargs,
    "token budget": lambda **kwargs: {"batch_sampler": TokenBudgetBatchSampler(windows(), tokens, 64)} | kwargs,
}
every_loader = pytest.mark.parametrize("arguments", LOADERS.values(), ids=LOADERS)


def loader(arguments, **kwargs):
    kwargs = arguments(**kwargs)
    if kwargs.get("batch_size", 1) is not None:
        kwargs["collate_fn"] = list
    return ResumableDataLoader(Addresses(), **kwargs)


def epochs(arguments, count=3):
    whole = loader(arguments)
    return [list(whole) for _ in range(count)]


@every_loader
def test_batches_are_those_of_a_plain_loader(arguments):
    kwargs = arguments()
    plain = DataLoader(Addresses(), collate_fn=None if kwargs.get("batch_size", 1) is None else list, **kwargs)
    assert [list(plain), list(plain)] == epochs(arguments, 2)


@every_loader
@given(data=st.data())
@settings(max_examples=15)
def test_a_state_resumes_after_any_batch(arguments, data):
    whole = epochs(arguments)
    first = loader(arguments)
    epoch = data.draw(st.integers(0, 1))
    for _ in range(epoch):
        list(first)
    used = data.draw(st.integers(0, len(whole[epoch])))
    iterator = iter(first)
    for _ in range(used):
        next(iterator)
    assert first.batches_used == (used or len(whole[0]) * epoch)
    resumed = loader(arguments)
    resumed.load_state_dict(first.state_dict())
    assert resumed.batches_used == used % len(whole[epoch])
    if used < len(whole[epoch]):
        assert len(resumed) == len(whole[epoch])
        assert list(resumed) == whole[epoch][used:]
    assert list(resumed) == whole[epoch + 1]


@every_loader
@pytest.mark.parametrize("persistent", [False, True])
def test_what_workers_prefetched_is_not_lost(arguments, persistent):
    whole = epochs(arguments)
    kwargs = {"num_workers": 2, "prefetch_factor": 4, "persistent_workers": persistent}
    first = loader(arguments, **kwargs)
    assert list(first) == whole[0]
    iterator = iter(first)
    used = [next(iterator) for _ in range(3)]
    state = first.state_dict()
    resumed = loader(arguments, **kwargs)
    resumed.load_state_dict(state)
    assert used + list(resumed) == whole[1]
    assert list(resumed) == whole[2]


@every_loader
def test_a_plain_loader_s_workers_skip_no_epoch_either(arguments):
    kwargs = arguments(num_workers=2)
    plain = DataLoader(Addresses(), collate_fn=None if kwargs.get("batch_size", 1) is None else list, **kwargs)
    assert [list(plain), list(plain)] == epochs(arguments, 2)


@every_loader
def test_a_pass_begins_with_its_first_batch(arguments):
    whole = epochs(arguments)
    late = loader(arguments, num_workers=1)
    iterator = iter(late)
    source = late.batch_sampler if late.batch_sampler is not None else late.sampler
    getattr(source, "sampler", source).set_epoch(2)  # as Lightning does, once it has made its iterators
    assert next(iterator) == whole[2][0]


@every_loader
def test_a_pass_that_was_left_early_is_followed_by_the_next_epoch(arguments):
    whole = epochs(arguments)
    one = loader(arguments)
    next(iter(one))
    assert list(one) == whole[1]
    resumed = loader(arguments)
    resumed.load_state_dict(one.state_dict())
    assert list(resumed) == whole[2]


def test_iterating_draws_nothing_from_torch_s_default_generator():
    before = torch.get_rng_state()
    one = loader(LOADERS["batches"])
    for _ in range(2):
        list(one)
    assert torch.equal(torch.get_rng_state(), before)


class WorkerSeeds(torch.utils.data.Dataset):
    def __getitem__(self, index):
        return torch.initial_seed()


def test_workers_are_seeded_by_sampler_and_epoch_unless_a_generator_is_given():
    def seeds(count=2, **kwargs):
        one = ResumableDataLoader(WorkerSeeds(), sampler=windows(), batch_size=None, num_workers=2, **kwargs)
        return [set(one) for _ in range(count)]

    assert seeds() == seeds()
    assert len(set.union(*seeds())) == 4
    given = seeds(generator=torch.Generator().manual_seed(1))
    assert given == seeds(generator=torch.Generator().manual_seed(1)) != seeds()


def test_another_batch_size_goes_on_with_the_windows_that_were_not_used():
    whole = [window for batch in epochs(LOADERS["batches"], 1)[0] for window in batch]
    first = loader(LOADERS["batches"])
    iterator = iter(first)
    next(iterator), next(iterator)
    resumed = loader(LOADERS["batches"], batch_size=3)
    resumed.load_state_dict(first.state_dict())
    assert resumed.batches_used == 3  # 8 windows, which are two full batches of 3 and a part of the third
    assert [window for batch in resumed for window in batch] == whole[8:]


@pytest.mark.parametrize("duplicate", [copy.copy, lambda one: pickle.loads(pickle.dumps(one))])  # noqa: S301
def test_a_copy_has_the_same_state(duplicate):
    one = loader(LOADERS["batches"])
    list(one)
    twin = duplicate(one)
    assert twin.state_dict() == one.state_dict()
    resumed = loader(LOADERS["batches"])
    resumed.load_state_dict(twin.state_dict())
    assert list(resumed) == epochs(LOADERS["batches"])[1]


def test_a_sampler_that_cannot_be_resumed_still_loads_but_has_no_state():
    foreign = ResumableDataLoader([1, 2, 3], batch_size=2, collate_fn=list)
    assert list(foreign) == [[1, 2], [3]]
    with pytest.raises(TypeError, match=r"samplers of nd_data\.samplers only, got SequentialSampler"):
        foreign.state_dict()


def test_batches_that_may_overtake_each_other_are_refused():
    unordered = loader(LOADERS["batches"], num_workers=1, in_order=False)
    with pytest.raises(ValueError, match="in_order=True"):
        next(iter(unordered))
