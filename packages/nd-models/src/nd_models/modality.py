"""What a readout predicts: its specification, and the registry of named ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from torch import nn

from nd_models.builtin_modalities import BUILTIN_MODALITIES
from nd_models.loss import BinaryCrossEntropyLoss, CrossEntropyLoss, Loss, MSELoss, MultilabelCrossEntropyLoss


class DataType(Enum):
    """Kind of a readout's values."""

    CONTINUOUS = 0
    """Real numbers, one a channel."""
    BINARY = 1
    """0 or 1."""
    MULTINOMIAL = 2
    """One class of several: integer class indices as targets, logits as predictions."""
    MULTILABEL = 3
    """Any subset of several labels: 0 or 1 for each."""


@dataclass(frozen=True)
class ModalitySpec:
    """Specification of one readout.

    Attributes:
        id: Number of the modality, 1 or more; 0 means padding in a batch.
        dim: Number of channels or classes that the readout predicts.
        type: Kind of the values.
        timestamp_key: Where a recording keeps the times, for example `cursor.timestamps`.
        value_key: Where it keeps the values, for example `cursor.vel`.
        loss_fn: Module called as `(input, target, weights)`.

    Raises:
        TypeError: an attribute has the wrong type.
        ValueError: `id` or `dim` is below 1.

    >>> from nd_models.loss import MSELoss
    >>> ModalitySpec(id=1, dim=2, type=DataType.CONTINUOUS, timestamp_key="cursor.timestamps",
    ...              value_key="cursor.vel", loss_fn=MSELoss()).dim
    2
    """

    id: int
    dim: int
    type: DataType
    timestamp_key: str
    value_key: str
    loss_fn: nn.Module

    def __post_init__(self) -> None:
        expected = {
            "id": int,
            "dim": int,
            "type": DataType,
            "timestamp_key": str,
            "value_key": str,
            "loss_fn": nn.Module,
        }
        for name, kind in expected.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"ModalitySpec: {name} must be of type {kind.__name__}, got {value!r}")
        if self.id < 1:
            raise ValueError(f"ModalitySpec: id must be 1 or more (0 means padding), got {self.id}")
        if self.dim < 1:
            raise ValueError(f"ModalitySpec: dim must be 1 or more, got {self.dim}")


DEFAULT_LOSSES: dict[DataType, type[Loss]] = {
    DataType.CONTINUOUS: MSELoss,
    DataType.BINARY: BinaryCrossEntropyLoss,
    DataType.MULTINOMIAL: CrossEntropyLoss,
    DataType.MULTILABEL: MultilabelCrossEntropyLoss,
}
"""The loss of each kind of values, where nobody names another."""

MODALITY_REGISTRY: dict[str, ModalitySpec] = {
    name: ModalitySpec(
        id=number,
        dim=dim,
        type=DataType[type_name],
        timestamp_key=f"{group}.timestamps",
        value_key=f"{group}.{values}",
        loss_fn=DEFAULT_LOSSES[DataType[type_name]](),
    )
    for number, (name, dim, type_name, group, values) in enumerate(BUILTIN_MODALITIES, start=1)
}
"""Every modality that has a name. Grows with `register_modality`."""


def register_modality(
    name: str,
    *,
    dim: int,
    type: DataType,  # noqa: A002 - the field's name
    timestamp_key: str,
    value_key: str,
    loss_fn: nn.Module | None = None,
) -> int:
    """Give a modality a name, so that configurations and models can refer to it.

    Args:
        name: A name not yet taken.
        dim: Number of channels or classes.
        type: Kind of the values.
        timestamp_key: Where a recording keeps the times.
        value_key: Where it keeps the values.
        loss_fn: Module called as `(input, target, weights)`; None for the one that `DEFAULT_LOSSES` has for the type.

    Returns:
        The id of the new modality: one above the highest.

    Raises:
        ValueError: the name is taken.
    """
    if name in MODALITY_REGISTRY:
        raise ValueError(f"modality {name!r} is already registered, with id {MODALITY_REGISTRY[name].id}")
    if loss_fn is None:
        loss_fn = DEFAULT_LOSSES[type]()
    number = max((spec.id for spec in MODALITY_REGISTRY.values()), default=0) + 1
    MODALITY_REGISTRY[name] = ModalitySpec(
        id=number, dim=dim, type=type, timestamp_key=timestamp_key, value_key=value_key, loss_fn=loss_fn
    )
    return number


def get_modality_by_id(modality_id: int) -> str:
    """The name of the registered modality with this id.

    Raises:
        KeyError: no modality has it.

    >>> get_modality_by_id(1)
    'cursor_velocity_2d'
    """
    for name, spec in MODALITY_REGISTRY.items():
        if spec.id == modality_id:
            return name
    highest = max((spec.id for spec in MODALITY_REGISTRY.values()), default=0)
    raise KeyError(f"no modality has id {modality_id}; ids run from 1 to {highest}")


def check_readout_specs(readout_specs: Mapping[str, ModalitySpec]) -> None:
    """Refuse readouts that could not be told apart in a batch.

    Raises:
        TypeError: a value is not a `ModalitySpec`.
        ValueError: two readouts share an id.
    """
    names_by_id: dict[int, str] = {}
    for name, spec in readout_specs.items():
        if not isinstance(spec, ModalitySpec):
            raise TypeError(f"readout {name!r} must be a ModalitySpec, got {spec!r}")
        other = names_by_id.setdefault(spec.id, name)
        if other != name:
            raise ValueError(f"readouts {other!r} and {name!r} share the id {spec.id}; each needs its own")
