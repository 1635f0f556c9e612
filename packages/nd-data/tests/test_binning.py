from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nd_data.binning import bin_spikes
from nd_data.interval import Interval
from nd_data.irregular_time_series import IrregularTimeSeries


def spikes_at(times, unit_index=None, start=0.0, end=1.0):
    times = np.asarray(times, dtype=np.float64)
    units = np.zeros(len(times), dtype=np.int64) if unit_index is None else np.asarray(unit_index)
    return IrregularTimeSeries(timestamps=times, unit_index=units, domain=Interval(start, end))


@given(
    ticks=st.lists(st.tuples(st.integers(0, 199), st.integers(0, 3)), max_size=60),
    bin_ms=st.sampled_from([1, 3, 5, 7, 10, 20, 25, 30, 50]),
    origin=st.sampled_from([0.0, 0.1, 1234.5, 99_999.9]),
    right=st.booleans(),
)
def test_counts_are_those_of_exact_arithmetic_also_on_the_borders_and_far_from_zero(ticks, bin_ms, origin, right):
    ticks = sorted(ticks)
    times = np.array([origin + tick / 1000 for tick, _ in ticks])
    recording = spikes_at(times, [unit for _, unit in ticks], origin, origin + 0.2)
    window = recording.slice(origin, origin + 0.2)

    width, length = Fraction(bin_ms, 1000), Fraction(200, 1000)
    num_bins = length // width
    first = length - num_bins * width if right else Fraction(0)
    expected = np.zeros((num_bins, 4), dtype=int)
    for tick, unit in ticks:
        place = (Fraction(tick, 1000) - first) // width
        if 0 <= place < num_bins:
            expected[place, unit] += 1
    for series in (recording, window):
        np.testing.assert_array_equal(bin_spikes(series, 4, bin_ms / 1000, right=right), expected)


def test_a_spike_exactly_on_the_end_is_outside():
    counts = bin_spikes(spikes_at([0.0, 0.5, 1.0]), num_units=1, bin_size=0.1)
    assert counts.shape == (10, 1)
    assert counts[:, 0].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_a_domain_that_is_no_multiple_of_the_bin_loses_time_on_the_chosen_side():
    spikes = spikes_at([0.05, 0.15, 0.95])
    assert bin_spikes(spikes, 1, 0.3, right=True)[:, 0].tolist() == [1, 0, 1]
    assert bin_spikes(spikes, 1, 0.3, right=False)[:, 0].tolist() == [2, 0, 0]


def test_a_domain_that_misses_a_thousandth_of_a_bin_keeps_its_last_bin():
    assert bin_spikes(spikes_at([0.9], end=1 - 5e-5), 1, 0.1).shape == (10, 1)
    assert bin_spikes(spikes_at([0.8], end=1 - 5e-4), 1, 0.1).shape == (9, 1)
    assert bin_spikes(spikes_at([0.8], end=1 - 5e-4), 1, 0.1, eps=1e-2).shape == (10, 1)


@pytest.mark.parametrize("right", [True, False])
def test_bins_of_a_domain_that_ends_a_little_early_begin_with_it(right):
    counts = bin_spikes(spikes_at([0.1 - 2e-5, 0.1], end=1 - 5e-5), 1, 0.1, right=right)
    assert counts[:3, 0].tolist() == [1, 1, 0]


def test_clipping_and_dtype():
    counts = bin_spikes(spikes_at([0.1] * 300), 1, 1.0, max_spikes=7, dtype=np.uint8)
    assert counts.dtype == np.uint8
    assert counts.tolist() == [[7]]
    assert bin_spikes(spikes_at([0.1]), 1, 1.0).dtype == np.int32
    with pytest.raises(ValueError, match="a bin holds 300 spikes, more than uint8 can"):
        bin_spikes(spikes_at([0.1] * 300), 1, 1.0, dtype=np.uint8)


def test_no_spikes_give_zeros_and_a_short_domain_gives_no_bins():
    assert bin_spikes(spikes_at([]), 3, 0.25).tolist() == [[0, 0, 0]] * 4
    assert bin_spikes(spikes_at([0.1]), 3, 2.0).shape == (0, 3)


def test_binning_does_not_change_the_spikes():
    spikes = spikes_at([0.05, 0.5])
    bin_spikes(spikes, 1, 0.3)
    assert spikes.timestamps.tolist() == [0.05, 0.5]
    assert spikes.domain.start.tolist() == [0.0]


@pytest.mark.parametrize("unit_index", [[0, 2], [-1, 0]])
def test_a_unit_that_does_not_exist_is_refused(unit_index):
    with pytest.raises(
        ValueError, match=rf"unit_index holds {min(unit_index) if -1 in unit_index else 2} but num_units is 2"
    ):
        bin_spikes(spikes_at([0.1, 0.2], unit_index), 2, 0.1)


def test_bins_without_width_and_domains_without_intervals_are_refused():
    with pytest.raises(ValueError, match="bin_size must be above 0"):
        bin_spikes(spikes_at([0.1]), 1, 0.0)
    empty = IrregularTimeSeries(
        timestamps=[], unit_index=np.array([], int), domain=Interval(np.array([]), np.array([]))
    )
    with pytest.raises(ValueError, match="without a domain"):
        bin_spikes(empty, 1, 0.1)
