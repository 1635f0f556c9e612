"""Checkpoints that hold more than tensors and plain values: nothing of it is run, and what is needed is read."""

import contextlib
import importlib
import logging
import os
import subprocess
import sys
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nd_models import POYO, read_checkpoint, read_weights
from nd_models.foreign_objects import plain, resolved, stand_in
from nd_models.safe_load import safe_load

RAN: list[Any] = []


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def explode(*arguments: Any) -> None:
    RAN.append(arguments)


class ExplodesWhenMade:
    def __new__(cls) -> Any:
        RAN.append("made")
        return super().__new__(cls)


class ExplodesWhenFilled:
    def __init__(self) -> None:
        self.value = 1

    def __setstate__(self, state: Any) -> None:
        RAN.append(state)


@pytest.fixture(autouse=True)
def nothing_runs():
    yield
    assert RAN == []


def checkpoint_of(model, **changes: Any) -> dict[str, Any]:
    return {
        "state_dict": OrderedDict((f"model.{key}", value) for key, value in model.state_dict().items()),
        "hyper_parameters": {"model": model.to_config(), "lr": 1e-3},
        "callbacks": {},
        **changes,
    }


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    RAN.clear()  # making what explodes may have run it
    return path


def hostile_calls(canary: Path) -> dict[str, Call]:
    return {
        "os.system": Call(os.system, f"touch {canary}"),
        "builtins.eval": Call(eval, f"open({str(canary)!r}, 'w')"),
        "builtins.exec": Call(exec, f"open({str(canary)!r}, 'w')"),
        "subprocess.Popen": Call(subprocess.Popen, ["touch", str(canary)]),
        "importlib.import_module": Call(importlib.import_module, "antigravity"),
        "builtins.open": Call(open, str(canary), "w"),
    }


@pytest.mark.parametrize("name", hostile_calls(Path()))
@pytest.mark.parametrize("place", ["callbacks", "hyper_parameters", "weight", "key", "inside a call"])
def test_a_call_that_only_an_attack_needs_is_refused_by_name(name, place, make_model, tmp_path):
    canary = tmp_path / "canary"
    call = hostile_calls(canary)[name]
    checkpoint = checkpoint_of(make_model("POYO"))
    if place == "callbacks":
        checkpoint["callbacks"] = {"x": [1, ({"y": call},)]}
    elif place == "hyper_parameters":
        checkpoint["hyper_parameters"]["model"]["dim"] = call
    elif place == "weight":
        checkpoint["state_dict"]["model.latent_emb.weight"] = call
    elif place == "key":
        checkpoint[call] = 1
    else:
        checkpoint["callbacks"] = Call(explode, call)
    path = saved(tmp_path / "hostile.ckpt", checkpoint)
    function = name.partition(".")[2]  # pickles name some modules as Python 2 did
    with pytest.raises(ValueError, match=rf"hostile.ckpt: calls \w+.{function} when .*Nothing of it was run or loaded"):
        POYO.load_pretrained(path)
    assert not canary.exists()


@pytest.mark.parametrize("thing", [Call(explode, "a"), ExplodesWhenMade(), ExplodesWhenFilled(), explode])
def test_objects_beside_what_is_needed_are_passed_over_with_a_word(thing, make_model, tmp_path, caplog):
    model = make_model("POYO")
    path = saved(tmp_path / "own.ckpt", checkpoint_of(model, callbacks={"mine": {"deep": [thing, thing]}}))
    with caplog.at_level(logging.WARNING):
        loaded = POYO.load_pretrained(path)
    assert torch.equal(loaded.latent_emb.weight, model.latent_emb.weight)
    (record,) = caplog.records
    assert "own.ckpt holds objects of" in record.message
    assert "test_safe_load" in record.message
    assert "nothing of them was run" in record.message


