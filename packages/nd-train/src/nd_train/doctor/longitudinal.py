"""Checks of a table of persons over time, before it is trained on.

N sequences, T steps, K outcomes.
"""

import math
from typing import Any

import numpy as np

from nd_data import Interval
from nd_train.doctor.cost import run_length
from nd_train.doctor.findings import Findings
from nd_train.doctor.follows_time import follows_time
from nd_train.doctor.steps import duration, timed_steps

FEWEST_SEQUENCES = 5
FEWEST_OBSERVED = 0.05
SCALES = (0.05, 20.0)


def examine_table(init: Any, settings: Any, findings: Findings, *, steps: int) -> None:
    """Everything that can be found out about a longitudinal run before it begins.

    Args:
        init: With ``model`` and ``data``, as the command line builds them; None where it could not.
        settings: The run's settings.
        findings: Where to note.
        steps: How many training steps to measure.
    """
    if init is None:
        return
    module, datamodule = init.model, init.data
    splits = datamodule.splits
    _check_sequences(splits, findings)
    _check_outcomes(splits, datamodule, findings)
    if steps and not findings.count("problem"):
        _check_cost(module, datamodule, settings.trainer, steps, findings)


def _check_sequences(splits: Any, findings: Findings) -> None:
    names = {part: {_name(dataset, row) for row in range(len(dataset))} for part, dataset in _parts(splits)}
    shared = names["train"] & names["test"]
    if shared:
        what = f"{len(shared)} sequences are in train and test"
        findings.problem("splits leak", what, advice="hold persons out by data.test_folds, test_ids or test_fraction")
    findings.settle("splits leak", "no sequence is in train and test")
    for part, held in names.items():
        if part == "test" and not held:
            what = "no sequence is held out for the test: the run ends with scores of the validation data"
            advice = "give data.test_fraction, test_folds, test_ids or test_table"
            findings.warning("splits present", what, advice=advice)
        elif len(held) < FEWEST_SEQUENCES and part != "val":
            what = f"{part} holds {len(held)} sequences"
            findings.warning("splits present", what, advice="more persons: a score of so few says little")
    findings.settle("splits present", ", ".join(f"{part} {len(held)}" for part, held in names.items()))


def _check_outcomes(splits: Any, datamodule: Any, findings: Findings) -> None:
    for part, dataset in _parts(splits):
        if not len(dataset):
            continue
        items = [dataset[row] for row in range(len(dataset))]
        values = [np.where(item["outcomes_mask"], item["outcomes"], np.nan).astype(np.float64) for item in items]
        joined = np.concatenate(values)
        observed = np.isfinite(joined)
        outcome_names = list(getattr(dataset, "outcome_names", None) or range(joined.shape[1]))
        for column, name in enumerate(outcome_names[: joined.shape[1]]):
            seen = joined[observed[:, column], column]
            _check_outcome(part, str(name), seen, len(joined), datamodule, findings)
            if part == "train" and datamodule.num_classes == 1:
                _check_like_time(str(name), [one[:, column] for one in values], findings)
        if datamodule.num_classes > 1 and part == "train":
            _check_classes(joined[observed], datamodule.num_classes, findings)
    for check, what in (
        ("targets finite", "outcomes are observed in every part"),
        ("targets constant", "outcomes vary"),
        ("targets like time", "none follows from the step alone"),
        ("targets scale", "outcomes are standardised, or of about that size"),
    ):
        findings.settle(check, what)


def _check_outcome(
    part: str, name: str, seen: "np.ndarray[Any, np.dtype[np.float64]]", steps: int, datamodule: Any, findings: Findings
) -> None:
    if not len(seen):
        advice = "is this the right column? Nothing can be learnt or scored"
        findings.problem("targets finite", f"never observed in {part}", where=name, advice=advice)
        return
    if len(seen) < FEWEST_OBSERVED * steps:
        what = f"observed in {100 * len(seen) / steps:.2g} % of the steps of {part}"
        findings.warning("targets finite", what, where=name, advice="is data.time_step too fine, or the column wrong?")
    if len(seen) > 1 and np.ptp(seen) == 0:
        level = findings.problem if part == "train" else findings.warning
        level("targets constant", f"the same value throughout {part}", where=name, advice="choose another outcome")
        return
    unscaled = part == "train" and datamodule.num_classes == 1 and datamodule.standardize != "all"
    if unscaled and not (SCALES[0] <= seen.std() <= SCALES[1] and abs(seen.mean()) <= SCALES[1]):
        what = f"mean {seen.mean():.3g} and standard deviation {seen.std():.3g} in train"
        findings.warning("targets scale", what, where=name, advice="set data.standardize to all")


def _check_like_time(name: str, sequences: list[Any], findings: Findings) -> None:
    steps = [np.flatnonzero(np.isfinite(one)) for one in sequences]
    # Each sequence is an interval of its own, far from the one before.
    length = 1.0 + max((len(one) for one in sequences), default=0)
    times = np.concatenate([row * length + at for row, at in enumerate(steps)])
    values = np.concatenate([one[at] for one, at in zip(sequences, steps, strict=True)])
    start = np.arange(len(sequences)) * length
    how = follows_time(times, values, Interval(start, start + length))
    if how is not None:
        advice = "is this a counter or a date? What follows from the step alone is no forecast"
        findings.problem(
            "targets like time", how.replace("interval of the split", "sequence"), where=name, advice=advice
        )


def _check_classes(seen: Any, classes: int, findings: Findings) -> None:
    wrong = (seen != np.round(seen)) | (seen < 0) | (seen >= classes)
    if wrong.any():
        what = f"{int(wrong.sum())} outcomes are no class from 0 to {classes - 1}, such as {seen[wrong][0]:g}"
        findings.problem("targets classes", what, advice="number the classes from 0, or correct num_classes")
        return
    counts = np.bincount(seen.astype(int), minlength=classes)
    if (counts == 0).any():
        missing = ", ".join(map(str, np.flatnonzero(counts == 0)[:5]))
        advice = "lower num_classes, or hold other persons out"
        findings.problem("targets classes", f"classes {missing} never occur in train", advice=advice)
    findings.settle("targets classes", f"the rarest is {100 * counts.min() / counts.sum():.2g} % of train")


def _check_cost(module: Any, datamodule: Any, trainer: Any, steps: int, findings: Findings) -> None:
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    findings.figures["parameters"] = f"{sum(parameter.numel() for parameter in module.parameters()):,}"
    if not parameters:
        findings.ok("cost time", "a model without parameters takes no steps")
        return
    clock = timed_steps(module, datamodule, trainer, steps, findings)
    if clock is None:
        return
    batches = len(datamodule.train_dataloader())
    steps_in_all = run_length(batches, trainer, 1).steps
    in_all = "without end" if math.isinf(steps_in_all) else f"{steps_in_all:,.0f} at most"
    findings.figures["steps"] = f"{batches:,} an epoch, {in_all}"
    findings.figures["time"] = f"{duration((clock.step + clock.wait) * steps_in_all)} at most, without validation"


def _parts(splits: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(splits, name)) for name in ("train", "val", "test")]


def _name(dataset: Any, row: int) -> Any:
    item = dataset[row]
    return item.get("seq_id", row) if isinstance(item, dict) else row
