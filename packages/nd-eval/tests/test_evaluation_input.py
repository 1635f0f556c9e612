"""Batches that do not fit together are one clear error with recording and task."""

import pytest
import torch
import torchmetrics

from nd_eval import (
    BalancedAccuracy,
    DataForDecodingStitchEvaluator,
    DecodingStitchEvaluation,
    MultiTaskDecodingStitchEvaluation,
    R2Score,
)


def evaluate(evaluation, data):
    for batch in data:
        evaluation.update(batch)
    return evaluation.compute()


def test_absolute_starts_may_be_python_floats_but_not_coarse_float32(batches):
    windows = batches.sessions()[0].windows
    batch = batches.single_task(windows, "velocity")
    expected = evaluate(DecodingStitchEvaluation(), [batch])
    batch.absolute_starts = batch.absolute_starts.tolist()
    assert evaluate(DecodingStitchEvaluation(), [batch]).rows() == expected.rows()
    batch.absolute_starts = torch.tensor(batch.absolute_starts, dtype=torch.float32)
    with pytest.raises(
        ValueError, match=r"recording 'brain/a', task 'readout': times near 9[0-9.]+ s came rounded to .* float64"
    ):
        DecodingStitchEvaluation().update(batch)


def test_no_window_comes_padded_or_is_one_clear_error():
    nothing = {"timestamps": torch.empty(0, 5), "eval_masks": torch.empty(0, 5, dtype=torch.bool), "session_ids": []}
    starts = torch.empty(0, dtype=torch.float64)
    evaluation = DecodingStitchEvaluation()
    with pytest.raises(ValueError, match=r"task 'readout': predictions of no window; give an empty batch padded"):
        evaluation.update(
            DataForDecodingStitchEvaluator(preds=[], targets=torch.empty(0, 5, 2), absolute_starts=starts, **nothing)
        )
    with pytest.raises(ValueError, match=r"task 'readout': targets of no window; give an empty batch padded"):
        evaluation.update(
            DataForDecodingStitchEvaluator(preds=torch.empty(0, 5, 2), targets=[], absolute_starts=starts, **nothing)
        )
    padded = torch.empty(0, 5, 2)
    evaluation.update(DataForDecodingStitchEvaluator(preds=padded, targets=padded, absolute_starts=starts, **nothing))
    assert evaluation.compute().rows() == []


def damaged(batches, **changes):
    batch = batches.multi_task(batches.all_windows(batches.sessions()), ("velocity", "phase"))
    for name, change in changes.items():
        setattr(batch, name, change(getattr(batch, name)))
    return batch


def without(mapping, key):
    return {name: value for name, value in mapping.items() if name != key}


