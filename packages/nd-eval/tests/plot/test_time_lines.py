"""Lines that stop at gaps and jumps, against point-by-point constructions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_eval.plot.time_lines import broken_line, gap_length, lonely_points, stretches, wrapped_line


def seconds(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_a_missing_sample_of_a_regular_grid_is_a_gap():
    times = torch.arange(100, dtype=torch.float64) * 0.01
    times = torch.cat([times[:50], times[51:]])
    line_times, values = broken_line(times, torch.ones(99, dtype=torch.float64), gap_length(times))
    assert torch.isnan(values).nonzero().flatten().tolist() == [50]
    assert float(line_times[50]) == pytest.approx(0.5)


def test_irregular_times_are_joined_unless_five_median_steps_apart():
    steps = torch.tensor([1.0, 3.0, 0.5, 2.0, 1.0, 0.8, 11.0, 1.2], dtype=torch.float64)
    times = torch.cat([torch.zeros(1, dtype=torch.float64), steps.cumsum(0)])
    _, values = broken_line(times, times, gap_length(times))
    assert torch.isnan(values).nonzero().flatten().tolist() == [7]


def test_one_time_has_no_gap():
    line_times, values = broken_line(seconds(4.0), seconds(2.0), gap_length(seconds(4.0)))
    assert line_times.tolist() == [4.0]
    assert values.tolist() == [2.0]


def test_classes_are_joined_only_while_they_stay():
    values = seconds(0, 0, 1, 1, 1, 0)
    _, line = broken_line(torch.arange(6).double(), values, float("inf"), steady=True)
    np.testing.assert_array_equal(line, [0, 0, np.nan, 1, 1, 1, np.nan, 0])


def test_points_without_a_neighbour_are_found():
    nan = float("nan")
    assert lonely_points(seconds(1.0, nan, 1.0, 2.0, nan, 3.0)) == [0, 5]
    assert lonely_points(seconds(nan, 1.0, nan)) == [1]
    assert lonely_points(seconds(7.0)) == [0]


def test_an_angle_leaves_the_turn_on_one_side_and_comes_back_on_the_other():
    times, values = wrapped_line(seconds(0.0, 1.0), seconds(350.0, 10.0), 5.0, 360.0)
    np.testing.assert_allclose(values, [350.0, 360.0, np.nan, 0.0, 10.0])
    np.testing.assert_allclose(times, [0.0, 0.5, 0.5, 0.5, 1.0])
    times, values = wrapped_line(seconds(0.0, 1.0), seconds(10.0, 330.0), 5.0, 360.0)
    np.testing.assert_allclose(values, [10.0, 0.0, np.nan, 360.0, 330.0])
    np.testing.assert_allclose(times, [0.0, 0.25, 0.25, 0.25, 1.0])


def test_an_angle_does_not_come_back_across_a_gap_in_time():
    _, values = wrapped_line(seconds(0.0, 9.0), seconds(350.0, 10.0), 5.0, 360.0)
    np.testing.assert_allclose(values, [350.0, np.nan, 10.0])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1000, 1000, allow_nan=False), min_size=1, max_size=40),
    st.floats(0.5, 400.0),
)
def test_a_wrapped_line_never_moves_more_than_half_a_turn_and_keeps_every_angle(angles, period):
    angles = torch.tensor(angles, dtype=torch.float64)
    times = torch.arange(len(angles), dtype=torch.float64)
    line_times, values = wrapped_line(times, angles, 5.0, period)
    drawn = values[~torch.isnan(values)]
    assert bool(((drawn >= 0) & (drawn <= period)).all())
    assert bool((line_times.diff() >= 0).all())
    moves = values.diff().abs()
    assert bool((moves[~torch.isnan(moves)] <= period / 2 + 1e-9 * period).all())
    kept = [float(v) for t, v in zip(line_times, values, strict=True) if float(t).is_integer()]
    for angle in angles.remainder(period).tolist():
        away = [abs(angle - value) for value in kept if value == value]
        assert min(min(way, period - way) for way in away) <= 1e-9 * period


def test_stretches_of_chosen_times_are_half_a_step_wider_and_end_at_gaps():
    times = seconds(0.0, 1.0, 2.0, 3.0, 10.0, 11.0)
    chosen = torch.tensor([False, True, True, True, True, False])
    assert stretches(times, chosen, 1.5) == [(0.5, 3.0), (9.5, 1.0)]
    assert stretches(times, torch.zeros(6, dtype=torch.bool), 1.5) == []
