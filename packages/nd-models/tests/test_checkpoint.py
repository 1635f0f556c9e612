"""Pretrained models out of Lightning checkpoints."""

import dataclasses
from collections import OrderedDict
from typing import Any

import pytest
import torch

from nd_models import MODALITY_REGISTRY, POYO, CalciumPOYOPlus, POYOPlus, add_lora, read_checkpoint

VELOCITY = MODALITY_REGISTRY["cursor_velocity_2d"]
CLASSES = {"POYO": POYO, "POYOPlus": POYOPlus, "CalciumPOYOPlus": CalciumPOYOPlus}


def write(path, model, **changes: Any):
    """What Lightning writes for a module that keeps its model as `self.model`."""
    checkpoint = {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": OrderedDict((f"model.{key}", value) for key, value in model.state_dict().items()),
        "hyper_parameters": {"model": model.to_config(), "lr": 1e-3},
        "optimizer_states": [],
        "callbacks": {},
        **changes,
    }
    torch.save(checkpoint, path)
    return path


def assert_same_state(found, expected, *, without: tuple[str, ...] = ("\0",)) -> None:
    assert list(found.state_dict()) == list(expected.state_dict())
    for key, value in expected.state_dict().items():
        if key.startswith(without):
            continue
        other = found.state_dict()[key]
        assert torch.equal(other, value) if isinstance(value, torch.Tensor) else other == value, key


@pytest.mark.parametrize("name", CLASSES)
def test_a_checkpoint_gives_back_model_weights_and_vocabularies(name, make_model, tmp_path):
    model = make_model(name)
    path = write(tmp_path / "last.ckpt", model)
    for where in (path, str(path)):
        loaded = CLASSES[name].load_pretrained(where)
        assert_same_state(loaded, model)
        assert loaded.to_config() == model.to_config()
        assert loaded.training


def test_a_readout_of_the_same_shape_takes_the_weights(make_model, tmp_path):
    model = make_model("POYO")
    spec = MODALITY_REGISTRY["cursor_position_2d"]
    loaded = POYO.load_pretrained(write(tmp_path / "last.ckpt", model), spec)
    assert loaded.readout_spec is spec
    assert_same_state(loaded, model)


def test_another_readout_starts_anew_when_asked_to(make_model, tmp_path):
    model = make_model("POYO")
    path = write(tmp_path / "last.ckpt", model)
    spec = MODALITY_REGISTRY["drifting_gratings_orientation"]
    with pytest.raises(
        ValueError,
        match=r"readout.bias is \(2,\) in the checkpoint and \(8,\) in the model; pass skip_readout=True",
    ):
        POYO.load_pretrained(path, spec)
    loaded = POYO.load_pretrained(path, spec, skip_readout=True)
    assert loaded.readout.weight.shape == (8, 24)
    assert_same_state(loaded, model, without=("readout.",))
    again = POYO.load_pretrained(path, VELOCITY, skip_readout=True)
    assert not torch.equal(again.readout.weight, model.readout.weight)


def test_other_tasks_start_anew_when_asked_to(make_model, tmp_path):
    model = make_model("POYOPlus")
    path = write(tmp_path / "last.ckpt", model)
    fewer = {"cursor_velocity_2d": VELOCITY}
    with pytest.raises(ValueError, match="skip_readout=True"):
        POYOPlus.load_pretrained(path, fewer)
    loaded = POYOPlus.load_pretrained(path, fewer, skip_readout=True)
    assert list(loaded.readout.projections) == ["cursor_velocity_2d"]
    for key, value in loaded.state_dict().items():
        if not key.startswith(("readout.", "task_emb.")):
            expected = model.state_dict()[key]
            assert torch.equal(value, expected) if isinstance(value, torch.Tensor) else value == expected


def test_a_task_under_another_id_is_refused(make_model, tmp_path):
    path = write(tmp_path / "last.ckpt", make_model("POYOPlus"))
    ids = {"cursor_velocity_2d": 2, "cursor_position_2d": 1, "drifting_gratings_orientation": 4}
    swapped = {name: dataclasses.replace(MODALITY_REGISTRY[name], id=number) for name, number in ids.items()}
    with pytest.raises(
        ValueError, match=r"'cursor_velocity_2d' has id 1 in the checkpoint and 2 in the model; pass skip"
    ):
        POYOPlus.load_pretrained(path, swapped)


def test_the_prefix_is_stripped_at_the_front_only(make_model, tmp_path):
    state = {"model.a.model.b": torch.ones(1), "model.model.c": torch.zeros(1), "metric.total": torch.ones(1)}
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": state, "hyper_parameters": {"model": {}}}, path)
    _, found = read_checkpoint(path)
    assert set(found) == {"a.model.b", "model.c"}


