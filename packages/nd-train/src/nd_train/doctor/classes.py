"""Checks of classes and labels: does train have them all, often enough, and does more than time tell them apart?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nd_models import ModalitySpec
from nd_train.doctor.findings import Findings

FEWEST_EXAMPLES = 10

ClassCounts = dict[str, dict[str, NDArray[np.int64]]]
"""By readout and split, how often each class occurs over all recordings."""


def check_classes(classes: ClassCounts, specs: Mapping[str, ModalitySpec], findings: Findings) -> None:
    """Classes over all recordings: none without examples in train that comes up later, none with very few.

    Args:
        classes: As `check_targets` counted them.
        specs: The readouts, which may name their classes.
        findings: Where to note.
    """
    for name, by_split in classes.items():
        dim, names = specs[name].dim, specs[name].class_names
        train = by_split.get("train")
        if train is None:
            continue
        later = sum((counts for split, counts in by_split.items() if split != "train"), np.zeros(dim, np.int64))
        missing = np.flatnonzero((train == 0) & (later > 0))
        if len(missing):
            findings.problem(
                "targets classes",
                f"classes {few(missing, names)} occur in valid or test, never in train",
                where=name,
                advice="split so that train holds every class: these can never be predicted",
            )
        rare = np.flatnonzero((train > 0) & (train < FEWEST_EXAMPLES))
        if len(rare):
            findings.warning(
                "targets classes",
                f"classes {few(rare, names)} have fewer than {FEWEST_EXAMPLES} examples in train",
                where=name,
                advice="join rare classes, or give their intervals a weight",
            )
        if not len(missing) and not len(rare):
            present = int((train > 0).sum())
            shares = train[train > 0] / train.sum()
            of = f" of {dim}" if present < dim else ""
            what = f"{present}{of} classes in train, the rarest {100 * shares.min():.2g} % of its examples"
            findings.ok("targets classes", what, where=name)


def count_classes(
    where: str,
    name: str,
    values: NDArray[Any],
    spec: ModalitySpec,
    inside: Mapping[str, NDArray[np.bool_]],
    classes: ClassCounts,
    findings: Findings,
) -> None:
    """Add how often each class occurs in each split to the counts of all; report classes beyond the readout."""
    by_split = classes.setdefault(name, {})
    for split, chosen in inside.items():
        part = values[chosen]
        if part.ndim != 1 or part.dtype.kind not in "iu":
            continue  # Reading one window says so.
        if len(part) and not 0 <= part.min() <= part.max() < spec.dim:
            findings.problem(
                "targets classes",
                f"classes {part.min()} to {part.max()} in {split}, but the readout has 0 to {spec.dim - 1}",
                where=where,
                advice="give the readout a larger dim, or renumber the classes from 0",
            )
            continue
        counts = np.bincount(part, minlength=spec.dim)
        by_split[split] = by_split.get(split, np.zeros(spec.dim, np.int64)) + counts


def check_one_class(
    values: NDArray[Any], inside: Mapping[str, NDArray[np.bool_]], where: str, findings: Findings
) -> None:
    """Report splits with a single class."""
    for split, chosen in inside.items():
        part = values[chosen]
        if len(part) > 1 and part.ndim == 1 and (part == part[0]).all():
            what = f"the same class throughout {split}"
            advice = "is this the right value_key? A single class has nothing to decode"
            findings.warning("targets constant", what, where=where, advice=advice)


def check_class_blocks(
    values: NDArray[Any], inside: Mapping[str, NDArray[np.bool_]], where: str, findings: Findings
) -> None:
    """Report classes that time alone tells apart."""
    part = values[inside["train"]] if "train" in inside else values[:0]
    if part.ndim != 1 or len(part) < 2:
        return
    present = len(np.unique(part))
    blocks = 1 + int(np.count_nonzero(part[1:] != part[:-1]))
    if present > 1 and blocks == present:
        findings.warning(
            "targets like time",
            f"each of the {present} classes in train comes in one stretch of time",
            where=where,
            advice="anything that drifts tells these classes apart: test on other stretches or recordings before you "
            "believe a score",
        )


def check_labels(
    values: NDArray[Any],
    spec: ModalitySpec,
    inside: Mapping[str, NDArray[np.bool_]],
    where: str,
    findings: Findings,
) -> None:
    """Report labels that never change, and those that hardly ever hold."""
    columns = values.reshape(len(values), -1).astype(np.float64)
    part = columns[inside["train"]] if "train" in inside else columns[:0]
    if not len(part):
        return
    with np.errstate(invalid="ignore"):
        holds = np.nansum(part >= 0.5, axis=0)
    known = (~np.isnan(part)).sum(axis=0)
    same = (holds == 0) | (holds == known)
    if same.any():
        what = f"labels {few(np.flatnonzero(same), spec.class_names)} never change in train"
        level = findings.problem if same.all() else findings.warning
        level("targets constant", what, where=where, advice="drop these labels: there is nothing to learn about them")
    rare = (holds > 0) & (holds < FEWEST_EXAMPLES)
    if rare.any():
        what = f"labels {few(np.flatnonzero(rare), spec.class_names)} hold fewer than {FEWEST_EXAMPLES} times in train"
        advice = "join rare labels, or give the loss positive_weights"
        findings.warning("targets classes", what, where=where, advice=advice)


def few(numbers: NDArray[Any], names: Sequence[str] | None = None) -> str:
    """The first of some numbers, or of what they stand for, and how many more there are."""
    shown = ", ".join(str(int(number)) if names is None else repr(names[int(number)]) for number in numbers[:5])
    return f"{shown} and {len(numbers) - 5} more" if len(numbers) > 5 else shown
