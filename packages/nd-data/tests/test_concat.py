"""concat: objects of one kind, one after the other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries, RegularTimeSeries, concat


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(1, 29))
def test_cutting_a_series_and_joining_it_again_changes_nothing(times, cut):
    series = IrregularTimeSeries(np.sort(times) / 3.0, row=np.arange(len(times)), domain=Interval(0.0, 10.0))
    cut = cut / 3.0
    joined = concat([series.slice(cut, 10.0, False), series.slice(0.0, cut, False)])
    assert np.array_equal(joined.row, series.row)
    assert np.array_equal(joined.timestamps, series.timestamps)
    assert list(joined.domain) == [(0.0, 10.0)]


def test_the_order_of_objects_is_kept_where_no_sorting_is_asked_for():
    late, early = (IrregularTimeSeries([t], domain=Interval(t, t + 1.0)) for t in (2.0, 0.0))
    assert concat([late, early], sort=False).timestamps.tolist() == [2.0, 0.0]


def test_intervals_and_array_dictionaries_are_joined_row_by_row():
    joined = concat([Interval(2.0, 3.0, go=[2.5], timekeys=["go"]), Interval(0.0, 1.0, go=[0.5], timekeys=["go"])])
    assert list(joined) == [(2.0, 3.0), (0.0, 1.0)]
    assert joined.slice(0.0, 1.0).go.tolist() == [0.5]
    assert concat([ArrayDict(id=["a"]), ArrayDict(id=["bc"])]).id.tolist() == ["a", "bc"]


def test_empty_regular_series_join_to_an_empty_one():
    empty = RegularTimeSeries(sampling_rate=5.0, x=np.zeros(0))
    joined = concat([empty, empty])
    assert len(joined) == 0
    assert joined is not empty


@pytest.mark.parametrize(
    ("objects", "error", "message"),
    [
        ([], ValueError, "at least one"),
        ([Interval(0.0, 1.0), ArrayDict(id=["a"])], TypeError, "of one kind"),
        ([Data()], TypeError, "of one kind"),
        ([ArrayDict(id=["a"]), ArrayDict(name=["a"])], ValueError, "same arrays"),
        ([Interval(0.0, 1.0, go=[0.5]), Interval(1.0, 2.0, go=[1.5], timekeys=["go"])], ValueError, "same time keys"),
        (
            [RegularTimeSeries(sampling_rate=r, domain_start=r, x=[1]) for r in (1.0, 2.0)],
            ValueError,
            "one sampling rate",
        ),
        ([RegularTimeSeries(sampling_rate=1.0, domain_start=s, x=[1]) for s in (0.0, 1.5)], ValueError, "from a grid"),
        ([RegularTimeSeries(sampling_rate=1.0, x=[1, 2]) for _ in range(2)], ValueError, "strictly increase"),
    ],
)
def test_objects_that_do_not_fit_are_refused(objects, error, message):
    with pytest.raises(error, match=message):
        concat(objects)
