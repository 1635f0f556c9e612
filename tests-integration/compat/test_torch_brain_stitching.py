"""nd_eval's stitching and evaluation against torch_brain 0.1.2's, where both must agree: on times equal to the bit."""

import contextlib
import io
from types import SimpleNamespace

import pytest
import torch

from nd_eval import (
    DataForDecodingStitchEvaluator,
    DataForMultiTaskDecodingStitchEvaluator,
    DecodingStitchEvaluation,
    MultiTaskDecodingStitchEvaluation,
    StitchingAccumulator,
    build_metric,
    stitch,
)

peer = pytest.importorskip("torch_brain.utils.stitcher", reason="needs torch_brain 0.1.2 beside")

pytestmark = pytest.mark.compat


def times_of(kind, count, distinct, generator):
    # Steps of 2^-10 s are exact in float64 and in float32 alike.
    index = torch.randint(0, distinct, (count,), generator=generator)
    if kind == "ascending":
        index = index.sort().values
    return index.double() / 1024 + 1000.0


@pytest.mark.parametrize("kind", ["ascending", "shuffled"])
@pytest.mark.parametrize(("count", "distinct"), [(1, 1), (50, 7), (5000, 1700), (100_000, 40_000)])
@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_means_are_those_of_the_peer(kind, count, distinct, shape):
    generator = torch.Generator().manual_seed(count + len(shape))
    times = times_of(kind, count, distinct, generator)
    values = torch.randn(count, *shape, generator=generator)
    (ours_times, ours), (peer_times, theirs) = stitch(times, values), peer.stitch(times, values)
    assert torch.equal(ours_times, peer_times)
    assert ours.dtype == theirs.dtype
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)  # it adds in float32


@pytest.mark.parametrize("kind", ["ascending", "shuffled"])
@pytest.mark.parametrize(("count", "distinct"), [(1, 1), (50, 7), (5000, 1700), (100_000, 40_000)])
def test_votes_are_those_of_the_peer(kind, count, distinct):
    generator = torch.Generator().manual_seed(count)
    times = times_of(kind, count, distinct, generator)
    index = ((times - 1000.0) * 1024).long()
    # Every time gets as many votes for its winner as all others cast together, and three more: no ties.
    winners = torch.randint(0, 5, (distinct,), generator=generator)
    extra = torch.arange(distinct).repeat(3)
    every = torch.cat([index, index, extra]).double() / 1024 + 1000.0
    labels = torch.cat([torch.randint(0, 9, (count,), generator=generator), winners[index], winners[extra]])
    (ours_times, ours), (peer_times, theirs) = stitch(every, labels), peer.stitch(every, labels)
    assert torch.equal(ours_times, peer_times)
    assert torch.equal(ours, theirs)
    assert torch.equal(ours, winners)


def test_the_accumulator_over_exact_windows_is_the_peer_over_all_of_them():
    generator = torch.Generator().manual_seed(0)
    accumulator, times, values = StitchingAccumulator(), [], []
    for number in range(20):
        start = number / 4
        window = torch.arange(1024, dtype=torch.float64) / 1024 + start
        preds = torch.randn(1024, 2, generator=generator)
        accumulator.update("brain/a", "velocity", window, preds, preds, window_starts=start)
        times.append(window)
        values.append(preds)
    trace = accumulator.compute()["brain/a", "velocity"]
    peer_times, theirs = peer.stitch(torch.cat(times), torch.cat(values))
    assert torch.equal(trace.timestamps, peer_times)
    torch.testing.assert_close(trace.preds, theirs, rtol=1e-5, atol=1e-6)


