"""Pretrained weights in a model with other readouts, from checkpoints of ours and as torch_brain writes them."""

import dataclasses

import pytest
import torch

from nd_models import MODALITY_REGISTRY, add_lora, merge_lora, model_from_config, register_modality
from nd_models.modality import DataType
from nd_models.readout_configuration import readout_to_config
from nd_train.pretrained import Pretrained, load_pretrained_state, network_for, read_pretrained


@pytest.fixture
def plus(make_model):
    """A POYO+ of two readouts with a vocabulary."""
    return with_vocabulary(make_model())


def with_vocabulary(model):
    model.unit_emb.initialize_vocab(["s/1/a", "s/1/b"])
    model.session_emb.initialize_vocab(["s/1"])
    return model


def saved(path, model, *, config=True, **without):
    """A checkpoint as a Lightning module around this model leaves it."""
    described = {"model": model.to_config()} if config is True else config
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": described or {}}, path)
    return path


def rebuilt(pretrained, readouts, *, fresh=()):
    network, anew = network_for(pretrained, readouts, fresh=fresh)
    torch.manual_seed(5)
    model = model_from_config(network)
    drawn = {name: value.clone() for name, value in model.state_dict().items() if name.startswith(("readout", "task"))}
    load_pretrained_state(model, pretrained.state, fresh=anew)
    return model, drawn, anew


def test_with_the_same_readouts_it_is_the_same_model(plus, tmp_path):
    pretrained = read_pretrained(saved(tmp_path / "one.ckpt", plus))
    model, _, anew = rebuilt(pretrained, ["cursor_position_2d"])
    assert anew == []
    assert model.to_config() == plus.to_config()
    for name, value in plus.state_dict().items():
        found = model.state_dict()[name]
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value


def test_a_new_readout_stands_beside_the_old_ones_whose_weights_and_task_rows_stay(plus, tmp_path):
    pretrained = read_pretrained(saved(tmp_path / "one.ckpt", plus))
    model, drawn, anew = rebuilt(pretrained, ["running_speed"])
    assert anew == ["running_speed"]
    state, before = model.state_dict(), plus.state_dict()
    rows = len(before["task_emb.weight"])
    assert torch.equal(state["task_emb.weight"][:rows], before["task_emb.weight"])
    assert torch.equal(state["task_emb.weight"][rows:], drawn["task_emb.weight"][rows:])
    for name in drawn:
        if name == "task_emb.weight":
            continue
        expected = drawn[name] if "running_speed" in name else before[name]
        assert torch.equal(state[name], expected)


def test_a_readout_that_is_to_begin_anew_does(plus, tmp_path):
    pretrained = read_pretrained(saved(tmp_path / "one.ckpt", plus))
    model, drawn, anew = rebuilt(pretrained, ["cursor_velocity_2d"], fresh=["cursor_velocity_2d"])
    state, before = model.state_dict(), plus.state_dict()
    velocity, position = (MODALITY_REGISTRY[name].id for name in ("cursor_velocity_2d", "cursor_position_2d"))
    assert anew == ["cursor_velocity_2d"]
    for end in ("weight", "bias"):
        name = f"readout.projections.cursor_velocity_2d.{end}"
        assert torch.equal(state[name], drawn[name])
    assert torch.equal(state["task_emb.weight"][velocity], drawn["task_emb.weight"][velocity])
    assert torch.equal(state["task_emb.weight"][position], before["task_emb.weight"][position])


def test_a_readout_whose_number_is_taken_gets_another(make_model, tmp_path):
    taken = dataclasses.replace(MODALITY_REGISTRY["cursor_velocity_2d"], id=MODALITY_REGISTRY["running_speed"].id)
    model = with_vocabulary(make_model(readout_specs={"mine": readout_to_config(taken)}))
    network, _ = network_for(read_pretrained(saved(tmp_path / "one.ckpt", model)), ["running_speed"])
    ids = {name: spec["id"] for name, spec in network["readout_specs"].items()}
    assert ids == {"mine": taken.id, "running_speed": taken.id + 1}


def test_a_single_readout_stays_where_it_is_the_same_quantity_and_begins_anew_where_not(make_model, tmp_path):
    model = with_vocabulary(make_model("POYO"))
    pretrained = read_pretrained(saved(tmp_path / "one.ckpt", model))
    again, _, anew = rebuilt(pretrained, ["cursor_velocity_2d"])
    assert anew == []
    assert torch.equal(again.state_dict()["readout.weight"], model.state_dict()["readout.weight"])
    for name in ("cursor_position_2d", "running_speed"):
        other, drawn, anew = rebuilt(pretrained, [name])
        assert anew == [name]
        assert other.readout_spec.value_key == MODALITY_REGISTRY[name].value_key
        assert torch.equal(other.state_dict()["readout.weight"], drawn["readout.weight"])


def test_low_rank_changes_become_part_of_the_weights(plus, tmp_path):
    add_lora(plus, rank=2)
    with torch.no_grad():
        plus.state_dict()["enc_atn.to_q.lora_up"].fill_(0.5)
    pretrained = read_pretrained(saved(tmp_path / "one.ckpt", plus))
    merge_lora(plus)
    assert "lora" not in pretrained.network
    assert torch.equal(pretrained.state["enc_atn.to_q.weight"], plus.state_dict()["enc_atn.to_q.weight"])


