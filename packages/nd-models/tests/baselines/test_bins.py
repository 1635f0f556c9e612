"""Bins against plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries
from nd_models.baselines.bins import number_of_bins, read_bins, shifted, spike_counts
from nd_models.ridge import lagged


def window_with(times, units=2, unit_index=None, start=0.0) -> Data:
    times = np.asarray(times, dtype=np.float64)
    domain = Interval(start, 1.0)
    index = np.zeros(len(times), dtype=np.int64) if unit_index is None else np.asarray(unit_index)
    return Data(
        spikes=IrregularTimeSeries(timestamps=times, unit_index=index, domain=domain),
        units=ArrayDict(id=np.array([f"u{i}" for i in range(units)])),
        session=Data(id="a/1"),
        domain=domain,
    )


@given(st.sampled_from([0.01, 0.02, 0.05, 0.1, 0.125, 0.2, 0.25, 1.0]), st.floats(0, 1e5))
def test_spikes_on_every_border_count_in_the_later_bin(bin_size, offset):
    bins = number_of_bins(1.0, bin_size)
    # Relative times as a dataset makes them: the difference of two absolute times.
    borders = (offset + np.arange(bins) * bin_size) - offset
    counts = spike_counts(window_with(np.maximum(borders, 0.0)), sequence_length=1.0, bin_size=bin_size)
    assert counts.shape == (2, bins)
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts[0], np.ones(bins))
    np.testing.assert_array_equal(counts[1], np.zeros(bins))


@given(st.lists(st.floats(0.0, 0.999), max_size=40), st.sampled_from([0.05, 0.125, 0.5]))
def test_counts_equal_a_loop(times, bin_size):
    times = np.sort(np.array(times))
    unit_index = np.arange(len(times)) % 3
    expected = np.zeros((3, number_of_bins(1.0, bin_size)))
    for time, unit in zip(times, unit_index, strict=True):
        # The last border that is not after the time, to within a nanosecond.
        last = max(k for k in range(expected.shape[1]) if k * bin_size <= time + 1e-9)
        expected[unit, last] += 1
    found = spike_counts(window_with(times, 3, unit_index), sequence_length=1.0, bin_size=bin_size)
    np.testing.assert_array_equal(found, expected)


def test_bins_start_with_the_window_whatever_was_recorded():
    found = spike_counts(window_with([0.55, 0.75], start=0.5), sequence_length=1.0, bin_size=0.25)
    np.testing.assert_array_equal(found[0], [0, 0, 1, 1])


def test_a_spike_on_the_very_end_belongs_to_the_next_window():
    found = spike_counts(window_with([0.999, 1.0]), sequence_length=1.0, bin_size=0.5)
    np.testing.assert_array_equal(found[0], [0, 1])


@pytest.mark.parametrize(
    ("sequence_length", "bin_size", "message"),
    [
        (1.0, 0.3, r"bins of 0.3 s do not fill a window of 1.0 s; 3 bins would be 0.333333 s each"),
        (1.0, 2.0, "do not fill"),
        (1.0, 0.0, "bin_size must be a positive number of seconds"),
        (-1.0, 0.1, "sequence_length must be a positive number of seconds"),
        (float("inf"), 0.1, "sequence_length"),
    ],
)
def test_bins_that_do_not_fill_the_window_are_refused(sequence_length, bin_size, message):
    with pytest.raises(ValueError, match=message):
        number_of_bins(sequence_length, bin_size)


@given(st.integers(1, 6), st.integers(-8, 8))
def test_shifted_bins_are_the_lagged_counts(bins, lag):
    values = np.random.default_rng(bins).normal(size=(bins, 3))
    found = shifted(torch.from_numpy(values).unsqueeze(0), lag)[0]
    np.testing.assert_array_equal(found.numpy(), lagged(values, [lag]))


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@given(data=st.data())
def test_bins_are_read_as_numpy_interpolates(interpolation, data):
    bins = data.draw(st.integers(1, 6))
    times = np.array(data.draw(st.lists(st.floats(-0.2, bins * 0.1 + 0.2), min_size=1, max_size=5)))
    values = np.random.default_rng(0).normal(size=(bins, 2))
    found = read_bins(torch.from_numpy(values)[None], torch.from_numpy(times)[None], 0.1, interpolation)[0].numpy()
    if interpolation == "linear":
        middles = (np.arange(bins) + 0.5) * 0.1
        expected = np.stack([np.interp(times, middles, values[:, channel]) for channel in range(2)], axis=1)
        np.testing.assert_allclose(found, expected, atol=1e-12)
    else:
        inside = [max((k for k in range(bins) if k * 0.1 <= time + 1e-9), default=0) for time in times]
        np.testing.assert_array_equal(found, values[inside])


def test_times_on_borders_read_the_later_bin():
    values = torch.arange(10.0).reshape(1, 10, 1)
    times = torch.from_numpy((1e5 + np.arange(10) * 0.1) - 1e5)[None]
    assert read_bins(values, times, 0.1, "nearest").flatten().tolist() == list(range(10))


def test_gradients_of_read_bins_match_finite_differences():
    values = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    times = torch.rand(2, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: read_bins(v, times, 0.25, "linear"), (values,))
