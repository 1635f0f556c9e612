"""RegularTimeSeries: slicing on the grid of samples, gaps, and the way to irregular series."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nd_data import Interval, RegularTimeSeries, concat


def make_series(length=50, rate=8.0, start=0.0):
    return RegularTimeSeries(sampling_rate=rate, domain_start=start, x=np.arange(length), y=np.ones((length, 2)))


@given(
    st.integers(0, 60), st.sampled_from([4, 8, 64]), st.integers(-40, 40), st.integers(-80, 300), st.integers(0, 200)
)
def test_a_slice_holds_the_samples_from_its_start_up_to_but_not_its_end(length, rate, origin, start, ticks):
    # Sixteenths of a second are exact in floating point, so that the truth is known to the last sample.
    origin, start, end = origin / 16, start / 16, (start + ticks) / 16
    series = make_series(length, float(rate), origin)
    times = [Fraction(origin) + Fraction(k, rate) for k in range(length)]
    rows = [k for k, t in enumerate(times) if Fraction(start) <= t < Fraction(end)]
    window = series.slice(start, end)
    assert window.x.tolist() == rows
    assert window.y.shape == (len(rows), 2)
    assert window.timestamps.tolist() == [float(times[k] - Fraction(start)) for k in rows]
    if rows:
        assert list(window.domain) == [
            (float(times[rows[0]]) - start, float(times[rows[-1]] + Fraction(1, rate)) - start)
        ]
    assert len(series.x) == length


@given(
    rate=st.sampled_from([30.0, 97.0, 100.0, 250.0, 1000.0, 29.97]),
    offset=st.floats(0, 1e5),
    first=st.integers(0, 4000),
    count=st.integers(1, 500),
)
def test_windows_that_begin_on_a_sample_hold_it_whatever_the_rounding(rate, offset, first, count):
    series = RegularTimeSeries(sampling_rate=rate, domain_start=offset, x=np.arange(5000))
    times = series.timestamps
    window = series.slice(times[first], times[first + count])
    assert window.x.tolist() == list(range(first, first + count))
    np.testing.assert_allclose(window.timestamps, times[first : first + count] - times[first], rtol=0, atol=1e-10)


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_cutting_twice_is_cutting_once(length, a, b, c):
    a, b, c = sorted((a, b, c))
    series = make_series(length)
    twice = series.slice(a / 8, 100.0).slice((b - a) / 8, (c - a) / 8)
    assert np.array_equal(twice.x, series.slice(b / 8, c / 8).x)


def test_the_domain_is_one_step_longer_than_the_last_sample():
    series = make_series(50, 8.0, 2.0)
    assert list(series.domain) == [(2.0, 2.0 + 50 / 8)]
    assert series.timestamps[-1] == 2.0 + 49 / 8
    assert not series.is_gappy()


def test_origins_are_kept_where_asked():
    window = make_series(50, 8.0, 2.0).slice(3.0, 4.0, reset_origin=False)
    assert window.timestamps[0] == 3.0
    assert list(window.domain) == [(3.0, 4.0)]


def test_a_window_outside_is_empty():
    for start, end in [(-5.0, 0.0), (100.0, 101.0), (1.0, 1.0)]:
        window = make_series().slice(start, end)
        assert len(window) == 0
        assert window.timestamps.shape == (0,)
        assert window.y.shape == (0, 2)


def make_gappy():
    times = np.delete(np.arange(20), [5, 6, 7, 12]) / 10.0 + 1.0
    return RegularTimeSeries.from_gappy_timeseries(
        times, sampling_rate=10.0, x=np.delete(np.arange(20.0), [5, 6, 7, 12]), n=np.arange(16), flag=np.ones(16, bool)
    )


def test_gaps_are_filled_and_marked():
    series = make_gappy()
    assert series.is_gappy()
    missing = np.isin(np.arange(20), [5, 6, 7, 12])
    assert np.array_equal(series.index_mask(), ~missing)
    assert np.array_equal(np.isnan(series.x), missing)
    assert (series.n[missing] == -1).all()
    assert not series.flag[missing].any()
    np.testing.assert_allclose(series.domain.start, [1.0, 1.8, 2.3])
    np.testing.assert_allclose(series.domain.end, [1.5, 2.2, 3.0])


@given(st.integers(0, 22), st.integers(0, 22), st.booleans())
def test_a_window_of_a_gappy_series_begins_and_ends_on_a_sample(first, count, reset_origin):
    series = make_gappy()
    start, end = 1.0 + first / 10, 1.0 + (first + count) / 10
    window = series.slice(start, end, reset_origin)
    present = [k for k in range(first, min(first + count, 20)) if k not in (5, 6, 7, 12)]
    assert window.x[window.index_mask()].tolist() == present
    if present:
        assert len(window) == present[-1] - present[0] + 1
        shift = start if reset_origin else 0.0
        np.testing.assert_allclose(window.timestamps[0], 1.0 + present[0] / 10 - shift, rtol=0, atol=1e-12)
        assert window.index_mask()[[0, -1]].all()
    else:
        assert len(window) == 0


def test_irregular_series_have_the_samples_and_no_filling():
    series = make_gappy()
    irregular = series.to_irregular()
    assert np.array_equal(irregular.n, np.arange(16))
    np.testing.assert_allclose(irregular.timestamps, series.timestamps[series.index_mask()])
    irregular.x[:] = 0
    irregular.domain.start[:] = 0
    assert series.x[1] == 1.0
    assert series.domain.start[0] == 1.0


def test_masks_and_intervals_select_samples_into_an_irregular_series():
    series = make_gappy()
    kept = series.select_by_mask(np.arange(20) % 2 == 0)
    assert kept.x.tolist() == [0, 2, 4, 8, 10, 14, 16, 18]
    assert series.select_by_interval(Interval(1.0, 1.3)).x.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="20 rows"):
        series.select_by_mask(np.ones(3, dtype=bool))
    series.add_split_mask("train", Interval(1.0, 1.25))
    assert series.train_mask.sum() == 3


@pytest.mark.parametrize(
    ("gap_value", "error", "message"),
    [(np.nan, ValueError, "'n' of int64"), ({"f": 0.0}, KeyError, "no gap value for 'n'"), (0.5, ValueError, "'n'")],
)
def test_a_gap_value_that_an_array_cannot_hold_is_refused(gap_value, error, message):
    with pytest.raises(error, match=message):
        RegularTimeSeries.from_gappy_timeseries([0.0, 0.1], 10.0, gap_value, n=[1, 2])


def test_gap_values_can_be_chosen_by_kind():
    series = RegularTimeSeries.from_gappy_timeseries(
        [0.0, 0.1, 0.3], 10.0, {"i": -9, "f": 0.5}, n=[1, 2, 3], x=[1.0, 2.0, 3.0]
    )
    assert series.n.tolist() == [1, 2, -9, 3]
    assert series.x.tolist() == [1.0, 2.0, 0.5, 3.0]


@pytest.mark.parametrize(
    ("times", "rate", "message"),
    [
        ([0.0, 0.105, 0.2], 10.0, "from a grid of 10.0 Hz"),
        ([0.0, 0.2, 0.1], 10.0, "strictly increase"),
        ([0.0, 0.2, 0.4], 10.0, "may be 5.0 Hz"),
        ([], 10.0, "at least one"),
    ],
)
def test_times_off_the_grid_are_refused(times, rate, message):
    with pytest.raises(ValueError, match=message):
        RegularTimeSeries.from_gappy_timeseries(times, rate, x=np.zeros(len(times)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampling_rate": 0.0}, "sampling rate must be a positive"),
        ({"sampling_rate": "10"}, "sampling rate must be a positive"),
        ({"sampling_rate": 10.0, "domain_start": np.nan}, "domain_start"),
        ({"sampling_rate": 10.0, "domain": Interval(0.0, 2.0)}, "spans 20 samples at 10.0 Hz, but the arrays have 5"),
        ({"sampling_rate": 10.0, "domain": "all"}, "must be an Interval"),
    ],
)
def test_what_cannot_be_a_series_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RegularTimeSeries(**arguments, x=np.zeros(5))


def test_a_domain_that_fits_may_be_given():
    series = RegularTimeSeries(sampling_rate=10.0, domain=Interval([1.0, 1.4], [1.2, 1.6]), x=np.arange(6))
    assert series.index_mask().tolist() == [True, True, False, False, True, True]
    assert list(RegularTimeSeries(sampling_rate=10.0, domain="auto", x=np.zeros(5)).domain) == [(0.0, 0.5)]


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 10))
def test_concatenating_regular_series_leaves_a_gap_between_them(first, second, gap):
    assume(first + gap > 0)
    a = RegularTimeSeries(sampling_rate=8.0, x=np.arange(float(first)))
    b = RegularTimeSeries(sampling_rate=8.0, domain_start=(first + gap) / 8, x=np.arange(float(second)))
    joined = concat([b, a])
    assert joined.is_gappy() == (gap > 0)
    assert np.array_equal(joined.x[joined.index_mask()], np.concatenate([a.x, b.x]))
    assert len(joined) == first + gap + second
    assert np.array_equal(joined.to_irregular().timestamps, np.concatenate([a.timestamps, b.timestamps]))
