"""The registry of readouts."""

import dataclasses

import pytest

from nd_models import (
    MODALITY_REGISTRY,
    DataType,
    ModalitySpec,
    get_modality_by_id,
    register_modality,
)
from nd_models.loss import BinaryCrossEntropyLoss, CrossEntropyLoss, MSELoss, MultilabelCrossEntropyLoss
from nd_models.readout_configuration import readout_from_config

FIELDS = {
    "dim": 3,
    "type": DataType.CONTINUOUS,
    "timestamp_key": "gaze.timestamps",
    "value_key": "gaze.pos_3d",
    "loss_fn": MSELoss(),
}
CLASSES = {"type": DataType.MULTINOMIAL, "loss_fn": CrossEntropyLoss()}
LABELS = {"type": DataType.MULTILABEL, "loss_fn": MultilabelCrossEntropyLoss()}


@pytest.fixture
def registry():
    before = dict(MODALITY_REGISTRY)
    yield MODALITY_REGISTRY
    MODALITY_REGISTRY.clear()
    MODALITY_REGISTRY.update(before)


def test_ids_count_from_one_without_gaps():
    assert [spec.id for spec in MODALITY_REGISTRY.values()] == list(range(1, len(MODALITY_REGISTRY) + 1))


def test_classes_have_a_cross_entropy_and_numbers_a_squared_error():
    losses = {(spec.type, type(spec.loss_fn)) for spec in MODALITY_REGISTRY.values()}
    assert losses == {(DataType.CONTINUOUS, MSELoss), (DataType.MULTINOMIAL, CrossEntropyLoss)}


def test_the_name_of_every_id_is_found():
    assert {get_modality_by_id(spec.id) for spec in MODALITY_REGISTRY.values()} == set(MODALITY_REGISTRY)


def test_an_id_that_nobody_has_is_refused():
    with pytest.raises(KeyError, match=f"no modality has id 0; ids run from 1 to {len(MODALITY_REGISTRY)}"):
        get_modality_by_id(0)


def test_a_registered_modality_gets_the_next_id(registry):
    count = len(registry)
    assert register_modality("gaze_pos_3d", **FIELDS) == count + 1
    assert registry["gaze_pos_3d"] == ModalitySpec(id=count + 1, **FIELDS)
    assert get_modality_by_id(count + 1) == "gaze_pos_3d"
    assert (
        register_modality("licks", **{**FIELDS, "type": DataType.BINARY, "loss_fn": BinaryCrossEntropyLoss()})
        == count + 2
    )


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        (DataType.CONTINUOUS, MSELoss),
        (DataType.BINARY, BinaryCrossEntropyLoss),
        (DataType.MULTINOMIAL, CrossEntropyLoss),
        (DataType.MULTILABEL, MultilabelCrossEntropyLoss),
    ],
)
def test_every_kind_of_values_has_its_usual_loss(kind, loss, registry):
    fields = {key: value for key, value in FIELDS.items() if key != "loss_fn"}
    register_modality("mine", **{**fields, "type": kind})
    assert type(registry["mine"].loss_fn) is loss
    described = readout_from_config({"id": 7, **fields, "type": kind.name})
    assert type(described.loss_fn) is loss
    assert described.type is kind


def test_a_taken_name_is_refused(registry):
    with pytest.raises(ValueError, match="'running_speed' is already registered"):
        register_modality("running_speed", **FIELDS)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"id": 0}, ValueError, "id must be 1 or more"),
        ({"dim": 0}, ValueError, "dim must be 1 or more"),
        ({"dim": 2.0}, TypeError, "dim must be of type int, got 2.0"),
        ({"id": True}, TypeError, "id must be of type int"),
        ({"type": "CONTINUOUS"}, TypeError, "type must be of type DataType"),
        ({"loss_fn": "MSELoss"}, TypeError, "loss_fn must be of type Module"),
        ({"value_key": None}, TypeError, "value_key must be of type str"),
        ({"unit": 3}, TypeError, "unit must be text or None, got 3"),
        ({"unit": " "}, ValueError, "unit must not be empty"),
        ({"class_names": ["x", "y", "z"]}, ValueError, "for types MULTINOMIAL and MULTILABEL, not for CONTINUOUS"),
        ({"type": DataType.BINARY, "class_names": ["a", "b", "c"]}, ValueError, "MULTILABEL, not for BINARY"),
        ({**CLASSES, "class_names": "abc"}, TypeError, "must be a list or tuple of text, got 'abc'"),
        ({**CLASSES, "class_names": [False, "b", "c"]}, TypeError, "must be text, got False; in YAML, put it in quo"),
        ({**CLASSES, "class_names": ["a", "b"]}, ValueError, r"hold 3 names, one a class \(dim\), got 2: 'a', 'b'"),
        ({**LABELS, "class_names": ["a", "b"]}, ValueError, r"hold 3 names, one a label \(dim\), got 2"),
        ({**CLASSES, "class_names": ["a", "b", "a"]}, ValueError, "different and not empty, got 'a' more than once"),
        ({**CLASSES, "class_names": ["a", "b", ""]}, ValueError, "different and not empty, got an empty one"),
    ],
)
def test_unfit_fields_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        ModalitySpec(**{"id": 1, **FIELDS, **changes})


def test_a_specification_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MODALITY_REGISTRY["running_speed"].dim = 2


@pytest.mark.parametrize("kind", [CLASSES, LABELS])
def test_classes_and_labels_may_have_names_and_values_a_unit(kind, registry):
    named = ModalitySpec(id=1, **{**FIELDS, **kind}, class_names=["wake", "nrem", "rem"], unit="°")
    assert named.class_names == ("wake", "nrem", "rem")
    assert named.unit == "°"
    plain = ModalitySpec(id=1, **{**FIELDS, **kind})
    assert (plain.unit, plain.class_names) == (None, None)
    register_modality("states", **{**FIELDS, **kind}, class_names=["wake", "nrem", "rem"], unit="°")
    assert registry["states"].class_names == named.class_names
    assert registry["states"].unit == "°"
    with pytest.raises(TypeError, match="got 'abc'"):
        register_modality("letters", **{**FIELDS, **kind}, class_names="abc")
    assert "letters" not in registry
