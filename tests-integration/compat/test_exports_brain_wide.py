"""Exported predictions, scored by ibl_bwb_eval and by our metrics on the same data."""

import numpy as np
import pytest
import torch

from nd_eval import balanced_accuracy, bits_per_spike, f1_score, mae, pearsonr, poisson_pseudo_r2, r2_score
from nd_eval.export import (
    BRAIN_WIDE_DECODING_TASKS,
    BRAIN_WIDE_REGIONS,
    BrainWideTrials,
    predictions_at,
    save_brain_wide_activity,
    save_brain_wide_decoding,
    save_brain_wide_regions,
)
from stitched_series import stitched, tensor

pytestmark = pytest.mark.compat


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def save_truth(folder, **tensors):
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    metadata = {"label_names": tensors.pop("label_names")} if "label_names" in tensors else None
    save_file(tensors, folder / "ground_truth.safetensors", metadata=metadata)


def brain_wide(rng, task, *, trials=40, mask=None, counts=False):
    """Stitched predictions of one recording, and its trials, whose outputs overlap no other trial's."""
    outputs, steps = BRAIN_WIDE_DECODING_TASKS[task]
    step, count = 0.02, trials * 60
    if steps == 1:
        targets = tensor(rng.integers(0, outputs, size=count))
        preds = tensor(rng.normal(size=(count, outputs))).float() + 1.5 * torch.nn.functional.one_hot(targets, outputs)
    elif counts:
        rates = np.exp(rng.normal(size=(count, 1)))
        targets = tensor(rng.poisson(rates)).float()
        preds = tensor(np.log(rates) + 0.2 * rng.normal(size=rates.shape)).float()
    else:
        targets = tensor(rng.normal(size=(count, 1))).float()
        preds = targets + 0.5 * tensor(rng.normal(size=(count, 1))).float()
    traces = stitched({("ibl/one", "readout"): (preds, targets)}, step=step, offset=500.0)
    ids = tensor(rng.permutation(1000)[:trials])
    places = torch.arange(trials)[:, None] * 60 + 5 + torch.arange(steps)
    times = 500.0 + step * places.double()
    return traces, places, BrainWideTrials("ibl/one", ids, times)


@pytest.mark.parametrize("task", list(BRAIN_WIDE_DECODING_TASKS))
def test_brain_wide_decoding_scores_are_ours(rng, tmp_path, task):
    scoring = pytest.importorskip("ibl_bwb_eval.scoring.ts1", reason="needs ibl-bwb-eval 0.1.0 beside")
    traces, places, trials = brain_wide(rng, task, counts=task == "licking_rate")
    (path,) = save_brain_wide_decoding(
        tmp_path / "predictions", traces, task=task, readout="readout", trials={"abc-def": trials}, label="nd", seed=43
    )
    assert path == tmp_path / "predictions" / "nd" / f"ts1-{task}" / "abc-def" / "seed_43.safetensors"
    trace = traces["ibl/one", "readout"]
    order = tensor(rng.permutation(len(trials.ids)))  # the truth comes in an order of its own
    values = trace.targets[places].reshape(len(places), -1, 1)[order]
    truth = {"trial_id": trials.ids[order], "values": values[:, 0] if values.shape[1] == 1 else values}
    mask = torch.ones(len(places), places.shape[1], dtype=torch.bool)
    if "paw" in task:
        mask = tensor(rng.random(mask.shape) > 0.3)
        truth["mask"] = mask[order]
    save_truth(tmp_path / "truth" / f"ts1-{task}" / "abc-def", **truth)
    scores = scoring.score_dir(tmp_path / "predictions", tmp_path / "truth")["nd", f"ts1-{task}", "abc-def", 43]
    preds, targets = trace.preds[places][mask], trace.targets[places][mask]
    if values.shape[1] == 1:
        assert scores["bacc"] == pytest.approx(float(balanced_accuracy(preds, targets)), rel=1e-5)
        assert scores["f1"] == pytest.approx(float(f1_score(preds, targets)), rel=1e-5)
    elif task == "licking_rate":
        assert scores["poisson_d2"] == pytest.approx(float(poisson_pseudo_r2(preds, targets, log_rates=True)), rel=1e-4)
    else:
        assert scores["r2"] == pytest.approx(float(r2_score(preds, targets)), rel=1e-4)
        assert scores["mae"] == pytest.approx(float(mae(preds, targets)), rel=1e-5)
        assert scores["pearson"] == pytest.approx(float(pearsonr(preds, targets)), rel=1e-4)


