"""What a readout predicts: its specification, and the registry of named ones."""

from collections import Counter
from collections.abc import Mapping, Sequence
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


# The kinds whose every channel may have a name, and what one is called.
_NAMED = {DataType.MULTINOMIAL: "class", DataType.MULTILABEL: "label"}


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
        unit: Unit of the values as a recording keeps them, for example `cm/s`; None where nobody said.
        class_names: Of `MULTINOMIAL` the name of every class, of `MULTILABEL` that of every label, in their order;
            None where nobody said. Any sequence of text is taken, and kept as a tuple.

    Raises:
        TypeError: an attribute has the wrong type.
        ValueError: `id` or `dim` is below 1, `unit` is empty, or `class_names` does not fit `dim` and `type`.

    >>> from nd_models.loss import MSELoss
    >>> spec = ModalitySpec(id=1, dim=2, type=DataType.CONTINUOUS, timestamp_key="cursor.timestamps",
    ...                     value_key="cursor.vel", loss_fn=MSELoss(), unit="cm/s")
    >>> spec.dim, spec.unit
    (2, 'cm/s')
    """

    id: int
    dim: int
    type: DataType
    timestamp_key: str
    value_key: str
    loss_fn: nn.Module
    unit: str | None = None
    class_names: tuple[str, ...] | None = None

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
        if self.unit is not None and not isinstance(self.unit, str):
            raise TypeError(f"ModalitySpec: unit must be text or None, got {self.unit!r}")
        if self.unit is not None and not self.unit.strip():
            raise ValueError("ModalitySpec: unit must not be empty; leave it out where there is none")
        if self.class_names is not None:
            # The one field that is made fit: a list is what YAML and JSON have.
            object.__setattr__(self, "class_names", self._checked_names(self.class_names))

    def _checked_names(self, names: object) -> tuple[str, ...]:
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise TypeError(f"ModalitySpec: class_names must be a list or tuple of text, got {names!r}")
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"ModalitySpec: class_names must be text, got {name!r}; in YAML, put it in quotes")
        if self.type not in _NAMED:
            raise ValueError(
                f"ModalitySpec: class_names are for types {' and '.join(kind.name for kind in _NAMED)}, not for "
                f"{self.type.name}"
            )
        if len(names) != self.dim:
            each = _NAMED[self.type]
            raise ValueError(
                f"ModalitySpec: class_names must hold {self.dim} names, one a {each} (dim), got {len(names)}: "
                f"{', '.join(map(repr, names[:8]))}{', …' if len(names) > 8 else ''}"
            )
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice or not all(name.strip() for name in names):
            found = f"{twice[0]!r} more than once" if twice else "an empty one"
            raise ValueError(f"ModalitySpec: class_names must be different and not empty, got {found}")
        return tuple(names)


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
    unit: str | None = None,
    class_names: Sequence[str] | None = None,
) -> int:
    """Give a modality a name, so that configurations and models can refer to it.

    Args:
        name: A name not yet taken.
        dim: Number of channels or classes.
        type: Kind of the values.
        timestamp_key: Where a recording keeps the times.
        value_key: Where it keeps the values.
        loss_fn: Module called as `(input, target, weights)`; None for the one that `DEFAULT_LOSSES` has for the type.
        unit: Unit of the values, for axes and tables.
        class_names: Names of the classes or labels, as `ModalitySpec` takes them.

    Returns:
        The id of the new modality: one above the highest.

    Raises:
        ValueError: the name is taken, or `ModalitySpec` refuses what is said of it.
    """
    if name in MODALITY_REGISTRY:
        raise ValueError(f"modality {name!r} is already registered, with id {MODALITY_REGISTRY[name].id}")
    if loss_fn is None:
        loss_fn = DEFAULT_LOSSES[type]()
    number = max((spec.id for spec in MODALITY_REGISTRY.values()), default=0) + 1
    MODALITY_REGISTRY[name] = ModalitySpec(
        id=number,
        dim=dim,
        type=type,
        timestamp_key=timestamp_key,
        value_key=value_key,
        loss_fn=loss_fn,
        unit=unit,
        class_names=class_names,  # type: ignore[arg-type]  # any sequence is made a tuple there
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