def recorded_windows(generator, count=24, sessions=2):
    """Half-overlapping windows in order, two tasks each; steps of 2^-6 s are exact in float32."""
    relative = torch.arange(64) / 64
    for number in range(count):
        start = torch.tensor(number % (count // sessions) / 2, dtype=torch.float64)
        target = torch.sin(relative + start.float())[:, None].repeat(1, 2)
        classes = (torch.arange(64) + 32 * number) // 9 % 5
        yield SimpleNamespace(
            session=f"brain/session_{number // (count // sessions)}",
            start=start,
            relative=relative,
            velocity=target + 0.4 * torch.randn(64, 2, generator=generator),
            target=target,
            logits=torch.nn.functional.one_hot(classes, 5) + torch.randn(64, 5, generator=generator),
            classes=classes,
            mask=torch.rand(64, generator=generator) < 0.9,
        )


def drive(callback, batches, sequence_index):
    """The hooks that Lightning calls; returns what the callback logs."""
    logged = {}
    callback.log_dict = logged.update
    module = SimpleNamespace(device=torch.device("cpu"))
    trainer = SimpleNamespace(
        is_global_zero=True, loggers=[], datamodule=SimpleNamespace(val_sequence_index=sequence_index)
    )
    with contextlib.redirect_stdout(io.StringIO()):
        callback.on_validation_epoch_start(trainer, module)
        for number, batch in enumerate(batches):
            callback.on_validation_batch_end(trainer, module, batch, None, number)
        callback.on_validation_epoch_end(trainer, module)
    return {name: float(value) for name, value in logged.items()}


def test_single_task_scores_are_those_of_the_peers_evaluator():
    callbacks = pytest.importorskip("torch_brain.utils.callbacks")
    torch_brain = pytest.importorskip("torch_brain")
    windows = list(recorded_windows(torch.Generator().manual_seed(0)))
    fields = {
        "timestamps": torch.stack([window.relative for window in windows]),
        "preds": torch.stack([window.velocity for window in windows]),
        "targets": torch.stack([window.target for window in windows]),
        "eval_masks": torch.stack([window.mask for window in windows]),
        "session_ids": [window.session for window in windows],
        "absolute_starts": torch.stack([window.start for window in windows]),
    }
    sessions = sorted({window.session for window in windows})
    evaluator = callbacks.DecodingStitchEvaluator(
        sessions, torch_brain.MODALITY_REGISTRY["cursor_velocity_2d"], quiet=True
    )
    theirs = drive(evaluator, [callbacks.DataForDecodingStitchEvaluator(**fields)], None)
    ours = DecodingStitchEvaluation(sessions, metric="r2")
    ours.update(DataForDecodingStitchEvaluator(**fields))
    result = ours.compute()
    for session in sessions:
        assert result.scores[session]["readout"]["r2"] == pytest.approx(theirs[session], abs=1e-4)
    assert result.to_log()["average_val_metric"] == pytest.approx(theirs["average_val_metric"], abs=1e-4)


def test_multi_task_scores_are_those_of_the_peers_evaluator():
    callbacks = pytest.importorskip("torch_brain.utils.callbacks")
    torch_brain = pytest.importorskip("torch_brain")
    torchmetrics = pytest.importorskip("torchmetrics")
    names = {torch_brain.get_modality_by_id(number): number for number in (1, 5)}
    velocity, phase = names
    windows = list(recorded_windows(torch.Generator().manual_seed(1)))
    fields = {
        "timestamps": torch.stack([window.relative.repeat(2) for window in windows]),
        "preds": [{velocity: window.velocity, phase: window.logits} for window in windows],
        "targets": {
            velocity: torch.cat([window.target for window in windows]),
            phase: torch.cat([window.classes for window in windows]),
        },
        "decoder_indices": torch.tensor([1] * 64 + [5] * 64).repeat(len(windows), 1),
        "eval_masks": dict.fromkeys(names, torch.cat([window.mask for window in windows])),
        "session_ids": [window.session for window in windows],
        "absolute_starts": torch.stack([window.start for window in windows]),
    }
    sessions = sorted({window.session for window in windows})
    metrics = {
        session: {
            velocity: {"r2": torchmetrics.R2Score()},
            phase: {"acc": torchmetrics.Accuracy("multiclass", num_classes=5)},
        }
        for session in sessions
    }
    index = torch.tensor([sessions.index(window.session) for window in windows])
    theirs = drive(
        callbacks.MultiTaskDecodingStitchEvaluator(metrics),
        [callbacks.DataForMultiTaskDecodingStitchEvaluator(**fields)],
        index,
    )
    ours = MultiTaskDecodingStitchEvaluation(
        {
            session: {velocity: {"r2": build_metric("r2")}, phase: {"acc": build_metric("accuracy")}}
            for session in sessions
        },
        task_ids=names,
    )
    ours.update(DataForMultiTaskDecodingStitchEvaluator(**fields))
    log = ours.compute().to_log()
    for session in sessions:
        for name in (f"{session}/{velocity}/r2/val", f"{session}/{phase}/acc/val"):
            assert log[name] == pytest.approx(theirs[name], abs=1e-4)
    assert log["average_val_metric"] == pytest.approx(theirs["average_val_metric"], abs=1e-4)
