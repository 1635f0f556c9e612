"""Every numeric case of the longitudinal specification that concerns training, against what the package computes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nd_train import MILightningModule
from nd_train.longitudinal import (
    SUBSETS,
    EpochStatistics,
    Forecast,
    LongitudinalSettings,
    SequenceLengthScheduler,
    batch_masks,
    longitudinal_loss,
    reshift_output,
    sequence_rows,
    shaped_output,
    shift_labels,
    shifted_loss_mask,
    subset_masks,
    subset_scores,
    trim_mask,
)
from nd_train.longitudinal.epoch_statistics import row_columns

CASES = json.loads((Path(__file__).parent / "longitudinal_cases.json").read_text())["cases"]
TOLERANCE = {"rtol": 2e-5, "atol": 1e-6}
EVERYTHING = ((False, "in_time"), (True, "in_time"), (False, "out_of_time"), (True, "out_of_time"))


def cases(kind):
    chosen = [case for case in CASES if case["kind"] == kind]
    assert chosen
    return pytest.mark.parametrize("case", chosen, ids=lambda case: case["id"])


def tensor(nested):
    return torch.tensor(json.loads(json.dumps(nested).replace("null", "NaN")), dtype=torch.float32)


def close(found, expected):
    np.testing.assert_allclose(np.asarray(found, dtype=np.float64), tensor(expected).numpy(), **TOLERANCE)


def evaluated(preds, target, observed, out_of_time, out_of_sequence, first_id=0):
    """A forecast as steps 1 to 4 leave it, of given predictions."""
    batch_size, steps = preds.shape[:2]
    return Forecast(
        output=preds,
        levels=preds,
        targets=target,
        labels=target,
        observed=observed,
        loss_mask=observed,
        real=torch.ones(batch_size, steps, dtype=torch.bool),
        out_of_time=out_of_time,
        out_of_sequence=out_of_sequence,
        time_ids=torch.arange(steps).expand(batch_size, steps),
        sequence_ids=torch.arange(batch_size) + first_id,
        infilled=None,
        query_ids=None,
    )


@cases("loss")
def test_losses_and_their_gradients_are_those_of_the_specification(case):
    inputs, expected = case["inputs"], case["expected"]
    classes, outcomes = inputs["num_classes"], inputs.get("num_outcomes", 1)
    target = tensor(inputs["target"])
    output = tensor(inputs.get("pred", inputs.get("logits"))).requires_grad_()
    shaped = shaped_output(output, steps=target.shape[:2], num_outcomes=outcomes, num_classes=classes)
    if "outcomes_mask" in inputs:
        batch = {name: tensor(inputs[name]) for name in ("outcomes_mask", "oots_mask")}
        mask = batch_masks(batch, target, required=False).in_time
        assert torch.equal(mask, tensor(expected["effective_mask"]).bool())
    else:
        mask = tensor(inputs["mask"]).bool()
    weight = tensor(inputs["class_weight"]) if "class_weight" in inputs else None
    checked = 0
    for reduction in ("none", "flatten", "within-seq", "between-seq"):
        if reduction not in expected:
            continue
        output.grad = None
        loss = longitudinal_loss(shaped, target, mask, num_classes=classes, reduction=reduction, class_weight=weight)
        close(loss.detach(), expected[reduction])
        gradient = expected.get(f"grad_{reduction}", expected.get("grad") if reduction != "none" else None)
        if gradient is not None:
            loss.backward(retain_graph=True)
            close(output.grad, gradient)
        checked += 1
    assert checked >= 2


@cases("shift")
def test_shift_reshift_and_their_masks_are_those_of_the_specification(case):
    inputs, expected = case["inputs"], case["expected"]
    labels = tensor(inputs["labels"])
    before = labels.clone()
    observed = tensor(inputs["mask"]).bool() if "mask" in inputs else torch.ones_like(labels, dtype=torch.bool)
    do_shift = inputs["do_shift"]
    shifted = shift_labels(labels, do_shift=do_shift)
    if "shifted" in expected:
        close(shifted, expected["shifted"])
    if "reshifted_of_shifted" in expected:
        assert torch.equal(
            reshift_output(shifted, labels, observed, do_shift=do_shift), tensor(expected["reshifted_of_shifted"])
        )
    if "reshifted" in expected:
        interpolated = inputs["interpolated"]
        levels = reshift_output(
            tensor(inputs["output"]), labels, observed, do_shift=do_shift, interpolated=interpolated
        )
        close(levels, expected["reshifted"])
    for mode in ("compat", "baseline", "lag1"):
        if f"loss_mask_{mode}" in expected:
            assert torch.equal(shifted_loss_mask(observed, mode), tensor(expected[f"loss_mask_{mode}"]).bool())
    assert torch.equal(labels, before)


@cases("subsets")
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
@pytest.mark.parametrize("flat", [False, True])
def test_subsets_are_those_of_the_specification_whatever_the_masks_dtype_and_shape(case, dtype, flat):
    inputs = case["inputs"]
    preds, target = tensor(inputs["pred"]), tensor(inputs["target"])
    batch = {name: tensor(inputs[name]).to(dtype) for name in ("outcomes_mask", "oots_mask", "ooss_mask")}
    batch["time_ids"] = torch.arange(preds.shape[1]).expand(preds.shape[:2])
    if flat:
        batch["ooss_mask"] = batch["ooss_mask"].squeeze(1)
    masks = batch_masks(batch, target)
    found = subset_masks(masks)
    assert sorted(found) == sorted(case["expected"])
    result = evaluated(preds, target, masks.observed, masks.out_of_time, masks.out_of_sequence)
    for reduction in ("flatten", "within-seq", "between-seq"):
        settings = LongitudinalSettings(num_outcomes=target.shape[2], metrics_reduction=reduction)
        rows = sequence_rows(result, settings)
        for name, expected in case["expected"].items():
            assert torch.equal(found[name], tensor(expected["mask"]).bool())
            scores, count = subset_scores(rows, SUBSETS[name], settings)
            assert count == expected["n_valid"]
            assert bool(scores) == expected["present"]
            if expected["present"]:
                wanted = {metric: value for metric, value in expected[reduction].items() if value is not None}
                scores.pop("loss")
                assert scores == pytest.approx(wanted, rel=2e-5, abs=1e-6)


@cases("epoch")
@pytest.mark.parametrize("reduction", ["flatten", "within-seq", "between-seq"])
def test_the_value_of_an_epoch_is_that_of_all_its_points_and_not_the_mean_of_batches(case, reduction):
    settings = LongitudinalSettings(metrics_reduction=reduction, loss_reduction=reduction)
    statistics = EpochStatistics()
    for number, batch in enumerate(case["inputs"]["batches"]):
        preds, target, observed = (tensor(batch[name]) for name in ("pred", "target", "mask"))
        steps = torch.zeros(preds.shape[:2], dtype=torch.bool)
        result = evaluated(preds, target, observed.bool(), steps, steps[:, 0], first_id=10 * number)
        statistics.add(sequence_rows(result, settings))
    rows = statistics.collected(columns=row_columns(settings), device=torch.device("cpu"))
    scores, count = subset_scores(rows, EVERYTHING, settings)
    expected = {metric: values[reduction] for metric, values in case["expected"]["epoch"].items()}
    assert scores == pytest.approx({**expected, "loss": expected["mse"]}, rel=2e-5, abs=1e-6)
    assert count == 8
    assert scores["mse"] != pytest.approx(case["expected"]["not_this_mean_of_batches"]["mse"][reduction])


@cases("schedule")
@pytest.mark.parametrize("kind", ["linear", "exponential", "none"])
@pytest.mark.parametrize("progress", ["full", "compat"])
def test_sequence_lengths_are_those_of_the_specification(case, kind, progress):
    inputs = case["inputs"]
    schedule = SequenceLengthScheduler(
        kind,
        min_seq_len=inputs["min_seq_len"],
        max_seq_len=inputs["max_seq_len"],
        num_epochs=inputs["num_epochs"],
        progress=progress,
    )
    name = kind if kind == "none" or progress == "full" else f"{kind}_compat"
    assert [schedule.length(epoch) for epoch in inputs["epochs"]] == case["expected"][name]


@cases("trim")
def test_trimming_gives_a_new_mask_and_leaves_the_old_one(case):
    mask = tensor(case["inputs"]["outcomes_mask"]).bool()
    trimmed = trim_mask(mask, case["inputs"]["seq_len"])
    assert torch.equal(trimmed, tensor(case["expected"]["trimmed"]).bool())
    assert torch.equal(mask, tensor(case["expected"]["input_after"]).bool())


class Line(nn.Module):
    """One weight: the prediction is a multiple of the first feature."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, embeddings, **others):
        return self.weight * embeddings[..., :1]


