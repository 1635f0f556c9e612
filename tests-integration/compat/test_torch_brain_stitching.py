"""nd_eval.stitch against torch_brain 0.1.2's, where both must agree: times that coincide to the bit."""

import pytest
import torch

from nd_eval import StitchingAccumulator, stitch

peer = pytest.importorskip("torch_brain.utils.stitcher", reason="needs torch_brain 0.1.2 beside")

pytestmark = pytest.mark.compat


def times_of(kind, count, distinct, generator):
    # Steps of 2^-10 s are exact in float64 and in float32 alike.
    index = torch.randint(0, distinct, (count,), generator=generator)
    if kind == "ascending":
        index = index.sort().values
    return index.double() / 1024 + 1000.0


@pytest.mark.parametrize("kind", ["ascending", "shuffled"])
@pytest.mark.parametrize(("count", "distinct"), [(1, 1), (50, 7), (5000, 1700), (100_000, 40_000)])
@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_means_are_those_of_the_peer(kind, count, distinct, shape):
    generator = torch.Generator().manual_seed(count + len(shape))
    times = times_of(kind, count, distinct, generator)
    values = torch.randn(count, *shape, generator=generator)
    (ours_times, ours), (peer_times, theirs) = stitch(times, values), peer.stitch(times, values)
    assert torch.equal(ours_times, peer_times)
    assert ours.dtype == theirs.dtype
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)  # it adds in float32


@pytest.mark.parametrize("kind", ["ascending", "shuffled"])
@pytest.mark.parametrize(("count", "distinct"), [(1, 1), (50, 7), (5000, 1700), (100_000, 40_000)])
def test_votes_are_those_of_the_peer(kind, count, distinct):
    generator = torch.Generator().manual_seed(count)
    times = times_of(kind, count, distinct, generator)
    index = ((times - 1000.0) * 1024).long()
    # Every time gets as many votes for its winner as all others cast together, and three more: no ties.
    winners = torch.randint(0, 5, (distinct,), generator=generator)
    extra = torch.arange(distinct).repeat(3)
    every = torch.cat([index, index, extra]).double() / 1024 + 1000.0
    labels = torch.cat([torch.randint(0, 9, (count,), generator=generator), winners[index], winners[extra]])
    (ours_times, ours), (peer_times, theirs) = stitch(every, labels), peer.stitch(every, labels)
    assert torch.equal(ours_times, peer_times)
    assert torch.equal(ours, theirs)
    assert torch.equal(ours, winners)


def test_the_accumulator_over_exact_windows_is_the_peer_over_all_of_them():
    generator = torch.Generator().manual_seed(0)
    accumulator, times, values = StitchingAccumulator(), [], []
    for number in range(20):
        start = number / 4
        window = torch.arange(1024, dtype=torch.float64) / 1024 + start
        preds = torch.randn(1024, 2, generator=generator)
        accumulator.update("brain/a", "velocity", window, preds, preds, window_starts=start)
        times.append(window)
        values.append(preds)
    trace = accumulator.compute()["brain/a", "velocity"]
    peer_times, theirs = peer.stitch(torch.cat(times), torch.cat(values))
    assert torch.equal(trace.timestamps, peer_times)
    torch.testing.assert_close(trace.preds, theirs, rtol=1e-5, atol=1e-6)
