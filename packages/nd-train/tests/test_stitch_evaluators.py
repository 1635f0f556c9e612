"""The callbacks that stitch predictions of overlapping windows and log scores."""

from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch

from nd_data import Data
from nd_eval import DataForDecodingStitchEvaluator, DataForMultiTaskDecodingStitchEvaluator, build_metric
from nd_models import MODALITY_REGISTRY
from nd_train import NeuralDataModule, NeuralDecoder
from nd_train.callbacks import DecodingStitchEvaluator, MultiTaskDecodingStitchEvaluator

VELOCITY = MODALITY_REGISTRY["cursor_velocity_2d"]
ORIENTATION = MODALITY_REGISTRY["drifting_gratings_orientation"]
SESSIONS = ["a/one", "a/two"]
# Five windows of one second, every half second, of a trace sampled at 10 Hz.
STARTS = 7e4 + 0.5 * np.arange(5)
TIMES = 0.1 * np.arange(10)


class Recorder(L.LightningModule):
    """A module that hands out what it is told to, and remembers what was logged."""

    def __init__(self, outputs=(), model=None):
        super().__init__()
        self.outputs = list(outputs)
        self.model = model
        self.logged = {}

    def log_dict(self, dictionary, *args, **keywords):
        self.logged.update({name: float(value) for name, value in dictionary.items()})


def values_at(rng, sessions=SESSIONS):
    """Predictions of every window, and the trace of targets that all windows of a recording share."""
    trace = {name: rng.normal(size=(30, 2)) for name in sessions}
    return {
        name: [(rng.normal(size=(10, 2)), trace[name][5 * k : 5 * k + 10]) for k in range(len(STARTS))]
        for name in sessions
    }


def expected_r2(windows):
    """Average the predictions of every time, one by one, then R², the mean over dimensions."""
    sums = {}
    for start, (preds, targets) in zip(STARTS, windows, strict=True):
        for time, pred, target in zip(start + TIMES, preds, targets, strict=True):
            entry = sums.setdefault(round(time, 4), [np.zeros(2), 0, target])
            entry[0] += pred
            entry[1] += 1
    preds = np.array([total / count for total, count, _ in sums.values()])
    targets = np.array([target for _, _, target in sums.values()])
    assert len(preds) == 30
    return np.mean(1 - ((preds - targets) ** 2).sum(axis=0) / ((targets - targets.mean(axis=0)) ** 2).sum(axis=0))


def padded(rows, width=16):
    rows = [torch.as_tensor(np.asarray(row), dtype=torch.float32) for row in rows]
    return torch.stack([torch.cat([row, torch.full((width - len(row), *row.shape[1:]), 9e9)]) for row in rows])


def single_batch(items):
    """A batch of (recording, start, predictions, targets), padded with nonsense."""
    mask = torch.zeros(len(items), 16, dtype=torch.bool)
    mask[:, :10] = True
    return DataForDecodingStitchEvaluator(
        timestamps=padded([TIMES] * len(items)),
        preds=padded([preds for _, _, preds, _ in items]),
        targets=padded([targets for _, _, _, targets in items]),
        eval_masks=mask,
        session_ids=[name for name, _, _, _ in items],
        absolute_starts=torch.tensor([start for _, start, _, _ in items], dtype=torch.float64),
    )


def multitask_batch(items):
    """The same with the velocity's readout."""
    index = torch.zeros(len(items), 16, dtype=torch.int64)
    index[:, :10] = VELOCITY.id
    return DataForMultiTaskDecodingStitchEvaluator(
        timestamps=padded([TIMES] * len(items)),
        preds=[{"cursor_velocity_2d": torch.as_tensor(preds)} for _, _, preds, _ in items],
        targets={"cursor_velocity_2d": torch.as_tensor(np.concatenate([targets for _, _, _, targets in items]))},
        decoder_indices=index,
        eval_masks={"cursor_velocity_2d": torch.ones(10 * len(items), dtype=torch.bool)},
        session_ids=[name for name, _, _, _ in items],
        absolute_starts=torch.tensor([start for _, start, _, _ in items], dtype=torch.float64),
    )


def run_epoch(evaluator, module, batches, stage="validation", *, sanity=False):
    """What a trainer calls in one epoch."""
    trainer = SimpleNamespace(sanity_checking=sanity, testing=stage == "test", world_size=1)
    getattr(evaluator, f"on_{stage}_epoch_start")(trainer, module)
    for number, batch in enumerate(batches):
        getattr(evaluator, f"on_{stage}_batch_end")(trainer, module, batch, None, number)
    getattr(evaluator, f"on_{stage}_epoch_end")(trainer, module)


