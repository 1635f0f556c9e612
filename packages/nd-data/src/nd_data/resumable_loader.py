"""A DataLoader that knows how far the epoch was used, and goes on from there in another process.

See `nd_data.samplers.resumable` for the whole picture.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader

from nd_data.samplers.resumable import ResumableSampler

Item_co = TypeVar("Item_co", covariant=True)


class ResumableDataLoader(DataLoader[Item_co]):
    """A `torch.utils.data.DataLoader` whose position within an epoch can be saved and taken up, workers or not.

    It takes torch's arguments, with a sampler (or batch sampler) of `nd_data.samplers`, and yields the same batches.
    It counts the batches that it hands over, so what workers have prefetched is not lost. Three more things differ:

    - A pass begins when its first batch is asked for, not when ``iter`` is called; until then `set_epoch` of the
      sampler and `load_state_dict` still count. Lightning makes its iterators before it says which epoch it is.
    - Workers are seeded by the sampler's seed and the epoch, unless a ``generator`` is given. So loading draws nothing
      from torch's default generator, and a model's dropout stays the same when a run resumes.
    - ``len`` is the number of batches of a whole epoch, also where a pass takes up the rest of one.

    Batches of the resumed epoch are the very same if transforms draw from `nd_data.transforms.RandomStream`, as those
    of nd_data do. A transform that draws from global generators of its worker cannot be resumed within an epoch.

    Example:
        >>> from nd_data.samplers import RandomFixedWindowSampler
        >>> class Names(torch.utils.data.Dataset):
        ...     def __getitem__(self, index):
        ...         return index.start
        >>> def loader():
        ...     sampler = RandomFixedWindowSampler({"a/1": [(0.0, 9.0)]}, 1.0, generator=torch.Generator())
        ...     return ResumableDataLoader(Names(), sampler=sampler, batch_size=2, collate_fn=list)
        >>> whole = list(loader())
        >>> first, second = loader(), loader()
        >>> used = next(iter(first))
        >>> second.load_state_dict(first.state_dict())
        >>> [used, *second] == whole
        True
    """

    _handed_out: int = 0
    _pass: tuple[int, int] | None = None  # epoch of the latest pass, and how much of it was used before
    _is_over: bool = False
    _running: object = None  # the pass in progress
    _seeds_workers: bool = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch returns a class of its own
        return self._batches()

    def __len__(self) -> int:
        # Epochs of a batch sampler may differ in length: within a pass, that of the pass is meant.
        if self._running is not None and self._pass is not None and isinstance(self.batch_sampler, ResumableSampler):
            return self.batch_sampler.epoch_length(self._pass[0])
        return super().__len__()

    @property
    def batches_used(self) -> int:
        """How many batches of the epoch were used: handed over, or used before the run was resumed."""
        sampler = self._resumable()
        used = sampler.position if self._pass is None else self._pass[1] + self._handed_out * self._batch_length()
        return -(-used // self._batch_length())

    def state_dict(self) -> dict[str, Any]:
        """Where to continue after the batches that were handed over: numbers and strings for JSON or ``torch.save``.

        Call it when the last batch was used, as after an optimizer step.

        Raises:
            TypeError: the sampler is not one of `nd_data.samplers`.
        """
        sampler = self._resumable()
        if self._pass is None or sampler.epoch not in (self._pass[0], self._pass[0] + 1):
            return sampler.state_dict(epoch=sampler.epoch, consumed=sampler.position)
        epoch, before = self._pass
        length = sampler.epoch_length(epoch)
        used = min(before + self._handed_out * self._batch_length(), length)
        if self._is_over or (self.drop_last and length - used < self._batch_length()):
            used = length
        return sampler.state_dict(epoch=epoch, consumed=used)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where a state says: the next pass yields the rest of its epoch.

        Args:
            state_dict: What `state_dict` returned, of a loader over the same windows.

        Raises:
            TypeError: the sampler is not one of `nd_data.samplers`.
            ValueError: the state is not one of a sampler over the same windows.
        """
        self._resumable().load_state_dict(state_dict)
        self._pass, self._handed_out, self._is_over = None, 0, False

    def _batches(self) -> Iterator[Any]:
        if not self.in_order:
            raise ValueError(
                "a ResumableDataLoader needs in_order=True: batches that overtake each other cannot be counted"
            )
        sampler = self._index_source()
        if not isinstance(sampler, ResumableSampler):
            yield from super().__iter__()
            return
        self._seed_workers(sampler)
        self._pass, self._handed_out, self._is_over = (sampler.epoch, sampler.position), 0, False
        self._running = this_pass = object()
        try:
            for batch in super().__iter__():
                self._handed_out += 1
                yield batch
            self._is_over = True
        finally:
            if self._running is this_pass:
                self._running = None

    def _seed_workers(self, sampler: ResumableSampler[Any]) -> None:
        if self.generator is None or self._seeds_workers:
            self._seeds_workers = True
            words = np.random.SeedSequence((sampler.seed, sampler.epoch, sampler.position)).generate_state(1, np.uint64)
            self.generator = torch.Generator().manual_seed(int(words[0] >> 1))

    def _index_source(self) -> object:
        sampler = self.sampler if self.batch_sampler is None else self.batch_sampler
        return sampler.sampler if isinstance(sampler, BatchSampler) else sampler

    def _resumable(self) -> ResumableSampler[Any]:
        sampler = self._index_source()
        if not isinstance(sampler, ResumableSampler):
            raise TypeError(
                f"the position within an epoch is known for samplers of nd_data.samplers only, got "
                f"{type(sampler).__name__}. Where Lightning put its own in place for several processes, wrap yours in "
                "DistributedTrainingSamplerWrapper"
            )
        return sampler

    def _batch_length(self) -> int:
        return self.batch_sampler.batch_size if isinstance(self.batch_sampler, BatchSampler) else 1
