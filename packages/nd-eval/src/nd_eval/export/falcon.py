"""Prediction arrays as FALCON's evaluator (``falcon_challenge``) takes them.

Shape legend: ``T`` bins of a data set, ``D`` dimensions of the output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nd_eval.export.falcon_datasets import FALCON_DATASETS, FALCON_DIMENSIONS, falcon_session
from nd_eval.export.falcon_replay import FalconReplay
from nd_eval.export.lookup import TraceSource, predictions_at, trace_of
from nd_eval.known_name import known_name
from nd_eval.whole_file import whole_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SPECTROGRAMS = "b1"


@dataclass(frozen=True)
class FalconBins:
    """The bins of one of FALCON's data sets.

    Attributes:
        recording: The recording, as the evaluation knows it.
        times: Absolute time, in seconds, at which the model puts out each bin's prediction. Shape: (T,).
        evaluated: True in the bins that FALCON scores (``eval_mask`` of its file), (T,) or, of spectrograms, (T, D);
            these must have a prediction. None takes all.
    """

    recording: str
    times: Tensor
    evaluated: Tensor | None = None


@dataclass(frozen=True)
class FalconPredictions:
    """Predictions of one of FALCON's splits, one row for each bin.

    Attributes:
        split: ``h1``, ``m1``, ``m2`` or ``b1``.
        arrays: Predictions by data set, (T, D) float32; of ``b1`` (T, 1, D). 0 where a bin is not scored and was not
            predicted. In the alphabetical order of their sessions: FALCON's evaluator joins the data sets in the order
            of the submission, but counts off sessions alphabetically (S10 before S6), so that in any other order it
            would cut sessions of different lengths in the wrong places.
    """

    split: str
    arrays: Mapping[str, NDArray[np.float32]]

    def payload(self, *, normalized_latency: float) -> dict[str, dict[str, NDArray[np.float32] | float]]:
        """What ``falcon_challenge.evaluator.evaluate`` finds in a submission file.

        Args:
            normalized_latency: Seconds of computing for each second of neural data, which FALCON reports.
        """
        return {self.split: {**self.arrays, "normalized_latency": normalized_latency}}

    def decoder(self, hash_dataset: Callable[[Path], str], *, batch_size: int = 1) -> FalconReplay:
        """A decoder that plays the predictions back to ``FalconEvaluator.evaluate``.

        Args:
            hash_dataset: ``FalconConfig.hash_dataset``, which tells the data set of a file.
            batch_size: How many files the evaluator serves at once.

        Raises:
            ValueError: the split is ``b1``, whose evaluator asks for whole trials, or the batch is empty.
        """
        if self.split == _SPECTROGRAMS:
            raise ValueError("b1 is decoded trial by trial and cannot be played back bin by bin; use payload()")
        return FalconReplay(self.arrays, hash_dataset, batch_size=batch_size)

    def save(self, path: str | Path) -> Path:
        """Write the arrays as an ``.npz`` file, whole or not at all, to be read where falcon_challenge is installed.

        Raises:
            ValueError: the name does not end in ``.npz``.
        """
        import numpy as np

        path = Path(path)
        if path.suffix != ".npz":
            raise ValueError(f"the arrays are saved as .npz; found {path.name!r}")
        arrays: dict[str, Any] = {f"{self.split}/{name}": rows for name, rows in self.arrays.items()}
        with whole_file(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, **arrays)
        return path

    @classmethod
    def load(cls, path: str | Path) -> FalconPredictions:
        """Read what :meth:`save` wrote; nothing in the file is run.

        Raises:
            ValueError: the file holds something else.
        """
        import numpy as np

        with np.load(path, allow_pickle=False) as stored:
            splits = {name.partition("/")[0] for name in stored.files}
            if len(splits) != 1 or not splits <= set(FALCON_DIMENSIONS):
                raise ValueError(f"{path}: holds no predictions of one FALCON split; found {', '.join(stored.files)}")
            return cls(splits.pop(), {name.partition("/")[2]: stored[name] for name in stored.files})


def falcon_predictions(
    source: TraceSource, split: str, *, task: str, bins: Mapping[str, FalconBins], tolerance: float = 1e-4
) -> FalconPredictions:
    """Put stitched predictions onto the bins of FALCON's data sets.

    The layout was checked against ``falcon_challenge`` 1.0.2, whose evaluator scores it.

    Args:
        source: An evaluation's result, its ``traces``, or what ``StitchingAccumulator.compute()`` gave.
        split: ``h1`` (7 velocities), ``m1`` (16 muscles), ``m2`` (2 finger velocities) or ``b1`` (158 frequencies).
            ``h2`` is text, which traces do not hold.
        task: The task whose predictions go out.
        bins: The bins of each data set, by the name that FALCON gives it (see ``FALCON_DATASETS``). A group, held-in
            or held-out, must be whole.
        tolerance: How far, in seconds, a prediction may be from its bin's time.

    Raises:
        KeyError: a split, data set, recording or task does not exist, or a group lacks data sets.
        ValueError: predictions have the wrong number of dimensions or are not finite, or a scored bin has none.

    Example:
        >>> import torch
        >>> from nd_eval import StitchedTrace
        >>> from nd_eval.export import FALCON_DATASETS, FalconBins, falcon_predictions
        >>> times = torch.arange(50, dtype=torch.float64) / 50
        >>> traces = {"falcon/day": {"muscles": StitchedTrace(times, torch.ones(50, 16), torch.zeros(50, 16))}}
        >>> bins = {name: FalconBins("falcon/day", times) for name in FALCON_DATASETS["m1"]["held_in"]}
        >>> predictions = falcon_predictions(traces, "m1", task="muscles", bins=bins)
        >>> predictions.arrays["20120924"].shape
        (50, 16)
    """
    if split == "h2":
        raise ValueError("FALCON's h2 is scored by the text written; stitched traces hold none")
    dimensions = FALCON_DIMENSIONS[known_name(split, FALCON_DIMENSIONS, "FALCON split")]
    _check_groups(split, bins)
    arrays = {}
    for dataset in sorted(bins, key=lambda name: (falcon_session(split, name), name)):
        of_dataset = bins[dataset]
        place = f"FALCON {split}, data set {dataset!r}, recording {of_dataset.recording!r}"
        trace = trace_of(source, of_dataset.recording, task)
        if tuple(trace.preds.shape[1:]) != (dimensions,) or not trace.preds.is_floating_point():
            raise ValueError(
                f"{place}: predictions must be floats (times, {dimensions}); found {trace.preds.dtype} "
                f"{tuple(trace.preds.shape)}"
            )
        if of_dataset.times.ndim != 1:
            raise ValueError(f"{place}: bin times must be (bins,); found {tuple(of_dataset.times.shape)}")
        evaluated = _evaluated(of_dataset, place)
        rows = predictions_at(trace, of_dataset.times, tolerance=tolerance, fill=0.0)
        rows[evaluated] = predictions_at(trace, of_dataset.times[evaluated], tolerance=tolerance, name=place)
        if not bool(torch.isfinite(rows[evaluated]).all()):
            raise ValueError(f"{place}: a prediction of a scored bin is not finite")
        rows = torch.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0).to(torch.float32)
        arrays[dataset] = (rows.unsqueeze(1) if split == _SPECTROGRAMS else rows).numpy()
    return FalconPredictions(split, MappingProxyType(arrays))


def _check_groups(split: str, bins: Mapping[str, FalconBins]) -> None:
    groups = FALCON_DATASETS[split]
    every: Sequence[str] = [name for group in groups.values() for name in group]
    for dataset in bins:
        known_name(dataset, every, f"data set of FALCON {split} called")
    if not bins:
        raise KeyError(f"FALCON {split} needs the held-in data sets, the held-out ones, or both: {', '.join(every)}")
    for group, names in groups.items():
        missing = [name for name in names if name not in bins]
        if missing and len(missing) < len(names):
            raise KeyError(f"FALCON {split} scores {group} data sets together; missing are {', '.join(missing)}")


def _evaluated(bins: FalconBins, place: str) -> Tensor:
    if bins.evaluated is None:
        return torch.ones(len(bins.times), dtype=torch.bool)
    if bins.evaluated.shape[:1] != bins.times.shape or bins.evaluated.ndim > 2:
        raise ValueError(
            f"{place}: evaluated must have one entry, or row, for each of the {len(bins.times)} bins; found "
            f"{tuple(bins.evaluated.shape)}"
        )
    evaluated: Tensor = bins.evaluated.detach().cpu().to(torch.bool).reshape(len(bins.times), -1).any(1)
    return evaluated