FAMILIES = [
    pytest.param(DecodingStitchEvaluator, single_batch, "readout", id="single"),
    pytest.param(MultiTaskDecodingStitchEvaluator, multitask_batch, "cursor_velocity_2d", id="multitask"),
]


@pytest.mark.parametrize(("kind", "batch_of", "task"), FAMILIES)
@pytest.mark.parametrize(("stage", "prefix"), [("validation", "val"), ("test", "test")])
@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_scores_are_those_of_averaged_predictions_whatever_the_batches(kind, batch_of, task, stage, prefix, batch_size):
    rng = np.random.default_rng(batch_size)
    windows = values_at(rng)
    items = [(name, start, *values) for name in SESSIONS for start, values in zip(STARTS, windows[name], strict=True)]
    items = [items[k] for k in rng.permutation(len(items))]
    evaluator, module = kind(), Recorder()
    run_epoch(evaluator, module, [batch_of(items[k : k + batch_size]) for k in range(0, len(items), batch_size)], stage)
    expected = {name: expected_r2(windows[name]) for name in SESSIONS}
    for name in SESSIONS:
        assert module.logged[f"{name}/{task}/r2/{prefix}"] == pytest.approx(expected[name], rel=1e-5)
        assert evaluator.results[prefix].scores[name][task]["r2"] == pytest.approx(expected[name], rel=1e-5)
        assert len(evaluator.results[prefix].traces[name][task]) == 30
    assert module.logged[f"average_{prefix}_metric"] == pytest.approx(np.mean(list(expected.values())), rel=1e-5)
    assert list(evaluator.results) == [prefix]


@pytest.mark.parametrize(("kind", "batch_of", "task"), FAMILIES)
def test_the_sanity_check_is_neither_scored_nor_remembered(kind, batch_of, task):
    rng = np.random.default_rng(0)
    windows = values_at(rng)["a/one"]
    items = [("a/one", start, *values) for start, values in zip(STARTS, windows, strict=True)]
    evaluator, module = kind(), Recorder()
    nonsense = [("a/one", start, values[0] * 100, values[1]) for start, values in zip(STARTS, windows, strict=True)]
    run_epoch(evaluator, module, [batch_of(nonsense)], sanity=True)
    assert module.logged == {}
    assert evaluator.results == {}
    run_epoch(evaluator, module, [batch_of(items)])
    assert module.logged["average_val_metric"] == pytest.approx(expected_r2(windows), rel=1e-5)


@pytest.mark.parametrize(("kind", "batch_of", "task"), FAMILIES)
def test_every_epoch_starts_anew_also_after_one_that_was_cut_short(kind, batch_of, task):
    rng = np.random.default_rng(1)
    windows = values_at(rng)["a/one"]
    items = [("a/one", start, *values) for start, values in zip(STARTS, windows, strict=True)]
    evaluator, module = kind(), Recorder()
    trainer = SimpleNamespace(sanity_checking=False, testing=False, world_size=1)
    evaluator.on_validation_epoch_start(trainer, module)
    evaluator.on_validation_batch_end(
        trainer, module, batch_of([(*items[0][:2], items[0][2] * 50, items[0][3])]), None, 0
    )
    for _ in range(2):
        run_epoch(evaluator, module, [batch_of(items)])
        assert module.logged["average_val_metric"] == pytest.approx(expected_r2(windows), rel=1e-5)


@pytest.mark.parametrize(
    ("evaluator", "output", "expected"),
    [
        (DecodingStitchEvaluator(), torch.zeros(3), "DataForDecodingStitchEvaluator, found Tensor"),
        (DecodingStitchEvaluator(), None, "DataForDecodingStitchEvaluator, found NoneType"),
        (
            MultiTaskDecodingStitchEvaluator(),
            single_batch([("a/one", 0.0, np.zeros((10, 2)), np.zeros((10, 2)))]),
            "DataForMultiTaskDecodingStitchEvaluator, found DataForDecodingStitchEvaluator",
        ),
    ],
)
@pytest.mark.parametrize("stage", ["validation", "test"])
def test_a_step_that_returns_something_else_is_an_error_with_expected_and_found(evaluator, output, expected, stage):
    with pytest.raises(TypeError, match=rf"Recorder\.{stage}_step must return a {expected}"):
        run_epoch(evaluator, Recorder(), [output], stage)


