"""Interval: construction, order, slicing, and set operations against a grid of Booleans."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_data import Interval

LENGTH = 40


def as_grid(interval):
    """Which cells [k, k + 1) of time are covered, for bounds that are whole numbers: slow and obvious."""
    cells = np.zeros(LENGTH, dtype=bool)
    for start, end in interval:
        for cell in range(LENGTH):
            cells[cell] |= start <= cell and cell + 1 <= end
    return cells


@st.composite
def disjoint_intervals(draw, touching=True):
    edges = sorted(draw(st.lists(st.integers(0, LENGTH), max_size=12, unique=not touching)))
    pairs = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False) if a < b]
    return Interval(np.array([a for a, _ in pairs], dtype=float), np.array([b for _, b in pairs], dtype=float))


@st.composite
def any_intervals(draw):
    pairs = draw(st.lists(st.tuples(st.integers(0, LENGTH - 1), st.integers(1, 8)), max_size=8))
    start = np.array([a for a, _ in pairs], dtype=float)
    return Interval(start, start + np.array([length for _, length in pairs], dtype=float), n=np.arange(len(pairs)))


def test_numbers_make_a_single_interval():
    interval = Interval(0, np.float32(1.5))
    assert interval.start.dtype == interval.end.dtype == np.float64
    assert list(interval) == [(0.0, 1.5)]


def test_whole_numbers_become_float64():
    interval = Interval(np.array([0, 2]), [1, 3])
    assert interval.start.dtype == np.float64
    assert interval.end.tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ([0.0, np.nan], [1.0, 2.0], "'start' holds 1 NaN, the first in row 1"),
        ([0.0], [np.nan], "'end' holds 1 NaN"),
        ([0.0, 1.0], [1.0], "'end' has 1 rows"),
        ([[0.0]], [[1.0]], "one dimension"),
        (["a"], ["b"], "times in seconds"),
    ],
)
def test_bounds_that_are_no_times_are_refused(start, end, message):
    with pytest.raises(ValueError, match=message):
        Interval(start, end)


def test_a_time_key_that_is_no_array_is_refused():
    with pytest.raises(ValueError, match="time key 'go'"):
        Interval(0.0, 1.0, timekeys=["go"])


def test_a_list_of_time_keys_is_not_changed():
    names = ["go"]
    interval = Interval(0.0, 1.0, go=[0.5], timekeys=names)
    assert names == ["go"]
    assert sorted(interval.timekeys()) == ["end", "go", "start"]


def test_registered_times_move_with_the_origin():
    interval = Interval([2.0], [3.0], go=[2.5], label=[2.5])
    interval.register_timekey("go")
    window = interval.slice(2.0, 4.0)
    assert window.go.tolist() == [0.5]
    assert window.label.tolist() == [2.5]


@given(any_intervals())
def test_order_and_overlap_are_what_a_look_at_all_pairs_says(interval):
    pairs = list(interval)
    disjoint = all(a[1] <= b[0] or b[1] <= a[0] for i, a in enumerate(pairs) for b in pairs[i + 1 :])
    ordered = all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(pairs))
    assert interval.is_disjoint() == disjoint
    assert interval.is_sorted() == ordered


@given(any_intervals())
def test_sorting_reorders_all_arrays_or_raises_and_changes_nothing(interval):
    before = [interval.start.copy(), interval.end.copy(), interval.n.copy()]
    if not interval.is_disjoint():
        with pytest.raises(ValueError, match="overlap"):
            interval.sort()
        assert np.array_equal(interval.n, before[2])
        return
    assert interval.sort() is interval
    assert interval.is_sorted()
    assert np.array_equal(interval.start, before[0][interval.n])
    assert np.array_equal(interval.end, before[1][interval.n])


def test_order_is_looked_at_again_after_bounds_are_set():
    interval = Interval([0.0, 2.0], [1.0, 3.0])
    assert interval.is_sorted()
    interval.start, interval.end = [2.0, 0.0], [3.0, 1.0]
    assert not interval.is_sorted()


@given(any_intervals(), st.integers(0, LENGTH), st.integers(0, 10), st.booleans())
def test_a_slice_holds_whole_the_intervals_that_overlap_the_window(interval, start, length, reset_origin):
    end = start + length
    window = interval.slice(start, end, reset_origin)
    expected = sorted((a, b, n) for (a, b), n in zip(interval, interval.n, strict=True) if b > start and a < end)
    shift = start if reset_origin else 0
    found = zip(window.start + shift, window.end + shift, window.n, strict=True)
    assert sorted(found) == expected
    assert (np.diff(window.start) >= 0).all()


def test_slicing_leaves_an_unsorted_source_as_it_was():
    interval = Interval([4.0, 0.0], [5.0, 1.0], n=[0, 1])
    window = interval.slice(0.0, 10.0)
    assert interval.start.tolist() == [4.0, 0.0]
    assert window.n.tolist() == [1, 0]
    window.start[:] = -1
    assert interval.start.tolist() == [4.0, 0.0]


@pytest.mark.parametrize(("start", "end"), [(2.0, 1.0), (np.nan, 1.0), (0.0, np.nan)])
def test_a_window_that_ends_before_it_starts_is_refused(start, end):
    with pytest.raises(ValueError, match="must not end before it starts"):
        Interval(0.0, 5.0).slice(start, end)


@given(any_intervals(), disjoint_intervals())
def test_selecting_by_intervals_keeps_what_overlaps_any_of_them(interval, others):
    kept = interval.select_by_interval(others)
    expected = [n for (a, b), n in zip(interval, interval.n, strict=True) if any(b > c and a < d for c, d in others)]
    assert kept.n.tolist() == expected
    interval.add_split_mask("train", others)
    assert np.flatnonzero(interval.train_mask).tolist() == expected


def test_a_split_mask_is_set_once():
    interval = Interval([0.0, 2.0], [1.0, 3.0])
    interval.add_split_mask("train", Interval(0.0, 1.0))
    assert interval.train_mask.tolist() == [True, False]
    with pytest.raises(ValueError, match="already is an array 'train_mask'"):
        interval.add_split_mask("train", Interval(0.0, 1.0))


@given(disjoint_intervals(), disjoint_intervals())
def test_set_operations_agree_with_a_grid_of_booleans(a, b):
    both, either, only = a & b, a | b, a.difference(b)
    assert np.array_equal(as_grid(both), as_grid(a) & as_grid(b))
    assert np.array_equal(as_grid(either), as_grid(a) | as_grid(b))
    assert np.array_equal(as_grid(only), as_grid(a) & ~as_grid(b))
    for result in (both, either, only):
        assert result.is_sorted()
        assert result.is_disjoint()
        assert (result.end > result.start).all()
    assert (either.start[1:] > either.end[:-1]).all()


@given(disjoint_intervals(), disjoint_intervals(), disjoint_intervals())
def test_set_operations_obey_the_laws_of_sets(a, b, c):
    def same(x, y):
        return np.array_equal(as_grid(x), as_grid(y))

    assert same(a & b, b & a)
    assert same((a & b) & c, a & (b & c))
    assert same(a & (b | c), (a & b) | (a & c))
    assert same(a.difference(b | c), a.difference(b).difference(c))
    assert same(a.difference(b) | (a & b), a)


def test_a_point_between_two_intervals_is_met_once():
    point, halves = Interval(1.0, 1.0), Interval([0.0, 1.0], [1.0, 2.0])
    met = point & halves
    assert list(met) == [(1.0, 1.0)]
    assert list(halves & point) == [(1.0, 1.0)]
    assert len(point.difference(halves)) == 0


@pytest.mark.parametrize("operation", [Interval.__and__, Interval.__or__, Interval.difference])
def test_set_operations_need_order_and_say_which_side_lacks_it(operation):
    good = Interval([0.0, 2.0], [1.0, 3.0])
    with pytest.raises(ValueError, match="right intervals must be sorted"):
        operation(good, Interval([2.0, 0.0], [3.0, 1.0]))
    with pytest.raises(ValueError, match="left intervals must be disjoint"):
        operation(Interval([0.0, 1.0], [2.0, 3.0]), good)
    with pytest.raises(ValueError, match="ends before it starts"):
        operation(Interval([5.0], [4.0]), good)


@given(any_intervals(), st.floats(0, 4))
def test_coalescing_joins_what_is_closer_than_eps(interval, eps):
    if not interval.is_sorted():
        if not interval.is_disjoint():
            return
        interval.sort()
    joined = interval.coalesce(eps)
    expected = []
    for start, end in interval:
        if expected and start < expected[-1][1] + eps:
            expected[-1] = (expected[-1][0], end)
        else:
            expected.append((start, end))
    assert list(joined) == expected


def test_coalescing_by_a_negative_distance_is_refused():
    with pytest.raises(ValueError, match="eps"):
        Interval(0.0, 1.0).coalesce(-1.0)


@given(disjoint_intervals(), st.floats(0, 5))
def test_dilation_grows_up_to_its_size_or_half_way_to_the_neighbour(interval, size):
    grown = interval.dilate(size)
    for row, (start, end) in enumerate(interval):
        before = np.inf if row == 0 else (start - interval.end[row - 1]) / 2
        after = np.inf if row == len(interval) - 1 else (interval.start[row + 1] - end) / 2
        assert grown.start[row] == pytest.approx(start - min(size, before))
        assert grown.end[row] == pytest.approx(end + min(size, after))


@given(disjoint_intervals(), st.floats(0, 5), st.floats(0.5, 6))
def test_dilation_never_grows_beyond_the_longest_allowed(interval, size, longest):
    grown = interval.dilate(size, max_len=longest)
    before, after = interval.end - interval.start, grown.end - grown.start
    assert (after <= np.maximum(before, longest) + 1e-9).all()
    assert (grown.start <= interval.start + 1e-9).all()
    assert (grown.end >= interval.end - 1e-9).all()
    assert grown.is_disjoint()


def test_dilation_keeps_what_describes_the_intervals_and_its_source():
    interval = Interval([1.0], [2.0], n=[7])
    assert interval.dilate(0.5).n.tolist() == [7]
    assert interval.start.tolist() == [1.0]
    with pytest.raises(ValueError, match="not negative"):
        interval.dilate(-0.1)


@given(disjoint_intervals(), st.sampled_from([0.1, 0.25, 0.7, 1.0, 3.0]), st.booleans())
def test_subdivision_covers_each_interval_with_pieces_of_one_step(interval, step, drop_short):
    interval.n = np.arange(len(interval))
    pieces = interval.subdivide(step, drop_short)
    for n, (start, end) in enumerate(interval):
        mine = pieces.n == n
        assert pieces.start[mine][:1].tolist() in ([start], [])
        np.testing.assert_allclose(pieces.start[mine][1:], pieces.end[mine][:-1], rtol=0, atol=1e-9)
        lengths = (pieces.end - pieces.start)[mine]
        whole = round((end - start) / step - 0.5 + 1e-9)
        np.testing.assert_allclose(lengths[:whole], step, rtol=0, atol=1e-9)
        remainder = (end - start) - whole * step
        assert len(lengths) == whole + (remainder > 1e-9 and not drop_short)
        if not drop_short:
            assert pieces.end[mine][-1] == end


def test_rounding_makes_no_sliver_at_the_end_of_a_subdivision():
    pieces = Interval(0.0, 0.3).subdivide(0.1, drop_short=True)
    assert len(pieces) == 3
    assert pieces.end[-1] == 0.3
    assert len(Interval.arange(0.0, 3 * 0.1, 0.1)) == 3


def test_a_step_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="step must be positive"):
        Interval(0.0, 1.0).subdivide(0.0)


def test_arange_keeps_or_drops_what_remains():
    assert list(Interval.arange(0, 2.5, 1)) == [(0.0, 1.0), (1.0, 2.0), (2.0, 2.5)]
    assert list(Interval.arange(0, 2.5, 1, include_end=False)) == [(0.0, 1.0), (1.0, 2.0)]


def test_linspace_divides_evenly():
    assert list(Interval.linspace(0, 1, 4)) == [(0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)]


def test_lists_of_pairs_become_intervals():
    assert list(Interval.from_list([(0, 1), (2, 3.5)])) == [(0.0, 1.0), (2.0, 3.5)]
    assert len(Interval.from_list([])) == 0


def test_data_frames_need_start_and_end():
    frame = pd.DataFrame({"start": [0, 1], "end": [1, 2], "kind": ["a", "b"]})
    interval = Interval.from_dataframe(frame)
    assert interval.kind.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="column 'end'"):
        Interval.from_dataframe(frame.rename(columns={"end": "stop"}))


@settings(max_examples=30)
@given(st.integers(2, 30), st.booleans(), st.integers(0, 5))
def test_splitting_deals_every_interval_to_exactly_one_part(count, shuffle, seed):
    interval = Interval.linspace(0, 1, count)
    parts = interval.split([0.5, 0.5], shuffle=shuffle, random_seed=seed)
    starts = np.concatenate([part.start for part in parts])
    assert np.array_equal(np.sort(starts), interval.start)
    assert all(part.is_sorted() for part in parts)
    again = interval.split([0.5, 0.5], shuffle=shuffle, random_seed=seed)
    assert [len(part) for part in parts] == [len(part) for part in again]
    assert np.array_equal(parts[0].start, again[0].start)


def test_fractions_that_add_up_but_for_rounding_are_accepted():
    parts = Interval.linspace(0, 1, 10).split([0.7, 0.2, 0.1])
    assert [len(part) for part in parts] == [7, 2, 1]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([10], "at least two"),
        ([5, 4], "add up"),
        ([0.5, 0.4], "add up to 1"),
        ([5, 0.5], "all whole"),
        ([1] * 11, "11"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        Interval.linspace(0, 1, 10).split(sizes)


def test_a_thousand_intervals_meet_each_their_own_counterpart():
    a = Interval(np.arange(1000.0), np.arange(1000.0) + 0.5)
    b = Interval(np.arange(1000.0) + 0.25, np.arange(1000.0) + 0.75)
    assert len(a & b) == len(a | b) == len(a.difference(b)) == 1000
    np.testing.assert_allclose((a & b).start, b.start)
