"""Samples and spikes exactly on a border: rounding, far from zero or after a shift, moves none to the other side.

The truth is in whole samples: sample k lies in [a, b) samples if a <= k < b, whatever floats the times became.
"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_data import (
    Data,
    Interval,
    IrregularTimeSeries,
    RegularTimeSeries,
    bin_spikes,
    isin_interval,
    resolve_weights_based_on_interval_membership,
)

LENGTH = 400
rates = st.sampled_from([10.0, 29.97, 30.0, 100.0, 250.0, 1000.0, 24414.0625, 30000.0])
starts = st.one_of(st.just(1e5), st.floats(0, 1e5), st.floats(-1e5, 0))
rows = st.lists(st.integers(0, LENGTH), min_size=2, max_size=8, unique=True).map(sorted)


def make_series(rate, start):
    return RegularTimeSeries(sampling_rate=rate, domain_start=start, row=np.arange(LENGTH))


def between(edges):
    """Rows in [e0, e1), [e2, e3), …"""
    pairs = list(zip(edges[::2], edges[1::2], strict=False))
    return [row for first, last in pairs for row in range(first, last)]


def intervals_at(edges, rate, origin=0.0):
    edges = edges[: len(edges) // 2 * 2]
    times = origin + np.array(edges, dtype=np.float64) / rate
    return Interval(times[::2], times[1::2])


# --- regular series -----------------------------------------------------------------------------------------------


@given(rates, starts, st.floats(0, 50), st.integers(50, 150), st.integers(1, 200))
def test_a_window_of_a_window_holds_the_samples_from_its_start_up_to_but_not_its_end(rate, start, cut, first, count):
    series = make_series(rate, start)
    origin = start + cut / rate  # anywhere between two samples
    window = series.slice(origin, start + LENGTH / rate)
    inner = window.slice(start + first / rate - origin, start + (first + count) / rate - origin)
    assert inner.row.tolist() == list(range(first, first + count))
    np.testing.assert_allclose(inner.timestamps * rate, np.arange(count), rtol=0, atol=1e-9 * rate)
    np.testing.assert_allclose(list(inner.domain), [(0.0, count / rate)], rtol=0, atol=1e-9)


@given(rates, starts, rows)
def test_adjacent_windows_share_out_the_samples(rate, start, edges):
    series = make_series(rate, start)
    times = [start + edge / rate for edge in edges]
    found = [series.slice(a, b).row.tolist() for a, b in pairwise(times)]
    assert found == [list(range(a, b)) for a, b in pairwise(edges)]


@given(rates, starts, rows, st.floats(0, 20))
def test_selecting_by_intervals_is_slicing_by_each_also_after_a_shift(rate, start, edges, cut):
    series = make_series(rate, start)
    origin = start + cut / rate
    window = series.slice(origin, start + LENGTH / rate)
    for part, shift in ((series, 0.0), (window, origin)):
        interval = intervals_at(edges, rate, start)
        interval = Interval(interval.start - shift, interval.end - shift)
        kept = part.select_by_interval(interval)
        first = part.row[0]
        assert kept.row.tolist() == [row for row in between(edges) if row >= first]
        assert kept.row.tolist() == [row for pair in interval for row in part.slice(*pair).row]
        part.add_split_mask("chosen", interval)
        assert part.row[part.chosen_mask].tolist() == kept.row.tolist()
        # What was kept lies in its domain, also for those who compare exactly.
        inside = (kept.timestamps[:, None] >= kept.domain.start) & (kept.timestamps[:, None] < kept.domain.end)
        assert inside.any(axis=1).all()


def test_intervals_that_overlap_or_reach_to_infinity_can_mark_samples():
    series = make_series(10.0, 0.0)
    series.add_split_mask("chosen", Interval([0.5, -np.inf, 0.3, 39.8], [0.7, 0.2, 0.6, np.inf]))
    assert series.row[series.chosen_mask].tolist() == [0, 1, 3, 4, 5, 6, 398, 399]
    assert series.select_by_interval(Interval(-np.inf, 0.2)).row.tolist() == [0, 1]
    assert len(series.select_by_interval(Interval(np.zeros(0), np.zeros(0)))) == 0


def test_times_since_1970_are_told_apart_as_far_as_their_floats_go():
    start = 1_700_000_000.1
    series = make_series(1000.0, start)
    kept = series.select_by_interval(Interval([start + 0.01, start + 0.1], [start + 0.02, start + 0.11]))
    assert kept.row.tolist() == [*range(10, 20), *range(100, 110)]
    np.testing.assert_allclose(kept.timestamps - start, kept.row / 1000, rtol=0, atol=5e-7)


@given(rates, starts, st.integers(0, 60), st.integers(1, 100), st.floats(0, 1))
def test_windows_of_a_series_with_gaps_keep_its_samples_and_turn_irregular_alike(rate, start, first, count, cut):
    present = np.array([k for k in range(150) if not 20 <= k < 33 and k % 40 != 7])
    series = RegularTimeSeries.from_gappy_timeseries(start + present / rate, rate, row=present)
    origin = start + (first - cut) / rate
    window = series.slice(origin, start + 200 / rate)
    inner = window.slice(start + first / rate - origin, start + (first + count) / rate - origin)
    expected = [k for k in present if first <= k < first + count]
    irregular = inner.to_irregular()
    assert irregular.row.tolist() == expected
    assert inner.row[inner.index_mask()].tolist() == expected
    np.testing.assert_allclose(irregular.timestamps, (np.array(expected) - first) / rate, rtol=0, atol=1e-9)
    assert series.to_irregular().row.tolist() == present.tolist()


def test_a_window_read_from_a_file_is_cut_on_the_same_samples(tmp_path):
    start = 98_765.4321
    series = RegularTimeSeries(sampling_rate=1000.0, domain_start=start, row=np.arange(3000))
    Data(cursor=series, domain=series.domain).save(tmp_path / "file.h5")
    origin = start + 0.00037
    for first in range(1, 2000, 97):
        lazy = Data.load(tmp_path / "file.h5").slice(origin, start + 3).cursor
        interval = Interval(start + first / 1000 - origin, start + (first + 50) / 1000 - origin)
        assert lazy.slice(interval.start[0], interval.end[0]).row.tolist() == list(range(first, first + 50))
        assert lazy.select_by_interval(interval).row.tolist() == list(range(first, first + 50))


# --- weights ------------------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(rates, starts, rows, rows, st.floats(0, 30))
def test_samples_on_the_border_of_weighted_intervals_weigh_the_same_in_every_window(rate, start, reach, hold, cut):
    data = Data(
        cursor=make_series(rate, start),
        movement=Data(reach=intervals_at(reach, rate, start), hold=intervals_at(hold, rate, start), domain="auto"),
        domain=Interval(start, start + LENGTH / rate),
    )
    weights = {"movement.reach": 5.0, "movement.hold": 0.25}
    window = data.slice(start + cut / rate, start + LENGTH / rate)
    again = window.slice(1 / rate, LENGTH / rate)
    for part in (data, window, again):
        series = part.cursor
        expected = np.array(
            [(5.0 if k in between(reach) else 1.0) * (0.25 if k in between(hold) else 1.0) for k in series.row]
        )
        found = resolve_weights_based_on_interval_membership(series.timestamps, part, weights)
        assert np.array_equal(found, expected)
        assert np.array_equal(
            isin_interval(series.timestamps, part.movement.reach), np.isin(series.row, between(reach))
        )


@pytest.mark.parametrize("number", [1, 4, 9])  # few intervals and many go different ways
def test_a_time_within_a_microsecond_of_a_border_is_on_it(number):
    interval = Interval(10.0 * np.arange(number), 10.0 * np.arange(number) + 1)
    times = np.array([-2e-6, -0.9e-6, 0.9e-6, 1 - 2e-6, 1 - 0.9e-6, 1 + 0.9e-6])
    assert isin_interval(times, interval).tolist() == [False, True, True, True, False, False]
    data = Data(reach=interval, domain="auto")
    for order in (slice(None), slice(None, None, -1)):
        found = resolve_weights_based_on_interval_membership(times[order], data, {"reach": 3.0})
        assert found[order].tolist() == [1, 3, 3, 3, 1, 1]


# --- bins ---------------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(
    step=st.sampled_from([0.02, 0.05, 0.1, 0.3, 0.7, 1 / 3]),
    bins=st.integers(1, 12),
    origin=st.sampled_from([0.0, 0.1, 12_345.6, 1e5 + 0.3]),
    spikes=st.lists(st.tuples(st.integers(0, 200), st.booleans()), max_size=40),
)
def test_of_windows_in_a_row_every_spike_is_counted_in_one(step, bins, origin, spikes):
    # Spikes on borders, which were added up or multiplied: two floats for one time.
    added = origin + np.concatenate([[0.0], np.cumsum(np.full(200, step))])
    times = np.sort([added[k] if add else origin + k * step for k, add in spikes])
    edges = origin + np.arange(0, 201 + bins, bins) * step
    series = IrregularTimeSeries(
        times, unit_index=np.zeros(len(times), dtype=int), domain=Interval(origin, float(edges[-1]))
    )
    windows = [series.slice(a, b) for a, b in pairwise(edges)]
    assert sum(int(bin_spikes(window, 1, step).sum()) for window in windows) == len(times)


@pytest.mark.parametrize("right", [True, False])
def test_what_lies_behind_the_last_bin_is_not_moved_into_it(right):
    def counts(time):
        spikes = IrregularTimeSeries([time], unit_index=[0], domain=Interval(0.0, 0.35))
        return bin_spikes(spikes, 1, 0.1, right=right)[:, 0].tolist()

    assert counts(0.32) == ([0, 0, 1] if right else [0, 0, 0])
    assert counts(0.35 - 1e-12) == ([0, 0, 1] if right else [0, 0, 0])
    assert counts(0.3 - 1e-12) == ([0, 0, 1] if right else [0, 0, 0])
