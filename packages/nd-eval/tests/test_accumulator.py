"""The accumulator gives what stitching everything at once gives, however the values come in."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_eval import StitchingAccumulator, stitch


def make_windows(rng, recording="monkey/a", count=12, offset=31_415.9, step=0.01, length=1.0):
    """Windows of one recording, in order of time: (recording, start, times, floats, class votes, targets, classes)."""
    windows = []
    for number in range(count):
        start = offset + number * 0.25
        index = np.arange(round(number * 0.25 / step), round((number * 0.25 + length) / step))
        relative = (index * step - number * 0.25).astype(np.float32)
        times = torch.from_numpy(relative.astype(np.float64)) + start
        windows.append(
            {
                "recording": recording,
                "start": start,
                "times": times,
                "floats": torch.from_numpy(rng.normal(size=(index.size, 2)).astype(np.float32)),
                "votes": torch.from_numpy(rng.integers(0, 3, size=index.size)),
                "targets": torch.from_numpy(np.sin(index * step)[:, None].repeat(2, 1)),
                "classes": torch.from_numpy(index // 7 % 3),
            }
        )
    return windows


def feed(accumulator, windows):
    for window in windows:
        for task, preds, targets in (("vel", "floats", "targets"), ("phase", "votes", "classes")):
            accumulator.update(
                window["recording"],
                task,
                window["times"],
                window[preds],
                window[targets],
                window_starts=window["start"],
            )


def assert_same(found, expected):
    assert list(found) == list(expected)
    for key, trace in expected.items():
        assert torch.equal(found[key].timestamps, trace.timestamps)
        torch.testing.assert_close(found[key].targets, trace.targets, rtol=0, atol=1e-12)
        if trace.preds.is_floating_point():
            torch.testing.assert_close(found[key].preds, trace.preds, rtol=0, atol=1e-12)
        else:
            assert torch.equal(found[key].preds, trace.preds)


def test_the_result_is_that_of_stitching_everything_at_once():
    windows = make_windows(np.random.default_rng(0))
    accumulator = StitchingAccumulator()
    feed(accumulator, windows)
    traces = accumulator.compute()
    everything = {
        name: torch.cat([w[name] for w in windows]) for name in windows[0] if torch.is_tensor(windows[0][name])
    }
    for task, preds, targets in (("vel", "floats", "targets"), ("phase", "votes", "classes")):
        times, pooled = stitch(everything["times"], everything[preds])
        trace = traces["monkey/a", task]
        assert torch.equal(trace.timestamps, times)
        assert torch.equal(trace.preds, pooled)
        assert torch.equal(trace.targets, stitch(everything["times"], everything[targets])[1])
        assert len(trace) == 375  # 11 strides of 0.25 s and 1 s, at 100 Hz


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31), ranks=st.integers(1, 4), repeats=st.integers(0, 6))
def test_shuffled_repeated_and_split_over_ranks_the_result_is_the_same(seed, ranks, repeats):
    rng = np.random.default_rng(seed)
    windows = make_windows(rng, count=6) + make_windows(rng, recording="monkey/b", count=4, step=0.1)
    expected = StitchingAccumulator()
    feed(expected, windows)
    shuffled = [windows[i] for i in [*rng.permutation(len(windows)), *rng.integers(0, len(windows), size=repeats)]]
    parts = [StitchingAccumulator() for _ in range(ranks)]
    for number, window in enumerate(shuffled):
        feed(parts[number % ranks], [window])
    states = [pickle.loads(pickle.dumps(part.state_dict())) for part in parts]  # noqa: S301 our own state
    assert_same(StitchingAccumulator.merged(states).compute(), expected.compute())
    for part in parts[1:]:
        parts[0].merge(part)
    assert_same(parts[0].compute(), expected.compute())


def test_values_of_many_windows_in_one_update_are_told_apart_by_their_window_starts():
    windows = make_windows(np.random.default_rng(1), count=5)
    expected = StitchingAccumulator()
    feed(expected, windows)
    for chosen in (windows, [*windows, windows[2], windows[2], windows[0]]):
        rebatched = StitchingAccumulator()
        for task, preds, targets in (("vel", "floats", "targets"), ("phase", "votes", "classes")):
            rebatched.update(
                "monkey/a",
                task,
                *(torch.cat([w[name] for w in chosen]) for name in ("times", preds, targets)),
                window_starts=torch.cat([torch.full_like(w["times"], w["start"]) for w in chosen]),
            )
        assert_same(rebatched.compute(), expected.compute())


def test_without_window_starts_every_value_counts():
    accumulator = StitchingAccumulator()
    for value in (0.0, 3.0, 3.0):
        accumulator.update("r", "t", torch.zeros(1, dtype=torch.float64), torch.tensor([value]), torch.zeros(1))
    assert accumulator.compute()["r", "t"].preds.tolist() == [2.0]


def test_repeats_of_a_window_that_rounded_differently_count_once_in_any_order():
    results = []
    for order in ((1.0, 2.0), (2.0, 1.0)):
        accumulator = StitchingAccumulator()
        accumulator.update(
            "r", "t", torch.zeros(1, dtype=torch.float64), torch.tensor([6.0]), torch.zeros(1), window_starts=-0.5
        )
        for value in order:
            accumulator.update(
                "r", "t", torch.zeros(1, dtype=torch.float64), torch.tensor([value]), torch.zeros(1), window_starts=0.0
            )
        results.append(accumulator.compute()["r", "t"].preds.item())
    assert results == [(6.0 + 1.0) / 2] * 2


def test_repeats_do_not_decide_a_vote():
    accumulator = StitchingAccumulator()
    time, target = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    for start, vote in ((0.0, 2), (0.0, 2), (0.0, 2), (-0.1, 1), (-0.2, 1)):
        accumulator.update("r", "t", time, torch.tensor([vote]), target, window_starts=start)
    assert accumulator.compute()["r", "t"].preds.tolist() == [1]


def test_masked_values_never_enter_and_may_be_nan():
    accumulator = StitchingAccumulator()
    accumulator.update(
        "r",
        "t",
        torch.tensor([0.0, float("nan"), 2.0], dtype=torch.float64),
        torch.tensor([1.0, float("nan"), 3.0]),
        torch.tensor([1.0, float("nan"), 3.0]),
        torch.tensor([True, False, True]),
    )
    trace = accumulator.compute()["r", "t"]
    assert trace.timestamps.tolist() == [0.0, 2.0]
    assert trace.preds.tolist() == [1.0, 3.0]


def test_weights_count_as_in_stitch():
    accumulator = StitchingAccumulator()
    time = torch.zeros(1, dtype=torch.float64)
    for value, weight in ((1.0, 3.0), (5.0, 1.0), (float("nan"), 0.0)):
        accumulator.update("r", "t", time, torch.tensor([value]), torch.zeros(1), weights=torch.tensor([weight]))
    assert accumulator.compute()["r", "t"].preds.tolist() == [2.0]


def test_a_recording_without_a_counted_value_is_seen_but_has_no_trace():
    accumulator = StitchingAccumulator()
    accumulator.update(
        "r", "t", torch.zeros(2, dtype=torch.float64), torch.zeros(2), torch.zeros(2), torch.zeros(2, dtype=torch.bool)
    )
    assert accumulator.seen == (("r", "t"),)
    assert accumulator.compute() == {}
    restored = StitchingAccumulator.merged([accumulator.state_dict()])
    assert restored.seen == (("r", "t"),)


def test_nothing_of_the_arguments_is_kept():
    accumulator = StitchingAccumulator()
    times, values = torch.zeros(2, dtype=torch.float64), torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        frozen = torch.full((2,), 2.0)
    accumulator.update("r", "t", times, values, frozen)
    times += 5.0
    values.data.zero_()
    trace = accumulator.compute()["r", "t"]
    assert trace.timestamps.tolist() == [0.0]
    assert trace.preds.tolist() == [1.0]
    assert not trace.preds.requires_grad


def test_half_precision_predictions_are_averaged_as_float32():
    accumulator = StitchingAccumulator()
    accumulator.update(
        "r", "t", torch.zeros(2, dtype=torch.float64), torch.tensor([1.0, 1.0078125]).bfloat16(), torch.zeros(2)
    )
    trace = accumulator.compute()["r", "t"]
    assert trace.preds.dtype == torch.float32
    assert trace.preds.item() == 1.00390625


def test_computing_and_merging_change_nothing_that_was_collected():
    accumulator, other = StitchingAccumulator(), StitchingAccumulator()
    windows = make_windows(np.random.default_rng(2), count=4)
    feed(accumulator, windows[:2])
    feed(other, windows[2:])
    before, other_before = accumulator.compute(), copy.deepcopy(other.compute())
    assert_same(accumulator.compute(), before)
    accumulator.merge(other)
    feed(accumulator, windows[:1])
    assert_same(other.compute(), other_before)


def test_reset_forgets_everything():
    accumulator = StitchingAccumulator()
    feed(accumulator, make_windows(np.random.default_rng(3), count=2))
    accumulator.reset()
    assert accumulator.compute() == {}
    assert accumulator.seen == ()


def test_a_known_rounding_of_the_times_widens_the_tolerance():
    # 60 s windows: float32 moves relative times by up to 2 µs, beyond the tolerance of 1 µs.
    step, accumulator = 0.001, StitchingAccumulator()
    rng = np.random.default_rng(4)
    index = rng.integers(0, 60_000, size=5000)
    for start in (0.0, -0.3, -1.1):
        relative = torch.from_numpy((index * step - start).astype(np.float32))
        accumulator.update(
            "r",
            "t",
            relative.double() + start,
            torch.zeros(5000),
            torch.zeros(5000),
            time_error=2e-6,
            window_starts=start,
        )
    assert len(accumulator.compute()["r", "t"]) == np.unique(index).size


def test_float32_absolute_times_are_taken_while_they_tell_outputs_apart_and_refused_beyond():
    accumulator = StitchingAccumulator()
    accumulator.update("r", "t", torch.tensor([10.001, 10.002]), torch.zeros(2), torch.zeros(2))
    assert len(accumulator.compute()["r", "t"]) == 2
    with pytest.raises(ValueError, match=r"recording 'r', task 't': times near 20000 s came rounded .* float64"):
        accumulator.update("r", "t", torch.tensor([20_000.0]), torch.zeros(1), torch.zeros(1))
    with pytest.raises(ValueError, match="half precision"):
        accumulator.update("r", "t", torch.tensor([0.7]).bfloat16(), torch.zeros(1), torch.zeros(1))


GOOD = {"timestamps": torch.zeros(2, dtype=torch.float64), "preds": torch.zeros(2, 3), "targets": torch.zeros(2, 3)}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"preds": torch.zeros(3, 3)}, ValueError, r"2 timestamps but predictions of shape \(3, 3\)"),
        ({"targets": torch.zeros(1, 3)}, ValueError, r"2 timestamps but targets of shape \(1, 3\)"),
        ({"timestamps": torch.zeros(2, 1, dtype=torch.float64)}, ValueError, "one row of times"),
        (
            {"timestamps": torch.tensor([0.0, float("nan")], dtype=torch.float64)},
            ValueError,
            "1 of 2 timestamps are NaN",
        ),
        ({"mask": torch.ones(3, dtype=torch.bool)}, ValueError, r"a mask of shape \(3,\)"),
        ({"weights": torch.tensor([1.0, -1.0])}, ValueError, "0 or more"),
        ({"window_starts": torch.zeros(3)}, ValueError, r"window_starts of shape \(3,\)"),
        (
            {"preds": torch.zeros(2, 3, dtype=torch.int64)},
            TypeError,
            "preds were torch.float32 so far and are now torch.int64",
        ),
        ({"targets": torch.zeros(2, 4)}, ValueError, r"targets were of shape \(N, 3\) so far and are now \(N, 4\)"),
    ],
)
def test_bad_input_is_one_error_with_recording_and_task_and_changes_nothing(change, error, message):
    accumulator = StitchingAccumulator()
    accumulator.update("monkey/a", "vel", **GOOD)
    before = accumulator.compute()
    with pytest.raises(error, match=f"^recording 'monkey/a', task 'vel': .*{message}"):
        accumulator.update("monkey/a", "vel", **(GOOD | change))
    assert_same(accumulator.compute(), before)


def test_accumulators_that_do_not_fit_are_not_merged():
    first, second = StitchingAccumulator(), StitchingAccumulator()
    first.update("r", "t", **GOOD)
    second.update("r", "t", **(GOOD | {"preds": torch.zeros(2, 4)}))
    with pytest.raises(ValueError, match=r"recording 'r', task 't': preds were of shape \(N, 3\)"):
        first.merge(second)
    with pytest.raises(ValueError, match="different tolerances"):
        first.merge(StitchingAccumulator(tolerance=1e-3))
    with pytest.raises(ValueError, match="no state"):
        StitchingAccumulator.merged([])
    with pytest.raises(ValueError, match="not the state of a StitchingAccumulator"):
        first.load_state_dict({"entries": []})
    with pytest.raises(ValueError, match="tolerance"):
        StitchingAccumulator(tolerance=-1.0)


def test_the_kind_of_a_task_outlives_a_merge_with_a_rank_that_had_none_of_its_values():
    accumulator, other = StitchingAccumulator(), StitchingAccumulator()
    times = torch.arange(3, dtype=torch.float64)
    accumulator.update("r", "t", times, torch.ones(3, 2), torch.ones(3, 2))
    other.update("r", "t", times, torch.ones(3, 2), torch.ones(3, 2), torch.zeros(3, dtype=torch.bool))
    accumulator.merge(other)
    with pytest.raises(TypeError, match=r"recording 'r', task 't': preds were torch\.float32"):
        accumulator.update("r", "t", times + 5, torch.ones(3, 2, dtype=torch.int64), torch.ones(3, 2))
