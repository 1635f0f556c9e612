"""Split any sampler over ranks for evaluation: every window on exactly one rank, none dropped, none repeated."""

from nd_data.samplers.rank_share import RankShare


class DistributedEvaluationSamplerWrapper(RankShare):
    """Give rank r the windows r, r + n, r + 2n, … of a sampler, and leave none out.

    torch's own distributed sampler repeats windows until all ranks have as many, which biases a metric. Here ranks may
    differ by one window, so nothing may wait for the other ranks between batches. For training, where ranks do wait,
    use `DistributedTrainingSamplerWrapper`.

    Args:
        sampler: The sampler to split. It must yield the same windows on every rank: give random ones the same seed.
        num_replicas: Number of ranks. May follow by `set_params`.
        rank: This rank. May follow by `set_params`.

    Raises:
        ValueError: one of the two without the other, or a rank that is not one of the replicas.

    Example:
        >>> from nd_data.samplers import SequentialFixedWindowSampler
        >>> windows = SequentialFixedWindowSampler({"a/1": [(0.0, 5.0)]}, 1.0)
        >>> wrapper = DistributedEvaluationSamplerWrapper(windows, num_replicas=2, rank=1)
        >>> len(wrapper), [index.start for index in wrapper]
        (2, [1.0, 3.0])
    """
