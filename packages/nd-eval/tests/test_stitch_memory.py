"""What stitching allocates: tensors as long as the values, never a table of times by classes."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nd_eval import StitchingAccumulator, stitch


class Allocations(TorchDispatchMode):
    """Notes the bytes of the largest tensor that any operation gives."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(given):
            if isinstance(leaf, torch.Tensor):
                self.largest = max(self.largest, leaf.untyped_storage().nbytes())
        return given


def drawn(count, classes, *, regular):
    generator = torch.Generator().manual_seed(0)
    times = torch.randint(0, count // 2, (count,), generator=generator).double() * 0.01
    if not regular:
        times += times.square() * 1e-7
    return times, torch.randint(0, classes, (count,), generator=generator)


def test_a_table_of_votes_would_be_seen():
    with Allocations() as seen:
        torch.zeros(1000, 118, dtype=torch.int64)
    assert seen.largest == 118_000 * 8


@pytest.mark.parametrize("regular", [True, False])
def test_a_vote_of_118_classes_over_a_million_values_needs_no_more_than_a_few_numbers_a_value(regular):
    times, labels = drawn(1_000_000, 118, regular=regular)
    with Allocations() as seen:
        _, winners = stitch(times, labels)
    assert seen.largest <= 4 * times.numel() * 8  # a table would be 59 numbers a value
    counts = torch.bincount((times[:, None] == times[:1]).flatten().long() * (labels + 1), minlength=119)[1:]
    ordered = torch.unique(times)
    assert winners[torch.searchsorted(ordered, times[0])] == counts.argmax()


@pytest.mark.parametrize("regular", [True, False])
def test_the_memory_of_a_vote_does_not_grow_with_the_number_of_classes(regular):
    largest = []
    for classes in (20, 2000, 200_000):
        times, labels = drawn(60_000, classes, regular=regular)
        with Allocations() as seen:
            stitch(times, labels)
        largest.append(seen.largest)
    assert max(largest) <= 2 * min(largest)


def test_an_accumulator_in_order_holds_what_is_open_however_long_the_recording():
    taken, most = [], 0
    accumulator = StitchingAccumulator(in_order=True, on_finished=lambda *finished: taken.append(len(finished[2])))
    for window in range(2000):
        times = torch.arange(100, dtype=torch.float64) * 0.01 + window * 0.5
        labels = torch.arange(100) % 118
        accumulator.update("r", "t", times, labels, labels, window_starts=window * 0.5)
        state = accumulator.state_dict()["entries"][0]
        most = max(most, state["timestamps"].untyped_storage().nbytes() // 8)
    held = 0 if not accumulator.compute() else len(accumulator.compute()["r", "t"])
    assert sum(taken) + held == 2000 * 50 + 50
    assert most <= 2 * 4096 + 200  # of 200,000 values


@pytest.mark.parametrize("columns", [1, 2, 3, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_values_and_weights_of_regular_times_are_left_as_they_were(columns, weighted):
    generator = torch.Generator().manual_seed(1)
    times = (torch.arange(400) % 200).double() * 0.01
    values = torch.randn(400, columns, dtype=torch.float64, generator=generator)
    weights = torch.rand(400, dtype=torch.float64, generator=generator) + 0.1 if weighted else None
    copies = values.clone(), None if weights is None else weights.clone()
    _, means = stitch(times, values, weights=weights)
    assert torch.equal(values, copies[0])
    shares = torch.ones(400, dtype=torch.float64) if weights is None else weights
    if weights is not None:
        assert torch.equal(weights, copies[1])
    expected = (values * shares[:, None])[:200] + (values * shares[:, None])[200:]
    torch.testing.assert_close(means, expected / (shares[:200] + shares[200:])[:, None], rtol=1e-12, atol=1e-12)
