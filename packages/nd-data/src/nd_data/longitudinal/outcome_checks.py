"""Observed outcomes: whether there are any, and whether they are classes."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from nd_data.longitudinal.sequence_arrays import SequenceArrays

WithoutObservations = Literal["keep", "drop", "error"]


def check_observations(
    sequences: list[SequenceArrays], names: Sequence[int | str], treatment: WithoutObservations
) -> tuple[list[SequenceArrays], list[int | str]]:
    """Treat the sequences without any observed outcome.

    Returns:
        The sequences that stay, and their names.

    Raises:
        ValueError: an unknown treatment; with `"error"` one such sequence; with any, none but such sequences.
    """
    if treatment not in ("keep", "drop", "error"):
        raise ValueError(f"without_observations must be 'keep', 'drop' or 'error', got {treatment!r}")
    observed = [bool(one.steps["outcomes_mask"].any()) if "outcomes" in one.steps else True for one in sequences]
    if sequences and not any(observed):
        raise ValueError(
            f"none of the {len(sequences)} sequences has an observed outcome; leave the outcomes out to predict only"
        )
    without = [name for name, has in zip(names, observed, strict=True) if not has]
    if without and treatment == "error":
        raise ValueError(
            f"{len(without)} sequences have no observed outcome, the first being {without[0]!r}; use "
            "without_observations='keep' or 'drop'"
        )
    if treatment != "drop":
        return sequences, list(names)
    stay = [row for row, has in enumerate(observed) if has]
    return [sequences[row] for row in stay], [names[row] for row in stay]


def check_classes(
    items: Sequence[Mapping[str, Any]],
    names: Sequence[int | str],
    outcome_names: Sequence[str],
    num_classes: int,
) -> None:
    """Refuse an observed outcome that is none of the classes 0 … C - 1.

    Raises:
        ValueError: names the outcome, the sequence, the step and the value; or `num_classes` is below 1.
    """
    if type(num_classes) is not int or num_classes < 1:
        raise ValueError(f"num_classes must be a whole number from 1 on, got {num_classes!r}")
    if num_classes == 1:
        return
    for item, name in zip(items, names, strict=True):
        if "outcomes" not in item:
            continue
        outcomes, observed = item["outcomes"], item["outcomes_mask"]
        wrong = observed & ((outcomes != np.trunc(outcomes)) | (outcomes < 0) | (outcomes >= num_classes))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(
                f"outcome {outcome_names[column]!r} of sequence {name!r} is {outcomes[row, column]:g} at step "
                f"{item['time_ids'][row]}; with num_classes={num_classes} the classes are 0 to {num_classes - 1}"
            )
