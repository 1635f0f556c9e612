"""Windows of regular times are added as slices: the groups, means and votes are those of the sort."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_eval import stitch
from nd_eval.time_groups import group_times


def windows_at(starts, length, every):
    """Steps of the values of windows, one after the other."""
    return np.concatenate([start + every * np.arange(length) for start in starts])


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    length=st.integers(12, 60),
    windows=st.integers(1, 30),
    hop=st.integers(1, 90),
    every=st.integers(1, 3),
    cut=st.integers(0, 40),
    columns=st.integers(1, 6),
    offset=st.sampled_from([0.0, -3.0, 99_999.9]),
    hinted=st.booleans(),
)
def test_groups_means_and_votes_of_windows_are_those_of_a_loop(
    seed, length, windows, hop, every, cut, columns, offset, hinted
):
    rng = np.random.default_rng(seed)
    steps = windows_at(np.arange(windows) * hop, length, every)[min(cut, length - 2) :]
    times = torch.from_numpy(offset + steps * 0.01 + rng.uniform(0, 2e-7, size=steps.size))
    values = rng.normal(size=(steps.size, columns)).astype(np.float32)
    labels = rng.integers(-2, 3, size=steps.size)
    sizes = np.full(windows, length)
    sizes[0] -= min(cut, length - 2)
    parts = torch.from_numpy(sizes) if hinted else None
    groups = group_times(times, tolerance=1e-6, parts=parts)
    known, group = np.unique(steps, return_inverse=True)
    np.testing.assert_array_equal(groups.group_of_values().numpy(), group)
    np.testing.assert_array_equal(groups.sizes.numpy(), np.bincount(group))
    earliest = [times.numpy()[group == number].min() for number in range(known.size)]
    np.testing.assert_array_equal(groups.timestamps.numpy(), earliest)
    found = stitch(times, torch.from_numpy(values).double())[1].numpy()
    expected = [values[group == number].astype(np.float64).mean(0) for number in range(known.size)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    votes = stitch(times, torch.from_numpy(labels))[1].numpy()
    winners = [np.bincount(labels[group == number] + 2).argmax() - 2 for number in range(known.size)]
    np.testing.assert_array_equal(votes, winners)


@pytest.mark.parametrize("wrong", [[7, 73], [40, 40], [80], [1] * 80])
def test_a_wrong_hint_about_windows_changes_nothing(wrong):
    times = torch.from_numpy(windows_at([0, 10, 20, 50], 20, 1) * 0.02)
    hinted, plain = (group_times(times, tolerance=1e-6, parts=parts) for parts in (torch.tensor(wrong), None))
    for name in ("sizes", "timestamps"):
        torch.testing.assert_close(getattr(hinted, name), getattr(plain, name), rtol=0, atol=0)
    torch.testing.assert_close(hinted.group_of_values(), plain.group_of_values(), rtol=0, atol=0)


def test_half_overlapping_windows_are_taken_as_runs_and_a_window_of_another_length_does_not_matter():
    steps = windows_at(np.arange(300) * 50, 100, 1)
    steps = np.concatenate([steps, np.arange(15_000, 15_037), np.arange(0, 100)])
    groups = group_times(torch.from_numpy(steps * 0.01), tolerance=1e-6)
    assert groups.runs is not None
    assert len(groups.runs.batches) <= 4
    np.testing.assert_array_equal(groups.group_of_values().numpy(), steps)


def test_a_time_that_leaves_its_step_within_a_window_is_not_taken_for_it():
    times = torch.from_numpy(windows_at(np.arange(50) * 20, 40, 1) * 0.01)
    times[777] += 0.004
    groups = group_times(times, tolerance=1e-6)
    assert groups.sizes.sum() == times.numel()
    assert (groups.timestamps == times[777]).any()
    torch.testing.assert_close(groups.timestamps, torch.unique(times), rtol=0, atol=1e-9)


def test_a_nan_stays_in_its_time_and_column_when_windows_are_added_as_slices():
    times = torch.from_numpy(windows_at(np.arange(40) * 25, 50, 1) * 0.01)
    values = torch.ones(times.numel(), 2)
    values[1030, 1] = torch.nan  # window 20, value 30: step 530
    groups = group_times(times, tolerance=1e-6)
    assert groups.runs is not None
    assert stitch(times, values)[1].isnan().nonzero().tolist() == [[530, 1]]


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize("skipped", [0, 1])
def test_values_of_windows_that_do_not_overlap_come_out_as_they_are(every, columns, skipped):
    # With every second step taken, the windows of odd number fill the steps that those of even number leave.
    starts = [200 * (number // 2) + number % 2 for number in range(40)] if every == 2 else np.arange(40) * 100
    steps = windows_at(starts, 100, every)
    shuffled = np.argsort(np.arange(40) % 7, kind="stable")  # windows in another order
    steps = steps.reshape(40, 100)[shuffled].reshape(-1)
    flat = torch.randn(steps.size * columns + skipped, generator=torch.Generator().manual_seed(columns))
    values = flat[skipped:].view(-1, columns)  # also where memory does not begin at an even place
    times, found = stitch(torch.from_numpy(steps * 0.01), values)
    assert len(times) == steps.size
    assert torch.equal(found, values[torch.from_numpy(np.argsort(steps))])
