"""Stretches of time that are finished before the end: by hand, in order, and across processes."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_eval import DecodingStitchEvaluation, StitchingAccumulator
from nd_eval.evaluator_data import DataForDecodingStitchEvaluator


def windows_of(rng, count=60, stride=0.3, length=1.0, step=0.01, offset=90_000.7):
    """Windows in order of their starts: start, times (rounded as relative float32 are), predictions, votes, targets."""
    windows = []
    for number in range(count):
        begin = number * stride
        index = np.arange(np.ceil(begin / step - 1e-9), np.ceil((begin + length) / step - 1e-9))
        relative = (index * step - begin).astype(np.float32).astype(np.float64)
        windows.append(
            {
                "window_starts": offset + begin,
                "timestamps": torch.from_numpy(relative + offset + begin),
                "floats": torch.from_numpy(rng.normal(size=(index.size, 2)).astype(np.float32)),
                "votes": torch.from_numpy(rng.integers(-1, 3, size=index.size)),
                "targets": torch.from_numpy(np.sin(index * step)),
            }
        )
    return windows


def feed(accumulator, windows, recording="r"):
    for window in windows:
        for task, preds in (("velocity", "floats"), ("phase", "votes")):
            accumulator.update(
                recording,
                task,
                window["timestamps"],
                window[preds],
                window["targets"],
                window_starts=window["window_starts"],
            )
    return accumulator


def assert_same(found, expected):
    assert list(found) == list(expected)
    for key, trace in expected.items():
        assert torch.equal(found[key].timestamps, trace.timestamps)
        torch.testing.assert_close(found[key].preds, trace.preds, rtol=0, atol=0 if key[1] == "phase" else 1e-12)
        torch.testing.assert_close(found[key].targets, trace.targets, rtol=0, atol=1e-12)


def open_values(accumulator):
    return sum(len(values) for stretch in accumulator._stretches.values() for values in stretch.open)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**31),
    stride=st.sampled_from([0.1, 0.3, 1.0, 1.7]),
    at=st.lists(st.integers(1, 39), max_size=5),
)
def test_flushing_by_hand_anywhere_changes_nothing(seed, stride, at):
    windows = windows_of(np.random.default_rng(seed), count=40, stride=stride)
    expected = feed(StitchingAccumulator(), windows).compute()
    accumulator = StitchingAccumulator()
    for number, window in enumerate(windows):
        if number in at:
            accumulator.flush("r", before=window["window_starts"])
        feed(accumulator, [window])
    assert_same(accumulator.compute(), expected)
    accumulator.flush()
    assert open_values(accumulator) == 0
    assert_same(accumulator.compute(), expected)


def test_flushing_hands_over_what_it_finished_and_leaves_the_rest():
    windows = windows_of(np.random.default_rng(0))
    accumulator = feed(StitchingAccumulator(), windows)
    before = windows[20]["window_starts"]
    finished = accumulator.flush("r", task="velocity", before=before)
    assert set(finished) == {("r", "velocity")}
    assert finished["r", "velocity"].timestamps.max() < before - 0.005
    assert len(finished["r", "velocity"]) == 600
    assert accumulator.flush("r", task="velocity", before=before) == {}
    assert_same(accumulator.compute(), feed(StitchingAccumulator(), windows).compute())


def test_windows_in_order_keep_no_more_values_than_a_few_windows_hold():
    windows = windows_of(np.random.default_rng(1), count=1500, stride=0.05)
    accumulator, most = StitchingAccumulator(in_order=True), 0
    for window in windows:
        feed(accumulator, [window])
        most = max(most, open_values(accumulator))
    assert most <= 2 * (4096 + 2 * 2100)  # a window overlaps 20 others: 2,100 values a task, and the first window's
    assert_same(accumulator.compute(), feed(StitchingAccumulator(), windows).compute())


def test_finished_stretches_can_be_taken_as_they_come():
    windows = windows_of(np.random.default_rng(2), count=400)
    taken = {}
    accumulator = StitchingAccumulator(
        in_order=True, on_finished=lambda recording, task, trace: taken.setdefault((recording, task), []).append(trace)
    )
    feed(accumulator, windows)
    kept = accumulator.compute()
    expected = feed(StitchingAccumulator(), windows).compute()
    for key, trace in expected.items():
        assert len(taken[key]) > 1
        parts = [*taken[key], kept[key]]
        order = torch.cat([part.timestamps for part in parts]).argsort()
        assert torch.equal(torch.cat([part.timestamps for part in parts])[order], trace.timestamps)
        assert len(kept[key]) < len(trace) / 4
        preds = torch.cat([part.preds for part in parts])[order]
        torch.testing.assert_close(preds, trace.preds, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**31), ranks=st.integers(1, 3), padding=st.integers(0, 5))
def test_ranks_that_have_a_stretch_each_flush_and_merge_to_the_same(seed, ranks, padding):
    rng = np.random.default_rng(seed)
    windows = windows_of(rng, count=240, stride=0.25)
    expected = feed(StitchingAccumulator(), windows).compute()
    parts = []
    for share in np.array_split(np.arange(len(windows)), ranks):
        chosen = [windows[i] for i in share] + [windows[i] for i in range(padding)]  # a sampler pads from the beginning
        parts.append(feed(StitchingAccumulator(in_order=True), chosen))
    assert any(stretch.finished for stretch in parts[0]._stretches.values())
    states = [pickle.loads(pickle.dumps(part.state_dict())) for part in parts]  # noqa: S301 our own state
    assert_same(StitchingAccumulator.merged(states).compute(), expected)
    for part in parts[1:]:
        parts[0].merge(part)
    assert_same(parts[0].compute(), expected)


def test_a_late_repeat_is_dropped_and_any_other_late_value_is_an_error():
    windows = windows_of(np.random.default_rng(3))
    accumulator = feed(StitchingAccumulator(), windows)
    expected = accumulator.compute()
    accumulator.flush("r", before=windows[30]["window_starts"])
    feed(accumulator, [windows[4], windows[29], windows[4]])
    assert_same(accumulator.compute(), expected)
    late = {**windows[4], "window_starts": windows[4]["window_starts"] + 0.1}
    with pytest.raises(ValueError, match=r"recording 'r', task 'velocity': 100 values, .* came after their time"):
        feed(accumulator, [late])
    assert_same(accumulator.compute(), expected)


def test_windows_that_do_not_come_in_order_are_an_error_and_not_a_wrong_score():
    windows = windows_of(np.random.default_rng(4), count=200)
    accumulator = feed(StitchingAccumulator(in_order=True), windows[100:])
    with pytest.raises(ValueError, match="without in_order where windows come in any order"):
        feed(accumulator, [{**windows[130], "window_starts": windows[130]["window_starts"] + 0.01}])


def test_order_needs_window_starts():
    with pytest.raises(ValueError, match="recording 'r', task 't': window_starts tell which windows have passed"):
        StitchingAccumulator(in_order=True).update(
            "r", "t", torch.zeros(1, dtype=torch.float64), torch.zeros(1), torch.zeros(1)
        )


def test_a_stretch_that_two_processes_finished_by_themselves_is_refused():
    windows = windows_of(np.random.default_rng(5))
    parts = [feed(StitchingAccumulator(), windows[rank::2]) for rank in range(2)]
    for part in parts:
        part.flush()
    with pytest.raises(ValueError, match=r"recording 'r', task 'velocity': both finished the time from 90001\.00"):
        parts[0].merge(parts[1])


def test_an_unknown_recording_or_task_cannot_be_flushed():
    accumulator = feed(StitchingAccumulator(), windows_of(np.random.default_rng(6), count=2))
    for names in ({"recording_id": "x"}, {"task": "speed"}, {"recording_id": "r", "task": "speed"}):
        with pytest.raises(KeyError, match=r"nothing came for .*; what came is recording 'r', task 'phase', rec"):
            accumulator.flush(**names)
    assert StitchingAccumulator().flush() == {}


def test_times_as_dense_as_the_tolerance_are_only_cut_where_they_are_apart():
    times = torch.cat([torch.arange(10) * 0.7e-6, 1.0 + torch.arange(10) * 0.7e-6]).double()
    values = torch.arange(20.0)
    expected = StitchingAccumulator()
    accumulator = StitchingAccumulator()
    for sink in (expected, accumulator):
        sink.update("r", "t", times, values, values)
    assert accumulator.flush(before=3e-6) == {}  # in the middle of a chain
    for sink in (expected, accumulator):
        sink.update("r", "t", times, values + 1.0, values)
    assert len(accumulator.flush(before=0.5)["r", "t"]) == 5
    assert_same(accumulator.compute(), expected.compute())


def test_an_evaluation_in_order_gives_the_same_scores():
    rng = np.random.default_rng(7)
    results = []
    windows = windows_of(rng, count=300, stride=0.5)
    for in_order in (False, True):
        evaluation = DecodingStitchEvaluation(["r"], metric={"r2": "r2", "mse": "mse"}, in_order=in_order)
        for start in range(0, 300, 8):
            chosen = windows[start : start + 8]
            begins = torch.tensor([window["window_starts"] for window in chosen], dtype=torch.float64)
            times = torch.stack([window["timestamps"] for window in chosen])
            evaluation.update(
                DataForDecodingStitchEvaluator(
                    timestamps=(times - begins[:, None]).float(),
                    preds=torch.stack([window["floats"] for window in chosen]),
                    targets=torch.stack([window["targets"] for window in chosen])[..., None].repeat(1, 1, 2),
                    eval_masks=torch.ones(times.shape, dtype=torch.bool),
                    session_ids=["r"] * len(chosen),
                    absolute_starts=begins,
                )
            )
        results.append(evaluation.compute())
    assert results[1].scores["r"]["readout"] == pytest.approx(results[0].scores["r"]["readout"], rel=1e-12)
    assert torch.equal(results[1].traces["r"]["readout"].preds, results[0].traces["r"]["readout"].preds)