def test_other_parts_of_the_module_are_passed_over(make_model, tmp_path):
    model = make_model("POYO")
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    path = write(tmp_path / "last.ckpt", model, state_dict={**state, "val_metric.total": torch.ones(1)})
    assert_same_state(POYO.load_pretrained(path), model)


def test_the_other_architecture_is_named(make_model, tmp_path):
    path = write(tmp_path / "last.ckpt", make_model("POYOPlus"))
    with pytest.raises(ValueError, match="the checkpoint holds a POYOPlus, not a POYO"):
        POYO.load_pretrained(path, VELOCITY)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.ckpt' does not exist"):
        POYO.load_pretrained(tmp_path / "nowhere.ckpt", VELOCITY)
    with pytest.raises(FileNotFoundError, match="is not a file"):
        POYO.load_pretrained(tmp_path, VELOCITY)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "odd.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"odd.ckpt: not a readable PyTorch checkpoint"):
        POYO.load_pretrained(path, VELOCITY)


def test_a_truncated_checkpoint_is_named(make_model, tmp_path):
    path = write(tmp_path / "cut.ckpt", make_model("POYO"))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"cut.ckpt: not a readable PyTorch checkpoint"):
        POYO.load_pretrained(path)


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ({"weights": {}}, "no 'state_dict'"),
        ([1, 2], "no 'state_dict'"),
        (
            {"state_dict": {"net.weight": torch.ones(1)}},
            r"no weight's name begins with 'model.'; the first are 'net.weight'",
        ),
        ({"state_dict": {"model.w": torch.ones(1)}}, r"hyper_parameters\['model'\] does not describe the model"),
        ({"state_dict": {"model.w": torch.ones(1)}, "hyper_parameters": {"lr": 1}}, "does not describe the model"),
    ],
)
def test_a_checkpoint_of_something_else_says_what_is_missing(tmp_path, checkpoint, message):
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=message):
        POYO.load_pretrained(tmp_path / "other.ckpt", VELOCITY)


def test_weights_that_do_not_fit_their_configuration_are_reported(make_model, tmp_path):
    model = make_model("POYO")
    config = {**model.to_config(), "depth": 3}
    with pytest.raises(ValueError, match=r"do not fit the configuration: missing \['proc_layers.2"):
        POYO.load_pretrained(write(tmp_path / "a.ckpt", model, hyper_parameters={"model": config}))
    config = {**model.to_config(), "self_heads": 4}
    with pytest.raises(ValueError, match=r"do not fit the configuration beside them.*size mismatch"):
        POYO.load_pretrained(write(tmp_path / "b.ckpt", model, hyper_parameters={"model": config}))


def test_an_unfit_configuration_names_the_checkpoint(make_model, tmp_path):
    model = make_model("POYO")
    config = {**model.to_config(), "dims": 3}
    with pytest.raises(ValueError, match="no argument 'dims'") as error:
        POYO.load_pretrained(write(tmp_path / "a.ckpt", model, hyper_parameters={"model": config}))
    assert any("a.ckpt" in note for note in error.value.__notes__)


def test_every_architecture_comes_back_from_a_checkpoint(any_model, make_model, tmp_path):
    model = make_model(any_model)
    path = write(tmp_path / "last.ckpt", model)
    before = path.read_bytes()
    loaded = type(model).load_pretrained(path)
    assert_same_state(loaded, model)
    assert loaded.to_config() == model.to_config()
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["MLPDecoder", "GRUDecoder", "NDTDecoder"])
def test_baselines_start_other_tasks_anew_when_asked_to(name, make_model, tmp_path):
    model = make_model(name)
    path = write(tmp_path / "last.ckpt", model)
    with pytest.raises(ValueError, match="skip_readout=True"):
        type(model).load_pretrained(path, ["running_speed"])
    loaded = type(model).load_pretrained(path, ["running_speed"], skip_readout=True)
    assert list(loaded.readout.projections) == ["running_speed"]
    assert torch.equal(loaded.unit_emb.weight, model.unit_emb.weight)


def test_low_rank_changes_come_back_from_a_checkpoint(make_model, tmp_path):
    model = make_model("POYO")
    add_lora(model, rank=2, also_train=["session_emb"])
    loaded = POYO.load_pretrained(write(tmp_path / "last.ckpt", model))
    assert_same_state(loaded, model)
    assert loaded.to_config() == model.to_config()
    learning = {name for name, parameter in loaded.named_parameters() if parameter.requires_grad}
    assert learning == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
