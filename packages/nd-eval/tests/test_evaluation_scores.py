"""The evaluations, fed as a validation step feeds them, against scikit-learn on traces whose true times are known."""

import pickle

import numpy as np
import pytest
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_squared_error, recall_score
from sklearn.metrics import r2_score as sklearn_r2

from nd_eval import (
    DecodingStitchEvaluation,
    MultiTaskDecodingStitchEvaluation,
    R2Score,
    build_metric,
)


def evaluate(evaluation, data):
    for batch in data:
        evaluation.update(batch)
    return evaluation.compute()


@pytest.mark.parametrize("logits", [True, False])
def test_multi_task_scores_are_those_of_the_stitched_traces(batches, logits):
    recordings = batches.sessions(logits=logits)
    windows = batches.all_windows(recordings)
    evaluation = MultiTaskDecodingStitchEvaluation(task_ids=batches.task_ids)
    tasks = ("velocity", "phase")
    result = evaluate(evaluation, [batches.multi_task(windows[i : i + 3], tasks) for i in range(0, len(windows), 3)])
    expected = {}
    for recording in recordings:
        index, preds, target = recording.stitched("velocity")
        expected[recording.name, "velocity", "r2"] = sklearn_r2(target, preds)
        trace = result.traces[recording.name]["velocity"]
        np.testing.assert_allclose(trace.timestamps, recording.offset + index * 0.01, rtol=0, atol=2e-7)
        np.testing.assert_allclose(trace.preds, preds, rtol=0, atol=1e-6)
        np.testing.assert_allclose(trace.targets, target, rtol=0, atol=1e-6)
        _, preds, target = recording.stitched("phase")
        decided = preds.argmax(1) if logits else preds
        recall = recall_score(target, decided, average="macro")
        expected[recording.name, "phase", "balanced_accuracy"] = recall
    assert {row[:3]: pytest.approx(row[3], abs=1e-6) for row in result.rows()} == expected
    assert result.averages["velocity"]["r2"] == pytest.approx(
        np.mean([value for key, value in expected.items() if key[2] == "r2"]), abs=1e-6
    )
    assert result.score == pytest.approx(np.mean(list(expected.values())), abs=1e-6)
    assert result.is_mixed
    assert result.left_out == ()


@pytest.mark.parametrize("layout", ["padded", "list"])
@pytest.mark.parametrize("task", ["velocity", "speed", "phase"])
@pytest.mark.parametrize("logits", [True, False])
def test_single_task_scores_are_those_of_the_stitched_traces(batches, task, layout, logits):
    recordings = batches.sessions(logits=logits)
    windows = batches.all_windows(recordings)
    evaluation = DecodingStitchEvaluation([recording.name for recording in recordings], task=task)
    result = evaluate(
        evaluation, [batches.single_task(windows[i : i + 4], task, layout) for i in range(0, len(windows), 4)]
    )
    for recording in recordings:
        index, preds, target = recording.stitched(task)
        if task == "phase":
            name, value = (
                "balanced_accuracy",
                recall_score(target, preds.argmax(1) if logits else preds, average="macro"),
            )
        else:
            name, value = "r2", sklearn_r2(target, preds)
        assert result.scores[recording.name][task] == {name: pytest.approx(value, abs=1e-6)}
        assert len(result.traces[recording.name][task]) == index.size
    assert not result.is_mixed


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 2**31), ranks=st.integers(1, 3), size=st.integers(1, 7), repeats=st.integers(0, 5))
def test_shuffled_rebatched_repeated_and_split_over_ranks_the_result_is_the_same(batches, seed, ranks, size, repeats):
    rng = np.random.default_rng(seed)
    recordings = batches.sessions(logits=bool(seed % 2))
    windows = [batches.only(window, "velocity") for window in batches.all_windows(recordings)]
    single = [batches.only(window, "phase") for window in batches.all_windows(recordings)]
    for kind, chosen, make in (
        (
            lambda: MultiTaskDecodingStitchEvaluation(task_ids=batches.task_ids),
            windows,
            lambda w: batches.multi_task(w, ("velocity",)),
        ),
        (DecodingStitchEvaluation, single, lambda w: batches.single_task(w, "phase")),
    ):
        expected = evaluate(kind(), [make(chosen)])
        way = [*rng.permutation(len(chosen)), *rng.integers(0, len(chosen), size=repeats)]
        pieces = [make([chosen[i] for i in way[k : k + size]]) for k in range(0, len(way), size)]
        parts = [kind() for _ in range(ranks)]
        for number, batch in enumerate(pieces):
            parts[number % ranks].update(batch)
        gathered = kind()
        gathered.merge_states([pickle.loads(pickle.dumps(part.state_dict())) for part in parts])  # noqa: S301 our own
        for part in parts[1:]:
            parts[0].merge(part)
        for result in (parts[0].compute(), gathered.compute()):
            assert result.rows() == expected.rows()
            assert result.score == expected.score
            for recording, tasks in expected.traces.items():
                for task, trace in tasks.items():
                    assert torch.equal(result.traces[recording][task].timestamps, trace.timestamps)
                    assert torch.equal(result.traces[recording][task].preds, trace.preds)


