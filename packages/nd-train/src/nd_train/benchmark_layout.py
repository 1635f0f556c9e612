"""Traces in the layouts of benchmarks, by a YAML file that says what times the benchmark scores.

Shape legend: ``N`` trials, ``T`` bins of a trial.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from nd_data import Data
from nd_data.nearest_names import name_hint
from nd_eval import StitchedTrace
from nd_eval.export import (
    BRAIN_WIDE_DECODING_TASKS,
    BrainWideTrials,
    FalconBins,
    falcon_predictions,
    nlb_rates,
    save_brain_wide_decoding,
    save_nlb_submission,
)

Traces = Mapping[str, Mapping[str, StitchedTrace]]

BENCHMARKS = {
    "nlb": "dataset, recording, heldin, heldout, bin, bins, eval_trials, and where needed train_trials, forward_bins",
    "falcon": "split, task, datasets: {name: {recording, bin, bins, and where needed start, evaluated}}",
    "brain_wide_bench": "task, label, seed, recordings: {id: {recording, ids, trials, and where needed bin}}",
}
"""What a layout says, by benchmark."""

_OPTIONAL = {
    "nlb": ("train_trials", "forward_bins", "log_rates", "offset", "tolerance"),
    "falcon": ("tolerance",),
    "brain_wide_bench": ("readout", "rates", "tolerance"),
}
_NEEDED = {
    "nlb": ("dataset", "recording", "heldin", "heldout", "bin", "bins", "eval_trials"),
    "falcon": ("split", "task", "datasets"),
    "brain_wide_bench": ("task", "label", "seed", "recordings"),
}


def read_layout(path: str | Path) -> dict[str, Any]:
    """Read a layout.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no mapping.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no layout at {file}")
    try:
        layout = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: not readable as YAML: {error}") from None
    if not isinstance(layout, dict):
        raise ValueError(f"{file}: a layout is a mapping, found {type(layout).__name__}")
    return layout


def write_benchmark(
    benchmark: str, traces: Traces, layout: Mapping[str, Any], output: Path, *, root: str | Path | None = None
) -> Path:
    """Write traces as a benchmark wants them.

    Args:
        benchmark: One of `BENCHMARKS`.
        traces: By recording and task.
        layout: What times the benchmark scores. Trials are a list of the seconds at which they begin, or the name of
            intervals in the recording, such as ``eval_trials``.
        output: ``.h5`` for nlb, ``.npz`` for falcon, a folder for brain_wide_bench.
        root: Folder of recordings, for a layout that names intervals.

    Raises:
        KeyError: the layout lacks something or names what is not there.
        ValueError: a time has no prediction, or shapes do not fit the benchmark.
    """
    _check(layout, _NEEDED[benchmark], _OPTIONAL[benchmark], f"a layout for {benchmark}")
    writers: dict[str, Callable[..., Path]] = {
        "nlb": _write_nlb,
        "falcon": _write_falcon,
        "brain_wide_bench": _write_brain_wide,
    }
    return writers[benchmark](traces, layout, output, root)


def _write_nlb(traces: Traces, layout: Mapping[str, Any], output: Path, root: str | Path | None) -> Path:
    recording, width, bins = layout["recording"], float(layout["bin"]), int(layout["bins"])
    offset = float(layout.get("offset", 0.0))
    starts = _starts(layout["eval_trials"], recording, root)
    times = _times(starts, width, bins, offset)
    train = layout.get("train_trials")
    ahead = int(layout.get("forward_bins", 0))
    arrays = nlb_rates(
        traces,
        recording,
        heldin=layout["heldin"],
        heldout=layout["heldout"],
        eval_times=times,
        train_times=None if train is None else _times(_starts(train, recording, root), width, bins, offset),
        forward_times=_times(starts, width, ahead, offset + bins * width) if ahead else None,
        log_rates=bool(layout.get("log_rates", False)),
        tolerance=float(layout.get("tolerance", 1e-4)),
    )
    return save_nlb_submission(output, {layout["dataset"]: arrays})


def _write_falcon(traces: Traces, layout: Mapping[str, Any], output: Path, root: str | Path | None) -> Path:
    del root  # its data sets are unbroken rows of bins
    bins = {}
    for name, described in layout["datasets"].items():
        _check(described, ("recording", "bin", "bins"), ("start", "evaluated"), f"data set {name!r} of the layout")
        width = float(described["bin"])
        times = float(described.get("start", 0.0)) + torch.arange(int(described["bins"]), dtype=torch.float64) * width
        evaluated = None
        if "evaluated" in described:
            evaluated = torch.zeros(len(times), dtype=torch.bool)
            for start, end in described["evaluated"]:
                evaluated |= (times >= start) & (times < end)
        bins[str(name)] = FalconBins(described["recording"], times, evaluated)
    tolerance = float(layout.get("tolerance", 1e-4))
    return falcon_predictions(traces, layout["split"], task=layout["task"], bins=bins, tolerance=tolerance).save(output)


def _write_brain_wide(traces: Traces, layout: Mapping[str, Any], output: Path, root: str | Path | None) -> Path:
    task = layout["task"]
    _, steps = BRAIN_WIDE_DECODING_TASKS.get(task, (0, 1))
    trials = {}
    for name, described in layout["recordings"].items():
        _check(described, ("recording", "ids", "trials"), ("bin",), f"recording {name!r} of the layout")
        starts = _starts(described["trials"], described["recording"], root)
        times = _times(starts, float(described.get("bin", 0.02)), steps, 0.0)
        trials[str(name)] = BrainWideTrials(described["recording"], torch.tensor(described["ids"]), times)
    save_brain_wide_decoding(
        output,
        traces,
        task=task,
        trials=trials,
        label=str(layout["label"]),
        seed=int(layout["seed"]),
        readout=layout.get("readout"),
        rates=bool(layout.get("rates", False)),
        tolerance=float(layout.get("tolerance", 1e-4)),
    )
    return output


def _starts(trials: Any, recording: str, root: str | Path | None) -> Tensor:
    """When trials begin, in seconds. Shape: (N,) float64."""
    if isinstance(trials, str):
        if root is None:
            raise ValueError(f"the layout takes trials from {trials!r} of the recording: give --root, where it is")
        file = Path(root, f"{recording}.h5")
        if not file.is_file():
            raise FileNotFoundError(f"recording {recording!r}: there is no {file}")
        data = Data.load(file)
        if not data.has_nested_attribute(trials):
            raise KeyError(f"recording {recording!r} has no {trials!r} to take trials from (file {file})")
        return torch.as_tensor(data.get_nested_attribute(f"{trials}.start"), dtype=torch.float64)
    return torch.tensor(trials, dtype=torch.float64)


def _times(starts: Tensor, width: float, bins: int, offset: float) -> Tensor:
    """Shape: (N, T)."""
    return starts[:, None] + offset + torch.arange(bins, dtype=torch.float64) * width


def _check(described: Any, needed: tuple[str, ...], optional: tuple[str, ...], what: str) -> None:
    if not isinstance(described, Mapping):
        raise ValueError(f"{what}: expected a mapping with {', '.join(needed)}, found {described!r}")
    for key in described:
        if key not in needed + optional:
            raise KeyError(f"{what} has no {key!r}; {name_hint(str(key), needed + optional, noun='known')}")
    missing = [key for key in needed if key not in described]
    if missing:
        raise KeyError(f"{what} lacks {', '.join(missing)}")
