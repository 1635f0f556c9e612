"""The samplers against torch_brain 0.1.2's, where both must agree, and where ours does what the peer's does not."""

import numpy as np
import pytest
import torch

import nd_data
from nd_data import samplers

peer = pytest.importorskip("torch_brain.data.sampler", reason="needs torch_brain 0.1.2 beside")
temporaldata = pytest.importorskip("temporaldata", reason="needs temporaldata 0.1.6 beside")

pytestmark = pytest.mark.compat

# Steps of 1/8 s are exact, so that both place windows at the same floats.
PAIRS = {
    "a/1": [(0.0, 10.5), (20.0, 21.0), (30.0, 33.25)],
    "a/2": [(1000.0, 1007.125)],
    "b/1": [(5.0, 5.5), (6.0, 9.0)],
}


def intervals(library):
    columns = {name: np.array(pairs, dtype=np.float64).T for name, pairs in PAIRS.items()}
    return {name: library.Interval(start=start, end=end) for name, (start, end) in columns.items()}


def addresses(windows):
    return [(window.recording_id, float(window.start), float(window.end)) for window in windows]


def both(name, **kwargs):
    ours = getattr(samplers, name)(sampling_intervals=intervals(nd_data), **kwargs)
    theirs = getattr(peer, name)(sampling_intervals=intervals(temporaldata), **kwargs)
    return ours, theirs


@pytest.mark.parametrize("step", [None, 1.0, 0.5, 0.375])
def test_sequential_windows_are_those_of_the_peer(step):
    ours, theirs = both("SequentialFixedWindowSampler", window_length=1.0, step=step, drop_short=True)
    assert addresses(ours) == addresses(theirs)
    assert len(ours) == len(theirs)


def test_trials_are_those_of_the_peer():
    ours, theirs = both("TrialSampler")
    assert addresses(ours) == addresses(theirs)
    ours, theirs = both("TrialSampler", shuffle=True, generator=torch.Generator().manual_seed(0))
    assert sorted(addresses(ours)) == sorted(addresses(theirs))


@pytest.mark.parametrize("seed", range(5))
def test_as_many_random_windows_come_from_every_recording_as_with_the_peer(seed):
    ours, theirs = (
        [name for name, _, _ in addresses(sampler)]
        for sampler in both(
            "RandomFixedWindowSampler", window_length=0.75, generator=torch.Generator().manual_seed(seed)
        )
    )
    for name, pairs in PAIRS.items():
        fitting = sum(int((end - start) // 0.75) for start, end in pairs)
        assert ours.count(name) == theirs.count(name) == fitting


@pytest.mark.parametrize("num_replicas", [1, 2, 3])
def test_the_stitching_ranks_share_out_the_windows_of_the_peer(num_replicas):
    ours, theirs, loads = [], [], []
    for rank in range(num_replicas):
        one, other = both(
            "DistributedStitchingFixedWindowSampler",
            window_length=1.0,
            step=0.5,
            batch_size=4,
            num_replicas=num_replicas,
            rank=rank,
        )
        assert len(one) == len(one.sequence_index)
        loads.append(len(one))
        ours += addresses(one)
        theirs += addresses(other)
    assert sorted(ours) == sorted(theirs)
    assert max(loads) - min(loads) <= 1


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_evaluation_wrapper_shares_out_as_the_peer_does(rank):
    ours, theirs = both("SequentialFixedWindowSampler", window_length=1.0, drop_short=True)
    mine = samplers.DistributedEvaluationSamplerWrapper(ours, num_replicas=3, rank=rank)
    other = peer.DistributedEvaluationSamplerWrapper(theirs, num_replicas=3, rank=rank)
    assert addresses(mine) == addresses(other)
    assert len(mine) == len(addresses(other))  # the peer's own length is off by one on some ranks
