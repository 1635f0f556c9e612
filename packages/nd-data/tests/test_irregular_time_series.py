"""IrregularTimeSeries: construction, slicing and selection against NumPy masks."""

import copy

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nd_data import Interval, IrregularTimeSeries

# Quarters of a second: windows often begin and end exactly on a time, and equal times occur.
quarters = st.lists(st.integers(0, 80), max_size=40).map(lambda values: np.array(values, dtype=float) / 4)


def make_series(times):
    return IrregularTimeSeries(
        times, row=np.arange(len(times)), onset=times - 0.125, timekeys=["onset"], domain=Interval(0.0, 20.0)
    )


@given(quarters, st.integers(-10, 90), st.integers(0, 60), st.booleans())
def test_a_slice_holds_the_times_from_its_start_up_to_but_not_its_end(times, start, length, reset_origin):
    start, end = start / 4, (start + length) / 4
    series = make_series(times)
    window = series.slice(start, end, reset_origin)
    rows = [row for row in np.argsort(times, kind="stable") if start <= times[row] < end]
    shift = start if reset_origin else 0.0
    assert window.row.tolist() == rows
    assert np.array_equal(window.timestamps, times[rows] - shift)
    assert np.array_equal(window.onset, times[rows] - 0.125 - shift)
    covered = max(0.0, min(end, 20.0) - max(start, 0.0))
    assert (window.domain.end - window.domain.start).sum() == covered
    assert np.array_equal(series.timestamps, times)
    assert series.row.tolist() == list(range(len(times)))


@given(quarters, st.lists(st.integers(0, 40), min_size=3, max_size=3))
def test_cutting_twice_is_cutting_once(times, cuts):
    a, b, c = sorted(cut / 2 for cut in cuts)
    series = make_series(np.sort(times))
    once = series.slice(b, c)
    twice = series.slice(a, 20.0).slice(b - a, c - a)
    assert np.array_equal(once.row, twice.row)
    assert np.array_equal(once.timestamps, twice.timestamps)
    assert list(once.domain) == list(twice.domain)


@given(quarters, st.lists(st.integers(0, 20), max_size=6, unique=True))
def test_selecting_by_intervals_keeps_the_times_inside_any_of_them(times, edges):
    edges = np.sort(np.array(edges[: len(edges) // 2 * 2], dtype=float))
    interval = Interval(edges[::2], edges[1::2])
    series = make_series(times)
    kept = series.select_by_interval(interval)
    inside = [any(a <= t < b for a, b in interval) for t in times]
    assert np.array_equal(kept.row, np.flatnonzero(inside))
    assert list(kept.domain) == list(interval)
    series.add_split_mask("train", interval)
    assert np.array_equal(series.train_mask, np.array(inside, dtype=bool))


def test_a_window_of_unsorted_times_is_sorted_and_its_source_is_not():
    series = IrregularTimeSeries([3.0, 1.0, 2.0], row=[0, 1, 2], domain="auto")
    assert series.slice(1.0, 3.0).row.tolist() == [1, 2]
    assert series.timestamps.tolist() == [3.0, 1.0, 2.0]
    assert not series.is_sorted()


def test_sorting_keeps_the_order_of_equal_times():
    series = IrregularTimeSeries([1.0, 0.0, 1.0, 0.0], row=[0, 1, 2, 3], domain="auto")
    series.sort()
    assert series.row.tolist() == [1, 3, 0, 2]
    assert series.is_sorted()


def test_an_automatic_domain_runs_from_the_first_to_the_last_time():
    series = IrregularTimeSeries([3.0, 1.0, 2.0], domain="auto")
    assert list(series.domain) == [(1.0, 3.0)]


def test_a_domain_is_put_in_order_without_changing_the_one_given():
    given_domain = Interval([2.0, 0.0], [3.0, 1.0])
    series = IrregularTimeSeries([0.5], domain=given_domain)
    assert list(series.domain) == [(0.0, 1.0), (2.0, 3.0)]
    assert given_domain.start.tolist() == [2.0, 0.0]
    series.domain = Interval(0.0, 9.0)
    assert list(series.domain) == [(0.0, 9.0)]


def test_setting_the_domain_of_a_window_leaves_the_source_alone():
    series = IrregularTimeSeries([0.5], domain=Interval(0.0, 1.0))
    window = series.slice(0.0, 1.0)
    window.domain.start -= 5.0
    masked = series.select_by_mask(np.array([True]))
    masked.domain.end += 5.0
    assert list(series.domain) == [(0.0, 1.0)]
    later = series.slice(0.25, 0.75, reset_origin=False)
    series.domain.start -= 7.0
    assert list(later.domain) == [(0.25, 0.75)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timestamps": [0.0, np.nan], "domain": "auto"}, "'timestamps' holds 1 NaN"),
        ({"timestamps": [[0.0]], "domain": "auto"}, "one dimension"),
        ({"timestamps": [], "domain": "auto"}, "cannot be 'auto'"),
        ({"timestamps": [0.0], "domain": "all"}, "or 'auto'"),
        ({"timestamps": [0.0], "domain": (0.0, 1.0)}, "must be an Interval"),
        ({"timestamps": [0.0], "domain": Interval([0.0, 0.5], [1.0, 2.0])}, "overlap"),
        ({"timestamps": [0.0], "domain": "auto", "unit_index": [0, 1]}, "'unit_index' has 2 rows"),
        ({"timestamps": [0.0], "domain": "auto", "timekeys": ["onset"]}, "time key 'onset'"),
    ],
)
def test_what_cannot_be_a_series_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        IrregularTimeSeries(**arguments)


def test_times_in_other_dtypes_become_float64():
    series = IrregularTimeSeries(np.array([0, 1, 2], dtype=np.int32), domain="auto")
    assert series.timestamps.dtype == np.float64
    assert series.slice(1, 3).timestamps.tolist() == [0.0, 1.0]


def test_a_window_shares_no_array_with_its_source():
    series = make_series(np.arange(5.0))
    window = series.slice(1.0, 3.0, reset_origin=False)
    window.timestamps[:] = -1
    window.row[:] = -1
    window.register_timekey("row")
    assert series.timestamps.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert series.row.tolist() == [0, 1, 2, 3, 4]
    assert "row" not in series.timekeys()


def test_a_data_frame_needs_timestamps():
    frame = pd.DataFrame({"timestamps": [0.5, 1.5], "unit_index": [3, 4]})
    series = IrregularTimeSeries.from_dataframe(frame, Interval(0.0, 2.0))
    assert series.unit_index.tolist() == [3, 4]
    assert list(series.domain) == [(0.0, 2.0)]
    assert list(IrregularTimeSeries.from_dataframe(frame).domain) == [(0.5, 1.5)]
    with pytest.raises(ValueError, match="column 'timestamps'"):
        IrregularTimeSeries.from_dataframe(frame.rename(columns={"timestamps": "time"}))


def test_copies_keep_what_is_known_of_the_times():
    series = make_series(np.arange(5.0))
    other = copy.deepcopy(series)
    other.timestamps = np.arange(5.0)[::-1]
    assert not other.is_sorted()
    assert series.is_sorted()
