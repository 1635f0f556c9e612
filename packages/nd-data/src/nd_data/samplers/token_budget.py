"""Batches of as many windows as fit into a budget of tokens, so that memory is even and little of it is padding.

Shape legend: W windows of an epoch, B batches of it.
"""

import logging
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nd_data.dataset_index import DatasetIndex
from nd_data.samplers.budget_batches import batch_ends, split_largest
from nd_data.samplers.ranks import check_rank
from nd_data.samplers.resumable import ResumableSampler, ResumableWindowSampler, epoch_generator
from nd_data.samplers.token_counts import OpensRecordings, SpikeCounts, TokenCounts
from nd_data.samplers.window_plan import DrawCount, WindowPlan

logger = logging.getLogger(__name__)

_PURPOSE = 1  # tells the generator of batches from that of windows


class BatchPlan:
    """The batches of one epoch, in the order they are drawn.

    Args:
        windows: The windows of the epoch.
        batches: Positions of windows in ``windows`` for each batch.
    """

    def __init__(self, windows: WindowPlan, batches: list[NDArray[np.int64]]) -> None:
        self.windows = windows
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def draw(self, first: int = 0) -> tuple[Iterator[Iterator[list[DatasetIndex]]], DrawCount]:
        """Begin to draw batches, leaving ``first`` of them out; returns them, in one chunk, and how many were drawn."""
        first = min(first, len(self))
        count = DrawCount(first)
        rest = iter(self.batches[first:])
        count.begin_chunk(len(self), rest)
        return iter([map(self.windows.indices, rest)]), count


