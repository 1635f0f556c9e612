"""Rates in the layout of a Neural Latents Benchmark submission (``nlb_tools``).

Shape legend: ``N`` trials, ``T`` bins of a trial, ``K`` neurons.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from nd_eval.export.lookup import TraceSource, predictions_at, trace_of
from nd_eval.known_name import known_name
from nd_eval.whole_file import whole_file

NLB_DATASETS = ("mc_maze", "mc_rtt", "area2_bump", "dmfc_rsg", "mc_maze_large", "mc_maze_medium", "mc_maze_small")

_PARTS = ("heldin", "heldout")
_ARRAYS = {
    f"{kind}_{part}{end}": (kind, part, end)
    for kind, end in (("eval_rates", ""), ("train_rates", ""), ("eval_rates", "_forward"))
    for part in _PARTS
}
_WITHOUT_TRAINING = ("dmfc_rsg",)  # its behaviour score is fitted to nothing


def nlb_rates(
    source: TraceSource,
    recording: str,
    *,
    heldin: str,
    heldout: str,
    eval_times: Tensor,
    train_times: Tensor | None = None,
    forward_times: Tensor | None = None,
    log_rates: bool = False,
    tolerance: float = 1e-4,
) -> dict[str, Tensor]:
    """Cut stitched rates into the trials that the benchmark scores.

    Args:
        source: An evaluation's result, its ``traces``, or what ``StitchingAccumulator.compute()`` gave.
        recording: The recording.
        heldin: The task whose predictions are the rates of the held-in neurons, (U, K) expected counts per bin.
        heldout: The same for the held-out neurons.
        eval_times: Absolute time, in seconds, of each bin of each evaluated trial. Shape: (N, T).
        train_times: The same for the training trials, which the behaviour decoder is fitted to.
        forward_times: The same for the bins after each evaluated trial, for forward prediction.
        log_rates: Whether the predictions are logarithms of rates.
        tolerance: How far, in seconds, a prediction may be from its bin's time.

    Returns:
        Arrays by the name they have in a submission, (N, T, K) each.

    Raises:
        KeyError: there is no such recording or task.
        ValueError: the times are not (N, T), or a bin has no prediction.
    """
    arrays = {}
    for kind, end, times in (
        ("eval_rates", "", eval_times),
        ("train_rates", "", train_times),
        ("eval_rates", "_forward", forward_times),
    ):
        if times is None:
            continue
        if times.ndim != 2:
            raise ValueError(f"times must be (trials, bins); found {tuple(times.shape)} for {kind}{end}")
        for part, task in zip(_PARTS, (heldin, heldout), strict=True):
            trace = trace_of(source, recording, task)
            if trace.preds.ndim != 2 or not trace.preds.is_floating_point():
                raise ValueError(
                    f"recording {recording!r}, task {task!r}: rates must be floats (times, neurons); found "
                    f"{trace.preds.dtype} {tuple(trace.preds.shape)}"
                )
            name = f"recording {recording!r}, task {task!r}, {kind}_{part}{end}"
            rates = predictions_at(trace, times, tolerance=tolerance, name=name)
            arrays[f"{kind}_{part}{end}"] = rates.exp() if log_rates else rates
    return arrays


def save_nlb_submission(path: str | Path, datasets: Mapping[str, Mapping[str, Tensor]]) -> Path:
    """Write a submission file, whole or not at all: one HDF5 group a dataset, float32 arrays in it.

    Checked against ``nlb_tools`` 0.0.4, whose ``evaluate`` reads it. Needs h5py (extra ``export``).

    Args:
        path: Where to, such as ``submission.h5``.
        datasets: By dataset, ``mc_maze`` at 5 ms or ``mc_maze_20`` at 20 ms, the arrays of :func:`nlb_rates`:
            ``eval_rates_heldin``, ``eval_rates_heldout``; ``train_rates_heldin``, ``train_rates_heldout`` (all but
            ``dmfc_rsg`` need them); ``eval_rates_heldin_forward``, ``eval_rates_heldout_forward`` if there are any.
            Expected counts per bin, (N, T, K) each.

    Returns:
        The path.

    Raises:
        ImportError: h5py is not installed.
        KeyError: a dataset or an array has a name that the benchmark does not know, or an array is missing.
        ValueError: there is no dataset, shapes do not fit each other, or a rate is negative or not finite.

    Example:
        >>> import tempfile, torch
        >>> from nd_eval.export import save_nlb_submission
        >>> rates = {"eval_rates_heldin": torch.ones(4, 10, 3), "eval_rates_heldout": torch.ones(4, 10, 2)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_nlb_submission(f"{folder}/submission.h5", {"dmfc_rsg_20": rates}).name
        'submission.h5'
    """
    try:
        import h5py
    except ImportError as problem:
        raise ImportError("NLB submissions need h5py: pip install 'nd-eval[export]'") from problem
    if not datasets:
        raise ValueError(f"a submission needs one dataset or more, of {', '.join(NLB_DATASETS)}")
    for dataset, arrays in datasets.items():
        known_name(dataset.removesuffix("_20"), NLB_DATASETS, "dataset of the Neural Latents Benchmark called")
        _check(dataset, arrays)
    path = Path(path)
    with whole_file(path) as unfinished, h5py.File(unfinished, "w") as file:
        for dataset, arrays in datasets.items():
            group = file.create_group(dataset)
            for name, rates in arrays.items():
                values = rates.detach().cpu().to(torch.float32).numpy()
                group.create_dataset(name, data=values, compression="gzip", chunks=(1, *values.shape[1:]))
    return path


def _check(dataset: str, arrays: Mapping[str, Tensor]) -> None:
    for name in arrays:
        known_name(name, _ARRAYS, f"array of a submission ({dataset}) called")
    needed = ["eval_rates_heldin", "eval_rates_heldout"]
    if dataset.removesuffix("_20") not in _WITHOUT_TRAINING:
        needed += ["train_rates_heldin", "train_rates_heldout"]
    if any(name.endswith("_forward") for name in arrays):
        needed += ["eval_rates_heldin_forward", "eval_rates_heldout_forward"]
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise KeyError(f"{dataset}: {', '.join(missing)} missing; found {', '.join(arrays) or 'nothing'}")
    for name, rates in arrays.items():
        if rates.ndim != 3 or not rates.numel():
            raise ValueError(f"{dataset}/{name}: expected (trials, bins, neurons); found {tuple(rates.shape)}")
        wrong = ~torch.isfinite(rates) | (rates < 0)
        if bool(wrong.any()):
            place = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"{dataset}/{name}: rates must be finite and 0 or more; found {float(rates[tuple(place)]):g} in trial "
                f"{place[0]}, bin {place[1]}, neuron {place[2]}"
                f"{' (are these log rates? nlb_rates(..., log_rates=True))' if bool((rates < 0).any()) else ''}"
            )
    _check_fit(dataset, arrays)


def _check_fit(dataset: str, arrays: Mapping[str, Tensor]) -> None:
    """Held-in and held-out are the same trials and bins; the same neurons are in all arrays of a part."""
    for name, rates in arrays.items():
        kind, part, end = _ARRAYS[name]
        other = f"{kind}_heldin{end}"
        if rates.shape[:2] != arrays[other].shape[:2]:
            raise ValueError(
                f"{dataset}: {name} has {tuple(rates.shape[:2])} trials and bins, but {other} "
                f"{tuple(arrays[other].shape[:2])}"
            )
        whole = f"eval_rates_{part}"
        if rates.shape[2] != arrays[whole].shape[2]:
            raise ValueError(f"{dataset}: {name} has {rates.shape[2]} neurons, but {whole} {arrays[whole].shape[2]}")
        if end and rates.shape[0] != arrays[whole].shape[0]:
            raise ValueError(f"{dataset}: {name} has {rates.shape[0]} trials, but {whole} {arrays[whole].shape[0]}")
