"""Evaluating an epoch of 10,000 windows over 8 recordings, ours against torch_brain 0.1.2's stitch evaluators.

Run it where both can be imported; without torch_brain only our column is filled:

    OMP_NUM_THREADS=1 PYTHONPATH=packages/nd-eval/src python benchmarks/evaluating.py

The peer's callbacks are driven through the hooks that Lightning calls (epoch start, batch end, epoch end); what they
print is kept off the terminal, and logging is a no-op for both. Prints a table of medians and one JSON line a figure.
Goal: 10 times the peer's speed. Times are those of the process, so other work on the machine does not count, and of one
thread, whose waits for others would count. The two take turns; a turn begins with a run that is not timed, because an
epoch is evaluated where memory and caches are as the last one left them, not as another library did.
"""

import argparse
import contextlib
import cProfile
import io
import json
import logging
import pstats
import statistics
import sys
import time
from types import SimpleNamespace

import torch
import torchmetrics

import nd_eval

try:
    import rich.console
    import torch_brain
    from torch_brain.utils import callbacks as peer
except ImportError:
    peer = None

RECORDINGS, WINDOWS, BATCH = 8, 10_000, 64
VELOCITY, PHASE = 1, 5  # ids of cursor velocity (2 dimensions) and of a class modality of the peer's registry


