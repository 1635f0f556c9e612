"""One rank's share of the windows of another sampler: rank r takes each n-th window from the r-th on."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import DistributedSampler, Sampler

from nd_data.dataset_index import DatasetIndex
from nd_data.samplers.ranks import check_rank
from nd_data.samplers.resumable import ResumableWindowSampler
from nd_data.samplers.window_plan import WindowPlan


class RankShare(ResumableWindowSampler, DistributedSampler[DatasetIndex]):
    """What the wrappers for several ranks share.

    It is a `DistributedSampler` only so that Lightning sees that the windows are already split. Epoch, seed and
    randomness are those of the wrapped sampler. One that is not of `nd_data.samplers` works too, but cannot be resumed.

    Args:
        sampler: The sampler to split. It must yield the same windows on every rank: give random ones the same seed.
        num_replicas: Number of ranks. May follow by `set_params`.
        rank: This rank. May follow by `set_params`.

    Raises:
        ValueError: one of the two without the other, or a rank that is not one of the replicas.
    """

    def __init__(
        self, sampler: Sampler[DatasetIndex], num_replicas: int | None = None, rank: int | None = None
    ) -> None:
        self.sampler = sampler
        self.shuffle = False
        self.drop_last = False
        self._epoch_of_foreign = 0
        self.num_replicas: int | None = None  # type: ignore[assignment]  # torch's is never unknown
        self.rank: int | None = None  # type: ignore[assignment]
        if num_replicas is not None and rank is not None:
            self.set_params(num_replicas, rank)
        elif (num_replicas is None) != (rank is None):
            raise ValueError(
                f"num_replicas and rank go together, got num_replicas={num_replicas} and rank={rank}; "
                "give both, or neither and call set_params later"
            )

    def set_params(self, num_replicas: int, rank: int) -> None:
        """Say how many ranks there are and which one this is.

        Raises:
            ValueError: the rank is not one of them.
        """
        check_rank(num_replicas, rank)
        self.num_replicas, self.rank = num_replicas, rank

    def rank_len(self) -> int:
        """Number of windows of this rank.

        Raises:
            ValueError: the rank is not known yet.
        """
        return self.epoch_length(self.epoch)

    def __len__(self) -> int:
        return self._total(self.epoch) if self.rank is None else self.rank_len()

    def __iter__(self) -> Iterator[DatasetIndex]:
        rows = self._rows(self.epoch)
        if isinstance(self.sampler, ResumableWindowSampler):
            return super().__iter__()
        return islice(iter(self.sampler), rows.start, rows.stop, rows.step)

    def plan(self, epoch: int | None = None) -> WindowPlan:
        """The windows of this rank in an epoch, in the order they are drawn; by default those of the next pass.

        Raises:
            ValueError: the rank is not known yet.
            TypeError: the wrapped sampler is not one of `nd_data.samplers`.
        """
        epoch = self.epoch if epoch is None else epoch
        return self._resumable().plan(epoch).take(self._rows(epoch))

    def epoch_length(self, epoch: int) -> int:
        """Number of windows of this rank in an epoch."""
        rows = self._rows(epoch)
        return len(range(rows.start, rows.stop, rows.step))

    @property
    def epoch(self) -> int:
        """The epoch of the next pass."""
        return int(getattr(self.sampler, "epoch", self._epoch_of_foreign))

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch_of_foreign = epoch
        set_epoch = getattr(self.sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)

    @property
    def seed(self) -> int:
        """The seed of the wrapped sampler."""
        return self._resumable().seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._resumable().seed = seed

    @property
    def _lockstep(self) -> int:  # type: ignore[override]  # read-only here
        return self._params()[0]

    def _rows(self, epoch: int) -> slice:
        num_replicas, rank = self._params()
        return slice(rank, max(rank, self._shared(self._total(epoch), num_replicas)), num_replicas)

    def _shared(self, total: int, num_replicas: int) -> int:
        """How many of the windows, from the first, are shared out."""
        del num_replicas
        return total

    def _total(self, epoch: int) -> int:
        if isinstance(self.sampler, ResumableWindowSampler):
            return self.sampler.epoch_length(epoch)
        return len(self.sampler)  # type: ignore[arg-type]  # torch leaves __len__ out of Sampler on purpose

    def _params(self) -> tuple[int, int]:
        if self.num_replicas is None or self.rank is None:
            raise ValueError(
                f"{type(self).__name__} does not know its rank: pass num_replicas and rank, or call "
                "set_params(num_replicas, rank) before drawing windows"
            )
        return self.num_replicas, self.rank

    def _resumable(self) -> ResumableWindowSampler:
        if not isinstance(self.sampler, ResumableWindowSampler):
            raise TypeError(
                f"a {type(self.sampler).__name__} cannot be resumed within an epoch; the samplers of nd_data.samplers "
                "can"
            )
        return self.sampler

    def identity(self) -> list[Any]:
        """What two of these must have in common, besides the seed, to draw the same."""
        inner = self._resumable()
        return [type(inner).__name__, *inner.identity()]