@cases("lr")
def test_warm_up_counts_optimizer_steps_in_epochs_that_the_trainer_knows(case, make_trainer):
    inputs = case["inputs"]
    module = MILightningModule(
        {
            "optimizer": "sgd",
            "lr": inputs["lr"],
            "lr_scheduler": "linear",
            **{name: inputs[name] for name in ("start_factor", "end_factor", "warmup_epochs")},
        },
        Line(),
    )
    rates = []
    module.on_train_batch_start = lambda *_: rates.append(module.trainer.optimizers[0].param_groups[0]["lr"])
    batch = {
        "embeddings": torch.ones(2, 3, 1),
        "outcomes": torch.zeros(2, 3, 1),
        "outcomes_mask": torch.ones(2, 3, 1, dtype=torch.bool),
        "oots_mask": torch.zeros(2, 3, dtype=torch.bool),
        "ooss_mask": torch.zeros(2, 1, dtype=torch.int64),
        "time_ids": torch.arange(3).repeat(2, 1),
    }
    epochs = math.ceil(len(inputs["steps"]) / inputs["steps_per_epoch"])
    trainer = make_trainer(max_steps=-1, max_epochs=epochs)
    loader = torch.utils.data.DataLoader([batch] * inputs["steps_per_epoch"], batch_size=None)
    trainer.fit(module, loader, loader)
    assert rates[: len(inputs["steps"])] == pytest.approx(case["expected"]["lr_at_step"])
