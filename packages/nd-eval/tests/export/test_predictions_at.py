"""Looking predictions up by time, against a search through all of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_eval import StitchedTrace, StitchingAccumulator
from nd_eval.evaluation_result import EvaluationResult
from nd_eval.export import predictions_at
from nd_eval.export.lookup import trace_of


def trace(times, dimensions=2):
    times = torch.as_tensor(times, dtype=torch.float64)
    preds = torch.arange(len(times) * dimensions, dtype=torch.float32).reshape(len(times), dimensions)
    return StitchedTrace(times, preds, preds)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.floats(0, 10, allow_nan=False), min_size=1, max_size=30, unique=True),
    st.lists(st.floats(-1, 11, allow_nan=False), min_size=1, max_size=30),
    st.floats(1e-3, 2.0),
)
def test_the_nearest_prediction_within_the_tolerance_is_found(times, asked, tolerance):
    one = trace(sorted(times))
    found = predictions_at(one, torch.tensor(asked, dtype=torch.float64), tolerance=tolerance, fill=-1.0)
    for row, time in zip(found, asked, strict=True):
        distances = np.abs(one.timestamps.numpy() - time)
        if distances.min() > tolerance:
            assert row.tolist() == [-1.0, -1.0]
        else:
            near = one.preds[distances <= distances.min()]
            assert any(torch.equal(row, candidate) for candidate in near)


def test_the_shape_is_that_of_the_times_and_of_a_prediction():
    one = trace(np.arange(100) * 0.01, dimensions=3)
    times = torch.arange(12, dtype=torch.float64).reshape(3, 4) * 0.01
    assert torch.equal(predictions_at(one, times), one.preds[:12].reshape(3, 4, 3))
    flat = StitchedTrace(one.timestamps, one.preds[:, 0], one.targets)
    assert predictions_at(flat, times).shape == (3, 4)
    assert predictions_at(flat, torch.tensor(0.02, dtype=torch.float64)).shape == ()


def test_rounded_times_far_from_zero_are_found():
    one = trace(86_400.0 + np.arange(1000) * 0.005)
    asked = one.timestamps + 5e-5 * torch.where(torch.arange(1000) % 2 == 0, 1.0, -1.0)
    assert torch.equal(predictions_at(one, asked), one.preds)


def test_a_time_without_a_prediction_is_an_error_that_says_where():
    one = trace(np.concatenate([np.arange(10) * 0.1, 2 + np.arange(10) * 0.1]))
    times = torch.tensor([[0.1, 0.2], [0.9, 1.0], [2.0, 1.5]], dtype=torch.float64)
    expected = (
        r"day 1: 2 of 6 times have no prediction within 0\.0001 s, first 1\.000000 s \(place \(1, 1\)\); the trace has "
        r"20 times from 0\.000000 to 2\.900000 s"
    )
    with pytest.raises(ValueError, match=expected):
        predictions_at(one, times, name="day 1")
    with pytest.raises(ValueError, match="finite"):
        predictions_at(one, times * float("nan"))
    with pytest.raises(ValueError, match="no predictions at all"):
        predictions_at(one.at(torch.zeros(20, dtype=torch.bool)), times)


def test_nothing_of_the_trace_is_changed_by_filling():
    one = trace(np.arange(4.0))
    before = one.preds.clone()
    predictions_at(one, torch.tensor([0.0, 9.0], dtype=torch.float64), fill=7.0)
    assert torch.equal(one.preds, before)


def test_traces_come_from_a_result_its_traces_or_an_accumulator():
    accumulator = StitchingAccumulator()
    times = torch.arange(5, dtype=torch.float64)
    accumulator.update("a/one", "speed", times, torch.ones(5, 1), torch.ones(5, 1))
    computed = accumulator.compute()
    nested = {"a/one": {"speed": computed["a/one", "speed"]}}
    result = EvaluationResult({}, {}, float("nan"), False, "", {}, traces=nested)
    for source in (computed, nested, result):
        assert trace_of(source, "a/one", "speed") is computed["a/one", "speed"]
    with pytest.raises(KeyError, match=r"there is no recording 'a/two' \(did you mean 'a/one'\?\); there are a/one"):
        trace_of(computed, "a/two", "speed")
    with pytest.raises(KeyError, match=r"no task of recording 'a/one' called 'position'.*; there are speed"):
        trace_of(result, "a/one", "position")
    with pytest.raises(TypeError, match="found StitchedTrace under 'a/one'"):
        trace_of({"a/one": computed["a/one", "speed"]}, "a/one", "speed")