def test_an_object_in_place_of_a_weight_or_a_setting_is_named(make_model, tmp_path):
    checkpoint = checkpoint_of(make_model("POYO"))
    checkpoint["hyper_parameters"]["model"]["readout_spec"] = {"dim": Call(explode, 1)}
    path = saved(tmp_path / "a.ckpt", checkpoint)
    with pytest.raises(ValueError, match=r"hyper_parameters\['model'\]\['readout_spec'\]\['dim'\] is a .*explode"):
        POYO.load_pretrained(path)
    assert set(read_weights(path)) == set(make_model("POYO").state_dict())
    checkpoint = checkpoint_of(make_model("POYO"))
    checkpoint["state_dict"]["model.readout.bias"] = Call(explode, 1)
    with pytest.raises(ValueError, match=r"state_dict\['readout.bias'\] is a .*explode, which is no weight"):
        POYO.load_pretrained(saved(tmp_path / "b.ckpt", checkpoint))


def test_a_whole_pickled_module_among_the_settings_does_not_matter(make_model, tmp_path):
    model = make_model("POYO")
    parameters = {"model": model, "cfg": {"model": model.to_config()}}
    path = saved(tmp_path / "whole.ckpt", checkpoint_of(model, hyper_parameters=parameters))
    loaded = POYO.load_pretrained(path)
    assert loaded.to_config() == model.to_config()
    assert torch.equal(loaded.unit_emb.weight, model.unit_emb.weight)


@pytest.fixture
def omegaconf(monkeypatch):
    """Classes of OmegaConf's names and shape: containers with `_content`, nodes with `_val`, and their parents."""
    classes = {}
    for module, name in (
        ("omegaconf.dictconfig", "DictConfig"),
        ("omegaconf.listconfig", "ListConfig"),
        ("omegaconf.nodes", "AnyNode"),
        ("omegaconf.base", "ContainerMetadata"),
    ):
        holder = ModuleType(module)
        monkeypatch.setitem(sys.modules, module.partition(".")[0], ModuleType("omegaconf"))
        monkeypatch.setitem(sys.modules, module, holder)
        classes[name] = type(name, (), {"__module__": module, "__setstate__": lambda _, state: RAN.append(state)})
        setattr(holder, name, classes[name])

    def wrapped(value: Any, parent: Any = None) -> Any:
        kind = {dict: "DictConfig", list: "ListConfig"}.get(type(value), "AnyNode")
        node = classes[kind]()
        node._metadata = classes["ContainerMetadata"]()
        node._metadata.flags = defaultdict(dict)
        node._parent = parent
        if kind == "AnyNode":
            node._val = value
        elif kind == "DictConfig":
            node._content = {key: wrapped(inner, node) for key, inner in value.items()}
        else:
            node._content = [wrapped(inner, node) for inner in value]
        return node

    return wrapped


@pytest.mark.parametrize("inside", ["everything", "cfg", "model"])
def test_settings_in_containers_of_omegaconf_are_read(inside, omegaconf, make_model, tmp_path, monkeypatch, caplog):
    model = make_model("POYO")
    config = {**model.to_config(), "_target_": "torch_brain.models.POYO", "dim": "${width}", "_convert_": "all"}
    del config["architecture"]
    config["depth"] = "${model.num_latents_per_step}"
    settings = {"model": config, "width": 24, "betas": [0.9, 0.99], "nothing": None, "model_depth": 2}
    settings["model"]["depth"] = "${model_depth}"
    parameters = {
        "everything": lambda: omegaconf(settings),
        "cfg": lambda: {"cfg": omegaconf(settings)},
        "model": lambda: {**settings, "model": omegaconf(settings["model"])},
    }[inside]()
    path = saved(
        tmp_path / "peer.ckpt", checkpoint_of(model, hyper_parameters=parameters, hparams_type=type(parameters))
    )
    for module in [name for name in sys.modules if name.startswith("omegaconf")]:
        monkeypatch.delitem(sys.modules, module)
    loaded = POYO.load_pretrained(path)
    assert loaded.to_config() == model.to_config()
    assert torch.equal(loaded.readout.weight, model.readout.weight)
    assert caplog.records == []
    assert not any(name.startswith("omegaconf") for name in sys.modules)