def swap(sequence, place, value):
    return [value(item) if i == place else item for i, item in enumerate(sequence)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"targets": lambda t: without(t, "phase")},
            "recording 'brain/a', task 'phase': 130 predictions without targets",
        ),
        ({"targets": lambda t: t | {"phase": t["phase"][1:]}}, "'brain/a', task 'phase'.*130 predictions.*129 targets"),
        (
            {"eval_masks": lambda m: m | {"phase": m["phase"][1:]}},
            "'brain/a', task 'phase'.*130 predictions.*129 eval_masks",
        ),
        (
            {"preds": lambda p: swap(p, 9, lambda q: without(q, "phase"))},
            "recording 'brain/b', task 'phase': window 9 has 10 outputs by its decoder_indices but 0 predictions",
        ),
        (
            {"preds": lambda p: swap(p, 9, lambda q: q | {"phase": q["phase"][:7]})},
            "recording 'brain/b', task 'phase': window 9 has 10 outputs by its decoder_indices but 7 predictions",
        ),
        (
            {"preds": lambda p: swap(p, 9, lambda q: q | {"velocitie": q["phase"]})},
            r"recording 'brain/b': unknown task 'velocitie' \(did you mean 'velocity'\?\); known are velocity, ph",
        ),
        ({"targets": lambda t: t | {"other": t["phase"]}}, "unknown task 'other'"),
        ({"targets": lambda t: t | {"speed": t["phase"]}}, "task 'speed': 130 targets but no output in this batch"),
        (
            {"decoder_indices": lambda d: d.masked_fill(d == 4, 5)},
            "no task has the modality id 5 .*known are 1 velocity, 4 phase",
        ),
        ({"decoder_indices": lambda d: d[:, 1:]}, "decoder_indices"),
        ({"preds": lambda p: p[1:]}, "13 windows but predictions for 12"),
        ({"timestamps": lambda t: t[1:]}, "one row for each of 13 session_ids"),
        ({"absolute_starts": lambda t: t[1:]}, r"13 windows but absolute_starts of shape \(12,\)"),
        ({"absolute_starts": lambda t: t * torch.nan}, "recording 'brain/a': the absolute start of window 0 is nan"),
        (
            {"timestamps": lambda t: t * torch.nan},
            "recording 'brain/a', task 'velocity': 800 of 800 timestamps are NaN",
        ),
        (
            {"session_ids": lambda s: swap(s, 9, lambda _: "brain/bb")},
            "recording 'brain/bb' is not among.*did you mean 'brain/b'",
        ),
        (
            {"preds": lambda p: swap(p, 0, lambda q: q | {"phase": q["phase"].argmax(1)})},
            r"task 'phase': predictions of shape \(10, 3\) and torch.float32 in a batch that begins with shape \(10,\)",
        ),
    ],
)
def test_a_damaged_multi_task_batch_is_one_error_with_recording_and_task(batches, changes, message):
    metrics = {name: {"velocity": {"r2": R2Score()}} for name in ("brain/a", "brain/b")}
    with pytest.raises((ValueError, TypeError), match=message):
        MultiTaskDecodingStitchEvaluation(metrics, task_ids=batches.task_ids).update(damaged(batches, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preds": lambda p: p[:, :5]}, "predictions of shape"),
        ({"preds": lambda p: list(p)[1:]}, "13 windows but predictions for 12"),
        (
            {"preds": lambda p: [q[:40] for q in p]},
            "recording 'brain/a', task 'readout': window 0 has 40 predictions but its",
        ),
        ({"targets": lambda t: t[1:]}, "targets of shape"),
        ({"eval_masks": lambda m: m[:, 1:]}, "eval_masks"),
        ({"session_ids": lambda s: swap(s, 2, lambda _: "x")}, "recording 'x' is not among those to evaluate"),
    ],
)
def test_a_damaged_single_task_batch_is_one_clear_error(batches, changes, message):
    batch = batches.single_task(batches.all_windows(batches.sessions()), "velocity")
    for name, change in changes.items():
        setattr(batch, name, change(getattr(batch, name)))
    with pytest.raises(ValueError, match=message):
        DecodingStitchEvaluation(["brain/a", "brain/b"]).update(batch)


@pytest.mark.parametrize(
    ("preds", "targets", "metric", "message"),
    [
        (torch.zeros(4, 3), torch.arange(4), None, "target class 3 is outside the range 0 … 2"),
        (torch.zeros(4, 3), torch.arange(4)[:, None], "accuracy", "target class 3 is outside the range 0 … 2"),
        (torch.zeros(4, 3), torch.tensor([0, -1, 2, 1]), "f1_macro", "target class -1 is outside the range 0 … 2"),
        (
            torch.zeros(4, 3),
            torch.arange(4),
            torchmetrics.Accuracy("multiclass", num_classes=3),
            "target class 3 is outside the range 0 … 2",
        ),
        (torch.arange(4), torch.arange(4), BalancedAccuracy(num_classes=3), "target class 3 is outside the range"),
        (torch.arange(4), torch.zeros(4, dtype=torch.int32), BalancedAccuracy(num_classes=3), "predicted class 3 is"),
        (torch.zeros(4), torch.arange(4), "accuracy", "target class 2 is outside the range 0 … 1"),
    ],
)
def test_a_class_outside_the_range_is_refused_as_it_comes(batches, preds, targets, metric, message):
    evaluation = DecodingStitchEvaluation(metric=metric, task="phase")
    with pytest.raises(ValueError, match=f"recording 'brain/a', task 'phase': {message}"):
        evaluation.update(batches.simple(preds, targets, "brain/a"))
    assert evaluation.accumulator.seen == ()


