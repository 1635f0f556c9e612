"""What a page holds of a trace: the same times and values where they fit, the extremes where they do not."""

import base64
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_eval import StitchedTrace
from nd_train.report.packed_traces import FEWEST_POINTS, chosen_points, pack_trace, pack_traces


def made(count=1000, dimensions=2, *, seed=0, start=2e4, step=0.01):
    rng = np.random.default_rng(seed)
    targets = np.cumsum(rng.normal(size=(count, dimensions)), axis=0)
    preds = targets + rng.normal(size=targets.shape)
    times = start + np.arange(count) * step
    return StitchedTrace(torch.tensor(times), torch.tensor(preds), torch.tensor(targets))


def unpacked(packed):
    """Times, predictions, targets (None without) and whether a gap lies before, of every dimension."""
    data = zlib.decompress(base64.b64decode(packed.text))
    header, place, found = packed.header, 0, []
    for dimension in header["dimensions"]:
        count, span = dimension["points"], dimension["high"] - dimension["low"]
        steps = np.frombuffer(data, "<i4", count, place)
        place += 4 * count
        series = []
        for _ in range(2 if header["truth"] else 1):
            levels = np.frombuffer(data, "<i2", count, place).astype(np.float64)
            place += 2 * count
            series.append(np.where(levels == -32768, np.nan, dimension["low"] + (levels + 32767) / 65534 * span))
        times = header["start"] + np.cumsum(np.abs(steps.astype(np.int64))) * header["tick"]
        found.append((times, series[0], series[1] if header["truth"] else None, steps < 0))
    assert place == len(data)
    return found


def test_a_trace_that_fits_comes_back_whole():
    trace = made()
    packed = pack_trace("lab/day", "velocity", trace)
    assert packed.header["every"] == 1
    for dimension, (times, preds, targets, after_gap) in enumerate(unpacked(packed)):
        span = packed.header["dimensions"][dimension]["high"] - packed.header["dimensions"][dimension]["low"]
        np.testing.assert_allclose(times, trace.timestamps, atol=1e-6, rtol=0)
        np.testing.assert_allclose(preds, trace.preds[:, dimension], atol=span / 65534, rtol=0)
        np.testing.assert_allclose(targets, trace.targets[:, dimension], atol=span / 65534, rtol=0)
        assert not after_gap.any()


def test_gaps_are_marked_and_values_that_are_nan_stay_so():
    trace = made(200)
    times = trace.timestamps.clone()
    times[120:] += 5.0
    targets = trace.targets.clone()
    targets[50] = torch.nan
    ((_, preds, truth, after_gap), _) = unpacked(pack_trace("r", "t", StitchedTrace(times, trace.preds, targets)))
    assert np.flatnonzero(after_gap).tolist() == [120]
    assert np.flatnonzero(np.isnan(truth)).tolist() == [50]
    assert not np.isnan(preds).any()


def test_predictions_without_targets_are_packed_alone():
    trace = made(100)
    unknown = StitchedTrace(trace.timestamps, trace.preds, torch.full_like(trace.targets, torch.nan))
    packed = pack_trace("r", "t", unknown)
    assert not packed.header["truth"]
    assert unpacked(packed)[0][2] is None


def test_classes_keep_every_change_and_nothing_else():
    targets = torch.arange(3000) // 100 % 3
    labels = targets.clone()
    labels[555:560] = 0
    times = torch.arange(3000, dtype=torch.float64) * 0.01
    packed = pack_trace("r", "t", StitchedTrace(times, labels, targets))
    ((shown, preds, truth, _),) = unpacked(packed)
    assert packed.header["classes"]
    assert len(shown) < 100
    # Steps that hold until the next point give all times back.
    place = np.searchsorted(shown, times.numpy() + 1e-6, side="right") - 1
    np.testing.assert_array_equal(np.rint(preds[place]), labels)
    np.testing.assert_array_equal(np.rint(truth[place]), targets)


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 400), st.integers(8, 60), st.integers(0, 10**6))
def test_thinning_keeps_the_extremes_of_every_stretch_at_their_own_times(count, points, seed):
    rng = np.random.default_rng(seed)
    times = np.arange(count) * 0.1
    series = [rng.normal(size=count), rng.normal(size=count)]
    places = chosen_points(times, series, points, gap=1.0)
    assert (np.diff(places) > 0).all()
    assert places[0] == 0
    assert places[-1] == count - 1
    assert len(places) <= max(points * 2, 4 + points)
    for one in series:
        assert one[places].max() == one.max()
        assert one[places].min() == one.min()


def test_traces_that_do_not_fit_are_thinned_until_they_do():
    traces = [(f"lab/{number}", "velocity", made(20_000, seed=number)) for number in range(4)]
    room = 100_000
    packed, left_out = pack_traces(traces, room)
    assert left_out == 0
    assert 0.5 * room < sum(len(one.text) for one in packed) <= room
    for one, (_, _, trace) in zip(packed, traces, strict=True):
        assert one.header["every"] > 1
        for dimension, (_, preds, targets, _) in enumerate(unpacked(one)):
            span = one.header["dimensions"][dimension]["high"] - one.header["dimensions"][dimension]["low"]
            assert preds.max() == pytest.approx(float(trace.preds[:, dimension].max()), abs=span / 65534)
            assert targets.min() == pytest.approx(float(trace.targets[:, dimension].min()), abs=span / 65534)


def test_where_not_even_a_few_points_of_each_fit_the_rest_are_spread_over_the_scores():
    traces = [(f"lab/{number}", "velocity", made(3000, 1, seed=number)) for number in range(40)]
    scores = [float(number * 7 % 40) for number in range(40)]
    packed, left_out = pack_traces(traces, 40_000, ranks=scores)
    kept = [scores[int(one.recording.split("/")[1])] for one in packed]
    assert 2 <= len(packed) < 40
    assert left_out == 40 - len(packed)
    assert {min(kept), max(kept)} == {0.0, 39.0}
    assert all(one.header["dimensions"][0]["points"] >= FEWEST_POINTS // 2 for one in packed)


def test_without_room_nothing_is_packed():
    assert pack_traces([("r", "t", made(500))], 0) == ([], 1)
