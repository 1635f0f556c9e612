"""Averages, the monitored score, names for loggers, and what becomes of a score that does not exist."""

import math

import numpy as np
import pytest
import torch
import torchmetrics

from nd_eval import (
    METRICS,
    DecodingStitchEvaluation,
    MultiTaskDecodingStitchEvaluation,
    R2Score,
    build_metric,
)


def evaluate(evaluation, data):
    for batch in data:
        evaluation.update(batch)
    return evaluation.compute()


def test_errors_count_against_the_score_and_mixing_is_said(batches):
    recordings = batches.sessions()
    names = {"r2": "r2", "mse": "mse"}
    result = evaluate(
        DecodingStitchEvaluation(metric=names), [batches.single_task(batches.all_windows(recordings), "velocity")]
    )
    turned = [(1 if metric == "r2" else -1) * value for *_, metric, value in result.rows()]
    assert result.score == pytest.approx(np.mean(turned), abs=1e-12)
    assert all(value > 0 for *_, metric, value in result.rows() if metric == "mse")
    assert result.is_mixed
    assert "mse (an error, negated)" in result.statement
    assert "mixed" in result.statement
    assert result.larger_is_better == {"r2": True, "mse": False}
    alone = evaluate(
        DecodingStitchEvaluation(metric="mse"), [batches.single_task(batches.all_windows(recordings), "velocity")]
    )
    assert alone.score < 0
    assert not alone.is_mixed


def test_scores_have_the_names_that_loggers_know(batches):
    recordings = batches.sessions()
    result = evaluate(
        MultiTaskDecodingStitchEvaluation(
            {r.name: {"velocity": {"r2": R2Score(), "mse": build_metric("mse")}} for r in recordings},
            task_ids=batches.task_ids,
        ),
        [batches.multi_task(batches.all_windows(recordings), ("velocity",))],
    )
    log = result.to_log("test")
    assert log["brain/a/velocity/r2/test"] == result.scores["brain/a"]["velocity"]["r2"]
    assert log["average_velocity_r2_test"] == result.averages["velocity"]["r2"]
    assert log["average_velocity_test_metric"] == result.score
    assert log["average_test_metric"] == result.score
    assert len(log) == 4 + 2 + 1 + 1
    assert "average_val_metric" in result.to_log()


def test_recordings_without_an_evaluated_time_are_left_out_and_named(batches):
    recordings = batches.sessions()
    batch = batches.multi_task(batches.all_windows(recordings), ("velocity",))
    belongs = torch.tensor([name == "brain/b" for name in batch.session_ids])
    of_b = belongs[:, None].expand_as(batch.decoder_indices)[batch.decoder_indices == batches.task_ids["velocity"]]
    batch.eval_masks["velocity"] = ~of_b
    metrics = {
        name: {"velocity": {"r2": R2Score()}, "speed": {"r2": R2Score()}} for name in ("brain/a", "brain/b", "brain/c")
    }
    result = evaluate(MultiTaskDecodingStitchEvaluation(metrics, task_ids=batches.task_ids), [batch])
    assert set(result.scores) == {"brain/a"}
    assert result.left_out == ("brain/b", "brain/c")
    assert ("brain/a", "speed") in result.left_out_tasks
    assert result.score == result.scores["brain/a"]["velocity"]["r2"]
    single = batches.single_task(batches.all_windows(recordings))
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


def test_reset_starts_the_next_epoch(batches):
    evaluation = DecodingStitchEvaluation()
    evaluation.update(batches.single_task(batches.sessions()[0].windows))
    evaluation.reset()
    result = evaluate(evaluation, [batches.single_task(batches.sessions()[1].windows)])
    assert set(result.scores) == {"brain/b"}


def test_a_constant_target_is_named_and_left_out_of_the_averages(batches):
    varying = torch.arange(5.0)[:, None]
    result = evaluate(
        DecodingStitchEvaluation(metric="r2"),
        [
            batches.simple(varying + 0.1, varying, "good"),
            batches.simple(varying, torch.ones(5, 1), "flat"),
            batches.simple(varying[:1], varying[:1], "one"),
        ],
    )
    assert result.undefined == (("flat", "readout", "r2"), ("one", "readout", "r2"))
    assert math.isnan(result.scores["flat"]["readout"]["r2"])
    assert result.score == result.averages["readout"]["r2"] == result.scores["good"]["readout"]["r2"]


