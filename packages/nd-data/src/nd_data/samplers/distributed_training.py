"""Split any sampler over ranks for training: as many windows on every rank, and the batches of one process."""

from nd_data.samplers.rank_share import RankShare


class DistributedTrainingSamplerWrapper(RankShare):
    """Give rank r the windows r, r + n, r + 2n, … of a sampler, as many to every rank.

    What is left over once all ranks have as many, fewer windows than there are ranks, is left out of the epoch: with a
    random sampler others each time. So all ranks take as many steps, which training together needs, and the batches
    of B windows of n ranks hold together the windows that one process would have had in its batch of n · B.

    Args:
        sampler: The sampler to split. It must yield the same windows on every rank: give random ones the same seed.
        num_replicas: Number of ranks. May follow by `set_params`.
        rank: This rank. May follow by `set_params`.

    Raises:
        ValueError: one of the two without the other, or a rank that is not one of the replicas; or, when windows are
            drawn, fewer windows than ranks.

    Example:
        >>> from nd_data.samplers import SequentialFixedWindowSampler
        >>> windows = SequentialFixedWindowSampler({"a/1": [(0.0, 5.0)]}, 1.0)
        >>> [[index.start for index in DistributedTrainingSamplerWrapper(windows, 2, rank)] for rank in range(2)]
        [[0.0, 2.0], [1.0, 3.0]]
    """

    def _shared(self, total: int, num_replicas: int) -> int:
        if total < num_replicas:
            raise ValueError(
                f"{total} windows are too few to train on {num_replicas} ranks: use shorter windows, more data or "
                "fewer ranks"
            )
        return total - total % num_replicas