def epoch(window_seconds):
    """Windows, half overlapping, in batches: for each the starts, the recordings and the outputs."""
    generator = torch.Generator().manual_seed(0)
    count = round(window_seconds * 100)
    relative = (torch.arange(count) * 0.01).repeat(BATCH, 1)
    values = torch.randn(BATCH, count, 2, generator=generator)
    classes = torch.randint(0, 4, (BATCH, count), generator=generator)
    logits = torch.nn.functional.one_hot(classes, 5).float()
    number = torch.arange(WINDOWS)
    each = -(-WINDOWS // RECORDINGS)
    for window in number.split(BATCH):
        yield SimpleNamespace(
            size=len(window),
            relative=relative[: len(window)],
            session_ids=[f"brain/session_{i}" for i in (window // each).tolist()],
            starts=(window % each).double() * (window_seconds / 2),
            velocity=values[: len(window)],
            classes=classes[: len(window)],
            logits=logits[: len(window)],
        )


def single_task_data(batches, kind):
    return [
        kind(
            timestamps=batch.relative,
            preds=batch.velocity,
            targets=batch.velocity + 0.1,
            eval_masks=torch.ones(batch.relative.shape, dtype=torch.bool),
            session_ids=batch.session_ids,
            absolute_starts=batch.starts,
        )
        for batch in batches
    ]


def multi_task_data(batches, kind, names):
    data = []
    for batch in batches:
        decoders = torch.full((batch.size, 2 * batch.relative.shape[1]), VELOCITY)
        decoders[:, batch.relative.shape[1] :] = PHASE
        data.append(
            kind(
                timestamps=batch.relative.repeat(1, 2),
                preds=[{names[0]: v, names[1]: c} for v, c in zip(batch.velocity, batch.logits, strict=True)],
                targets={names[0]: batch.velocity.flatten(0, 1) + 0.1, names[1]: batch.classes.flatten()},
                decoder_indices=decoders,
                eval_masks={name: torch.ones(batch.relative.numel(), dtype=torch.bool) for name in names},
                session_ids=batch.session_ids,
                absolute_starts=batch.starts,
            )
        )
    return data


def ours_single(data):
    evaluation = nd_eval.DecodingStitchEvaluation(metric="r2")
    for batch in data:
        evaluation.update(batch)
    return evaluation.compute().score


def ours_multi(data, names, *, in_order=False):
    evaluation = nd_eval.MultiTaskDecodingStitchEvaluation(
        {
            name: {names[0]: {"r2": nd_eval.build_metric("r2")}, names[1]: {"acc": nd_eval.build_metric("accuracy")}}
            for name in dict.fromkeys(session for batch in data for session in batch.session_ids)
        },
        task_ids=dict(zip(names, (VELOCITY, PHASE), strict=True)),
        in_order=in_order,
    )
    for batch in data:
        evaluation.update(batch)
    return evaluation.compute().score


def drive(callback, data, trainer):
    """The hooks that Lightning's evaluation loop calls."""
    module = SimpleNamespace(device=torch.device("cpu"))
    callback.log_dict = lambda *_: None
    with contextlib.redirect_stdout(io.StringIO()):
        callback.on_validation_epoch_start(trainer, module)
        for number, batch in enumerate(data):
            callback.on_validation_batch_end(trainer, module, batch, None, number)
        callback.on_validation_epoch_end(trainer, module)


def trainer_of(data):
    """A trainer with what the peer's callbacks ask of it, the sampler's sequence index among it."""
    sessions = [session for batch in data for session in batch.session_ids]
    order = {name: number for number, name in enumerate(dict.fromkeys(sessions))}
    index = torch.tensor([order[session] for session in sessions])
    module = SimpleNamespace(val_sequence_index=index)
    return SimpleNamespace(is_global_zero=True, loggers=[], datamodule=module, world_size=1)


def peer_single(data):
    spec = torch_brain.MODALITY_REGISTRY["cursor_velocity_2d"]
    sessions = dict.fromkeys(session for batch in data for session in batch.session_ids)
    drive(peer.DecodingStitchEvaluator(sessions, spec, quiet=True), data, trainer_of(data))


def peer_multi(data, names):
    sessions = dict.fromkeys(session for batch in data for session in batch.session_ids)
    metrics = {
        session: {
            names[0]: {"r2": torchmetrics.R2Score()},
            names[1]: {"acc": torchmetrics.Accuracy("multiclass", num_classes=5)},
        }
        for session in sessions
    }
    drive(peer.MultiTaskDecodingStitchEvaluator(metrics), data, trainer_of(data))


def medians(runs, *functions):
    """Median milliseconds of process time of each function, their runs interleaved."""
    taken = [[] for _ in functions]
    for _ in range(runs):
        for function, times in zip(functions, taken, strict=True):
            if function is not None:
                function()
                start = time.process_time()
                function()
                times.append((time.process_time() - start) * 1e3)
    return [statistics.median(times) if times else None for times in taken]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--profile", choices=["single", "multi"], help="profile ours in place of measuring")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    names = ("cursor_velocity_2d", "phase")
    if peer is None:
        print("torch_brain is not installed here: the peer's column stays empty", file=sys.stderr)
    else:
        rich.console.Console.print = lambda *_, **__: None
        names = tuple(torch_brain.get_modality_by_id(number) for number in (VELOCITY, PHASE))
    if options.profile:
        batches = list(epoch(1.0))
        if options.profile == "single":
            data = single_task_data(batches, nd_eval.DataForDecodingStitchEvaluator)
        else:
            data = multi_task_data(batches, nd_eval.DataForMultiTaskDecodingStitchEvaluator, names)
        profile = cProfile.Profile()
        profile.runcall(*((ours_single, data) if options.profile == "single" else (ours_multi, data, names)))
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    rows = []
    for seconds in (0.25, 1.0):
        batches = list(epoch(seconds))
        for name, build, ours, theirs in (
            ("one task, windows", lambda kind, batches=batches: single_task_data(batches, kind), ours_single, "single"),
            (
                "two tasks, windows",
                lambda kind, batches=batches: multi_task_data(batches, kind, names),
                lambda data: ours_multi(data, names),
                "multi",
            ),
        ):
            single = theirs == "single"
            mine = build(
                nd_eval.DataForDecodingStitchEvaluator if single else nd_eval.DataForMultiTaskDecodingStitchEvaluator
            )
            functions = [lambda mine=mine, ours=ours: ours(mine), None]
            if peer is not None:
                kind = peer.DataForDecodingStitchEvaluator if single else peer.DataForMultiTaskDecodingStitchEvaluator
                other = build(kind)
                functions[1] = (
                    (lambda other=other: peer_single(other))
                    if single
                    else (lambda other=other: peer_multi(other, names))
                )
            mine_ms, peer_ms = medians(options.runs, *functions)
            ratio = round(peer_ms / mine_ms, 2) if peer_ms else None
            label = f"{name} of {seconds:g} s at 100 Hz"
            rows.append((label, mine_ms, peer_ms, ratio))
            line = {"name": label, "ours": mine_ms, "peer": peer_ms, "unit": "ms", "ratio": ratio}
            print(json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in line.items()}), flush=True)
    print(f"\n{WINDOWS:,} windows over {RECORDINGS} recordings in batches of {BATCH}, median of {options.runs} runs\n")
    print(f"{'':42}{'ours':>10}{'peer':>10}   ratio")
    for label, mine_ms, peer_ms, ratio in rows:
        shown = ["-" if value is None else f"{value:.0f}" for value in (mine_ms, peer_ms)]
        print(f"{label:42}{shown[0]:>10}{shown[1]:>10} ms {ratio or '-':>6}")


if __name__ == "__main__":
    main()
