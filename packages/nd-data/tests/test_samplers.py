import copy
import logging
import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_data.dataset_index import DatasetIndex
from nd_data.interval import Interval
from nd_data.samplers import (
    DistributedEvaluationSamplerWrapper,
    DistributedStitchingFixedWindowSampler,
    DistributedTrainingSamplerWrapper,
    RandomFixedWindowSampler,
    SequentialFixedWindowSampler,
    TrialSampler,
)

WINDOW = 1.0
TOLERANCE = 1e-6


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


FAMILY = {
    "random": lambda intervals: RandomFixedWindowSampler(intervals, WINDOW, generator=seeded()),
    "sequential": lambda intervals: SequentialFixedWindowSampler(intervals, WINDOW, step=0.3, drop_short=True),
    "trial": lambda intervals: TrialSampler(intervals, generator=seeded(), shuffle=True),
    "stitching": lambda intervals: DistributedStitchingFixedWindowSampler(
        intervals, WINDOW, step=0.5, batch_size=4, num_replicas=1, rank=0
    ),
    "wrapper": lambda intervals: DistributedEvaluationSamplerWrapper(
        SequentialFixedWindowSampler(intervals, WINDOW, drop_short=True), num_replicas=2, rank=0
    ),
    "training wrapper": lambda intervals: DistributedTrainingSamplerWrapper(
        RandomFixedWindowSampler(intervals, WINDOW / 2, generator=seeded()), num_replicas=2, rank=1
    ),
    "weighted": lambda intervals: RandomFixedWindowSampler(
        intervals, WINDOW, generator=seeded(), weights=dict.fromkeys(list(intervals)[1:], 2.5), windows_per_epoch=17
    ),
    "weighted trials": lambda intervals: TrialSampler(intervals, generator=seeded(), shuffle=True, windows_per_epoch=9),
}
every_sampler = pytest.mark.parametrize("make", FAMILY.values(), ids=FAMILY)


@st.composite
def sampling_intervals(draw, min_length=0.0):
    """Recordings with disjoint intervals, at least one of them long enough, some far from zero."""
    recordings = {}
    for name in draw(st.lists(st.sampled_from(["a/1", "a/2", "b/1"]), min_size=1, max_size=3, unique=True)):
        time = draw(st.sampled_from([0.0, -3.7, 20_000.1, 1e5]))
        pairs = []
        for _ in range(draw(st.integers(0, 4))):
            time += draw(st.floats(0, 3))
            length = draw(st.one_of(st.floats(min_length, 6), st.sampled_from([1.0, 2.0, 3.0, 1 + 1e-9, 0.1 * 30])))
            pairs.append((time, time + length))
            time += length
        recordings[name] = pairs
    first = next(iter(recordings))
    end = recordings[first][-1][1] if recordings[first] else 0.0
    recordings[first].append((end, end + draw(st.floats(1.5, 8))))
    return {name: Interval.from_list(pairs) for name, pairs in recordings.items()}


def table(intervals):
    return [
        (name, start, end)
        for name, interval in intervals.items()
        for start, end in zip(interval.start.tolist(), interval.end.tolist(), strict=True)
    ]


def interval_of(index, intervals):
    """The interval that holds a window, by exact comparison."""
    for position, (name, start, end) in enumerate(table(intervals)):
        if name == index.recording_id and start <= index.start <= index.end <= end:
            return position
    raise AssertionError(f"{index} lies in no interval")


# --- what holds for every sampler ---------------------------------------------------------------------------------


@every_sampler
@given(intervals=sampling_intervals())
@settings(max_examples=40)
def test_windows_lie_inside_an_interval_and_as_many_come_as_the_length_says(make, intervals):
    sampler = make(intervals)
    windows = list(sampler)
    assert len(windows) == len(sampler)
    for window in windows:
        assert isinstance(window, DatasetIndex)
        assert type(window.recording_id) is str
        assert type(window.start) is type(window.end) is float
        interval_of(window, intervals)


