"""Batches of one recording without padding take a short way in, with the result and the errors of the long one."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_eval import DataForDecodingStitchEvaluator, DecodingStitchEvaluation
from nd_eval.window_outputs import _whole_windows


def whole_batch(seed=0, windows=6, length=15, columns=2, dtype=torch.float32, start=1e5):
    generator = torch.Generator().manual_seed(seed)
    return DataForDecodingStitchEvaluator(
        timestamps=(torch.arange(length) * 0.01).to(dtype).repeat(windows, 1),
        preds=torch.randn(windows, length, columns, generator=generator),
        targets=torch.randn(windows, length, columns, generator=generator),
        eval_masks=torch.ones(windows, length, dtype=torch.bool),
        session_ids=["brain/a"] * windows,
        absolute_starts=start + torch.arange(windows, dtype=torch.float64) * 0.07,
    )


def scores_and_trace(*batches):
    evaluation = DecodingStitchEvaluation(metric="mse")
    for batch in batches:
        evaluation.update(batch)
    result = evaluation.compute()
    return result.score, result.traces["brain/a"]["readout"]


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    windows=st.integers(1, 20),
    length=st.integers(1, 40),
    columns=st.integers(1, 3),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    start=st.sampled_from([0.0, -5.0, 99_999.9]),
)
def test_the_short_way_gives_what_the_long_one_gives(seed, windows, length, columns, dtype, start):
    batch = whole_batch(seed, windows, length, columns, dtype, start)
    assert _whole_windows(batch, "readout") is not None
    as_parts = dataclasses.replace(batch, preds=list(batch.preds), targets=list(batch.targets))
    padded = dataclasses.replace(
        batch,
        timestamps=torch.nn.functional.pad(batch.timestamps, (0, 3)),
        preds=torch.nn.functional.pad(batch.preds, (0, 0, 0, 3), value=torch.nan),
        targets=torch.nn.functional.pad(batch.targets, (0, 0, 0, 3)),
        eval_masks=torch.nn.functional.pad(batch.eval_masks, (0, 3)),
    )
    score, trace = scores_and_trace(batch)
    for other in (as_parts, padded):
        assert _whole_windows(other, "readout") is None
        other_score, other_trace = scores_and_trace(other)
        assert other_score == score
        for name, column in vars(trace).items():
            torch.testing.assert_close(getattr(other_trace, name), column, rtol=0, atol=0)


def test_windows_that_come_again_count_once_on_the_short_way():
    batch = whole_batch()
    again = dataclasses.replace(batch, preds=batch.preds.clone())
    assert scores_and_trace(batch, again)[0] == scores_and_trace(batch)[0]


def test_a_batch_may_be_changed_after_it_was_taken():
    batch, same = whole_batch(), whole_batch()
    evaluation = DecodingStitchEvaluation(metric="mse")
    evaluation.update(batch)
    for column in (batch.timestamps, batch.preds, batch.targets, batch.absolute_starts):
        column.fill_(7.0)
    assert evaluation.compute().score == scores_and_trace(same)[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"session_ids": ["brain/a"] * 5 + ["brain/b"]},
        {"eval_masks": torch.ones(6, 15)},
        {"preds": torch.zeros(6, 15, 2, dtype=torch.bfloat16)},
        {"absolute_starts": [0.0] * 6},
    ],
)
def test_other_batches_take_the_long_way(changes):
    assert _whole_windows(dataclasses.replace(whole_batch(), **changes), "readout") is None


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("timestamps", torch.nan, r"recording 'brain/a', task 'readout': .*NaN or infinite"),
        ("timestamps", torch.inf, r"recording 'brain/a', task 'readout': .*NaN or infinite"),
        ("timestamps", 1e6, r"recording 'brain/a', task 'readout': .*too coarse"),
        ("absolute_starts", torch.nan, r"recording 'brain/a': the absolute start of window 2 is nan"),
    ],
)
def test_a_wrong_time_in_whole_windows_is_one_error_and_nothing_is_taken(name, wrong, message):
    batch = whole_batch()
    getattr(batch, name)[2] = wrong
    evaluation = DecodingStitchEvaluation(metric="mse")
    with pytest.raises(ValueError, match=message):
        evaluation.update(batch)
    assert evaluation.accumulator.seen == ()


def test_an_unknown_recording_in_whole_windows_is_an_error_and_nothing_is_taken():
    evaluation = DecodingStitchEvaluation(["brain/b"], metric="mse")
    with pytest.raises(ValueError, match="recording 'brain/a' is not among those to evaluate"):
        evaluation.update(whole_batch())
    assert evaluation.accumulator.seen == ()


def test_a_change_of_shape_is_an_error_and_what_came_before_stays():
    evaluation = DecodingStitchEvaluation(metric="mse")
    evaluation.update(whole_batch(columns=2))
    with pytest.raises(ValueError, match=r"recording 'brain/a', task 'readout': preds were of shape \(N, 2\)"):
        evaluation.update(whole_batch(columns=3))
    assert evaluation.compute().score == scores_and_trace(whole_batch(columns=2))[0]
