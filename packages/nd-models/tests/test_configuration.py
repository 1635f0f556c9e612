"""Models from configurations and back."""

import dataclasses
import json

import pytest

from nd_models import MODALITY_REGISTRY, POYO, DataType, ModalitySpec, POYOPlus, model_from_config
from nd_models.loss import LOSSES, BinaryCrossEntropyLoss, Loss, MSELoss

TIMES = {"sequence_length": 1.0, "latent_step": 0.5}
SMALL = {"dim": 16, "dim_head": 8, "depth": 1, "num_latents_per_step": 2}
ANGLES = [f"{angle}°" for angle in range(0, 360, 45)]


@pytest.mark.parametrize("name", ["POYO", "POYOPlus", "CalciumPOYOPlus"])
def test_a_configuration_survives_json_and_builds_the_same_model(name, make_model):
    model = make_model(name, ffn_dropout=0.1, lin_dropout=0.3, atn_dropout=0.05, t_min=1e-3, t_max=3.0)
    config = json.loads(json.dumps(model.to_config()))
    again = model_from_config(config)
    assert type(again) is type(model)
    assert again.to_config() == model.to_config() == config
    assert again.dropout.p == 0.3
    assert again.enc_atn.dropout == 0.05
    state, fresh = model.state_dict(), again.state_dict()
    assert list(state) == list(fresh)
    shapes = {key: value.shape for key, value in state.items() if not key.startswith(("unit_emb", "session_emb"))}
    assert shapes == {key: fresh[key].shape for key in shapes}


def test_every_constructor_argument_is_in_the_configuration():
    import inspect

    for architecture, readouts in ((POYO, {"readout_spec": "running_speed"}), (POYOPlus, {})):
        model = model_from_config({"architecture": architecture.__name__, **TIMES, **SMALL, **readouts})
        assert set(inspect.signature(architecture).parameters) == set(model.to_config()) - {"architecture"}


@pytest.mark.parametrize(
    "readouts",
    [
        ["cursor_velocity_2d", "running_speed"],
        {"cursor_velocity_2d": None, "running_speed": "running_speed"},
        {name: MODALITY_REGISTRY[name] for name in ("cursor_velocity_2d", "running_speed")},
    ],
)
def test_readouts_may_be_registered_names(readouts):
    model = model_from_config({**TIMES, **SMALL, "readout_specs": readouts})
    assert isinstance(model, POYOPlus)
    assert model.readout_specs == {name: MODALITY_REGISTRY[name] for name in ("cursor_velocity_2d", "running_speed")}


def test_the_readouts_are_described_in_full():
    own = ModalitySpec(
        id=5, dim=3, type=DataType.MULTILABEL, timestamp_key="a.t", value_key="a.v", loss_fn=BinaryCrossEntropyLoss()
    )
    config = POYO(readout_spec=own, **TIMES, **SMALL).to_config()
    assert config["readout_spec"] == {
        "id": 5,
        "dim": 3,
        "type": "MULTILABEL",
        "loss_fn": {"name": "BinaryCrossEntropyLoss"},
        "timestamp_key": "a.t",
        "value_key": "a.v",
    }
    spec = model_from_config(config).readout_spec
    assert (spec.id, spec.dim, spec.type, spec.timestamp_key, spec.value_key) == (
        5,
        3,
        DataType.MULTILABEL,
        "a.t",
        "a.v",
    )
    assert isinstance(spec.loss_fn, BinaryCrossEntropyLoss)


@pytest.mark.parametrize(
    "description",
    [
        {"readout_specs": {"drifting_gratings_orientation": {"class_names": ANGLES, "unit": "°"}}},
        {
            "readout_specs": {
                "angle": {"readout_id": "drifting_gratings_orientation", "class_names": ANGLES, "unit": "°"}
            }
        },
        {"readout_spec": {"readout_id": "drifting_gratings_orientation", "class_names": ANGLES, "unit": "°"}},
    ],
)
def test_a_description_may_leave_out_what_is_as_in_the_registry(description):
    registered = MODALITY_REGISTRY["drifting_gratings_orientation"]
    model = model_from_config({**TIMES, **SMALL, **description})
    spec = model.readout_spec if isinstance(model, POYO) else next(iter(model.readout_specs.values()))
    assert spec == dataclasses.replace(registered, class_names=tuple(ANGLES), unit="°")
    config = json.loads(json.dumps(model.to_config()))
    again = model_from_config(config)
    assert again.to_config() == config
    other = again.readout_spec if isinstance(again, POYO) else next(iter(again.readout_specs.values()))
    assert (other.class_names, other.unit) == (tuple(ANGLES), "°")


