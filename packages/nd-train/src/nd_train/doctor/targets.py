"""Checks of what is to be decoded: present, finite, varying, no function of time, scaled, sampled often enough.

T target times, D target dimensions.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nd_data.interval_paths import interval_at
from nd_models import DataType, ModalitySpec
from nd_train.doctor.classes import (
    ClassCounts,
    check_class_blocks,
    check_labels,
    check_one_class,
    count_classes,
    few,
)
from nd_train.doctor.findings import Findings
from nd_train.doctor.follows_time import follows_time
from nd_train.doctor.recordings import SPLITS, FloatArray, Recording, counts_in_windows, each_split, targets_of, within

LARGEST_MEAN = 3.0
SCALES = (0.2, 5.0)
"""Standard deviations of a target, as the model sees it, outside which learning is slow or unstable."""
FARTHEST = 30.0
"""Standard deviations from the mean at which a value is an artefact."""
FEWEST_TARGETS = 0.8
"""Share of windows that should hold a target."""
MOST_PER_WINDOW = 1000


def check_targets(
    recording: Recording,
    entry: Mapping[str, Any],
    spec: ModalitySpec,
    window_length: float | None,
    classes: ClassCounts,
    findings: Findings,
    *,
    is_scaled: bool = False,
) -> dict[str, int]:
    """All checks of one readout in one recording.

    Args:
        recording: It is opened, and the readout's times and values are read.
        entry: What the configuration says about the readout.
        spec: The readout.
        window_length: Seconds of a window.
        classes: Counts of classes, added to.
        findings: Where to note.
        is_scaled: Whether the data module scales what the configuration does not (``data.normalize``).

    Returns:
        How many targets each split has; of valid and test, how many are scored.
    """
    name = str(entry["readout_id"])
    where = f"{recording.name} {name}"
    found = targets_of(recording, entry, spec)
    if found is None:
        return {}  # Reading one window says what is missing, with the nearest names.
    times, values = found
    if _are_out_of_order(times):
        advice = "sort the series by time; run nd-data validate on the file"
        findings.problem("targets times", "times are NaN or out of order", where=where, advice=advice)
        return {}
    inside = {split: within(times, at) for split, at in each_split(recording)}
    _check_rate(recording, times, window_length, where, findings)
    _check_weights(recording, entry, times, inside, where, findings)
    scored = _scored(recording, entry, times, inside, where, findings)
    if spec.type == DataType.MULTINOMIAL:
        count_classes(where, name, values, spec, inside, classes, findings)
        check_one_class(values, inside, where, findings)
        check_class_blocks(values, inside, where, findings)
    elif spec.type in (DataType.BINARY, DataType.MULTILABEL):
        check_labels(values, spec, inside, where, findings)
    else:
        is_scaled = is_scaled and "normalize_mean" not in entry and "normalize_std" not in entry
        _check_numbers(recording, None if is_scaled else entry, times, values, inside, where, findings)
    return {split: int((chosen & (scored | (split == "train"))).sum()) for split, chosen in inside.items()}


def check_presence(counts: Mapping[str, Mapping[str, Mapping[str, int]]], findings: Findings) -> None:
    """Whether every split has targets of every readout.

    Args:
        counts: By readout, recording and split, how many targets there are.
        findings: Where to note.
    """
    for name, by_recording in counts.items():
        for split in SPLITS:
            found = {recording: by_split[split] for recording, by_split in by_recording.items() if split in by_split}
            lacking = [recording for recording, count in found.items() if not count]
            advice = f"are {name} and {split}_domain on the same clock? Take times without behaviour out of the split"
            if split != "train":
                advice += ", and see that eval_interval holds some of it"
            if lacking and len(lacking) == len(found):
                findings.problem("targets present", f"no {name} in {split}", where=lacking, advice=advice)
            elif lacking:
                findings.warning("targets present", f"no {name} in {split}", where=lacking, advice=advice)
        findings.settle("targets present", "every split has targets of every readout")


def _check_numbers(
    recording: Recording,
    entry: Mapping[str, Any] | None,
    times: FloatArray,
    values: NDArray[Any],
    inside: Mapping[str, NDArray[np.bool_]],
    where: str,
    findings: Findings,
) -> None:
    columns = values.reshape(len(values), -1).astype(np.float64)
    for split, chosen in inside.items():
        part = columns[chosen]
        missing = ~np.isfinite(part).all(axis=1)
        if missing.any():
            what = f"{int(missing.sum())} of {len(part)} targets in {split} are NaN or infinite"
            if split == "train":
                advice = "leave these times out of train (configuration: sampling_intervals) or fill the gaps: one NaN "
                findings.problem("targets finite", what, where=where, advice=f"{advice}makes the loss NaN")
            elif missing.all():
                advice = "nothing of this split can be scored: store targets"
                findings.problem("targets finite", what, where=where, advice=advice)
            else:
                advice = "these times are left out of the scores; mark them with eval_interval if that is not meant"
                findings.warning("targets finite", what, where=where, advice=advice)
        part = part[~missing]
        if len(part) < 2:
            continue
        _check_constant(part, split, where, findings)
        if split == "train":
            intervals = recording.sampling[split]
            _check_time(times[chosen][~missing], part, intervals, where, findings)
            if entry is not None:
                _check_scale(part, entry, where, findings)
            _check_outliers(part, where, findings)


def _check_constant(part: FloatArray, split: str, where: str, findings: Findings) -> None:
    constant = np.ptp(part, axis=0) == 0
    if not constant.any():
        return
    channels = "" if part.shape[1] == 1 else f" (dimensions {few(np.flatnonzero(constant))} of {part.shape[1]})"
    advice = "is this the right value_key? A constant has nothing to decode, and no R²"
    if split == "train" and constant.all():
        findings.problem("targets constant", f"the same value throughout train{channels}", where=where, advice=advice)
    else:
        findings.warning("targets constant", f"the same value throughout {split}{channels}", where=where, advice=advice)


def _check_time(times: FloatArray, part: FloatArray, intervals: Any, where: str, findings: Findings) -> None:
    for dimension in range(part.shape[1]):
        how = follows_time(times, part[:, dimension], intervals)
        if how is None:
            continue
        findings.problem(
            "targets like time",
            f"dimension {dimension} {how}",
            where=where,
            advice="is this a clock, a counter or a trial's progress? What follows from time alone is no decoding: "
            "choose another value_key",
        )


def _check_scale(part: FloatArray, entry: Mapping[str, Any], where: str, findings: Findings) -> None:
    mean, std = (np.asarray(entry.get(key, usual)) for key, usual in (("normalize_mean", 0.0), ("normalize_std", 1.0)))
    try:
        seen = (part - mean) / std
    except ValueError:
        return  # Reading one window says which shape is wrong.
    centre, width = seen.mean(axis=0), seen.std(axis=0)
    varying = width > 0
    if not varying.any():
        return
    off = varying & ((np.abs(centre) > LARGEST_MEAN) | (width < SCALES[0]) | (width > SCALES[1]))
    if off.any():
        given = "as normalised" if "normalize_std" in entry or "normalize_mean" in entry else "not normalised"
        findings.warning(
            "targets scale",
            f"{given}, train has mean {_numbers(centre)} and standard deviation {_numbers(width)}: losses and steps "
            "are made for about 0 and 1",
            where=where,
            advice=f"configure normalize_mean: {_listed(part.mean(axis=0))} and normalize_std: "
            f"{_listed(part.std(axis=0))} (of train only), or set data.normalize to train",
        )


def _check_outliers(part: FloatArray, where: str, findings: Findings) -> None:
    width = part.std(axis=0)
    varying = width > 0
    if not varying.any():
        return
    far = np.abs(part - part.mean(axis=0))[:, varying] / width[varying]
    if float(far.max()) > FARTHEST:
        findings.warning(
            "targets outliers",
            f"a target lies {far.max():.3g} standard deviations from the mean of train",
            where=where,
            advice="look for artefacts in the series; cut them out with sampling_intervals",
        )


def _check_rate(
    recording: Recording, times: FloatArray, window_length: float | None, where: str, findings: Findings
) -> None:
    if window_length is None or len(times) < 2:
        return
    counts = counts_in_windows(recording, times, window_length)
    if counts is None:
        return
    filled = float((counts > 0).mean())
    if filled < FEWEST_TARGETS:
        findings.warning(
            "targets rate",
            f"{100 * (1 - filled):.2g} % of the windows of {window_length:g} s in train hold no target",
            where=where,
            advice="make windows longer, or take times without targets out of train (sampling_intervals)",
        )
    most = int(np.percentile(counts, 95))
    if most > MOST_PER_WINDOW:
        findings.warning(
            "targets rate",
            f"a window holds {most:,} targets (a rate of {1 / np.median(np.diff(times)):.4g} Hz)",
            where=where,
            advice="resample the series to 100 Hz or so: each target is a query, and more tell nothing new",
        )


def _check_weights(
    recording: Recording,
    entry: Mapping[str, Any],
    times: FloatArray,
    inside: Mapping[str, NDArray[np.bool_]],
    where: str,
    findings: Findings,
) -> None:
    train = inside.get("train", np.zeros(len(times), dtype=np.bool_))
    weights = np.ones(len(times))
    for path, weight in (entry.get("weights") or {}).items():
        try:
            chosen = _covered(times, interval_at(recording.data, path))
        except ValueError as error:
            advice = "correct the path in weights"
            findings.problem("targets weights", str(error), where=where, advice=advice)
            continue
        weights[chosen] *= weight
        if train.any() and not (chosen & train).any():
            advice = "is this the right path? The weight has no effect"
            findings.warning("targets weights", f"{path} holds no target of train", where=where, advice=advice)
    if train.any() and not weights[train].any():
        advice = "leave a weight above 0 somewhere: nothing can be learnt"
        findings.problem("targets weights", "every target of train weighs 0", where=where, advice=advice)


def _scored(
    recording: Recording,
    entry: Mapping[str, Any],
    times: FloatArray,
    inside: Mapping[str, NDArray[np.bool_]],
    where: str,
    findings: Findings,
) -> NDArray[np.bool_]:
    """Which targets count in evaluation. Shape: (T,)."""
    everything: NDArray[np.bool_] = np.ones(len(times), dtype=np.bool_)
    path = entry.get("eval_interval")
    if path is None:
        return everything
    try:
        scored = _covered(times, interval_at(recording.data, path))
    except ValueError as error:
        findings.problem("targets eval_interval", str(error), where=where, advice="correct eval_interval")
        return everything
    empty = [split for split in ("valid", "test") if split in inside and not (scored & inside[split]).any()]
    if empty:
        what = f"eval_interval {path} holds no target of {' and '.join(empty)}: nothing of it is scored"
        advice = "choose another eval_interval, or splits that hold some of it"
        findings.warning("targets eval_interval", what, where=where, advice=advice)
    return scored


def _covered(times: FloatArray, intervals: Any) -> NDArray[np.bool_]:
    covered: NDArray[np.bool_] = np.zeros(len(times), dtype=np.bool_)
    for start, end in zip(intervals.start, intervals.end, strict=True):
        covered[slice(*np.searchsorted(times, [start - 1e-6, end - 1e-6]))] = True
    return covered


def _are_out_of_order(times: FloatArray) -> bool:
    return bool(np.isnan(times).any() or (np.diff(times) < 0).any())


def _numbers(values: FloatArray) -> str:
    return ", ".join(f"{value:.3g}" for value in values[:4]) + (", …" if len(values) > 4 else "")


def _listed(values: FloatArray) -> str:
    if len(values) == 1:
        return f"{values[0]:.5g}"
    return f"[{', '.join(f'{value:.5g}' for value in values)}]"