def test_the_names_of_a_compiled_model_are_understood(make_model, tmp_path):
    model = make_model("POYO")
    state = {f"model._orig_mod.{key}": value for key, value in model.state_dict().items()}
    loaded = POYO.load_pretrained(saved(tmp_path / "a.ckpt", checkpoint_of(model, state_dict=state)))
    assert torch.equal(loaded.latent_emb.weight, model.latent_emb.weight)


def test_paths_and_dictionaries_with_defaults_are_plain_values(tmp_path):
    counts = defaultdict(int, {"a": 1})
    content = plain(safe_load(saved(tmp_path / "a.pt", {"path": PurePosixPath("/a/b"), "counts": counts, "t": (1, 2)})))
    assert content == {"path": "/a/b", "counts": {"a": 1}, "t": [1, 2]}


def test_nesting_without_end_is_refused():
    one, other = stand_in("omegaconf.nodes.AnyNode")(), stand_in("omegaconf.nodes.AnyNode")()
    one.__setstate__({"_val": other})
    other.__setstate__({"_val": one})
    with pytest.raises(ValueError, match="nested more than"):
        plain(one)


def test_what_is_shared_is_copied_once():
    shared: list[Any] = [1]
    for _ in range(60):  # 2^60 values, if they were copied one by one
        shared = [shared, shared]
    copied = plain(shared)
    assert copied is not shared
    assert copied[0] is copied[1]


def test_references_that_lead_nowhere_or_in_a_circle_stay():
    root = {"a": "${b}", "b": "${a}", "c": 3}
    assert resolved({"x": "${nothing.here}", "y": "${c}", "z": ["${c} and more"]}, root) == {
        "x": "${nothing.here}",
        "y": 3,
        "z": ["${c} and more"],
    }
    assert resolved("${a}", root) in ("${a}", "${b}")


def test_a_file_of_the_old_form_is_read_or_refused_but_never_run(make_model, tmp_path):
    model = make_model("POYO")
    path = tmp_path / "old.ckpt"
    torch.save(checkpoint_of(model), path, _use_new_zipfile_serialization=False)
    assert torch.equal(POYO.load_pretrained(path).latent_emb.weight, model.latent_emb.weight)
    torch.save(checkpoint_of(model, callbacks=Call(explode)), path, _use_new_zipfile_serialization=False)
    RAN.clear()
    with pytest.raises(ValueError, match=r"old.ckpt: not a readable PyTorch checkpoint"):
        POYO.load_pretrained(path)


def test_the_reader_leaves_no_name_allowed_behind(make_model, tmp_path):
    before = set(torch.serialization.get_safe_globals())
    safe_load(saved(tmp_path / "a.ckpt", checkpoint_of(make_model("POYO"), callbacks=Call(explode))))
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The members of a small checkpoint that holds an exploding call, to be damaged."""
    path = tmp_path_factory.mktemp("parts") / "a.ckpt"
    content = {
        "state_dict": {"model.w": torch.arange(3.0)},
        "hyper_parameters": {"model": {"dim": 3, "name": Call(explode, "x"), "made": ExplodesWhenFilled()}},
    }
    torch.save(content, path)
    with zipfile.ZipFile(path) as archive:
        return path, {name: archive.read(name) for name in archive.namelist()}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6))
def test_whatever_the_bytes_are_nothing_is_run(parts, changes):
    path, members = parts
    name = next(name for name in members if name.endswith("data.pkl"))
    damaged = bytearray(members[name])
    for place, value in changes:
        damaged[place % len(damaged)] = value
    other = path.with_name("damaged.ckpt")
    with zipfile.ZipFile(other, "w", zipfile.ZIP_STORED) as archive:
        for member, content in members.items():
            archive.writestr(member, bytes(damaged) if member == name else content)
    with contextlib.suppress(ValueError):  # and nothing else may come
        read_checkpoint(other)
    assert RAN == []
