import copy
import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_data.samplers import (
    DistributedEvaluationSamplerWrapper,
    DistributedStitchingFixedWindowSampler,
    DistributedTrainingSamplerWrapper,
    RandomFixedWindowSampler,
    SequentialFixedWindowSampler,
    TokenBudgetBatchSampler,
    TrialSampler,
)

INTERVALS = {"a/1": [(0.0, 11.3), (20.0, 27.0)], "a/2": [(3.0, 9.9)], "b/1": [(100.0, 117.5), (120.0, 121.0)]}


def random(seed=0, **kwargs):
    return RandomFixedWindowSampler(INTERVALS, 1.0, generator=torch.Generator().manual_seed(seed), **kwargs)


def tokens(plan):
    return (np.floor(plan.start * 7.3) % 23).astype(np.int64) + 1


# Each makes a sampler whose own seed is that given; loading a state must make up for another one.
FAMILY = {
    "random": random,
    "weighted": lambda seed=0: random(seed, weights={"a": 2.0}),
    "trials": lambda seed=0: TrialSampler(INTERVALS, shuffle=True, generator=np.random.default_rng(seed)),
    "trials in order": lambda seed=0: TrialSampler(INTERVALS),
    "sequential": lambda seed=0: SequentialFixedWindowSampler(INTERVALS, 1.0, step=0.4),
    "stitching": lambda seed=0: DistributedStitchingFixedWindowSampler(
        INTERVALS, 1.0, step=0.5, batch_size=4, num_replicas=2, rank=1
    ),
    "evaluation wrapper": lambda seed=0: DistributedEvaluationSamplerWrapper(random(seed), 3, 1),
    "training wrapper": lambda seed=0: DistributedTrainingSamplerWrapper(random(seed), 3, 1),
    "token budget": lambda seed=0: TokenBudgetBatchSampler(random(seed), tokens, 64, pool_size=2),
    "token budget on ranks": lambda seed=0: TokenBudgetBatchSampler(
        random(seed), tokens, 64, pool_size=2, num_replicas=2, rank=1
    ),
}
every_sampler = pytest.mark.parametrize("make", FAMILY.values(), ids=FAMILY)


def drawn(sampler, epochs=3):
    """What comes in each of several epochs, seeds of windows included."""
    return [[exact(item) for item in sampler] for _ in range(epochs)]


def exact(item):
    return [tuple(index) for index in item] if isinstance(item, list) else tuple(item)


@every_sampler
@given(data=st.data())
@settings(max_examples=25)
def test_a_state_resumes_anywhere_with_order_seeds_and_epochs_of_the_whole_run(make, data):
    whole = drawn(make())
    sampler = make()
    epoch = data.draw(st.integers(0, 1))
    for _ in range(epoch):
        list(sampler)
    iterator = iter(sampler)
    used = data.draw(st.integers(0, len(whole[epoch])))
    for _ in range(used):
        next(iterator)
    state = json.loads(json.dumps(sampler.state_dict()))
    resumed = make(seed=99)
    resumed.load_state_dict(state)
    if used < len(whole[epoch]):
        assert [exact(item) for item in resumed] == whole[epoch][used:]
    assert [exact(item) for item in resumed] == whole[epoch + 1]


@every_sampler
@given(data=st.data())
@settings(max_examples=15)
def test_what_was_consumed_counts_and_not_what_was_drawn_ahead(make, data):
    whole = drawn(make(), 1)[0]
    sampler = make()
    ahead = iter(sampler)
    used = data.draw(st.integers(0, len(whole) - 1))
    for _ in range(data.draw(st.integers(used, len(whole)))):
        next(ahead)
    resumed = make(seed=99)
    resumed.load_state_dict(sampler.state_dict(consumed=used))
    assert [exact(item) for item in resumed] == whole[used:]


@every_sampler
def test_a_resumed_pass_can_be_left_and_resumed_again(make):
    whole = drawn(make(), 1)[0]
    first = make()
    iterator = iter(first)
    next(iterator)
    second = make()
    second.load_state_dict(first.state_dict())
    next(iter(second))
    third = make()
    third.load_state_dict(second.state_dict())
    assert [exact(item) for item in third] == whole[2:]


@every_sampler
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda sampler: pickle.loads(pickle.dumps(sampler))])  # noqa: S301
def test_a_copy_in_the_middle_of_a_pass_has_the_same_state(make, duplicate):
    sampler = make()
    iterator = iter(sampler)
    next(iterator)
    twin = duplicate(sampler)
    next(iterator)
    assert twin.state_dict()["consumed"] == 1
    assert sampler.state_dict() == twin.state_dict() | {"consumed": 2}
    resumed = make()
    resumed.load_state_dict(twin.state_dict())
    assert [exact(item) for item in resumed] == drawn(make(), 1)[0][1:]
    assert [exact(item) for item in twin] == drawn(make(), 2)[1]


