"""What a run will take: a few steps of the real model on the real loader, and what follows for the whole.

B windows in a batch.
"""

import math
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nd_train.data_module import NeuralDataModule
from nd_train.doctor.findings import Findings
from nd_train.doctor.steps import LONGEST_STEP, duration, setting, timed_steps, wants_gpu
from nd_train.neural_decoder import NeuralDecoder

SMALL_BATCH = 4
MOST_HOURS = 72.0
WORTH_WAITING = 600.0
"""Seconds spent waiting for data in a whole run that are worth a worker."""
_GIGABYTE = 1e9


def check_cost(
    module: NeuralDecoder, datamodule: NeuralDataModule, settings: Any, findings: Findings, *, steps: int = 4
) -> None:
    """Measure some steps, and note what the run will take in memory, time and disk space.

    Args:
        module: The run's own, with its vocabularies.
        datamodule: The run's own. Its batch size and workers are other ones while this measures.
        settings: The trainer's settings.
        findings: Where to note.
        steps: How many training steps to measure.
    """
    batch_size, configured = datamodule.batch_size, datamodule.num_workers
    # Left to the data module, the processor that trains loads too.
    workers = configured or 0
    devices = _devices(settings)
    length = run_length(len(datamodule.train_dataloader()), settings, devices)
    datamodule.num_workers = 0
    try:
        datamodule.batch_size = min(batch_size, SMALL_BATCH)
        sizes, activations, forward = sizes_and_activations(module, datamodule, windows=max(32, SMALL_BATCH))
        memory = _memory(module, activations * batch_size)
        available = available_memory()
        # A step takes about three times as long as its forward pass; a few of them must end soon.
        soon = int(LONGEST_STEP / (3 * forward))
        fitting = batch_size if available is None else int(0.3 * available / max(activations, 1))
        datamodule.batch_size = max(min(batch_size, fitting, max(soon, SMALL_BATCH)), 1)
        measured = datamodule.batch_size
        clock = timed_steps(module, datamodule, settings, steps, findings)
        if clock is None:
            return
        evaluation = _evaluation_seconds(module, datamodule, settings)
    finally:
        datamodule.batch_size, datamodule.num_workers = batch_size, configured
    scale = batch_size / measured
    step, wait = clock.step * scale, clock.wait * scale
    every = max(step, wait / workers) if workers else step + wait
    seconds = length.steps * every + length.validations * evaluation
    findings.estimates |= {
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "steps": length.steps,
        "seconds_per_step": every,
        "seconds": seconds,
        "peak_memory_bytes": memory,
    }
    _note_sizes(module, sizes, findings)
    _note_time(length, step, wait, seconds, findings)
    check_workers(workers, length.steps * max(every - step, 0.0), seconds, findings)
    check_memory(memory, available, settings, findings)
    check_disk(module, settings, findings)
    findings.settle("cost time", f"about {duration(seconds)} on this machine")


@dataclass(frozen=True)
class RunLength:
    """Optimizer steps of the run, and how often it validates."""

    steps: float
    validations: float


