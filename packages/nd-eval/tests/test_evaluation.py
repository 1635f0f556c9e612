"""The evaluations, fed as a validation step feeds them, against scikit-learn on traces whose true times are known."""

import math
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
    BalancedAccuracy,
    DataForDecodingStitchEvaluator,
    DataForMultiTaskDecodingStitchEvaluator,
    DecodingStitchEvaluation,
    MultiTaskDecodingStitchEvaluation,
    R2Score,
    build_metric,
)

TASK_IDS = {"velocity": 1, "phase": 4, "speed": 9}
STEPS = {"velocity": 0.01, "phase": 0.1, "speed": 1 / 30}


class Session:
    """Windows of one recording: float32 relative times, and predictions that differ from window to window."""

    def __init__(self, name, seed, offset, count=8, logits=True):
        self.name, self.offset, self.logits = name, offset, logits
        self.rng = np.random.default_rng(seed)
        self.windows = [self.window(number * 0.5) for number in range(count)]

    def window(self, begin):
        outputs = {}
        for task, step in STEPS.items():
            index = np.arange(math.ceil(begin / step - 1e-9), math.ceil((begin + 1.0) / step - 1e-9))
            relative = (index * step - begin).astype(np.float32)
            if task == "phase":
                target = index // 4 % 3
                preds = self.rng.normal(size=(index.size, 3)) + 2 * np.eye(3)[target]
                preds = preds.astype(np.float32) if self.logits else preds.argmax(1)
            else:
                dims = 2 if task == "velocity" else 1
                target = np.sin(index[:, None] * step + np.arange(dims)).astype(np.float32)
                preds = (target + 0.3 * self.rng.normal(size=target.shape)).astype(np.float32)
            # The speed is not evaluated in every fifth sample.
            mask = (index % 5 != 0) if task == "speed" else np.ones(index.size, dtype=bool)
            outputs[task] = {"index": index, "relative": relative, "preds": preds, "target": target, "mask": mask}
        return {"session": self.name, "start": self.offset + begin, "outputs": outputs}

    def stitched(self, task):
        """True index, pooled predictions and targets: the oracle."""
        parts = [w["outputs"][task] for w in self.windows]
        index, preds, target, mask = (
            np.concatenate([p[k] for p in parts]) for k in ("index", "preds", "target", "mask")
        )
        index, preds, target = index[mask], preds[mask], target[mask]
        unique = np.unique(index)
        if preds.dtype.kind == "f":
            pooled = np.stack([preds[index == i].astype(np.float64).mean(0) for i in unique])
        else:
            pooled = np.array([np.bincount(preds[index == i]).argmax() for i in unique])
        return unique, pooled, np.stack([target[index == i][0] for i in unique])


def padded(parts, length, fill=0):
    out = np.full((len(parts), length, *parts[0].shape[1:]), fill, dtype=parts[0].dtype)
    for row, part in zip(out, parts, strict=True):
        row[: len(part)] = part
    return torch.from_numpy(out)