def test_a_window_may_lack_a_task_and_masked_outputs_are_not_evaluated(batches):
    recordings = batches.sessions()
    windows = batches.all_windows(recordings)
    evaluation = MultiTaskDecodingStitchEvaluation(task_ids=batches.task_ids)
    # In batches of one every window has the speed; of all at once, each third window lacks it.
    result = evaluate(evaluation, [batches.multi_task([window]) for window in windows])
    index, preds, target = recordings[0].stitched("speed")
    assert not (index % 5 == 0).any()
    assert result.scores["brain/a"]["speed"]["r2"] == pytest.approx(sklearn_r2(target, preds), abs=1e-6)
    assert len(result.traces["brain/a"]["speed"]) == index.size
    lacking = evaluate(MultiTaskDecodingStitchEvaluation(task_ids=batches.task_ids), [batches.multi_task(windows)])
    assert len(lacking.traces["brain/a"]["velocity"]) == len(result.traces["brain/a"]["velocity"])
    assert np.isfinite(lacking.scores["brain/a"]["speed"]["r2"])


def test_metrics_are_those_of_the_guide_and_stay_untouched(batches):
    recordings = batches.sessions()
    r2, mse = torchmetrics.R2Score(), build_metric("mse")
    metrics = {
        "brain/a": {
            "velocity": {"r2": r2, "mse": mse},
            "phase": {"accuracy": torchmetrics.Accuracy("multiclass", num_classes=3)},
        },
        "brain/b": {"velocity": {"r2": R2Score()}},
    }
    evaluation = MultiTaskDecodingStitchEvaluation(metrics, task_ids=batches.task_ids)
    result = evaluate(evaluation, [batches.multi_task(batches.all_windows(recordings), ("velocity", "phase"))])
    _, preds, target = recordings[0].stitched("velocity")
    assert result.scores["brain/a"]["velocity"]["r2"] == pytest.approx(sklearn_r2(target, preds), abs=1e-5)
    assert result.scores["brain/a"]["velocity"]["mse"] == pytest.approx(mean_squared_error(target, preds), abs=1e-6)
    assert set(result.scores["brain/a"]["phase"]) == {"accuracy"}
    assert set(result.scores["brain/b"]) == {"velocity"}  # the phase of b has no metric, but its trace is kept
    assert len(result.traces["brain/b"]["phase"]) > 0
    assert not r2.update_called
    assert not mse.update_called
    assert evaluation.compute().rows() == result.rows()


@pytest.mark.parametrize("multi_task", [False, True])
def test_nothing_of_a_batch_is_kept(batches, multi_task):
    """A loader may use its memory again for the next batch."""
    windows = [batches.only(window, "velocity") for window in batches.all_windows(batches.sessions())]
    if multi_task:
        evaluation = MultiTaskDecodingStitchEvaluation(task_ids=batches.task_ids)
        batch = batches.multi_task(windows, ("velocity",))
    else:
        evaluation = DecodingStitchEvaluation(metric="r2")
        batch = batches.single_task(windows, "velocity")
        batch.eval_masks[:] = True  # every output counts, which is the way without a selection
        batch.preds.nan_to_num_()
    with torch.inference_mode():
        evaluation.update(batch)
    expected = evaluation.compute().rows()
    flat = [
        tensor
        for part in vars(batch).values()
        for group in (part if isinstance(part, list) else [part])
        for tensor in (group.values() if isinstance(group, dict) else [group])
        if torch.is_tensor(tensor)
    ]
    assert len(flat) > 4
    for tensor in flat:
        tensor.zero_()
    assert evaluation.compute().rows() == expected


def test_scores_and_intervals_are_the_same_in_inference_mode(batches):
    windows = batches.all_windows(batches.sessions())
    results = []
    for inference in (False, True):
        with torch.inference_mode(inference):
            evaluation = MultiTaskDecodingStitchEvaluation(task_ids=batches.task_ids)
            evaluation.update(batches.multi_task(windows, ("velocity", "phase")))
            result = evaluation.compute()
            results.append((result.rows(), result.confidence_intervals(resamples=100).rows()))
    assert results[0] == results[1]