@pytest.mark.parametrize("task", ["co_smoothing", "forecasting"])
def test_brain_wide_activity_scores_are_ours(rng, tmp_path, task):
    scoring = pytest.importorskip("ibl_bwb_eval.scoring.ts2", reason="needs ibl-bwb-eval 0.1.0 beside")
    rates = np.exp(0.5 * rng.normal(size=(600, 4)) - 0.3)
    counts = tensor(rng.poisson(rates)).float()
    log_rates = tensor(np.log(rates) + 0.1 * rng.normal(size=rates.shape)).float()
    trace = stitched({("ibl/one", "rates"): (log_rates, counts)}, step=0.02, offset=300.0)["ibl/one", "rates"]
    places = torch.arange(0, 540, 7)[:, None] + torch.arange(50)  # windows overlap
    starts = 300.0 + 0.02 * places[:, 0].double()
    windows = predictions_at(trace, 300.0 + 0.02 * places.double())
    save_brain_wide_activity(
        tmp_path / "predictions",
        task=task,
        recording_id="abc-def",
        window_timestamps=starts,
        log_rates=windows,
        label="nd",
        seed=43,
        unit_ids=["one", "three", "two", "eleven"],
    )
    order = tensor(rng.permutation(len(starts)))
    truth = {"window_timestamps": starts[order].float(), "targets": counts[places][order]}
    save_truth(tmp_path / "truth" / f"ts2-{task}" / "abc-def", **truth)
    scores = scoring.score_dir(tmp_path / "predictions", tmp_path / "truth")["nd", f"ts2-{task}", "abc-def", 43]
    preds, targets = trace.preds[places].reshape(-1, 4), counts[places].reshape(-1, 4)
    assert scores["bps"] == pytest.approx(float(bits_per_spike(preds, targets, log_rates=True)), rel=1e-4)
    assert scores["poisson_d2"] == pytest.approx(float(poisson_pseudo_r2(preds, targets, log_rates=True)), rel=1e-4)
    assert scores["bps"] > 0.05


def test_brain_wide_region_scores_are_ours(rng, tmp_path):
    scoring = pytest.importorskip("ibl_bwb_eval.scoring.ts3", reason="needs ibl-bwb-eval 0.1.0 beside")
    entity_ids = pytest.importorskip("ibl_bwb_eval.entity_ids")
    units = [f"unit-{number}" for number in range(120)]
    targets = tensor(rng.integers(0, 10, size=120))
    probabilities = (tensor(rng.normal(size=(120, 10))) + 2 * torch.nn.functional.one_hot(targets, 10)).softmax(1)
    save_brain_wide_regions(tmp_path / "predictions", unit_ids=units, probabilities=probabilities, label="nd", seed=44)
    order = tensor(rng.permutation(120))
    save_truth(
        tmp_path / "truth" / "ts3-unit_cosmos",
        entity_ids=entity_ids.encode_entity_ids(np.array(units)[order.numpy()]),
        targets=targets[order],
        label_names=",".join(BRAIN_WIDE_REGIONS),
    )
    scores = scoring.score_dir(tmp_path / "predictions", tmp_path / "truth")["nd", 44]
    assert scores["macro/f1-score"] == pytest.approx(float(f1_score(probabilities.log(), targets)), rel=1e-6)
    each = f1_score(probabilities.log(), targets, average="none")
    for name, value in zip(BRAIN_WIDE_REGIONS, each.tolist(), strict=True):
        assert scores[f"{name}/f1-score"] == pytest.approx(value, rel=1e-6)


def test_a_brain_wide_file_is_what_the_benchmarks_own_writer_writes(rng, tmp_path):
    writers = pytest.importorskip("ibl_bwb_eval.predictions", reason="needs ibl-bwb-eval 0.1.0 beside")
    entity_ids = pytest.importorskip("ibl_bwb_eval.entity_ids")
    from safetensors import safe_open
    from safetensors.torch import load_file

    starts = tensor(rng.uniform(0, 4000, size=6))
    log_rates = tensor(rng.normal(size=(6, 50, 3)))
    units = ["a", "bcd", "ef"]
    ours = save_brain_wide_activity(
        tmp_path / "ours",
        task="co_smoothing",
        recording_id="abc-def",
        window_timestamps=starts,
        log_rates=log_rates,
        label="nd",
        seed=43,
        unit_ids=units,
        metadata={"bin_size": 0.02},
    )
    writer = writers.PredictionsWriter(
        True,
        tmp_path / "theirs",
        "ts2-co_smoothing",
        43,
        label="nd",
        metadata={"recording_id": "abc-def", "bin_size": 0.02},
        path_fn=lambda folder, metadata: folder / metadata["recording_id"],
    )
    writer.add(predictions=log_rates, window_timestamps=starts)
    writer.set(unit_ids=entity_ids.encode_entity_ids(np.array(units)))
    writer.save()
    theirs = tmp_path / "theirs" / ours.relative_to(tmp_path / "ours")
    mine, peer = load_file(ours), load_file(theirs)
    assert mine.keys() == peer.keys()
    for name, values in peer.items():
        assert mine[name].dtype == values.dtype
        assert torch.equal(mine[name], values)
    described = []
    for path in (ours, theirs):
        with safe_open(path, framework="pt") as file:
            described.append(file.metadata())
    assert described[0].pop("written_by").startswith("nd-eval ")
    assert described[0] == described[1]


def test_tasks_and_regions_of_the_brain_wide_benchmark_are_its_own():
    tasks = pytest.importorskip("ibl_bwb_eval.tasks", reason="needs ibl-bwb-eval 0.1.0 beside")
    theirs = {name: tasks.get_ts1_readout_spec(name) for name in tasks.SUITE_TASKS["ts1"]}
    assert dict(BRAIN_WIDE_DECODING_TASKS) == {name: (spec.dim, spec.num_timesteps) for name, spec in theirs.items()}
    assert tasks.SUITE_TASKS["ts2"] == ("co_smoothing", "forecasting")
    assert tasks.SUITE_TASKS["ts3"] == ("unit_cosmos",)
    assert BRAIN_WIDE_REGIONS == tasks.COSMOS_LABELS
