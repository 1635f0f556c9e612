"""Windows of simulated recordings as a validation step hands them over, for the tests of the evaluations."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nd_eval import DataForDecodingStitchEvaluator, DataForMultiTaskDecodingStitchEvaluator

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


def all_windows(recordings):
    return [window for recording in recordings for window in recording.windows]


def only(window, task):
    return {**window, "outputs": {task: window["outputs"][task]}}


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


@pytest.fixture(scope="session")
def batches():
    """What makes batches: recordings with their windows, and what a model and collate make of windows."""
    return SimpleNamespace(
        task_ids=TASK_IDS,
        sessions=sessions,
        all_windows=all_windows,
        only=only,
        multi_task=multi_task_batch,
        single_task=single_task_batch,
        simple=simple,
    )