def test_what_is_not_evaluated_or_is_no_class_may_be_any_number(batches):
    evaluation = DecodingStitchEvaluation(metric="accuracy")
    evaluation.update(
        batches.simple(torch.zeros(3, 2), torch.tensor([0, 1, 9]), masks=torch.tensor([True, True, False]))
    )
    assert evaluation.compute().score == 0.5
    counts = DecodingStitchEvaluation(metric="bits_per_spike")
    counts.update(batches.simple(torch.ones(3), torch.tensor([0, 1, 9])))
    assert counts.compute().undefined == ()
    ignoring = DecodingStitchEvaluation(metric=torchmetrics.Accuracy("multiclass", num_classes=2, ignore_index=-1))
    ignoring.update(batches.simple(torch.tensor([[1.0, 0.0]] * 3), torch.tensor([0, 1, -1])))
    assert ignoring.compute().score == 0.5


def test_a_class_outside_the_range_of_one_of_many_tasks_leaves_the_batch_untaken(batches):
    batch = batches.multi_task(batches.all_windows(batches.sessions()))
    batch.targets["phase"] = batch.targets["phase"].index_fill(0, torch.tensor([85]), 7)
    evaluation = MultiTaskDecodingStitchEvaluation(task_ids=batches.task_ids)
    with pytest.raises(ValueError, match=r"recording 'brain/b', task 'phase': target class 7 .* 0 … 2 \(1 of 50 are\)"):
        evaluation.update(batch)
    assert evaluation.accumulator.seen == ()


def test_a_task_that_changes_its_kind_leaves_the_whole_batch_untaken(batches):
    first = batches.multi_task(batches.all_windows(batches.sessions()))
    second = batches.multi_task(batches.all_windows(batches.sessions(logits=False)))
    evaluation = MultiTaskDecodingStitchEvaluation(task_ids=batches.task_ids)
    evaluation.update(first)
    before = evaluation.compute()
    with pytest.raises(TypeError, match=r"task 'phase': preds were torch\.float32 so far and are now torch\.int64"):
        evaluation.update(second)
    after = evaluation.compute()
    for recording, tasks in before.traces.items():
        for task, trace in tasks.items():
            assert torch.equal(after.traces[recording][task].preds, trace.preds)


@pytest.mark.parametrize(
    "changes",
    [
        {"eval_masks": lambda m: m[:, 1:]},
        {"preds": lambda p: p[:, 1:]},
        {"targets": lambda t: t[1:]},
        {"timestamps": lambda t: t[1:]},
        {"absolute_starts": lambda t: t[1:]},
        {"preds": lambda p: list(p)[1:]},
    ],
)
def test_lengths_that_differ_name_a_recording_and_the_task(batches, changes):
    batch = batches.single_task(batches.all_windows(batches.sessions()), "velocity")
    for name, change in changes.items():
        setattr(batch, name, change(getattr(batch, name)))
    with pytest.raises(ValueError, match=r"^recording 'brain/a' \(and 1 more in the batch\), task 'velocity': .*"):
        DecodingStitchEvaluation(task="velocity").update(batch)


def test_settings_that_cannot_be_are_refused():
    for ids in ({"a": 0}, {"a": 1, "b": 1}):
        with pytest.raises(ValueError, match="ids of tasks must differ and not be 0"):
            MultiTaskDecodingStitchEvaluation(task_ids=ids)
    with pytest.raises(KeyError, match="no metric 'r3'"):
        DecodingStitchEvaluation(metric="r3")
    with pytest.raises(ValueError, match="tolerance"):
        DecodingStitchEvaluation(tolerance=-1.0)
