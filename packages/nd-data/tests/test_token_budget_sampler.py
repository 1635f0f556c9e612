import logging
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_data import Dataset, ResumableDataLoader
from nd_data.collate import collate, pad8
from nd_data.samplers import (
    RandomFixedWindowSampler,
    SequentialFixedWindowSampler,
    SpikeCounts,
    TokenBudgetBatchSampler,
)


def in_order(counts):
    return SequentialFixedWindowSampler({"a/1": [(0.0, float(len(counts)))]}, 1.0)


def shuffled(counts, seed=0):
    return RandomFixedWindowSampler(
        {"a/1": [(float(i), i + 1.0) for i in range(len(counts))]}, 1.0, generator=torch.Generator().manual_seed(seed)
    )


def lookup(counts):
    """Tokens of the window that begins at second i."""
    return lambda plan: np.asarray(counts)[np.floor(plan.start).astype(int)]


def cost(batch, counts, budget):
    tokens = [counts[int(index.start)] for index in batch]
    return len(tokens) * -(-max(tokens) // 8) * 8 if budget == "padded" else sum(tokens)


settings_of_batches = {
    "counts": st.lists(st.integers(0, 60), min_size=1, max_size=80),
    "max_tokens": st.integers(8, 300),
    "budget": st.sampled_from(["padded", "sum"]),
    "pool_size": st.sampled_from([0, 1, 3, 50]),
    "max_windows": st.one_of(st.none(), st.integers(1, 9)),
}


@given(**settings_of_batches, make=st.sampled_from([in_order, shuffled]))
@settings(max_examples=150)
def test_every_window_comes_once_and_every_batch_keeps_to_the_budget(
    counts, max_tokens, budget, pool_size, max_windows, make
):
    batches = TokenBudgetBatchSampler(
        make(counts), lookup(counts), max_tokens, budget=budget, pool_size=pool_size, max_windows=max_windows
    )
    for _ in range(2):
        length = len(batches)
        drawn = list(batches)
        assert len(drawn) == length
        assert sorted(int(index.start) for batch in drawn for index in batch) == list(range(len(counts)))
        for batch in drawn:
            assert len(batch) <= (max_windows or len(batch))
            assert cost(batch, counts, budget) <= max_tokens or len(batch) == 1


@given(**settings_of_batches)
@settings(max_examples=80)
def test_batches_in_order_take_as_many_windows_as_fit(counts, max_tokens, budget, pool_size, max_windows):
    batches = list(
        TokenBudgetBatchSampler(
            in_order(counts), lookup(counts), max_tokens, budget=budget, pool_size=0, max_windows=max_windows
        )
    )
    starts = [int(index.start) for batch in batches for index in batch]
    assert starts == list(range(len(counts)))
    for batch, following in pairwise(batches):
        one_more = [*batch, following[0]]
        assert cost(one_more, counts, budget) > max_tokens or len(one_more) > (max_windows or len(one_more))


@given(**settings_of_batches, num_replicas=st.integers(1, 4), at_least=st.one_of(st.none(), st.integers(1, 12)))
@settings(max_examples=100)
def test_ranks_take_as_many_batches_and_together_all_windows(
    counts, max_tokens, budget, pool_size, max_windows, num_replicas, at_least
):
    ranks = [
        TokenBudgetBatchSampler(
            shuffled(counts),
            lookup(counts),
            max_tokens,
            budget=budget,
            pool_size=pool_size,
            max_windows=max_windows,
            batches_per_epoch=at_least,
            num_replicas=num_replicas,
            rank=rank,
        )
        for rank in range(num_replicas)
    ]
    alone = TokenBudgetBatchSampler(
        shuffled(counts), lookup(counts), max_tokens, budget=budget, pool_size=pool_size, max_windows=max_windows
    )
    steps = max(-(-len(alone) // num_replicas), at_least or 0)
    if len(counts) < steps * num_replicas:
        with pytest.raises(ValueError, match=f"{len(counts)} windows cannot fill {steps * num_replicas} batches"):
            list(ranks[0])
        return
    lengths = {len(rank) for rank in ranks}
    assert lengths == {steps}
    together = [index for rank in ranks for batch in rank for index in batch]
    assert sorted(int(index.start) for index in together) == list(range(len(counts)))


def test_sorting_in_pools_saves_padding_and_keeps_chance():
    counts = np.random.default_rng(0).lognormal(4, 0.8, 3000).astype(int) + 1
    share_of_padding = {}
    partners = {}
    for pool_size in (0, 50):
        batches = TokenBudgetBatchSampler(shuffled(counts), lookup(counts), 8192, pool_size=pool_size)
        for epoch in range(2):
            drawn = [[int(index.start) for index in batch] for batch in batches]
            real = sum(counts[row] for batch in drawn for row in batch)
            padded = sum(len(batch) * -(-max(counts[row] for row in batch) // 8) * 8 for batch in drawn)
            share_of_padding[pool_size] = 1 - real / padded
            partners[pool_size, epoch] = {frozenset(batch) for batch in drawn}
    assert share_of_padding[50] < 0.15 < share_of_padding[0]
    # Which windows meet changes from epoch to epoch, and long batches are not all at one end.
    assert len(partners[50, 0] & partners[50, 1]) < 3
    lengths = [max(counts[row] for row in batch) for batch in drawn]
    halves = np.array_split(lengths, 2)
    assert abs(np.mean(halves[0]) - np.mean(halves[1])) < np.std(lengths) * 5 / np.sqrt(len(lengths))


def test_a_window_above_the_budget_is_alone_and_the_log_says_so_once(caplog):
    counts = [3, 100, 4, 200, 5]
    batches = TokenBudgetBatchSampler(in_order(counts), lookup(counts), 50, budget="sum", pool_size=0)
    with caplog.at_level(logging.WARNING):
        first, second = list(batches), list(batches)
    assert [[int(i.start) for i in batch] for batch in first] == [[0], [1], [2], [3], [4]]
    assert first == second
    warnings = [record for record in caplog.records if "exceed the budget" in record.getMessage()]
    assert len(warnings) == 1
    assert "2 of 5 windows exceed the budget of 50 tokens by themselves, the longest has 200" in caplog.text


def test_the_epoch_is_that_of_the_windows_sampler():
    counts = [5] * 40
    batches = TokenBudgetBatchSampler(shuffled(counts), lookup(counts), 64)
    batches.sampler.set_epoch(3)  # what Lightning does to a batch sampler
    assert batches.epoch == 3
    drawn = [index for batch in batches for index in batch]
    assert set(drawn) == set(batches.sampler.plan(3))
    assert {index.seed for index in drawn} == {batches.sampler.plan(3).seed}
    assert batches.epoch == batches.sampler.epoch == 4


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"max_tokens": 0}, ValueError, "max_tokens must be at least 1, got 0"),
        ({"pad_to": 0}, ValueError, "pad_to must be at least 1, got 0"),
        ({"max_windows": 0}, ValueError, "max_windows must be at least 1, got 0"),
        ({"pool_size": -1}, ValueError, "pool_size must be 0 or more, got -1"),
        ({"budget": "total"}, ValueError, "budget must be 'padded' or 'sum', got 'total'"),
        ({"num_replicas": 2, "rank": 2}, ValueError, "got rank=2"),
        ({"sampler": range(3)}, TypeError, "expected a sampler of nd_data.samplers, got range"),
    ],
)
def test_settings_that_make_no_sense_are_refused(kwargs, error, message):
    kwargs = {"sampler": in_order([1, 2]), "tokens": lookup([1, 2]), "max_tokens": 9} | kwargs
    with pytest.raises(error, match=message):
        TokenBudgetBatchSampler(**kwargs)


def test_counts_that_do_not_fit_the_windows_are_refused():
    batches = TokenBudgetBatchSampler(in_order([1, 2]), lambda plan: np.ones(5, dtype=int), 9)
    with pytest.raises(ValueError, match=r"counts of shape \(5,\) for 2 windows"):
        list(batches)


# --- counting spikes ----------------------------------------------------------------------------------------------


def test_spikes_are_counted_as_cutting_every_window_would(root):
    dataset = Dataset(root, split="train")
    sampler = RandomFixedWindowSampler(dataset.get_sampling_intervals(), 0.7, generator=np.random.default_rng(0))
    plan = sampler.plan(0)
    samples = [dataset[index] for index in plan]
    assert SpikeCounts(dataset)(plan).tolist() == [len(sample.spikes) for sample in samples]
    of_units = SpikeCounts(dataset, tokens_per_unit=2)(plan).tolist()
    assert of_units == [len(sample.spikes) + 2 * len(sample.units) for sample in samples]
    from_times = SpikeCounts({name: dataset.open_recording(name).spikes.timestamps for name in dataset.recording_ids})
    assert from_times(plan).tolist() == SpikeCounts(dataset)(plan).tolist()


@given(
    times=st.lists(st.floats(0, 10), max_size=30).map(sorted),
    windows=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 5)), min_size=1, max_size=20),
)
def test_windows_are_half_open_when_spikes_are_counted(times, windows):
    class Plan:
        recording_ids = ("a", "b")
        recording_index = np.array([row % 2 for row in range(len(windows))])
        start = np.array([start for start, _ in windows])
        end = np.array([start + length for start, length in windows])

        def __len__(self):
            return len(windows)

    counts = SpikeCounts({"a": np.array(times), "b": np.array(times)})(Plan())
    assert counts.tolist() == [sum(s <= t < e for t in times) for s, e in zip(Plan.start, Plan.end, strict=True)]