def test_a_checkpoint_of_torch_brain_names_its_class_and_no_readouts(plus, tmp_path):
    sizes = {key: value for key, value in plus.to_config().items() if key not in ("architecture", "readout_specs")}
    config = {"model": {"_target_": "torch_brain.models.POYOPlus", **sizes}}
    pretrained = read_pretrained(saved(tmp_path / "one.ckpt", plus, config=config))
    model, _, anew = rebuilt(pretrained, ["running_speed"])
    assert anew == ["running_speed"]
    assert list(model.readout_specs) == ["cursor_velocity_2d", "cursor_position_2d", "running_speed"]
    assert torch.equal(model.enc_atn.to_q.weight, plus.enc_atn.to_q.weight)


def test_a_checkpoint_that_does_not_describe_its_model_needs_a_description(plus, tmp_path):
    path = saved(tmp_path / "one.ckpt", plus, config={})
    with pytest.raises(ValueError, match="does not describe the model") as error:
        read_pretrained(path)
    assert "--model.network" in error.value.__notes__[0]
    network = {key: value for key, value in plus.to_config().items() if key != "readout_specs"}
    model, _, _ = rebuilt(read_pretrained(path, network), ["cursor_velocity_2d"])
    assert torch.equal(model.unit_emb.weight, plus.unit_emb.weight)


def test_weights_of_another_size_are_refused_by_name(plus):
    state = dict(plus.state_dict())
    state["enc_atn.to_q.weight"] = state["enc_atn.to_q.weight"][:-1]
    model = model_from_config(plus.to_config())
    with pytest.raises(ValueError, match=r"enc_atn\.to_q\.weight"):
        load_pretrained_state(model, state)


def test_what_nobody_has_is_an_error_that_names_what_there_is(plus):
    pretrained = Pretrained(plus.to_config(), dict(plus.state_dict()))
    with pytest.raises(KeyError, match=r"'cursor_velocty_2d': neither .* did you mean 'cursor_velocity_2d'"):
        network_for(pretrained, ["cursor_velocty_2d"])
    with pytest.raises(KeyError, match="fresh_readouts: 'running_speed' is not read out"):
        network_for(pretrained, ["cursor_velocity_2d"], fresh=["running_speed"])


def test_a_readout_of_ones_own_comes_from_the_registry(plus):
    register_modality("lick", dim=1, type=DataType.CONTINUOUS, timestamp_key="lick.timestamps", value_key="lick.rate")
    try:
        network, anew = network_for(Pretrained(plus.to_config(), dict(plus.state_dict())), ["lick"])
    finally:
        del MODALITY_REGISTRY["lick"]
    assert anew == ["lick"]
    assert network["readout_specs"]["lick"]["value_key"] == "lick.rate"


def test_what_a_run_says_of_its_readouts_goes_before_the_registry(plus, tmp_path):
    pretrained = read_pretrained(saved(tmp_path / "one.ckpt", plus))
    velocity, speed = (MODALITY_REGISTRY[name] for name in ("cursor_velocity_2d", "running_speed"))
    described = {
        "cursor_velocity_2d": dataclasses.replace(velocity, unit="cm/s"),
        "running_speed": dataclasses.replace(speed, unit="m/s"),
        "mine": dataclasses.replace(speed, id=70, value_key="wheel.speed"),
    }
    network, anew = network_for(pretrained, list(described), described=described)
    specs = network["readout_specs"]
    assert anew == ["running_speed", "mine"]  # the velocity keeps its weights
    assert (specs["cursor_velocity_2d"]["unit"], specs["running_speed"]["unit"]) == ("cm/s", "m/s")
    assert specs["mine"]["value_key"] == "wheel.speed"
    assert "unit" not in specs["cursor_position_2d"]


def test_a_readout_of_another_size_begins_anew(plus, tmp_path):
    pretrained = read_pretrained(saved(tmp_path / "one.ckpt", plus))
    wider = dataclasses.replace(MODALITY_REGISTRY["cursor_velocity_2d"], id=70, dim=3)
    network, anew = network_for(pretrained, ["cursor_velocity_2d"], described={"cursor_velocity_2d": wider})
    assert anew == ["cursor_velocity_2d"]
    found = network["readout_specs"]["cursor_velocity_2d"]
    assert (found["dim"], found["id"]) == (3, MODALITY_REGISTRY["cursor_velocity_2d"].id)
    model = model_from_config(network)
    load_pretrained_state(model, pretrained.state, fresh=anew)
    assert model.readout.projections["cursor_velocity_2d"].weight.shape[0] == 3


def test_the_one_readout_of_a_model_takes_its_unit_from_the_run(make_model, tmp_path):
    pretrained = read_pretrained(saved(tmp_path / "one.ckpt", with_vocabulary(make_model("POYO"))))
    described = {"cursor_velocity_2d": dataclasses.replace(MODALITY_REGISTRY["cursor_velocity_2d"], unit="cm/s")}
    network, anew = network_for(pretrained, ["cursor_velocity_2d"], described=described)
    assert (network["readout_spec"]["unit"], anew) == ("cm/s", [])


def test_the_scale_of_targets_comes_with_the_weights(plus, tmp_path):
    statistics = {"cursor_velocity_2d": {"mean": [1.0, 2.0], "std": [3.0, 4.0]}}
    path = saved(tmp_path / "one.ckpt", plus)
    assert read_pretrained(path).target_statistics is None
    checkpoint = {**torch.load(path, weights_only=True), "NeuralDataModule": {"target_statistics": statistics}}
    torch.save(checkpoint, path)
    assert read_pretrained(path).target_statistics == statistics
    plus.target_statistics = statistics
    plus.save_pretrained(tmp_path / "shared")
    assert read_pretrained(tmp_path / "shared").target_statistics == statistics