@every_sampler
def test_the_same_epoch_gives_the_same_windows(make):
    intervals = {"a/1": Interval(0.0, 20.0), "b/1": Interval(3.0, 17.5)}
    first, second = make(intervals), make(intervals)
    for epoch in (0, 1, 7):
        first.set_epoch(epoch)
        second.set_epoch(epoch)
        assert list(first) == list(second)


@every_sampler
def test_intervals_may_be_given_as_pairs(make):
    pairs = {"a/1": [(0.0, 4.2), (5.0, 9.0)]}
    assert list(make(pairs)) == list(make({"a/1": Interval.from_list(pairs["a/1"])}))


@every_sampler
def test_a_sampler_can_be_copied_and_pickled(make):
    sampler = make({"a/1": Interval(0.0, 20.0)})
    expected = list(copy.deepcopy(sampler))
    assert list(pickle.loads(pickle.dumps(sampler))) == expected  # noqa: S301


@every_sampler
def test_global_random_states_do_not_change_when_windows_are_drawn(make):
    sampler = make({"a/1": Interval(0.0, 20.0)})
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    list(sampler)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


@every_sampler
@pytest.mark.parametrize(
    ("intervals", "error", "message"),
    [
        ({}, ValueError, "no sampling intervals"),
        ({"a/1": []}, ValueError, "all 1 recordings have none"),
        ({"a/1": [(0.0, math.nan)]}, ValueError, r"recording 'a/1': sampling interval 0 is \[0.0, nan\)"),
        ({"a/1": [(0.0, 5.0), (3.0, 2.0)]}, ValueError, r"sampling interval 1 is \[3.0, 2.0\)"),
        ([(0.0, 5.0)], TypeError, "get_sampling_intervals"),
    ],
)
def test_intervals_that_make_no_sense_are_refused(make, intervals, error, message):
    with pytest.raises(error, match=message):
        make(intervals)


@pytest.mark.parametrize("make", [FAMILY[name] for name in ("random", "sequential", "stitching", "wrapper")])
def test_a_window_longer_than_every_interval_is_one_error_with_the_longest(make):
    with pytest.raises(
        ValueError,
        match=r"window_length is 1 s, longer than every.*longest is 0\.75 s \(recording 'b/1', \[2, 2\.75\)\)",
    ):
        make({"a/1": [(0.0, 0.5)], "b/1": [(0.0, 0.1), (2.0, 2.75)]})


@pytest.mark.parametrize("window_length", [0, -1.0, math.inf, math.nan])
def test_a_window_length_must_be_a_positive_time(window_length):
    for make in (RandomFixedWindowSampler, SequentialFixedWindowSampler):
        with pytest.raises(ValueError, match="window_length must be a finite number of seconds above 0"):
            make({"a/1": [(0.0, 0.5)]}, window_length)


# --- random windows -----------------------------------------------------------------------------------------------


