"""Split any sampler over ranks for evaluation: every window on exactly one rank, none dropped, none repeated."""

from collections.abc import Iterator
from itertools import islice

from torch.utils.data import DistributedSampler, Sampler

from nd_data.dataset_index import DatasetIndex


class DistributedEvaluationSamplerWrapper(DistributedSampler[DatasetIndex]):
    """Give rank r the windows r, r + n, r + 2n, … of a sampler.

    torch's own distributed sampler repeats windows until all ranks have as many, which biases a metric. Here ranks may
    differ by one window, so nothing may wait for the other ranks between batches.

    It is a `DistributedSampler` only so that Lightning sees that the windows are already split.

    Args:
        sampler: The sampler to split. It must yield the same windows on every rank: give random ones the same seed.
        num_replicas: Number of ranks. May follow by `set_params`.
        rank: This rank. May follow by `set_params`.

    Example:
        >>> from nd_data.samplers import SequentialFixedWindowSampler
        >>> windows = SequentialFixedWindowSampler({"a/1": [(0.0, 5.0)]}, 1.0)
        >>> wrapper = DistributedEvaluationSamplerWrapper(windows, num_replicas=2, rank=1)
        >>> len(wrapper), [index.start for index in wrapper]
        (2, [1.0, 3.0])
    """

    def __init__(
        self, sampler: Sampler[DatasetIndex], num_replicas: int | None = None, rank: int | None = None
    ) -> None:
        self.sampler = sampler
        self.shuffle = False
        self.drop_last = False
        self.epoch = 0
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
        num_replicas, rank = self._params()
        return len(range(rank, self._total(), num_replicas))

    def __len__(self) -> int:
        return self._total() if self.rank is None else self.rank_len()

    def __iter__(self) -> Iterator[DatasetIndex]:
        num_replicas, rank = self._params()
        return islice(iter(self.sampler), rank, None, num_replicas)

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on to the wrapped sampler."""
        self.epoch = epoch
        set_epoch = getattr(self.sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)

    def _total(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]  # torch leaves __len__ out of Sampler on purpose

    def _params(self) -> tuple[int, int]:
        if self.num_replicas is None or self.rank is None:
            raise ValueError(
                "DistributedEvaluationSamplerWrapper does not know its rank: pass num_replicas and rank, or call "
                "set_params(num_replicas, rank) before drawing windows"
            )
        return self.num_replicas, self.rank


def check_rank(num_replicas: int, rank: int) -> None:
    """Refuse a rank that is not one of ``num_replicas``.

    Raises:
        ValueError: it is not.
    """
    if num_replicas < 1 or not 0 <= rank < num_replicas:
        raise ValueError(f"rank must be in [0, {num_replicas - 1}] for num_replicas={num_replicas}, got rank={rank}")