def test_a_description_of_another_type_takes_neither_loss_nor_names_from_the_registry():
    changed = {"drifting_gratings_orientation": {"type": "CONTINUOUS", "dim": 2}}
    spec = model_from_config({**TIMES, **SMALL, "readout_specs": changed}).readout_specs[
        "drifting_gratings_orientation"
    ]
    assert isinstance(spec.loss_fn, MSELoss)
    assert spec.class_names is None


def test_an_unfit_name_or_unit_says_of_which_readout():
    readouts = {"drifting_gratings_orientation": {"class_names": ["a"]}}
    with pytest.raises(ValueError, match="class_names must hold 8 names") as error:
        model_from_config({**TIMES, **SMALL, "readout_specs": readouts})
    assert "in the description of readout 'drifting_gratings_orientation'" in error.value.__notes__
    with pytest.raises(KeyError, match="'runing_speed' does not exist; did you mean 'running_speed'"):
        model_from_config({**TIMES, **SMALL, "readout_spec": {"readout_id": "runing_speed"}})


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"architecture": "POYO", "readout_spec": "running_speed"}, POYO),
        ({"_target_": "torch_brain.models.POYO", "readout_spec": "running_speed"}, POYO),
        ({"_target_": "torch_brain.models.poyo_plus.POYOPlus", "readout_specs": ["running_speed"]}, POYOPlus),
        ({"readout_spec": "running_speed"}, POYO),
        ({}, POYOPlus),
    ],
)
def test_the_architecture_is_named_or_told_from_the_readout(config, kind):
    assert type(model_from_config({**TIMES, **SMALL, **config})) is kind


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"architecture": "POYOplus"}, KeyError, "architecture 'POYOplus' does not exist; did you mean 'POYOPlus'"),
        ({"_target_": "os.system"}, KeyError, "architecture 'system' does not exist"),
        ({"dims": 16}, ValueError, "POYOPlus has no argument 'dims'; did you mean 'dim'"),
        ({"readout_specs": ["runing_speed"]}, KeyError, "'runing_speed' does not exist; did you mean 'running_speed'"),
        ({"readout_specs": "running_speed"}, ValueError, "a list of registered names"),
        ({"architecture": "POYO"}, ValueError, "the configuration of POYO lacks 'readout_spec'"),
        ({"readout_spec": {"id": 1}}, ValueError, "lacks 'dim', 'type'"),
        ({"readout_spec": 3}, ValueError, "described by a registered name or a mapping"),
        ({"readout_spec": {"idd": 1}}, ValueError, "unknown field 'idd' of a readout; did you mean 'id'"),
    ],
)
def test_unfit_configurations_are_refused(config, error, message):
    with pytest.raises(error, match=message):
        model_from_config({**TIMES, **SMALL, **config})


def test_an_argument_without_default_must_be_there():
    with pytest.raises(ValueError, match="POYOPlus lacks 'latent_step'"):
        model_from_config({"sequence_length": 1.0})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"type": "CONTINUUS"}, ValueError, "readout type 'CONTINUUS' does not exist; did you mean 'CONTINUOUS'"),
        ({"loss_fn": {"name": "MSEloss"}}, KeyError, "loss 'MSEloss' does not exist; did you mean 'MSELoss'"),
        ({"loss_fn": "subprocess.Popen"}, KeyError, "does not exist"),
        ({"loss_fn": 3}, TypeError, "loss_fn must be of type Module"),
    ],
)
def test_unfit_readouts_are_refused(changes, error, message):
    description = POYO(readout_spec=MODALITY_REGISTRY["running_speed"], **TIMES, **SMALL).to_config()["readout_spec"]
    with pytest.raises(error, match=message):
        model_from_config({**TIMES, **SMALL, "readout_spec": {**description, **changes}})


class ScaledLoss(Loss):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def arguments(self):
        return {"scale": self.scale}

    def per_time_point(self, input, target):  # noqa: A002
        return self.scale * (input - target).abs().mean(dim=1)


def test_a_loss_of_ones_own_travels_once_it_has_a_name(monkeypatch):
    own = ModalitySpec(
        id=1, dim=2, type=DataType.CONTINUOUS, timestamp_key="a.t", value_key="a.v", loss_fn=ScaledLoss(3.0)
    )
    model = POYO(readout_spec=own, **TIMES, **SMALL)
    with pytest.raises(ValueError, match=r"loss ScaledLoss has no name.*LOSSES\['ScaledLoss'\] = ScaledLoss"):
        model.to_config()
    monkeypatch.setitem(LOSSES, "ScaledLoss", ScaledLoss)
    loss = model_from_config(json.loads(json.dumps(model.to_config()))).readout_spec.loss_fn
    assert isinstance(loss, ScaledLoss)
    assert loss.scale == 3.0
    assert isinstance(LOSSES["MSELoss"](), MSELoss)