def multi_task_batch(windows, tasks=tuple(TASK_IDS), dtype=torch.float32):
    """What collate and POYO+ (unpack_output=True) make of the windows; outputs of the tasks are interleaved."""
    relative, decoder, preds = [], [], []
    chained = {task: ([], []) for task in tasks}
    for number, window in enumerate(windows):
        used = [task for task in tasks if not (task == "speed" and number % 3 == 1)]  # a window may lack a task
        outputs = {task: window["outputs"][task] for task in used}
        order = np.argsort(np.concatenate([o["index"] * STEPS[t] for t, o in outputs.items()]), kind="stable")
        relative.append(np.concatenate([o["relative"] for o in outputs.values()])[order])
        decoder.append(np.concatenate([np.full(o["index"].size, TASK_IDS[t]) for t, o in outputs.items()])[order])
        preds.append({task: torch.from_numpy(o["preds"]) for task, o in outputs.items()})
        for task, output in outputs.items():
            chained[task][0].append(output["target"])
            chained[task][1].append(output["mask"])
    length = -8 * (-max(map(len, relative)) // 8)
    return DataForMultiTaskDecodingStitchEvaluator(
        timestamps=padded(relative, length).to(dtype),
        preds=preds,
        targets={task: torch.from_numpy(np.concatenate(parts[0])) for task, parts in chained.items() if parts[0]},
        decoder_indices=padded(decoder, length),
        eval_masks={task: torch.from_numpy(np.concatenate(parts[1])) for task, parts in chained.items() if parts[1]},
        session_ids=[window["session"] for window in windows],
        absolute_starts=torch.tensor([window["start"] for window in windows], dtype=torch.float64),
    )


def single_task_batch(windows, task="speed", layout="padded"):
    parts = [window["outputs"][task] for window in windows]
    length = -8 * (-max(len(part["index"]) for part in parts) // 8)
    preds = padded(
        [part["preds"] for part in parts], length, fill=np.nan if parts[0]["preds"].dtype.kind == "f" else -7
    )
    targets = padded([part["target"] for part in parts], length)
    if layout == "list":
        preds, targets = ([torch.from_numpy(part[name]) for part in parts] for name in ("preds", "target"))
    return DataForDecodingStitchEvaluator(
        timestamps=padded([part["relative"] for part in parts], length),
        preds=preds,
        targets=targets,
        eval_masks=padded([part["mask"] for part in parts], length, fill=False),
        session_ids=[window["session"] for window in windows],
        absolute_starts=torch.tensor([window["start"] for window in windows], dtype=torch.float64),
    )


def sessions(**options):
    return [Session("brain/a", 0, 90_000.1, **options), Session("brain/b", 1, 1 / 3, count=5, **options)]


def evaluate(evaluation, batches):
    for batch in batches:
        evaluation.update(batch)
    return evaluation.compute()


def all_windows(recordings, keep_speed=True):
    return [window for recording in recordings for window in recording.windows]


def only(window, task):
    return {**window, "outputs": {task: window["outputs"][task]}}


@pytest.mark.parametrize("logits", [True, False])
def test_multi_task_scores_are_those_of_the_stitched_traces(logits):
    recordings = sessions(logits=logits)
    windows = all_windows(recordings)
    evaluation = MultiTaskDecodingStitchEvaluation(task_ids=TASK_IDS)
    tasks = ("velocity", "phase")
    result = evaluate(evaluation, [multi_task_batch(windows[i : i + 3], tasks) for i in range(0, len(windows), 3)])
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
def test_single_task_scores_are_those_of_the_stitched_traces(task, layout, logits):
    recordings = sessions(logits=logits)
    windows = all_windows(recordings)
    evaluation = DecodingStitchEvaluation([recording.name for recording in recordings], task=task)
    result = evaluate(
        evaluation, [single_task_batch(windows[i : i + 4], task, layout) for i in range(0, len(windows), 4)]
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
def test_shuffled_rebatched_repeated_and_split_over_ranks_the_result_is_the_same(seed, ranks, size, repeats):
    rng = np.random.default_rng(seed)
    recordings = sessions(logits=bool(seed % 2))
    windows = [only(window, "velocity") for window in all_windows(recordings)]
    single = [only(window, "phase") for window in all_windows(recordings)]
    for kind, chosen, make in (
        (
            lambda: MultiTaskDecodingStitchEvaluation(task_ids=TASK_IDS),
            windows,
            lambda w: multi_task_batch(w, ("velocity",)),
        ),
        (DecodingStitchEvaluation, single, lambda w: single_task_batch(w, "phase")),
    ):
        expected = evaluate(kind(), [make(chosen)])
        way = [*rng.permutation(len(chosen)), *rng.integers(0, len(chosen), size=repeats)]
        batches = [make([chosen[i] for i in way[k : k + size]]) for k in range(0, len(way), size)]
        parts = [kind() for _ in range(ranks)]
        for number, batch in enumerate(batches):
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


def test_a_window_may_lack_a_task_and_masked_outputs_are_not_evaluated():
    recordings = sessions()
    windows = all_windows(recordings)
    evaluation = MultiTaskDecodingStitchEvaluation(task_ids=TASK_IDS)
    # In batches of one every window has the speed; of all at once, each third window lacks it.
    result = evaluate(evaluation, [multi_task_batch([window]) for window in windows])
    index, preds, target = recordings[0].stitched("speed")
    assert not (index % 5 == 0).any()
    assert result.scores["brain/a"]["speed"]["r2"] == pytest.approx(sklearn_r2(target, preds), abs=1e-6)
    assert len(result.traces["brain/a"]["speed"]) == index.size
    lacking = evaluate(MultiTaskDecodingStitchEvaluation(task_ids=TASK_IDS), [multi_task_batch(windows)])
    assert len(lacking.traces["brain/a"]["velocity"]) == len(result.traces["brain/a"]["velocity"])
    assert np.isfinite(lacking.scores["brain/a"]["speed"]["r2"])


def test_metrics_are_those_of_the_guide_and_stay_untouched():
    recordings = sessions()
    r2, mse = torchmetrics.R2Score(), build_metric("mse")
    metrics = {
        "brain/a": {
            "velocity": {"r2": r2, "mse": mse},
            "phase": {"accuracy": torchmetrics.Accuracy("multiclass", num_classes=3)},
        },
        "brain/b": {"velocity": {"r2": R2Score()}},
    }
    evaluation = MultiTaskDecodingStitchEvaluation(metrics, task_ids=TASK_IDS)
    result = evaluate(evaluation, [multi_task_batch(all_windows(recordings), ("velocity", "phase"))])
    _, preds, target = recordings[0].stitched("velocity")
    assert result.scores["brain/a"]["velocity"]["r2"] == pytest.approx(sklearn_r2(target, preds), abs=1e-5)
    assert result.scores["brain/a"]["velocity"]["mse"] == pytest.approx(mean_squared_error(target, preds), abs=1e-6)
    assert set(result.scores["brain/a"]["phase"]) == {"accuracy"}
    assert set(result.scores["brain/b"]) == {"velocity"}  # the phase of b has no metric, but its trace is kept
    assert len(result.traces["brain/b"]["phase"]) > 0
    assert not r2.update_called
    assert not mse.update_called
    assert evaluation.compute().rows() == result.rows()


def test_errors_count_against_the_score_and_mixing_is_said():
    recordings = sessions()
    names = {"r2": "r2", "mse": "mse"}
    result = evaluate(DecodingStitchEvaluation(metric=names), [single_task_batch(all_windows(recordings), "velocity")])
    turned = [(1 if metric == "r2" else -1) * value for *_, metric, value in result.rows()]
    assert result.score == pytest.approx(np.mean(turned), abs=1e-12)
    assert all(value > 0 for *_, metric, value in result.rows() if metric == "mse")
    assert result.is_mixed
    assert "mse (an error, negated)" in result.statement
    assert "mixed" in result.statement
    assert result.larger_is_better == {"r2": True, "mse": False}
    alone = evaluate(DecodingStitchEvaluation(metric="mse"), [single_task_batch(all_windows(recordings), "velocity")])
    assert alone.score < 0
    assert not alone.is_mixed


def test_scores_have_the_names_that_loggers_know():
    recordings = sessions()
    result = evaluate(
        MultiTaskDecodingStitchEvaluation(
            {r.name: {"velocity": {"r2": R2Score(), "mse": build_metric("mse")}} for r in recordings}, task_ids=TASK_IDS
        ),
        [multi_task_batch(all_windows(recordings), ("velocity",))],
    )
    log = result.to_log("test")
    assert log["brain/a/velocity/r2/test"] == result.scores["brain/a"]["velocity"]["r2"]
    assert log["average_velocity_r2_test"] == result.averages["velocity"]["r2"]
    assert log["average_velocity_test_metric"] == result.score
    assert log["average_test_metric"] == result.score
    assert len(log) == 4 + 2 + 1 + 1
    assert "average_val_metric" in result.to_log()


def test_recordings_without_an_evaluated_time_are_left_out_and_named():
    recordings = sessions()
    batch = multi_task_batch(all_windows(recordings), ("velocity",))
    belongs = torch.tensor([name == "brain/b" for name in batch.session_ids])
    of_b = belongs[:, None].expand_as(batch.decoder_indices)[batch.decoder_indices == TASK_IDS["velocity"]]
    batch.eval_masks["velocity"] = ~of_b
    metrics = {
        name: {"velocity": {"r2": R2Score()}, "speed": {"r2": R2Score()}} for name in ("brain/a", "brain/b", "brain/c")
    }
    result = evaluate(MultiTaskDecodingStitchEvaluation(metrics, task_ids=TASK_IDS), [batch])
    assert set(result.scores) == {"brain/a"}
    assert result.left_out == ("brain/b", "brain/c")
    assert ("brain/a", "speed") in result.left_out_tasks
    assert result.score == result.scores["brain/a"]["velocity"]["r2"]
    single = single_task_batch(all_windows(recordings))
    single.eval_masks[belongs] = False
    result = evaluate(DecodingStitchEvaluation(), [single])
    assert result.left_out == ("brain/b",)
    result = evaluate(DecodingStitchEvaluation(["brain/a", "brain/b", "brain/z"]), [single])
    assert result.left_out == ("brain/b", "brain/z")


def test_an_evaluation_of_nothing_has_no_score():
    result = DecodingStitchEvaluation(["x"]).compute()
    assert math.isnan(result.score)
    assert result.left_out == ("x",)
    assert math.isnan(result.to_log()["average_val_metric"])


def test_reset_starts_the_next_epoch():
    evaluation = DecodingStitchEvaluation()
    evaluation.update(single_task_batch(sessions()[0].windows))
    evaluation.reset()
    result = evaluate(evaluation, [single_task_batch(sessions()[1].windows)])
    assert set(result.scores) == {"brain/b"}


def simple(preds, targets, name="r", masks=None):
    count = len(targets)
    return DataForDecodingStitchEvaluator(
        timestamps=torch.arange(count)[None] * 0.1,
        preds=preds[None],
        targets=targets[None],
        eval_masks=torch.ones(1, count, dtype=torch.bool) if masks is None else masks[None],
        session_ids=[name],
        absolute_starts=torch.zeros(1, dtype=torch.float64),
    )


def test_a_constant_target_is_named_and_left_out_of_the_averages():
    varying = torch.arange(5.0)[:, None]
    result = evaluate(
        DecodingStitchEvaluation(metric="r2"),
        [
            simple(varying + 0.1, varying, "good"),
            simple(varying, torch.ones(5, 1), "flat"),
            simple(varying[:1], varying[:1], "one"),
        ],
    )
    assert result.undefined == (("flat", "readout", "r2"), ("one", "readout", "r2"))
    assert math.isnan(result.scores["flat"]["readout"]["r2"])
    assert result.score == result.averages["readout"]["r2"] == result.scores["good"]["readout"]["r2"]


def test_a_metric_that_refuses_a_single_time_leaves_it_undefined():
    result = evaluate(
        DecodingStitchEvaluation(metric=torchmetrics.R2Score()), [simple(torch.ones(1, 1), torch.ones(1, 1))]
    )
    assert result.undefined == (("r", "readout", "R2Score"),)


@pytest.mark.parametrize("metric", ["r2", "mse", "accuracy"])
def test_a_diverged_model_has_the_score_nan(metric):
    good = torch.arange(6) % 2
    preds = torch.stack([1.0 - good, 0.0 + good], 1) if metric == "accuracy" else good[:, None].float()
    targets = good if metric == "accuracy" else good[:, None].float()
    bad = preds.clone()
    bad[2] = torch.nan
    result = evaluate(
        DecodingStitchEvaluation(metric=metric), [simple(preds, targets, "good"), simple(bad, targets, "bad")]
    )
    assert math.isnan(result.score)
    assert result.undefined == ()


def test_times_whose_target_is_nan_are_not_scored_but_counted():
    targets = torch.arange(6.0)[:, None]
    preds = targets + 0.5
    holes = targets.clone()
    holes[[1, 4]] = torch.nan
    result = evaluate(DecodingStitchEvaluation(metric="mse"), [simple(preds, holes)])
    assert result.scores["r"]["readout"]["mse"] == 0.25
    assert result.unobserved == {("r", "readout"): 2}
    assert len(result.traces["r"]["readout"]) == 6
    nothing = evaluate(DecodingStitchEvaluation(), [simple(preds, torch.full_like(preds, torch.nan))])
    assert nothing.left_out == ("r",)


def test_one_dimension_may_be_written_with_or_without_its_axis():
    targets = torch.arange(6.0)
    for preds, truth in ((targets[:, None], targets), (targets, targets[:, None]), (targets, targets)):
        assert evaluate(DecodingStitchEvaluation(metric="r2"), [simple(preds, truth)]).score == 1.0
    labels = torch.tensor([0, 1, 1, 0])
    logits = torch.tensor([-1.0, 2.0, 3.0, -4.0])
    for preds, truth in (
        (logits[:, None], labels),
        (logits, labels),
        (logits[:, None], labels[:, None]),
        (labels, labels[:, None]),
    ):
        assert evaluate(DecodingStitchEvaluation(), [simple(preds, truth)]).score == 1.0


def test_a_metric_that_does_not_say_its_direction_is_not_in_the_score():
    class Silent(R2Score):
        higher_is_better = None

    targets = torch.arange(6.0)[:, None]
    result = evaluate(
        DecodingStitchEvaluation(metric={"silent": Silent(), "mse": "mse"}), [simple(targets + 1, targets)]
    )
    assert result.larger_is_better == {"silent": None, "mse": False}
    assert result.score == -1.0
    assert not result.is_mixed


def test_one_metric_name_cannot_have_two_directions():
    metrics = {"brain/a": {"velocity": {"m": R2Score()}}, "brain/b": {"velocity": {"m": build_metric("mse")}}}
    evaluation = MultiTaskDecodingStitchEvaluation(metrics, task_ids=TASK_IDS)
    with pytest.raises(ValueError, match="recording 'brain/b', task 'velocity': larger is better for one 'm'"):
        evaluate(evaluation, [multi_task_batch(all_windows(sessions()), ("velocity",))])


def test_absolute_starts_may_be_python_floats_but_not_coarse_float32():
    windows = sessions()[0].windows
    batch = single_task_batch(windows, "velocity")
    expected = evaluate(DecodingStitchEvaluation(), [batch])
    batch.absolute_starts = batch.absolute_starts.tolist()
    assert evaluate(DecodingStitchEvaluation(), [batch]).rows() == expected.rows()
    batch.absolute_starts = torch.tensor(batch.absolute_starts, dtype=torch.float32)
    with pytest.raises(
        ValueError, match=r"recording 'brain/a', task 'readout': times near 9[0-9.]+ s came rounded to .* float64"
    ):
        DecodingStitchEvaluation().update(batch)


def damaged(**changes):
    batch = multi_task_batch(all_windows(sessions()), ("velocity", "phase"))
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
def test_a_damaged_multi_task_batch_is_one_error_with_recording_and_task(changes, message):
    metrics = {name: {"velocity": {"r2": R2Score()}} for name in ("brain/a", "brain/b")}
    with pytest.raises((ValueError, TypeError), match=message):
        MultiTaskDecodingStitchEvaluation(metrics, task_ids=TASK_IDS).update(damaged(**changes))


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
def test_a_damaged_single_task_batch_is_one_clear_error(changes, message):
    batch = single_task_batch(all_windows(sessions()), "velocity")
    for name, change in changes.items():
        setattr(batch, name, change(getattr(batch, name)))
    with pytest.raises(ValueError, match=message):
        DecodingStitchEvaluation(["brain/a", "brain/b"]).update(batch)


@pytest.mark.parametrize(
    ("preds", "metric"),
    [
        (torch.zeros(4, 3), None),
        (torch.zeros(4, 3), torchmetrics.Accuracy("multiclass", num_classes=3)),
        (torch.arange(4), BalancedAccuracy(num_classes=3)),
    ],
)
def test_a_class_outside_the_range_names_recording_and_task(preds, metric):
    evaluation = DecodingStitchEvaluation(metric=metric, task="phase")
    evaluation.update(simple(preds, torch.arange(4), "brain/a"))
    with pytest.raises(
        ValueError, match=r"recording 'brain/a', task 'phase', metric '.*': target class 3 is outside the range 0 … 2"
    ):
        evaluation.compute()


def test_settings_that_cannot_be_are_refused():
    for ids in ({"a": 0}, {"a": 1, "b": 1}):
        with pytest.raises(ValueError, match="ids of tasks must differ and not be 0"):
            MultiTaskDecodingStitchEvaluation(task_ids=ids)
    with pytest.raises(KeyError, match="no metric 'r3'"):
        DecodingStitchEvaluation(metric="r3")
    with pytest.raises(ValueError, match="tolerance"):
        DecodingStitchEvaluation(tolerance=-1.0)
