"""Between times and step numbers."""

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nd_data.longitudinal import TimeAxis


@given(st.integers(-10_000, 10_000), st.sampled_from([0.1, 0.25, 1.0, 7.0, 1e-3]), st.floats(-100, 100))
def test_the_start_of_a_step_falls_into_that_step(step_number, step, origin):
    axis = TimeAxis(origin, step)
    assert axis.id_of(axis.time_of(step_number)) == step_number
    assert axis.id_of(axis.time_of(step_number) + step / 2) == step_number


@given(st.integers(-5000, 5000), st.integers(0, 86_399))
def test_every_moment_of_a_day_falls_into_that_day(day, second):
    axis = TimeAxis(np.datetime64("2024-02-28"), np.timedelta64(1, "D"))
    moment = dt.datetime(2024, 2, 28, tzinfo=dt.UTC) + dt.timedelta(days=day, seconds=second)
    assert axis.id_of(moment) == day
    assert axis.id_of(moment.replace(tzinfo=dt.timezone(dt.timedelta(hours=5)))) == day
    assert axis.time_of(day) == np.datetime64("2024-02-28") + np.timedelta64(day, "D")


def test_what_is_no_time_is_refused():
    days, numbers = TimeAxis(np.datetime64("2024-01-01"), np.timedelta64(1, "D")), TimeAxis(0.0, 2.0)
    for axis, time, message in (
        (days, 3, "counts in dates, got 3"),
        (days, "later", "'later' is no date"),
        (days, "NaT", "is no date"),
        (numbers, "2024-01-01", "counts in numbers, got '2024-01-01'"),
        (numbers, float("nan"), "counts in numbers, got nan"),
    ):
        with pytest.raises(ValueError, match=message):
            axis.id_of(time)
    with pytest.raises(ValueError, match="longer than zero"):
        TimeAxis(0.0, 0.0)
    with pytest.raises(TypeError, match="do not go together"):
        TimeAxis(np.datetime64("2024-01-01"), 1.0)
