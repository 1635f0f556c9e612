"""What every sampler shares: epochs that are pure functions of a seed, and a position that can be saved and taken up.

**How to resume in the middle of an epoch.** An epoch's windows and their order follow from the sampler's seed and the
number of the epoch alone, so three numbers say where a run stands: seed, epoch, and how much of the epoch was used. A
loader with workers draws ahead of what it hands over; what counts is what was handed over, and only the one who takes
batches knows that. Three ways to say it, from the most to the least comfortable:

- `nd_data.ResumableDataLoader` counts the batches it hands over. Save its ``state_dict()`` after a step, and load it
  into the loader of the next run before iterating. Lightning (2.6) does both by itself: the fit loop saves the state of
  every training loader that has ``state_dict`` and ``load_state_dict``, and loads it before the first batch when a run
  resumes within an epoch.
- Without workers, ``sampler.state_dict()`` after a step: what was drawn from it is what was used, if the batch size
  divides it.
- ``sampler.state_dict(consumed=windows)`` in any other loop that keeps count itself.

``epoch`` is the epoch of the next pass: every pass moves it on by one as its first item is drawn, `set_epoch` puts it
anywhere, and setting the epoch that a loaded state belongs to keeps its position. ``len`` is the length of a whole
epoch, also where a pass takes up the rest of one. A sampler can be pickled and copied at any time, its position
included.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import chain
from typing import Any, Protocol, TypeVar

import numpy as np
from torch.utils.data import Sampler

from nd_data.dataset_index import DatasetIndex
from nd_data.samplers.window_plan import DrawCount, WindowPlan

Drawn_co = TypeVar("Drawn_co", covariant=True)


class Plan(Protocol[Drawn_co]):
    """What is drawn in one epoch, in order."""

    def __len__(self) -> int: ...

    def draw(self, first: int = 0) -> tuple[Iterator[Iterator[Drawn_co]], DrawCount]:
        """Begin to draw, leaving some out at the beginning; returns what comes, in chunks, and the count of it."""


class ResumableSampler(Sampler[Drawn_co]):
    """A sampler whose epochs are plans, which can be left and taken up anywhere.

    A subclass has an attribute ``seed``, and says what an epoch is (`plan`) and what makes it the same sampler
    (`identity`).
    """

    seed: int = 0
    epoch: int = 0
    _lockstep: int = 1  # how many processes draw an epoch by turns, of which this is one
    _pass: tuple[int, DrawCount] | None = None  # the latest pass: its epoch, and what was drawn in it
    _resume_at: tuple[int, int] = (0, 0)  # a loaded position: epoch, and how much of it was used

    @abstractmethod
    def plan(self, epoch: int | None = None) -> Plan[Drawn_co]:
        """What is drawn in an epoch, in order; by default in that of the next pass."""

    @abstractmethod
    def identity(self) -> list[Any]:
        """What two samplers must have in common, besides the seed, to draw the same: numbers, strings and arrays."""

    def epoch_length(self, epoch: int) -> int:
        """How much is drawn in a whole epoch."""
        return len(self.plan(epoch))

    def __len__(self) -> int:
        return self.epoch_length(self.epoch)

    def __iter__(self) -> Iterator[Drawn_co]:
        # A pass begins when something is drawn: a DataLoader with workers makes two iterators and draws from one.
        return chain.from_iterable(self._begin_pass())

    def _begin_pass(self) -> Iterator[Iterator[Drawn_co]]:
        epoch = self.epoch
        chunks, count = self.plan(epoch).draw(self.position)
        self._pass = epoch, count
        self._resume_at = 0, 0
        self.epoch = epoch + 1
        yield from chunks

    @property
    def position(self) -> int:
        """How much of its epoch the next pass leaves out, because a loaded state says that it was used."""
        epoch, consumed = self._resume_at
        return consumed if epoch == self.epoch else 0

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass that of this epoch.

        Raises:
            ValueError: the epoch is negative.
        """
        epoch = int(epoch)
        if epoch < 0:
            raise ValueError(f"an epoch is 0 or more, got {epoch}")
        self.epoch = epoch

    def state_dict(self, *, epoch: int | None = None, consumed: int | None = None) -> dict[str, Any]:
        """Where to continue, as a dictionary of numbers and strings that JSON and ``torch.save`` can hold.

        Args:
            epoch: The epoch that is being used; that of the latest pass if absent.
            consumed: How much of that epoch was used, what came before an earlier resume included. By default all that
                was drawn from the latest pass, which is too much behind a loader that draws ahead.

        Raises:
            ValueError: more was used than there is.
        """
        latest = self._latest_pass()
        if epoch is None:
            epoch = self.epoch if latest is None else latest[0]
        if consumed is None:
            consumed = latest[1].drawn if latest is not None and latest[0] == epoch else self._position_in(epoch)
        length = self.epoch_length(epoch)
        if not 0 <= consumed <= length:
            raise ValueError(f"consumed must be from 0 to {length}, the length of epoch {epoch}, got {consumed}")
        if consumed == length and (length > 0 or latest is not None):
            epoch, consumed = epoch + 1, 0
        return {
            "sampler": type(self).__name__,
            "windows": self._fingerprint,
            "seed": self.seed,
            "epoch": epoch,
            "consumed": consumed,
            "num_replicas": self._lockstep,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where a state says: the next pass draws what was not used of that epoch.

        The seed of the state replaces this sampler's. Of a sampler that is shared out over ranks by turns, the state of
        one rank serves all of them, and other numbers of ranks where they meet at that position.

        Args:
            state_dict: What `state_dict` of a sampler over the same windows returned.

        Raises:
            ValueError: it is no such state, or comes from a sampler over other windows.
        """
        expected = {"sampler", "windows", "seed", "epoch", "consumed", "num_replicas"}
        if not expected <= set(state_dict):
            raise ValueError(
                f"this is not the state of a sampler: expected the keys {sorted(expected)}, got {sorted(state_dict)}"
            )
        if state_dict["sampler"] != type(self).__name__ or state_dict["windows"] != self._fingerprint:
            raise ValueError(
                f"the state was saved by a {state_dict['sampler']} over other windows than this {type(self).__name__} "
                "draws: recordings, intervals, lengths and weights must be those of the run that is resumed. To go on "
                "with other data at the start of an epoch, call set_epoch instead"
            )
        used_by_all = int(state_dict["consumed"]) * int(state_dict["num_replicas"])
        if used_by_all < 0 or used_by_all % self._lockstep:
            raise ValueError(
                f"the state stands after {state_dict['consumed']} of the epoch on each of {state_dict['num_replicas']} "
                f"ranks, which {self._lockstep} ranks cannot share evenly: resume with as many ranks as before, or at "
                "the start of an epoch by set_epoch"
            )
        self.seed = int(state_dict["seed"])
        self._pass = None
        self.set_epoch(state_dict["epoch"])
        self._resume_at = self.epoch, used_by_all // self._lockstep

    def _latest_pass(self) -> tuple[int, DrawCount] | None:
        # Over once the epoch was set to another one than that pass left behind.
        latest = self._pass
        return latest if latest is not None and self.epoch in (latest[0], latest[0] + 1) else None

    def _position_in(self, epoch: int) -> int:
        return self._resume_at[1] if self._resume_at[0] == epoch else 0

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for part in self.identity():
            content = np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else repr(part).encode()
            digest.update(len(content).to_bytes(8, "little") + content)
        return digest.hexdigest()


class ResumableWindowSampler(ResumableSampler[DatasetIndex]):
    """A resumable sampler of single windows."""

    @abstractmethod
    def plan(self, epoch: int | None = None) -> WindowPlan:
        """The windows of an epoch in the order they are drawn; by default those of the next pass."""


def epoch_generator(seed: int, epoch: int, *purpose: int) -> np.random.Generator:
    """The generator of one epoch.

    Args:
        seed: The sampler's.
        epoch: 0 or more.
        purpose: Tells generators for several uses in one epoch apart.
    """
    return np.random.default_rng((seed, epoch, *purpose))
