import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nd_data.data import Data
from nd_data.interval import Interval
from nd_data.interval_membership import isin_interval, resolve_weights_based_on_interval_membership

grid = st.integers(-4, 12).map(lambda tick: tick / 2)


@given(
    times=st.lists(grid, max_size=20),
    pairs=st.lists(st.tuples(grid, st.integers(0, 8).map(lambda tick: tick / 2)), max_size=6),
)
def test_membership_is_that_of_a_loop_over_half_open_intervals_in_any_order(times, pairs):
    interval = Interval(np.array([s for s, _ in pairs]), np.array([s + length for s, length in pairs]))
    expected = [any(start <= t < start + length for start, length in pairs) for t in times]
    found = isin_interval(np.array(times), interval)
    assert found.dtype == np.bool_
    assert found.tolist() == expected


def test_the_shape_of_the_times_is_kept():
    assert isin_interval(np.zeros((2, 3)), Interval(0.0, 1.0)).shape == (2, 3)
    assert isin_interval(np.zeros((2, 3)), Interval(np.array([0.0, 5.0]), np.array([1.0, 6.0]))).all()


def test_weights_multiply_on_overlap_and_are_one_outside(recording):
    recording.outliers = Interval(np.array([2.0, 50.0]), np.array([6.0, 51.0]))
    times = np.array([1.0, 2.0, 4.0, 5.5, 8.0])
    config = {"movement_periods.reach_period": 5.0, "movement_periods.hold_period": 0.1, "outliers": 0.5}
    weights = resolve_weights_based_on_interval_membership(times, recording, config)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, [5.0, 2.5, 0.5, 0.05, 1.0], rtol=1e-6)


@given(
    times=st.lists(grid, max_size=20),
    in_order=st.booleans(),
    sets=st.lists(
        st.tuples(
            st.lists(st.tuples(grid, st.integers(0, 8).map(lambda tick: tick / 2)), max_size=6),
            st.sampled_from([0.0, 0.5, 2.0, 5.0]),
        ),
        max_size=3,
    ),
)
def test_weights_are_those_of_a_loop_over_times_and_sets_of_intervals(times, in_order, sets):
    times = sorted(times) if in_order else times
    config = {f"set_{number}": weight for number, (_, weight) in enumerate(sets)}
    data = Data(
        **{
            f"set_{number}": Interval(np.array([s for s, _ in pairs]), np.array([s + length for s, length in pairs]))
            for number, (pairs, _) in enumerate(sets)
        },
        domain=Interval(-10.0, 10.0),
    )
    expected = []
    for t in times:
        weight = 1.0
        for pairs, of_set in sets:
            if any(start <= t < start + length for start, length in pairs):
                weight *= of_set
        expected.append(weight)
    assert resolve_weights_based_on_interval_membership(np.array(times), data, config).tolist() == expected


@pytest.mark.parametrize("config", [None, {}])
def test_without_configuration_all_weights_are_one(recording, config):
    assert resolve_weights_based_on_interval_membership(np.zeros(3), recording, config).tolist() == [1, 1, 1]


@given(start=st.integers(0, 900).map(lambda tick: tick / 10))
def test_the_weights_of_a_window_are_those_of_the_recording(recording_data, start):
    times = start + (np.arange(100) + 0.5) / 100
    config = {"movement_periods.reach_period": 5.0, "movement_periods.hold_period": 0.1}
    window = recording_data.slice(start, start + 1)
    np.testing.assert_array_equal(
        resolve_weights_based_on_interval_membership(times - start, window, config),
        resolve_weights_based_on_interval_membership(times, recording_data, config),
    )


def test_a_path_that_leads_nowhere_names_the_intervals_there_are(recording):
    with pytest.raises(
        ValueError, match=r"no intervals 'movement_periods.reach'.*did you mean 'movement_periods.reach_period'"
    ):
        resolve_weights_based_on_interval_membership(np.zeros(1), recording, {"movement_periods.reach": 2.0})


def test_a_path_that_leads_to_something_else_says_to_what(recording):
    with pytest.raises(ValueError, match="'cursor' is a RegularTimeSeries, expected an Interval; existing intervals:"):
        resolve_weights_based_on_interval_membership(np.zeros(1), recording, {"cursor": 2.0})
