"""Step 7, storage: what the steps of an epoch predicted, bounded, gathered over ranks, and kept when the epoch ends.

N steps of all sequences one after another, K outcomes.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from nd_data.nearest_names import name_hint
from nd_train.longitudinal.forecast import Forecast
from nd_train.longitudinal.stored_predictions import StoredPredictions

TENSORS = tuple(item.name for item in dataclasses.fields(StoredPredictions) if item.type in (Tensor, "Tensor"))


def storable(result: Forecast, *, num_classes: int = 1) -> StoredPredictions:
    """The predictions of one batch without its padding, on the CPU."""
    kept = result.real
    steps = kept.shape
    absent = torch.full(steps, -1, dtype=torch.int64, device=kept.device)
    sequences = absent if result.sequence_ids is None else result.sequence_ids.view(-1, 1).expand(steps)
    targets = torch.full(result.observed.shape, torch.nan) if result.labels is None else result.labels
    infilled = torch.zeros_like(kept) if result.infilled is None else result.infilled
    values: dict[str, Tensor] = {
        "sequence_ids": sequences,
        "time_ids": result.time_ids,
        "predictions": result.levels.detach().float(),
        "targets": targets.detach().float().to(kept.device),
        "observed": result.observed,
        "out_of_time": result.out_of_time,
        "out_of_sequence": result.out_of_sequence.view(-1, 1).expand(steps),
        "infilled": infilled,
        "query_ids": absent if result.query_ids is None else result.query_ids,
    }
    stored: dict[str, Any] = {name: value[kept].cpu() for name, value in values.items()}
    return StoredPredictions(**stored, num_classes=num_classes)


class PredictionStore:
    """Predictions by split: of the epoch under way, and of the last (or best) one that ended.

    It never grows over epochs: what an epoch kept replaces what was kept before.

    Args:
        limit: Predicted values (steps times outcomes) kept a split; further ones are counted in `left_out`.
        num_outcomes: K, for a rank that has no batch.
        num_classes: 1 for numbers.
    """

    def __init__(self, limit: int = 10_000_000, *, num_outcomes: int = 1, num_classes: int = 1) -> None:
        self.limit = limit
        self._nothing = _nothing(num_outcomes, num_classes)
        self._parts: dict[str, list[StoredPredictions]] = {}
        self._values: dict[str, int] = {}
        self._left_out: dict[str, int] = {}
        self._kept: dict[str, StoredPredictions] = {}

    def start(self, split: str) -> None:
        """Begin an epoch: what an interrupted one left is dropped."""
        self._parts[split], self._values[split], self._left_out[split] = [], 0, 0

    def add(self, split: str, part: StoredPredictions) -> None:
        """Take in a batch, up to the limit."""
        parts = self._parts.setdefault(split, [])
        outcomes = part.targets.shape[1]
        room = (self.limit - self._values.get(split, 0)) // outcomes
        if len(part) > room:
            self._left_out[split] = self._left_out.get(split, 0) + len(part) - room
            part = dataclasses.replace(part, **{name: getattr(part, name)[:room] for name in TENSORS})
        if len(part):
            self._values[split] = self._values.get(split, 0) + len(part) * outcomes
            parts.append(part)

    def finish(self, split: str, *, epoch: int, keep: bool = True, device: torch.device | None = None) -> None:
        """End an epoch: join its batches (and ranks), and keep them or not.

        Args:
            split: train, val, test or predict.
            epoch: Number of the epoch.
            keep: Whether they replace what is kept.
            device: Where tensors must lie to travel between ranks; the CPU where it is None.
        """
        parts = self._parts.pop(split, [])
        if not keep:
            return
        left_out = self._left_out.get(split, 0)
        joined = {name: torch.cat([getattr(part, name) for part in [self._nothing, *parts]]) for name in TENSORS}
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            joined = _of_all_ranks(joined, device or torch.device("cpu"))
        classes = self._nothing.num_classes
        self._kept[split] = StoredPredictions(**joined, num_classes=classes, epoch=epoch, left_out=left_out)

    def __getitem__(self, split: str) -> StoredPredictions:
        if split not in self._kept:
            raise KeyError(
                f"no predictions of {split!r} are kept; {name_hint(split, self._kept, noun='kept')}. At the end of an "
                "epoch those of the splits in keep_predictions_of are"
            )
        return self._kept[split]

    def __contains__(self, split: object) -> bool:
        return split in self._kept

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def _nothing(num_outcomes: int, num_classes: int) -> StoredPredictions:
    none, steps = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool)
    tail = (num_outcomes, num_classes) if num_classes > 2 else (num_outcomes,)
    return StoredPredictions(
        sequence_ids=none,
        time_ids=none,
        predictions=torch.zeros(0, *tail),
        targets=torch.zeros(0, num_outcomes),
        observed=torch.zeros(0, num_outcomes, dtype=torch.bool),
        out_of_time=steps,
        out_of_sequence=steps,
        infilled=steps,
        query_ids=none,
        num_classes=num_classes,
    )


def _of_all_ranks(joined: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The tables of all ranks, without the sequences that a sampler repeated."""
    if torch.distributed.get_world_size() == 1:
        return joined
    gathered = {
        name: torch.cat([part.cpu() for part in gather_all_tensors(value.to(device))]) for name, value in joined.items()
    }
    named = gathered["sequence_ids"] >= 0
    keys = torch.stack([gathered["sequence_ids"], gathered["time_ids"]], dim=1)[named]
    _, place = torch.unique(keys, dim=0, return_inverse=True)
    positions = torch.arange(len(place))
    first = torch.full((int(place.max()) + 1 if len(place) else 0,), len(place), dtype=torch.int64)
    first = first.scatter_reduce(0, place, positions, reduce="amin").sort().values
    index = torch.cat([named.nonzero().flatten()[first], (~named).nonzero().flatten()])
    return {name: value[index] for name, value in gathered.items()}