@every_sampler
def test_the_length_is_that_of_a_whole_epoch_also_when_a_pass_is_resumed(make):
    sampler = make()
    length = len(sampler)
    next(iter(sampler))
    resumed = make()
    resumed.load_state_dict(sampler.state_dict())
    assert len(resumed) == length
    assert resumed.position == 1
    assert len(list(resumed)) == length - 1


@every_sampler
def test_setting_the_epoch_keeps_a_loaded_position_of_that_epoch_and_drops_it_for_another(make):
    state = make().state_dict(epoch=1, consumed=2)
    whole = drawn(make())
    kept, moved = make(), make()
    kept.load_state_dict(state)
    kept.set_epoch(1)
    assert [exact(item) for item in kept] == whole[1][2:]
    moved.load_state_dict(state)
    moved.set_epoch(2)
    assert [exact(item) for item in moved] == whole[2]


def test_a_pass_that_was_left_for_another_epoch_is_over():
    sampler = random()
    next(iter(sampler))
    sampler.set_epoch(5)
    assert (sampler.state_dict()["epoch"], sampler.state_dict()["consumed"]) == (5, 0)


def test_a_state_survives_torch_save_without_pickle(tmp_path):
    state = random().state_dict(consumed=3)
    torch.save(state, tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == state


@pytest.mark.parametrize(
    "other",
    [
        RandomFixedWindowSampler(INTERVALS, 0.9),
        RandomFixedWindowSampler({**INTERVALS, "b/1": [(100.0, 117.6)]}, 1.0),
        RandomFixedWindowSampler({**INTERVALS, "c/1": [(0.0, 1.0)]}, 1.0),
        random(weights={"a": 2.0}),
        SequentialFixedWindowSampler(INTERVALS, 1.0),
    ],
    ids=["window length", "interval", "recording", "weights", "class"],
)
def test_a_state_of_other_windows_is_refused(other):
    with pytest.raises(ValueError, match=r"saved by a RandomFixedWindowSampler over other windows.*set_epoch"):
        other.load_state_dict(random().state_dict())


@pytest.mark.parametrize(
    ("state", "message"),
    [({}, "not the state of a sampler: expected the keys"), ({"epoch": 1}, r"got \['epoch'\]")],
)
def test_what_is_no_state_is_refused(state, message):
    with pytest.raises(ValueError, match=message):
        random().load_state_dict(state)


@pytest.mark.parametrize("consumed", [-1, 1000])
def test_more_than_an_epoch_cannot_have_been_consumed(consumed):
    with pytest.raises(ValueError, match=f"consumed must be from 0 to {len(random())}, .* got {consumed}"):
        random().state_dict(consumed=consumed)


def test_epochs_are_not_negative():
    with pytest.raises(ValueError, match="an epoch is 0 or more, got -1"):
        random().set_epoch(-1)


@given(before=st.integers(1, 6), after=st.integers(1, 6), used=st.integers(0, 6))
@settings(max_examples=60)
def test_other_numbers_of_ranks_take_up_where_they_meet_or_say_that_they_do_not(before, after, used):
    order = list(random())
    used = min(used, len(order) // before - 1)
    state = DistributedTrainingSamplerWrapper(random(), before, 0).state_dict(consumed=used)
    ranks = [DistributedTrainingSamplerWrapper(random(), after, rank) for rank in range(after)]
    if used * before % after:
        with pytest.raises(ValueError, match=f"{after} ranks cannot share evenly"):
            ranks[0].load_state_dict(state)
        return
    for rank in ranks:
        rank.load_state_dict(state)
    by_turns = [window for step in zip(*ranks, strict=True) for window in step]
    assert by_turns == order[used * before : len(order) - len(order) % after]


def test_a_wrapper_around_a_foreign_sampler_draws_but_cannot_be_resumed():
    wrapper = DistributedEvaluationSamplerWrapper(torch.utils.data.SequentialSampler(range(5)), 2, 1)
    assert list(wrapper) == [1, 3]
    assert len(wrapper) == 2
    with pytest.raises(TypeError, match="a SequentialSampler cannot be resumed"):
        wrapper.state_dict()


@given(num_replicas=st.integers(1, 6), epoch=st.integers(0, 3))
def test_training_ranks_take_as_many_steps_and_their_batches_make_up_that_of_one_process(num_replicas, epoch):
    order = list(random().plan(epoch))
    ranks = [DistributedTrainingSamplerWrapper(random(), num_replicas, rank) for rank in range(num_replicas)]
    for rank in ranks:
        rank.set_epoch(epoch)
    shares = [list(rank) for rank in ranks]
    assert {len(share) for share in shares} == {len(order) // num_replicas}
    for step in range(0, len(shares[0]), 4):
        together = [window for share in shares for window in share[step : step + 4]]
        of_one = order[step * num_replicas : step * num_replicas + len(together)]
        assert set(together) == set(of_one)


def test_fewer_windows_than_training_ranks_are_refused():
    wrapper = DistributedTrainingSamplerWrapper(TrialSampler({"a": [(0, 1), (2, 3)]}), 3, 2)
    with pytest.raises(ValueError, match="2 windows are too few to train on 3 ranks"):
        list(wrapper)
