"""What is held out: later steps of every sequence, and whole sequences.

Out of time: steps behind a date, or each sequence's last share; `oots_mask`. Out of sequence: people who are not
trained on; `ooss_mask`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from nd_data.longitudinal.dataset import LongitudinalDataset
from nd_data.nearest_names import name_hint


@dataclass(frozen=True, slots=True)
class LongitudinalSplits:
    """Three datasets.

    Attributes:
        train: Sequences to train on, `ooss_mask` 0.
        val: Those and the ones held out for validation (`ooss_mask` 1), so that every combination of out of time and
            out of sequence can be measured.
        test: Sequences held out for the test, `ooss_mask` 1; in neither of the other two.
    """

    train: LongitudinalDataset
    val: LongitudinalDataset
    test: LongitudinalDataset

    def __getitem__(self, split: Literal["train", "val", "test"]) -> LongitudinalDataset:
        """A dataset by its name."""
        if split not in ("train", "val", "test"):
            raise KeyError(f"no split {split!r}; {name_hint(str(split), ('train', 'val', 'test'), noun='splits')}")
        dataset: LongitudinalDataset = getattr(self, split)
        return dataset


def mark_out_of_time(
    dataset: LongitudinalDataset, *, cutoff: Any = None, fraction: float | None = None
) -> LongitudinalDataset:
    """Mark the later steps of every sequence as held out; replaces marks that are there.

    A step belongs to the time of its outcome: with a horizon h, step t is out of time where t + h is. So no outcome
    from behind the cut is ever trained on, while earlier steps remain inputs.

    Args:
        dataset: Stays as it is.
        cutoff: From this time on, that time's step included: a step number, or what the dataset's time axis counts in,
            such as "2024-03-01".
        fraction: Or: the last share, between 0 and 1, of each sequence's steps with an observed outcome, rounded down.

    Returns:
        A dataset with `oots_mask` True where a step is held out.

    Raises:
        ValueError: neither or both ways of cutting, no time on the axis, or no share.
    """
    if (cutoff is None) == (fraction is None):
        raise ValueError("give either cutoff or fraction")
    if fraction is not None:
        share = _share("fraction", fraction)
        return dataset.with_values({"oots_mask": [_last_share(item, share) for item in _items(dataset)]})
    first = _step_of(dataset, cutoff)
    marks = [item["time_ids"] + dataset.horizon >= first for item in _items(dataset)]
    return dataset.with_values({"oots_mask": marks})


def split_sequences(
    dataset: LongitudinalDataset,
    *,
    val_fraction: float = 0.0,
    test_fraction: float = 0.0,
    generator: torch.Generator | None = None,
) -> LongitudinalSplits:
    """Hold whole sequences out at random.

    Args:
        dataset: Stays as it is.
        val_fraction: Share of the sequences held out for validation; rounded to the nearest number.
        test_fraction: Share held out for the test.
        generator: Where chance comes from; None is a new generator with seed 0, the same split every time.

    Raises:
        ValueError: shares that leave nothing to train on, or a share above 0 that comes to no sequence.
    """
    counts = {}
    for name, given in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        share = _share(name, given)
        counts[name] = int(np.floor(share * len(dataset) + 0.5))
        if share > 0 and counts[name] == 0:
            raise ValueError(f"{name}={given} of {len(dataset)} sequences comes to none; raise it or set it to 0")
    held_out = sum(counts.values())
    if held_out >= len(dataset):
        raise ValueError(
            f"val_fraction={val_fraction} and test_fraction={test_fraction} hold out {held_out} of {len(dataset)} "
            "sequences; some must be left to train on"
        )
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(dataset), generator=generator).numpy()
    val, test = np.split(order[:held_out], [counts["val_fraction"]])
    return _splits(dataset, np.sort(val), np.sort(test))


def split_by_folds(
    dataset: LongitudinalDataset, *, val_folds: Iterable[Any] = (), test_folds: Iterable[Any] = ()
) -> LongitudinalSplits:
    """Hold out the sequences of some folds; the others are trained on.

    Args:
        dataset: With `folds`; stays as it is.
        val_folds: Folds held out for validation; none gives a validation set without held-out sequences.
        test_folds: Folds held out for the test; none gives an empty test set.

    Raises:
        ValueError: the dataset has no folds, a fold is in both lists, or nothing is left to train on.
        KeyError: a fold that no sequence has.
    """
    if dataset.folds is None:
        raise ValueError("the dataset has no folds; build it with fold=<column>, or use split_sequences")
    val, test = _rows_of(dataset.folds, _listed("val_folds", val_folds), _listed("test_folds", test_folds), "fold")
    return _splits(dataset, val, test)


def split_by_ids(
    dataset: LongitudinalDataset, *, val_ids: Iterable[Any] = (), test_ids: Iterable[Any] = ()
) -> LongitudinalSplits:
    """Hold out sequences by name.

    Args:
        dataset: Stays as it is.
        val_ids: Names of sequences held out for validation.
        test_ids: Names of sequences held out for the test.

    Raises:
        ValueError: a sequence is in both lists, or nothing is left to train on.
        KeyError: no such sequence.
    """
    names = dataset.sequence_names
    val, test = _rows_of(names, _listed("val_ids", val_ids), _listed("test_ids", test_ids), "sequence")
    return _splits(dataset, val, test)


def _splits(
    dataset: LongitudinalDataset, val: NDArray[np.integer[Any]], test: NDArray[np.integer[Any]]
) -> LongitudinalSplits:
    train = np.setdiff1d(np.arange(len(dataset)), np.concatenate((val, test)))
    if train.size == 0:
        raise ValueError(f"all {len(dataset)} sequences are held out; some must be left to train on")
    trained = _marked(dataset.select(train), 0)
    both = dataset.select(np.concatenate((train, val)))
    validated = both.with_values({"ooss_mask": [0] * len(train) + [1] * len(val)})
    return LongitudinalSplits(trained, validated, _marked(dataset.select(test), 1))


def _marked(dataset: LongitudinalDataset, value: int) -> LongitudinalDataset:
    return dataset.with_values({"ooss_mask": [value] * len(dataset)})


def _rows_of(
    existing: tuple[Any, ...], val: list[Any], test: list[Any], noun: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    known = list(dict.fromkeys(existing))
    for wanted in (*val, *test):
        if wanted not in known:
            alike = [one for one in known if str(one) == str(wanted)]
            hint = f"{alike[0]!r} is written otherwise" if alike else name_hint(str(wanted), map(str, known))
            raise KeyError(f"no {noun} {wanted!r}; {hint}")
    both = [one for one in val if one in test]
    if both:
        raise ValueError(f"{noun} {both[0]!r} is held out for validation and for the test; it can be only one of them")
    rows = [np.flatnonzero([one in wanted for one in existing]).astype(np.int64) for wanted in (val, test)]
    return rows[0], rows[1]


def _listed(name: str, values: Iterable[Any]) -> list[Any]:
    if isinstance(values, str):
        raise TypeError(f"{name} is a list, got the text {values!r}")
    return list(values)


def _share(name: str, share: float) -> float:
    if type(share) not in (int, float) or not 0 <= share < 1:
        raise ValueError(f"{name} must be at least 0 and less than 1, got {share!r}")
    return float(share)


def _items(dataset: LongitudinalDataset) -> list[dict[str, Any]]:
    return [dataset[row] for row in range(len(dataset))]


def _last_share(item: dict[str, Any], share: float) -> NDArray[np.bool_]:
    marks = np.zeros(len(item["time_ids"]), dtype=np.bool_)
    observed = np.flatnonzero(item["outcomes_mask"].any(axis=1)) if "outcomes" in item else np.arange(len(marks))
    # 0.2 of 5 is 1, although 0.2·5 may be a rounding error less.
    held_out = int(share * len(observed) + 1e-9)
    if held_out:
        marks[observed[-held_out] :] = True
    return marks


def _step_of(dataset: LongitudinalDataset, cutoff: Any) -> int:
    if dataset.time_axis is not None:
        return dataset.time_axis.id_of(cutoff)
    if isinstance(cutoff, bool | str) or not isinstance(cutoff, int | float | np.number):
        raise ValueError(f"this dataset counts steps, so cutoff is a step number; got {cutoff!r}")
    return int(np.ceil(cutoff))