def test_a_metric_that_refuses_a_single_time_leaves_it_undefined(batches):
    result = evaluate(
        DecodingStitchEvaluation(metric=torchmetrics.R2Score()), [batches.simple(torch.ones(1, 1), torch.ones(1, 1))]
    )
    assert result.undefined == (("r", "readout", "R2Score"),)


@pytest.mark.parametrize("metric", ["r2", "mse", "accuracy"])
def test_a_diverged_model_has_the_score_nan(batches, metric):
    good = torch.arange(6) % 2
    preds = torch.stack([1.0 - good, 0.0 + good], 1) if metric == "accuracy" else good[:, None].float()
    targets = good if metric == "accuracy" else good[:, None].float()
    bad = preds.clone()
    bad[2] = torch.nan
    result = evaluate(
        DecodingStitchEvaluation(metric=metric),
        [batches.simple(preds, targets, "good"), batches.simple(bad, targets, "bad")],
    )
    assert math.isnan(result.score)
    assert result.undefined == ()


def test_times_whose_target_is_nan_are_not_scored_but_counted(batches):
    targets = torch.arange(6.0)[:, None]
    preds = targets + 0.5
    holes = targets.clone()
    holes[[1, 4]] = torch.nan
    result = evaluate(DecodingStitchEvaluation(metric="mse"), [batches.simple(preds, holes)])
    assert result.scores["r"]["readout"]["mse"] == 0.25
    assert result.unobserved == {("r", "readout"): 2}
    assert len(result.traces["r"]["readout"]) == 6
    nothing = evaluate(DecodingStitchEvaluation(), [batches.simple(preds, torch.full_like(preds, torch.nan))])
    assert nothing.left_out == ("r",)


def test_one_dimension_may_be_written_with_or_without_its_axis(batches):
    targets = torch.arange(6.0)
    for preds, truth in ((targets[:, None], targets), (targets, targets[:, None]), (targets, targets)):
        assert evaluate(DecodingStitchEvaluation(metric="r2"), [batches.simple(preds, truth)]).score == 1.0
    labels = torch.tensor([0, 1, 1, 0])
    logits = torch.tensor([-1.0, 2.0, 3.0, -4.0])
    for preds, truth in (
        (logits[:, None], labels),
        (logits, labels),
        (logits[:, None], labels[:, None]),
        (labels, labels[:, None]),
    ):
        assert evaluate(DecodingStitchEvaluation(), [batches.simple(preds, truth)]).score == 1.0


def test_a_metric_that_does_not_say_its_direction_is_not_in_the_score(batches):
    class Silent(R2Score):
        higher_is_better = None

    targets = torch.arange(6.0)[:, None]
    result = evaluate(
        DecodingStitchEvaluation(metric={"silent": Silent(), "mse": "mse"}), [batches.simple(targets + 1, targets)]
    )
    assert result.larger_is_better == {"silent": None, "mse": False}
    assert result.score == -1.0
    assert not result.is_mixed


def test_one_metric_name_cannot_have_two_directions(batches):
    metrics = {"brain/a": {"velocity": {"m": R2Score()}}, "brain/b": {"velocity": {"m": build_metric("mse")}}}
    evaluation = MultiTaskDecodingStitchEvaluation(metrics, task_ids=batches.task_ids)
    with pytest.raises(ValueError, match="recording 'brain/b', task 'velocity': larger is better for one 'm'"):
        evaluate(evaluation, [batches.multi_task(batches.all_windows(batches.sessions()), ("velocity",))])


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_of_the_table_scores_a_stitched_trace(batches, name):
    generator = torch.Generator().manual_seed(0)
    preds, noise = torch.randn(2, 40, 2, generator=generator)
    kind = METRICS[name].targets
    if kind == "classes":
        pair = preds, (preds + noise).argmax(1)
    elif kind == "counts":
        pair = preds.exp(), torch.poisson(preds.exp(), generator=generator).long()
    else:
        pair = preds, preds + noise
    result = evaluate(DecodingStitchEvaluation(metric=name), [batches.simple(*pair)])
    expected = build_metric(name)
    expected.update(*((x[None] for x in pair) if kind == "sequences" else pair))
    assert result.scores["r"]["readout"][name] == pytest.approx(expected.compute().item(), rel=1e-6)
    assert result.score == (1 if METRICS[name].larger_is_better else -1) * result.scores["r"]["readout"][name]