class TokenBudgetBatchSampler(ResumableSampler[list[DatasetIndex]]):
    """Draw the windows of a sampler in batches that hold at most so many tokens.

    Give it to a loader as ``batch_sampler``. Every window of the sampler's epoch comes in exactly one batch.

    Windows of similar length go together: as many windows as fill ``pool_size`` batches, in the sampler's order, are
    sorted by their number of tokens and cut into batches, and the batches of the epoch are then shuffled. So which
    windows meet in a batch changes with the sampler's order, and long batches do not come before or after short ones. A
    window that exceeds the budget by itself forms a batch of its own, as leaving it out would bias what is trained on;
    the first time that happens the log says so.

    The number of batches depends on where the windows of an epoch fall. ``len`` is that of the next pass, and exact; it
    costs counting the tokens of that epoch's windows, which is done once an epoch. What reads it only once for all
    epochs, as Lightning's fit loop does, should make its loaders anew every epoch
    (``reload_dataloaders_every_n_epochs=1``), or get ``batches_per_epoch``.

    Over several ranks, every rank makes the same batches and takes each n-th. Give all ranks a sampler that is *not*
    split, with the same seed: then they take equally many steps (where the number of batches is no multiple of the
    ranks', the largest ones are split in two). Lightning must be told not to split it again
    (``use_distributed_sampler=False``).

    Epoch, seed, `state_dict` and `load_state_dict` are as for the windows' samplers, with batches for windows; see
    `nd_data.samplers.resumable`.

    Args:
        sampler: The windows; a sampler of `nd_data.samplers`.
        tokens: What counts the tokens of windows: the dataset (its spikes, by `SpikeCounts`), or a function from the
            windows of an epoch, a `WindowPlan`, to their numbers of tokens, int64 of shape (W,).
        max_tokens: The budget of a batch.
        budget: What the budget bounds: "padded", the number of windows times the longest of them, rounded up to
            ``pad_to``, which is what `nd_data.pad8` makes of it; or "sum", the tokens alone, for models that pack them.
        pad_to: Lengths are rounded up to a multiple of this; 8 as in `nd_data.pad8`. Only for "padded".
        max_windows: No batch holds more windows than this.
        pool_size: How many batches' worth of windows are sorted together: more means less padding and less chance. 0
            leaves windows and batches in the sampler's order.
        batches_per_epoch: At least so many batches in every epoch, on each rank: where there would be fewer, the
            largest are split. More than the usual number by a few per cent makes all epochs as long.
        num_replicas: Number of ranks.
        rank: This rank.

    Raises:
        TypeError: the sampler is not one of `nd_data.samplers`.
        ValueError: a budget below 1, or a rank that is not one of the replicas; or, when batches are made, fewer
            windows than batches that are wanted.

    Example:
        >>> from nd_data.samplers import SequentialFixedWindowSampler
        >>> windows = SequentialFixedWindowSampler({"a/1": [(0.0, 6.0)]}, 1.0)
        >>> def tokens(plan):
        ...     return np.array([10, 3, 9, 2, 4, 30])
        >>> batches = TokenBudgetBatchSampler(windows, tokens, 20, budget="sum", pool_size=0)
        >>> [[index.start for index in batch] for batch in batches]
        [[0.0, 1.0], [2.0, 3.0, 4.0], [5.0]]
    """

    _lockstep: int

    def __init__(
        self,
        sampler: ResumableWindowSampler,
        tokens: OpensRecordings | TokenCounts,
        max_tokens: int,
        *,
        budget: Literal["padded", "sum"] = "padded",
        pad_to: int = 8,
        max_windows: int | None = None,
        pool_size: int = 50,
        batches_per_epoch: int | None = None,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        if not isinstance(sampler, ResumableWindowSampler):
            raise TypeError(f"expected a sampler of nd_data.samplers, got {type(sampler).__name__}")
        smallest = {"max_tokens": max_tokens, "pad_to": pad_to, "num_replicas": num_replicas}
        smallest |= {} if max_windows is None else {"max_windows": max_windows}
        for name, value in smallest.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if pool_size < 0:
            raise ValueError(f"pool_size must be 0 or more, got {pool_size}")
        if budget not in ("padded", "sum"):
            raise ValueError(f"budget must be 'padded' or 'sum', got {budget!r}")
        check_rank(num_replicas, rank)
        self.sampler = sampler
        self.tokens: TokenCounts = tokens if callable(tokens) else SpikeCounts(tokens)
        self.max_tokens = max_tokens
        self.budget = budget
        self.pad_to = pad_to
        self.max_windows = max_windows
        self.pool_size = pool_size
        self.batches_per_epoch = batches_per_epoch
        self.num_replicas = self._lockstep = num_replicas
        self.rank = rank
        self._made: tuple[tuple[int, int], BatchPlan] | None = None  # for which seed and epoch, and what
        self._has_warned = False

    @property
    def epoch(self) -> int:
        """The epoch of the next pass, which is that of the windows' sampler."""
        return self.sampler.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)

    @property
    def seed(self) -> int:
        """The seed of the windows' sampler."""
        return self.sampler.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self.sampler.seed = seed

    def plan(self, epoch: int | None = None) -> BatchPlan:
        """The batches of this rank in an epoch, in the order they are drawn; by default those of the next pass.

        Raises:
            ValueError: fewer windows than batches that are wanted.
        """
        epoch = self.epoch if epoch is None else epoch
        if self._made is None or self._made[0] != (self.seed, epoch):
            self._made = (self.seed, epoch), self._make(epoch)
        return self._made[1]

    def _make(self, epoch: int) -> BatchPlan:
        windows = self.sampler.plan(epoch)
        tokens = np.asarray(self.tokens(windows), dtype=np.int64)
        if tokens.shape != (len(windows),):
            raise ValueError(f"tokens gave counts of shape {tokens.shape} for {len(windows)} windows")
        if self.budget == "padded":
            tokens = -(-tokens // self.pad_to) * self.pad_to
        self._warn_of_oversized(tokens)
        rng = epoch_generator(self.seed, epoch, _PURPOSE)
        order = self._sorted_in_pools(tokens)
        ends = batch_ends(tokens[order], self.max_tokens, padded=self.budget == "padded", max_windows=self.max_windows)
        batches = np.split(order, ends[:-1]) if len(ends) else []
        wanted = max(len(batches), (self.batches_per_epoch or 0) * self.num_replicas)
        wanted = -(-wanted // self.num_replicas) * self.num_replicas
        batches = split_largest(batches, wanted)
        if self.pool_size:
            batches = [batches[place] for place in rng.permutation(len(batches))]
        else:
            batches.sort(key=lambda batch: int(batch[0]))
        return BatchPlan(windows, batches[self.rank :: self.num_replicas])

    def _sorted_in_pools(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        order = np.arange(len(tokens), dtype=np.int64)
        if not self.pool_size or len(tokens) == 0:
            return order
        in_a_batch = self.max_tokens / max(float(tokens.mean()), 1.0)
        if self.max_windows is not None:
            in_a_batch = min(in_a_batch, self.max_windows)
        pool = order // max(1, round(self.pool_size * in_a_batch))
        # Every other pool runs from long to short, so that no batch holds the ends of two.
        return np.lexsort((np.where(pool % 2 == 0, tokens, -tokens), pool))

    def _warn_of_oversized(self, tokens: NDArray[np.int64]) -> None:
        oversized = tokens > self.max_tokens
        if oversized.any() and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%d of %d windows exceed the budget of %d tokens by themselves, the longest has %d: each is a batch of "
                "its own",
                int(oversized.sum()),
                len(tokens),
                self.max_tokens,
                int(tokens.max()),
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}

    def identity(self) -> list[Any]:
        """What two of these must have in common, besides the seed, to draw the same."""
        settings = [self.max_tokens, self.budget, self.pad_to, self.max_windows, self.pool_size, self.batches_per_epoch]
        return [*settings, type(self.sampler).__name__, *self.sampler.identity()]