def test_only_the_recordings_asked_for_may_come():
    evaluator = DecodingStitchEvaluator(session_ids=iter(["a/one"]))
    batch = single_batch([("a/two", 0.0, np.zeros((10, 2)), np.zeros((10, 2)))])
    with pytest.raises(ValueError, match=r"'a/two' is not among those to evaluate.*'a/one'"):
        run_epoch(evaluator, Recorder(), [batch])


def test_the_readout_chooses_the_metric_of_the_single_task_evaluator():
    batch = single_batch([("a/one", 0.0, np.zeros((10, 2)), np.zeros((10, 2)))])
    rng = np.random.default_rng(0)
    logits, classes = rng.normal(size=(1, 16, ORIENTATION.dim)), rng.integers(0, 3, (1, 16))
    batch.preds, batch.targets = torch.as_tensor(logits), torch.as_tensor(classes)
    module = Recorder()
    run_epoch(DecodingStitchEvaluator(modality_spec=ORIENTATION), module, [batch])
    guess, truth = logits[0, :10].argmax(axis=1), classes[0, :10]
    recall = np.mean([np.mean(guess[truth == label] == label) for label in np.unique(truth)])
    assert module.logged["a/one/readout/balanced_accuracy/val"] == pytest.approx(recall)


@pytest.mark.parametrize("kind", ["single", "multitask"])
def test_metrics_that_are_given_are_the_ones_that_are_logged(kind):
    windows = values_at(np.random.default_rng(0))["a/one"]
    items = [("a/one", start, *values) for start, values in zip(STARTS, windows, strict=True)]
    metrics = {"mse": build_metric("mse"), "mae": build_metric("mae")}
    module = Recorder()
    if kind == "single":
        run_epoch(DecodingStitchEvaluator(metrics=metrics), module, [single_batch(items)])
        task = "readout"
    else:
        task = "cursor_velocity_2d"
        evaluator = MultiTaskDecodingStitchEvaluator(metrics={"a/one": {task: metrics}})
        run_epoch(evaluator, module, [multitask_batch(items)])
    assert {f"a/one/{task}/mse/val", f"a/one/{task}/mae/val"} <= set(module.logged)
    # Errors are turned, so that larger is better.
    errors = [module.logged[f"a/one/{task}/{name}/val"] for name in ("mse", "mae")]
    assert module.logged["average_val_metric"] == pytest.approx(-np.mean(errors))


@pytest.mark.parametrize("architecture", ["POYO", "POYOPlus"])
def test_in_a_run_every_time_of_the_split_is_scored_once(
    make_model, make_trainer, recordings, single, multitask, architecture
):
    plus = architecture == "POYOPlus"
    evaluator = MultiTaskDecodingStitchEvaluator() if plus else DecodingStitchEvaluator(modality_spec=VELOCITY)
    trainer = make_trainer(callbacks=[evaluator], num_sanity_val_steps=1, max_steps=1)
    data = NeuralDataModule(recordings, multitask if plus else single, batch_size=8, eval_batch_size=5, eval_step=0.4)
    module = NeuralDecoder(make_model(architecture))
    trainer.fit(module, datamodule=data)
    assert "val" not in evaluator.results  # the run ended before the first validation; the sanity check is none
    trainer.validate(module, datamodule=data, verbose=False)
    trainer.test(module, datamodule=data, verbose=False)
    task = "cursor_velocity_2d" if plus else "readout"
    for prefix, split in (("val", "valid"), ("test", "test")):
        result = evaluator.results[prefix]
        assert sorted(result.scores) == ["simulated/session_00", "simulated/session_01"]
        for name, traces in result.traces.items():
            recording = Data.load(recordings / f"{name}.h5")
            times = np.asarray(recording.cursor.timestamps)
            domain = getattr(recording, f"{split}_domain")
            inside = (times >= domain.start[0]) & (times < domain.end[0])
            np.testing.assert_allclose(traces[task].timestamps.numpy(), times[inside], atol=1e-6)
            np.testing.assert_allclose(traces[task].targets.numpy(), recording.cursor.vel[inside], rtol=1e-5, atol=1e-6)
    assert float(trainer.callback_metrics["average_test_metric"]) == pytest.approx(evaluator.results["test"].score)