@given(intervals=sampling_intervals(), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_every_interval_gives_as_many_random_windows_as_fit(intervals, seed):
    windows = list(RandomFixedWindowSampler(intervals, WINDOW, generator=seeded(seed)))
    counts = np.bincount([interval_of(window, intervals) for window in windows], minlength=len(table(intervals)))
    for (_, start, end), count in zip(table(intervals), counts, strict=True):
        length = end - start
        if abs(length - round(length)) > 2 * TOLERANCE:
            assert count == math.floor(length / WINDOW)
    assert all(abs(window.end - window.start - WINDOW) <= 2 * TOLERANCE for window in windows)


@given(length=st.floats(1.0, 5.0), seed=st.integers(0, 999))
@settings(max_examples=100)
def test_random_windows_lie_end_to_end_and_one_more_has_room_to_itself(length, seed):
    windows = sorted(w.start for w in RandomFixedWindowSampler({"a": [(0, length)]}, WINDOW, generator=seeded(seed)))
    steps = np.diff(windows)
    assert (steps >= WINDOW / 2 - 1e-9).all()
    assert (np.abs(steps - WINDOW) > 1e-9).sum() <= 1


def test_random_offsets_are_uniform_over_one_window():
    sampler = RandomFixedWindowSampler({"a": [(0.0, 2.0)] * 20_000}, 1.0, generator=seeded())
    starts = sampler.plan(0).start
    offsets = np.sort(
        starts[(starts > 0) & (starts < 1.0)]
    )  # the window behind the offset, where it is not at a border
    expected = (np.arange(len(offsets)) + 0.5) / len(offsets)
    assert np.abs(offsets - expected).max() < 1.63 / math.sqrt(len(offsets))  # Kolmogorov-Smirnov, 1 %


def test_the_order_is_shuffled_over_recordings():
    sampler = RandomFixedWindowSampler({"a": [(0.0, 500.0)], "b": [(0.0, 500.0)]}, 1.0, generator=seeded())
    names = [window.recording_id for window in sampler]
    changes = sum(one != other for one, other in pairwise(names))
    assert 400 < changes < 600


def test_each_pass_is_the_next_epoch():
    intervals = {"a": [(0.0, 50.0)]}
    sampler, other = (RandomFixedWindowSampler(intervals, 1.0, generator=seeded()) for _ in range(2))
    passes = [list(sampler) for _ in range(3)]
    assert passes[0] != passes[1] != passes[2]
    other.set_epoch(2)
    assert list(other) == passes[2]
    assert list(other.plan(1)) == passes[1]


def test_the_seed_comes_from_the_generator_or_else_from_torch():
    intervals = {"a": [(0.0, 50.0)]}

    def windows(**kwargs):
        return list(RandomFixedWindowSampler(intervals, 1.0, **kwargs))

    assert windows(generator=seeded(1)) == windows(generator=seeded(1)) != windows(generator=seeded(2))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first, second = windows(), windows()
        torch.manual_seed(3)
        assert first == windows()
    assert first != second


def test_short_intervals_are_left_out_and_counted_in_the_log(caplog):
    intervals = {"a": [(0.0, 0.5), (1.0, 3.0)]}
    with caplog.at_level(logging.WARNING):
        assert len(RandomFixedWindowSampler(intervals, 1.0)) == 2
    assert "Leaving out 1 of 2 sampling intervals (0.5 of 2.5 s)" in caplog.text
    with pytest.raises(ValueError, match=r"1 of 2 .* first recording 'a', \[0, 0\.5\) with 0\.5 s.*drop_short=True"):
        RandomFixedWindowSampler(intervals, 1.0, drop_short=False)


# --- sequential windows -------------------------------------------------------------------------------------------


@given(intervals=sampling_intervals(min_length=1.0), step=st.floats(0.05, 1.0))
@settings(max_examples=60)
def test_sequential_windows_cover_every_interval_in_order_without_near_duplicates(intervals, step):
    windows = list(SequentialFixedWindowSampler(intervals, WINDOW, step=step))
    rows = table(intervals)
    for name, start, end in rows:
        mine = [w for w in windows if w.recording_id == name and start <= w.start and w.end <= end]
        starts, ends = np.array([w.start for w in mine]), np.array([w.end for w in mine])
        assert starts[0] == start
        assert ends[-1] == end
        assert (starts[1:] <= ends[:-1]).all()
        assert (np.diff(starts) > min(TOLERANCE, step) / 2).all()
        assert np.abs(np.diff(starts)[:-1] - step).max(initial=0) < 1e-9
    assert [w.recording_id for w in windows] == sorted((w.recording_id for w in windows), key=list(intervals).index)


@pytest.mark.parametrize("start", [0.0, 0.1, 20_000.1, 1e5])
@pytest.mark.parametrize(
    ("length", "window", "step", "count"), [(0.9, 0.3, 0.1, 7), (3.0, 1.0, 0.1, 21), (60, 1, 0.25, 237)]
)
def test_rounding_makes_no_second_tail_window(start, length, window, step, count):
    sampler = SequentialFixedWindowSampler({"a": [(start, start + length)]}, window, step=step)
    assert len(sampler) == count


def test_a_rest_gets_a_window_flush_with_the_end():
    windows = SequentialFixedWindowSampler({"a": [(1.0, 4.25)]}, 1.0, step=0.5)
    assert [w.start for w in windows] == [1.0, 1.5, 2.0, 2.5, 3.0, 3.25]


def test_short_intervals_are_refused_unless_dropped():
    intervals = {"a": [(0.0, 2.0), (3.0, 3.5)]}
    with pytest.raises(ValueError, match="drop_short=True"):
        SequentialFixedWindowSampler(intervals, 1.0)
    assert len(SequentialFixedWindowSampler(intervals, 1.0, drop_short=True)) == 2


def test_a_step_of_zero_is_refused():
    with pytest.raises(ValueError, match="step must be a finite number of seconds above 0, got 0"):
        SequentialFixedWindowSampler({"a": [(0.0, 2.0)]}, 1.0, step=0)


# --- trials -------------------------------------------------------------------------------------------------------


def test_trials_come_whole_and_each_once():
    intervals = {"a": [(0.0, 2.0), (3.0, 3.5)], "b": [(1.0, 9.0)]}
    in_order = [DatasetIndex("a", 0.0, 2.0), DatasetIndex("a", 3.0, 3.5), DatasetIndex("b", 1.0, 9.0)]
    assert list(TrialSampler(intervals)) == in_order
    sampler = TrialSampler({"a": [(float(i), i + 0.5) for i in range(50)]}, shuffle=True, generator=seeded())
    first, second = list(sampler), list(sampler)
    assert first != second
    assert sorted(w.start for w in first) == sorted(w.start for w in second) == [float(i) for i in range(50)]


# --- ranks --------------------------------------------------------------------------------------------------------


@given(intervals=sampling_intervals(), num_replicas=st.integers(1, 7))
@settings(max_examples=40)
def test_the_ranks_of_a_wrapped_sampler_share_its_windows_out(intervals, num_replicas):
    sampler = SequentialFixedWindowSampler(intervals, WINDOW, drop_short=True)
    ranks = [DistributedEvaluationSamplerWrapper(sampler, num_replicas, rank) for rank in range(num_replicas)]
    shares = [list(rank) for rank in ranks]
    assert [len(rank) for rank in ranks] == [len(share) for share in shares]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    together = [window for share in shares for window in share]
    assert sorted(map(hash, together)) == sorted(map(hash, sampler))
    assert len(together) == len(sampler)


def test_a_wrapper_learns_its_rank_later_and_passes_the_epoch_on():
    sampler = RandomFixedWindowSampler({"a": [(0.0, 5.0)]}, 1.0)
    wrapper = DistributedEvaluationSamplerWrapper(sampler)
    assert len(wrapper) == 5
    with pytest.raises(ValueError, match="set_params"):
        iter(wrapper)
    wrapper.set_params(2, 1)
    assert len(wrapper) == wrapper.rank_len() == 2
    wrapper.set_epoch(4)
    assert list(wrapper) == list(sampler.plan(4))[1::2]


@given(intervals=sampling_intervals(), num_replicas=st.integers(1, 6), step=st.floats(0.1, 1.0))
@settings(max_examples=40)
def test_stitching_ranks_cut_the_row_of_windows_into_runs_alike_within_one(intervals, num_replicas, step):
    ranks = [
        DistributedStitchingFixedWindowSampler(
            intervals, WINDOW, step=step, batch_size=4, num_replicas=num_replicas, rank=rank
        )
        for rank in range(num_replicas)
    ]
    everything = list(SequentialFixedWindowSampler(intervals, WINDOW, step=step, drop_short=True))
    assert [window for rank in ranks for window in rank] == everything
    loads = [len(rank) for rank in ranks]
    assert max(loads) - min(loads) <= 1
    assert loads == sorted(loads, reverse=True)
    for sampler in ranks:
        assert len(sampler) == len(sampler.indices) == len(sampler.sequence_index) == sampler.num_samples
        assert sampler.sequence_index.dtype == torch.int64
        sequence_of = {}
        for window, sequence in zip(sampler, sampler.sequence_index.tolist(), strict=True):
            assert sequence_of.setdefault(interval_of(window, intervals), sequence) == sequence
        assert list(sequence_of.values()) == list(range(len(sequence_of)))
    # An interval is cut only where a rank's share ends within it: at most one cut for each rank but the last.
    owners = {(interval_of(window, intervals), rank) for rank, sampler in enumerate(ranks) for window in sampler}
    assert len(owners) - len({interval for interval, _ in owners}) <= num_replicas - 1


def test_one_long_interval_is_shared_out_as_well():
    pairs = [(float(10 * i), 10.0 * i + length) for i, length in enumerate([1, 1, 9, 1])]
    ranks = [
        DistributedStitchingFixedWindowSampler({"a": pairs}, 1.0, batch_size=4, num_replicas=3, rank=rank)
        for rank in range(3)
    ]
    assert [len(rank) for rank in ranks] == [4, 4, 4]
    assert [rank.sequence_index.tolist() for rank in ranks] == [[0, 1, 2, 2], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_a_rank_without_windows_is_empty_and_no_more():
    sampler = DistributedStitchingFixedWindowSampler({"a": [(0.0, 2.0)]}, 1.0, batch_size=4, num_replicas=3, rank=2)
    assert list(sampler) == sampler.indices == []
    assert len(sampler) == 0
    assert sampler.sequence_index.shape == (0,)


@given(
    intervals=sampling_intervals(),
    num_replicas=st.integers(1, 6),
    batch_size=st.integers(1, 9),
    step=st.floats(0.1, 1.0),
)
@settings(max_examples=40)
def test_whole_batches_of_ranks_are_those_of_one_process_and_as_many_on_every_rank(
    intervals, num_replicas, batch_size, step
):
    def batches(num_replicas, rank):
        sampler = DistributedStitchingFixedWindowSampler(
            intervals,
            WINDOW,
            step=step,
            batch_size=batch_size,
            num_replicas=num_replicas,
            rank=rank,
            whole_batches=True,
        )
        windows = list(sampler)
        return [tuple(windows[first : first + batch_size]) for first in range(0, len(windows), batch_size)]

    alone = batches(1, 0)
    assert [window for batch in alone for window in batch] == list(
        SequentialFixedWindowSampler(intervals, WINDOW, step=step, drop_short=True)
    )
    shares = [batches(num_replicas, rank) for rank in range(num_replicas)]
    # Each rank has an unbroken run of them, and no more than it takes for all to have as many.
    for share in shares:
        first = alone.index(share[0])
        assert share == alone[first : first + -(-len(alone) // num_replicas)]
    assert {batch for share in shares for batch in share} == set(alone)


def test_batches_of_no_windows_are_refused():
    with pytest.raises(ValueError, match="batch_size must be 1 or more, got 0"):
        DistributedStitchingFixedWindowSampler({"a": [(0.0, 3.0)]}, 1.0, batch_size=0, num_replicas=1, rank=0)


def test_without_ranks_a_stitching_sampler_is_alone():
    sampler = DistributedStitchingFixedWindowSampler({"a": [(0.0, 3.0)]}, 1.0, step=0.5, batch_size=4)
    assert (sampler.num_replicas, sampler.rank, len(sampler)) == (1, 0, 5)


def test_stitching_without_overlap_of_window_and_step_is_refused():
    with pytest.raises(ValueError, match="step must be at most window_length"):
        DistributedStitchingFixedWindowSampler({"a": [(0.0, 3.0)]}, 1.0, step=1.5, batch_size=4)


@pytest.mark.parametrize(("num_replicas", "rank"), [(2, 2), (2, -1), (0, 0)])
def test_a_rank_that_is_none_of_the_replicas_is_refused(num_replicas, rank):
    sampler = SequentialFixedWindowSampler({"a": [(0.0, 3.0)]}, 1.0)
    with pytest.raises(ValueError, match=f"got rank={rank}"):
        DistributedEvaluationSamplerWrapper(sampler, num_replicas, rank)
    with pytest.raises(ValueError, match=f"got rank={rank}"):
        DistributedStitchingFixedWindowSampler(
            {"a": [(0.0, 3.0)]}, 1.0, batch_size=1, num_replicas=num_replicas, rank=rank
        )


def test_half_of_the_rank_parameters_are_refused():
    sampler = SequentialFixedWindowSampler({"a": [(0.0, 3.0)]}, 1.0)
    with pytest.raises(ValueError, match="num_replicas and rank go together"):
        DistributedEvaluationSamplerWrapper(sampler, num_replicas=2)
