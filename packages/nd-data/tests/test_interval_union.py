import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nd_data.interval import Interval
from nd_data.interval_union import merge_intervals, merged

pairs = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=10)


@given(pairs)
def test_merged_intervals_are_disjoint_in_order_and_cover_the_same_times(pairs):
    start = np.array([float(s) for s, _ in pairs])
    end = start + np.array([float(length) for _, length in pairs])
    union = merged(Interval(start, end))
    assert union.is_sorted()
    assert union.is_disjoint()
    assert (union.end > union.start).all()
    for time in np.arange(0, 40, 0.5):
        inside = ((start <= time) & (time < end)).any()
        assert ((union.start <= time) & (time < union.end)).any() == inside


def test_intervals_that_only_touch_stay_apart_unless_a_gap_is_allowed():
    start, end = np.array([3.0, 0.0, 1.0]), np.array([4.0, 1.0, 2.5])
    assert [array.tolist() for array in merge_intervals(start, end)] == [[0, 1, 3], [1, 2.5, 4]]
    assert [array.tolist() for array in merge_intervals(start, end, gap=1e-6)] == [[0, 3], [2.5, 4]]
    assert [array.tolist() for array in merge_intervals(start, end, gap=1.0)] == [[0], [4]]
