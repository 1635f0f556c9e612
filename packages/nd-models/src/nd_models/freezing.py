"""Unfreezing step by step: which parts of a model learn from which epoch on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from nd_models.decoder_model import DecoderModel
from nd_models.trainable_parts import set_trainable


@dataclass(frozen=True)
class UnfreezingSchedule:
    """What learns from which epoch on. It has no state: what learns follows from the epoch alone, also after a resume.

    Count steps in place of epochs by handing over steps.

    Attributes:
        stages: Pairs of an epoch and the parts that learn from then on, besides those of earlier stages; epochs rise.

    Raises:
        ValueError: no stage, or epochs that do not rise from 0 or later.

    >>> schedule = UnfreezingSchedule(((0, ("unit_emb", "session_emb")), (5, ("readout",)), (8, ("dec_atn",))))
    >>> schedule.trainable_parts(6)
    ('unit_emb', 'session_emb', 'readout')
    """

    stages: tuple[tuple[int, tuple[str, ...]], ...]

    def __post_init__(self) -> None:
        epochs = [epoch for epoch, _ in self.stages]
        if not epochs or epochs[0] < 0 or any(later <= earlier for earlier, later in pairwise(epochs)):
            raise ValueError(f"an unfreezing schedule needs stages at rising epochs from 0 on, got epochs {epochs}")

    def trainable_parts(self, epoch: int) -> tuple[str, ...]:
        """The parts that learn in an epoch, in the order in which they began to."""
        return tuple(part for start, parts in self.stages if start <= epoch for part in parts)

    def apply(self, model: nn.Module, epoch: int) -> bool:
        """Set `requires_grad` of every parameter of a model for an epoch.

        Parameters without a gradient are passed over by optimizers, so that one optimizer over all of them serves the
        whole run. (DistributedDataParallel wants to know beforehand: build it with find_unused_parameters=True and all
        parameters trainable.)

        Returns:
            Whether anything changed.

        Raises:
            KeyError: a part does not exist.
        """
        before = [parameter.requires_grad for parameter in model.parameters()]
        set_trainable(model, self.trainable_parts(epoch))
        return before != [parameter.requires_grad for parameter in model.parameters()]

    @property
    def last_change(self) -> int:
        """The epoch from which on everything that ever learns does."""
        return self.stages[-1][0]


def gradual_unfreezing(
    model: DecoderModel, *, every: int, first: int | None = None, groups: Sequence[Sequence[str]] | None = None
) -> UnfreezingSchedule:
    """First the embeddings of units and sessions and the readout, then the backbone, from there back to the spikes.

    Args:
        model: The model whose parts are to be unfrozen; it is not changed.
        every: Epochs between one group and the next.
        first: Epoch at which the first group of the backbone begins to learn; `every` where None.
        groups: Parts of the backbone in the order in which they begin to learn; `model.backbone_parts` where None.

    Raises:
        ValueError: `every` is below 1 or `first` below 0.

    >>> from nd_models import model_from_config
    >>> model = model_from_config({"architecture": "MLPDecoder", "sequence_length": 1.0, "bin_size": 0.1, "dim": 8,
    ...                            "depth": 2, "readout_specs": ["running_speed"]})
    >>> gradual_unfreezing(model, every=3).stages
    ((0, ('unit_emb', 'session_emb', 'readout')), (3, ('layers.1',)), (6, ('layers.0',)))
    """
    first = every if first is None else first
    if every < 1 or first < 0:
        raise ValueError(f"expected every >= 1 and first >= 0 epochs, got every={every}, first={first}")
    chosen = [(part,) for part in model.backbone_parts] if groups is None else [tuple(group) for group in groups]
    stages: dict[int, tuple[str, ...]] = {0: model.embedding_parts + model.readout_parts}
    for number, group in enumerate(chosen):
        epoch = first + number * every
        stages[epoch] = stages.get(epoch, ()) + group
    return UnfreezingSchedule(tuple(stages.items()))
