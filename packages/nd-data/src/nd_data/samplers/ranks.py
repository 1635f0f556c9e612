"""Which of several processes this is, and which share of a whole is its own."""

import torch


def check_rank(num_replicas: int, rank: int) -> None:
    """Refuse a rank that is not one of ``num_replicas``.

    Raises:
        ValueError: it is not.
    """
    if num_replicas < 1 or not 0 <= rank < num_replicas:
        raise ValueError(f"rank must be in [0, {num_replicas - 1}] for num_replicas={num_replicas}, got rank={rank}")


def known_rank(num_replicas: int | None, rank: int | None) -> tuple[int, int]:
    """Number of ranks and this rank: as given, else torch.distributed's where it is initialised, else 1 and 0.

    Raises:
        ValueError: the rank is not one of them.
    """
    if num_replicas is None:
        num_replicas = torch.distributed.get_world_size() if _is_initialised() else 1
    if rank is None:
        rank = torch.distributed.get_rank() if _is_initialised() else 0
    check_rank(num_replicas, rank)
    return num_replicas, rank


def contiguous_share(total: int, num_replicas: int, rank: int) -> tuple[int, int]:
    """Begin and end of a rank's share of a row of things: all shares alike within one, the larger ones first.

    Example:
        >>> [contiguous_share(7, 3, rank) for rank in range(3)]
        [(0, 3), (3, 5), (5, 7)]
    """
    whole, rest = divmod(total, num_replicas)
    begin = rank * whole + min(rank, rest)
    return begin, begin + whole + (rank < rest)


def share_of_whole_batches(total: int, batch_size: int, num_replicas: int, rank: int) -> tuple[int, int]:
    """Begin and end of a rank's share of a row of things that are used in batches: as many whole batches to each rank.

    Where they do not share out evenly, a rank has the last batch of the rank before it as well.

    Example:
        >>> [share_of_whole_batches(19, 4, 3, rank) for rank in range(3)]
        [(0, 8), (8, 16), (12, 19)]
    """
    batches = -(-total // batch_size)
    _, end = contiguous_share(batches, num_replicas, rank)
    begin = end - -(-batches // num_replicas)
    return begin * batch_size, min(end * batch_size, total)


def _is_initialised() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