def run_length(batches: int, settings: Any, devices: int) -> RunLength:
    """How long a run with these settings is.

    Args:
        batches: Of an epoch, on one device.
        settings: The trainer's.
        devices: How many share an epoch.
    """
    per_epoch = max(batches // devices, 1)
    limit = setting(settings, "limit_train_batches")
    if limit is not None:
        per_epoch = min(per_epoch, int(limit)) if isinstance(limit, int) else max(int(per_epoch * limit), 1)
    if not per_epoch:
        return RunLength(0.0, 0.0)
    accumulated = setting(settings, "accumulate_grad_batches") or 1
    max_steps, max_epochs = setting(settings, "max_steps"), setting(settings, "max_epochs")
    if max_epochs is None and max_steps in (None, -1):
        max_epochs = 1000  # Lightning's own
    steps = math.inf if max_epochs in (None, -1) else max_epochs * math.ceil(per_epoch / accumulated)
    if max_steps not in (None, -1):
        steps = min(steps, max_steps)
    interval, every_n = setting(settings, "val_check_interval"), setting(settings, "check_val_every_n_epoch")
    if isinstance(interval, int) and every_n is None:
        return RunLength(steps, steps * accumulated / interval)
    epochs = steps * accumulated / per_epoch
    within = 1.0 if interval is None else (1 / interval if isinstance(interval, float) else per_epoch / interval)
    return RunLength(steps, epochs / (every_n or 1) * within)


def sizes_and_activations(
    module: NeuralDecoder, datamodule: NeuralDataModule, *, windows: int
) -> tuple[dict[str, Any], float, float]:
    """Tokens and targets of windows, the bytes one leaves for the backward pass, and seconds of its forward pass."""
    inputs: list[int] = []
    outputs: list[int] = []
    activations = forward = 0.0
    parameters = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    for batch in datamodule.train_dataloader():
        tensors = batch["model_inputs"]
        if "input_mask" in tensors:
            inputs += tensors["input_mask"].sum(1).tolist()
        elif "input_counts" in tensors:
            inputs += [tensors["input_counts"].shape[-1]] * len(batch["session_id"])
        queries = tensors["output_mask"] if "output_mask" in tensors else tensors["output_decoder_index"] != 0
        outputs += queries.sum(1).tolist()
        if not activations:
            kept: dict[int, int] = {}

            def keep(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in parameters:
                    kept[storage.data_ptr()] = storage.nbytes()
                return tensor

            started = time.perf_counter()
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                result = module.model(**tensors, unpack_output=False)
            forward = (time.perf_counter() - started) / len(batch["session_id"])
            activations = sum(kept.values()) / len(batch["session_id"])
            del result
        if len(outputs) >= windows:
            break
    return {"tokens": inputs, "targets": outputs}, activations, forward


def _memory(module: NeuralDecoder, activations: float) -> float:
    """Bytes of weights, their gradients, two moments of each, and what the forward pass leaves for the backward."""
    weights = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    # Kernels need room of their own for what they work on, and a process for itself.
    return 4.0 * weights + 1.3 * activations + 0.2 * _GIGABYTE


def _evaluation_seconds(module: NeuralDecoder, datamodule: NeuralDataModule, settings: Any) -> float:
    """Seconds of one validation, from its first batch."""
    if setting(settings, "limit_val_batches") == 0 or not datamodule.has_split("valid"):
        return 0.0
    loader = datamodule.val_dataloader()
    module.eval()
    try:
        with torch.no_grad():
            started = time.perf_counter()
            for batch in loader:
                module.model(**batch["model_inputs"], unpack_output=False)
                return (time.perf_counter() - started) * len(loader)
    finally:
        module.train()
    return 0.0


def _note_sizes(module: NeuralDecoder, sizes: dict[str, Any], findings: Findings) -> None:
    total = sum(parameter.numel() for parameter in module.parameters())
    named = {id(module.model.unit_emb.weight), id(module.model.session_emb.weight)}
    embeddings = sum(parameter.numel() for parameter in module.parameters() if id(parameter) in named)
    findings.figures["parameters"] = f"{total:,} ({embeddings:,} of them embeddings of units and sessions)"
    for name, counts in sizes.items():
        if counts:
            half, most = np.percentile(counts, [50, 95])
            findings.figures[f"{name}_in_a_window"] = f"{half:.0f} (median), {most:.0f} (95 %), {max(counts)} (most)"


def _note_time(length: RunLength, step: float, wait: float, seconds: float, findings: Findings) -> None:
    findings.figures["steps"] = f"{length.steps:,.0f}, and {length.validations:,.0f} validations"
    findings.figures["seconds_a_step"] = f"{step:.3g} for the model, {wait:.3g} for the data without workers"
    findings.figures["time"] = duration(seconds)
    if math.isinf(length.steps):
        advice = "set trainer.max_steps or trainer.max_epochs"
        findings.warning("cost time", "the run has no end", advice=advice)
    elif seconds > MOST_HOURS * 3600:
        advice = "a GPU (--trainer.accelerator gpu), a smaller network, or fewer steps"
        findings.warning("cost time", f"about {duration(seconds)} on this machine", advice=advice)


def check_workers(workers: int, waiting: float, seconds: float, findings: Findings) -> None:
    """Loader processes against processor cores and the time spent waiting for data.

    Args:
        workers: As configured.
        waiting: Seconds of the run that wait for data.
        seconds: Of the whole run.
        findings: Where to note.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers > cores:
        what = f"{workers} workers on {cores} processor cores"
        advice = f"set data.num_workers to {max(cores - 1, 0)} or fewer on this machine"
        findings.warning("cost workers", what, where="data.num_workers", advice=advice)
    elif waiting > WORTH_WAITING and waiting > 0.3 * seconds and workers < cores - 1:
        what = f"{duration(waiting)} of the run is waiting for data"
        advice = f"set data.num_workers to {min(cores - 1, max(2 * workers, 2))}"
        findings.warning("cost workers", what, where="data.num_workers", advice=advice)
    findings.settle("cost workers", f"{workers} workers, {cores} processor cores")


def check_memory(memory: float, available: float | None, settings: Any, findings: Findings) -> None:
    """The memory that a run needs against what there is.

    Args:
        memory: Bytes that it needs.
        available: Bytes that this machine has free; None where it does not say.
        settings: The trainer's.
        findings: Where to note.
    """
    findings.figures["peak_memory"] = f"about {memory / _GIGABYTE:.2g} GB on each device"
    device = "the processor's memory"
    if wants_gpu(settings) and torch.cuda.is_available():
        available, device = float(torch.cuda.mem_get_info()[0]), torch.cuda.get_device_name()
    if available is None or (wants_gpu(settings) and not torch.cuda.is_available()):
        findings.ok("cost memory", f"about {memory / _GIGABYTE:.2g} GB on each device")
        return
    what = f"about {memory / _GIGABYTE:.2g} GB, of {available / _GIGABYTE:.2g} GB free in {device}"
    advice = "make data.batch_size smaller, and trainer.accumulate_grad_batches larger in return"
    if memory > available:
        findings.problem("cost memory", what, where="data.batch_size", advice=advice)
    elif memory > 0.8 * available:
        findings.warning("cost memory", what, where="data.batch_size", advice=advice)
    else:
        findings.ok("cost memory", what)


def check_disk(module: NeuralDecoder, settings: Any, findings: Findings) -> None:
    """Space for the best and the last checkpoint, each being written beside the one it replaces."""
    weights = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    needed = 3 * 3 * weights + 50e6
    folder = Path(setting(settings, "default_root_dir") or ".").absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    advice = "give another --trainer.default_root_dir"
    findings.figures["checkpoint"] = f"{3 * weights / 1e6:.3g} MB"
    if not os.access(existing, os.W_OK):
        findings.problem("cost disk", f"{existing} cannot be written to", advice=advice)
        return
    free = shutil.disk_usage(existing).free
    what = (
        f"{free / _GIGABYTE:.3g} GB free under {existing}, checkpoints and logs take about {needed / _GIGABYTE:.2g} GB"
    )
    if free < needed:
        findings.problem("cost disk", what, advice=advice)
    elif free < 5 * needed:
        findings.warning("cost disk", what, advice=advice)
    else:
        findings.ok("cost disk", what)


def _devices(settings: Any) -> int:
    devices, nodes = setting(settings, "devices"), setting(settings, "num_nodes") or 1
    if isinstance(devices, str) and devices.isdigit():
        devices = int(devices)
    if isinstance(devices, list):
        devices = len(devices)
    return max(devices if isinstance(devices, int) else 1, 1) * nodes


def available_memory() -> float | None:
    """Bytes that this machine has free, where the system says."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