def test_a_recording_without_spikes_is_named(root):
    dataset = Dataset(root)
    plan = SequentialFixedWindowSampler(dataset.get_sampling_intervals(), 1.0).plan()
    with pytest.raises(ValueError, match=r"recording 'alpha/s1': .* at 'cursor', where there is a .*RegularTimeSeries"):
        SpikeCounts(dataset, field="cursor")(plan)
    with pytest.raises(ValueError, match="where there is nothing"):
        SpikeCounts(dataset, field="events")(plan)
    with pytest.raises(ValueError, match="tokens_per_unit needs a dataset"):
        SpikeCounts({}, tokens_per_unit=2)


def spike_times(sample):
    return {"times": pad8(sample.spikes.timestamps), "start": sample.absolute_start}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_a_loader_keep_to_the_budget_and_resume(root, workers):
    dataset = Dataset(root, split="train", transform=spike_times)

    def loader():
        sampler = RandomFixedWindowSampler(dataset.get_sampling_intervals(), 1.0, generator=np.random.default_rng(3))
        batches = TokenBudgetBatchSampler(sampler, dataset, 512)
        return ResumableDataLoader(dataset, batch_sampler=batches, collate_fn=collate, num_workers=workers)

    first = loader()
    length = len(first)
    iterator = iter(first)
    starts = [next(iterator)["start"].tolist() for _ in range(3)]
    assert len(first) == length
    second = loader()
    second.load_state_dict(first.state_dict())
    rest = list(second)
    for batch in rest:
        assert batch["times"].numel() <= 512
    whole = [batch["start"].tolist() for batch in loader()]
    assert starts + [batch["start"].tolist() for batch in rest] == whole
    assert len(whole) == length
    assert max(Counter(start for batch in whole for start in batch).values()) <= 3  # three recordings
