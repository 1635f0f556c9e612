"""Operations on intervals grow with the number of intervals, not with the number of pairs, and have no Python loops.

Not by the clock, which is another one on every machine: by the memory they take, and by the calls they make.
"""

import sys
import tracemalloc

import numpy as np
import pytest

from nd_data import Interval, isin_interval

FEW, TIMES = 1000, 8
MANY = FEW * TIMES


def interleaved(number):
    start = np.arange(number, dtype=np.float64)
    return Interval(start, start + 0.5, n=np.arange(number)), Interval(start + 0.25, start + 0.75)


def points_at_one_time(number):
    return Interval(np.ones(number), np.ones(number)), Interval(np.ones(number), np.ones(number))


def one_around_many(number):
    start = np.arange(number, dtype=np.float64)
    return Interval(-1.0, number + 1.0), Interval(start, start + 0.5)


def apart(number):
    start = np.arange(number, dtype=np.float64)
    return Interval(start, start + 0.5), Interval(start + 2.0 * number, start + 2.0 * number + 0.5)


LAYOUTS = [interleaved, points_at_one_time, one_around_many, apart]
OPERATIONS = {
    "and": lambda a, b: (a & b, b & a),
    "or": lambda a, b: (a | b, b | a),
    "difference": lambda a, b: (a.difference(b), b.difference(a)),
    "dilate": lambda a, b: (a.dilate(0.1), b.dilate(0.1, max_len=0.6)),
    "coalesce": lambda a, b: (a.coalesce(0.6), b.coalesce(0.1)),
    "subdivide": lambda a, b: (b.subdivide(0.1), b.subdivide(0.2, drop_short=True)),
    "split": lambda a, b: b.split([0.5, 0.5], shuffle=True, random_seed=0),
    "slice": lambda a, b: (a.slice(0.3, 1e9), b.slice(0.3, 1e9)),
    "select_by_interval": lambda a, b: (a.select_by_interval(b), b.select_by_interval(a)),
    "is_disjoint and is_sorted": lambda a, b: (a.is_disjoint(), b.is_sorted()),
    "isin_interval": lambda a, b: isin_interval(b.start, a),
}


def calls(function):
    """How many functions, in Python or in C, are called on the way."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def peak(function):
    """The most memory that is in use on the way, in bytes."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_many_intervals_take_no_more_calls_and_as_many_times_the_memory(layout, operation):
    few, many = layout(FEW), layout(MANY)
    operation(*few), operation(*many)  # what is found out once is no part of it
    assert calls(lambda: operation(*many)) <= calls(lambda: operation(*few)) + 8
    assert peak(lambda: operation(*many)) <= 2 * TIMES * peak(lambda: operation(*few))


def test_a_quadratic_operation_and_a_loop_would_be_found_out():
    def pairs(a, b):
        return (a.start[:, None] < b.end) & (a.end[:, None] > b.start)

    def loop(a, b):
        return [round(start) for start in a.start.tolist()]

    few, many = interleaved(FEW), interleaved(MANY)
    assert peak(lambda: pairs(*many)) > 2 * TIMES * peak(lambda: pairs(*few))
    assert calls(lambda: loop(*many)) > calls(lambda: loop(*few)) + 8


def test_repeated_points_are_one_time():
    points, around = Interval([1.0, 1.0, 1.0, 2.0], [1.0, 1.0, 1.0, 3.0]), Interval(0.0, 2.5)
    assert list(points & around) == [(1.0, 1.0), (2.0, 2.5)]
    assert list(around.difference(points)) == [(0.0, 1.0), (1.0, 2.0)]
    assert list(points.difference(Interval(5.0, 6.0))) == list(points)
