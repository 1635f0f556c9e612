"""Regular times are grouped by division; the groups are those of the gaps between sorted times."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_eval import stitch
from nd_eval.time_grid import regular_steps
from nd_eval.time_groups import group_times


def slow_groups(times, tolerance):
    """Earliest time of each group, and the group of each value: cut where sorted neighbours are the tolerance apart."""
    order = np.argsort(times, kind="stable")
    cuts = np.concatenate([[0], np.cumsum(np.diff(times[order]) >= tolerance)])
    group = np.empty(len(times), dtype=int)
    group[order] = cuts
    return np.array([times[group == number].min() for number in range(cuts[-1] + 1)]), group


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(2, 300),
    step=st.sampled_from([1e-3, 0.01, 1 / 30, 1 / 3, 0.3, 7.0]),
    offset=st.sampled_from([-40.0, 0.0, 1 / 3, 99_999.9]),
    jitter=st.sampled_from([0.0, 6e-8, 2e-7, 6e-7]),
    in_order=st.booleans(),
)
def test_groups_are_those_of_the_gaps_whatever_the_step_offset_and_jitter(seed, count, step, offset, jitter, in_order):
    rng = np.random.default_rng(seed)
    index = np.concatenate([np.arange(count), rng.integers(0, count, size=count)])
    if not in_order:
        index = rng.permutation(index)
    times = offset + index * step + rng.uniform(0, jitter, size=index.size)
    groups = group_times(torch.from_numpy(times), tolerance=1e-6)
    earliest, group = slow_groups(times, 1e-6)
    np.testing.assert_array_equal(groups.timestamps.numpy(), earliest)
    np.testing.assert_array_equal(groups.group_of_values().numpy(), group)
    np.testing.assert_array_equal(groups.sizes.numpy(), np.bincount(group))
    order = np.arange(index.size) if groups.order is None else groups.order.numpy()
    np.testing.assert_array_equal(group[order], np.sort(group))
    np.testing.assert_array_equal(groups.first.numpy(), np.searchsorted(np.sort(group), np.arange(len(earliest))))


@pytest.mark.parametrize("step", [0.001, 0.01, 1 / 30, 0.1])
def test_a_long_recording_keeps_its_step_from_the_first_time_to_the_last(step):
    index = np.tile(np.arange(200_000), 2)
    starts = 12_345.6 + np.floor(index * step)
    times = starts + (12_345.6 + index * step - starts).astype(np.float32)  # rounded as times within windows are
    found = regular_steps(torch.from_numpy(times), tolerance=1e-6)
    assert found is not None
    np.testing.assert_array_equal(found.numbers.numpy(), index)
    np.testing.assert_array_equal(found.sizes.numpy(), np.full(200_000, 2))
    np.testing.assert_array_equal(found.earliest.numpy(), times.reshape(2, -1).min(0))


@pytest.mark.parametrize(
    "times",
    [
        torch.arange(50, dtype=torch.float64) ** 1.5,  # no step
        torch.arange(50, dtype=torch.float64) * 1.5e-6,  # a step too near the tolerance
        torch.cat(
            [torch.arange(9, dtype=torch.float64) * 1e-3, torch.tensor([1e6], dtype=torch.float64)]
        ),  # a long gap
        torch.full((5,), 3.0, dtype=torch.float64),  # one time
        torch.tensor([0.0, 1.0, 2.0, 3.0, 3.0000004, 4.0], dtype=torch.float64) + 5.0,  # off the step by half of it
    ],
)
def test_what_is_not_regular_is_left_to_the_sort(times):
    assert regular_steps(times, tolerance=5e-7 if times[-1] == 9.0 else 1e-6) is None


def test_gaps_between_stretches_leave_no_empty_groups():
    index = np.concatenate([np.arange(100), np.arange(150, 300), np.arange(50, 100)])
    groups = group_times(torch.from_numpy(index * 0.01), tolerance=1e-6)
    assert groups.numbers is not None
    assert len(groups) == np.unique(index).size
    assert groups.sizes.min() == 1
    assert groups.sizes.sum() == index.size


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    columns=st.integers(1, 6),
    repeats=st.integers(1, 5),
    classes=st.sampled_from([2, 5, 1000]),
    weighted=st.booleans(),
)
def test_regular_and_shifted_times_are_pooled_alike(seed, columns, repeats, classes, weighted):
    """The same values on times at a step, and on times at no step, in the same order."""
    rng = np.random.default_rng(seed)
    index = rng.permutation(np.repeat(np.arange(60), repeats))
    uneven = np.cumsum(rng.uniform(0.5, 1.5, size=60))
    weights = torch.from_numpy(rng.uniform(0.5, 2.0, size=index.size)) if weighted else None
    values = torch.from_numpy(rng.normal(size=(index.size, columns)))
    labels = torch.from_numpy(rng.integers(-3, classes, size=(index.size, columns)))
    regular, irregular = torch.from_numpy(index * 0.02), torch.from_numpy(uneven[index])
    assert group_times(irregular, tolerance=1e-6).numbers is None
    for column, tolerance in ((values, 1e-12), (labels, 0)):
        found, expected = (stitch(times, column, weights=weights)[1] for times in (regular, irregular))
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def test_a_nan_stays_in_its_own_column_and_time():
    times = torch.arange(40, dtype=torch.float64).repeat(2) * 0.1
    values = torch.ones(80, 2)
    values[5, 0] = torch.nan
    means = stitch(times, values)[1]
    assert means.isnan().nonzero().tolist() == [[5, 0]]
