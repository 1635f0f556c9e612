"""Models that are shared as a folder."""

import copy
import json
import os
import sys

import pytest
import torch

from nd_models import (
    MODALITY_REGISTRY,
    POYO,
    DataType,
    DecoderModel,
    ModalitySpec,
    POYOPlus,
    __version__,
    add_lora,
    from_pretrained,
    model_from_config,
    save_pretrained,
)
from nd_models.loss import MultilabelCrossEntropyLoss

pytest.importorskip("safetensors")


def same_state(model, other) -> bool:
    state, expected = model.state_dict(), other.state_dict()
    return list(state) == list(expected) and all(
        torch.equal(value, expected[key]) if isinstance(value, torch.Tensor) else value == expected[key]
        for key, value in state.items()
    )


def rewrite(folder, **changes) -> None:
    path = folder / "config.json"
    description = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in description.items() if value is not ...}))


def test_a_folder_gives_back_model_vocabularies_and_readouts(any_model, make_model, tmp_path):
    model = make_model(any_model)
    before = copy.deepcopy(model.state_dict())
    model.save_pretrained(tmp_path / "deep" / "shared")
    assert all(
        torch.equal(value, before[key]) if isinstance(value, torch.Tensor) else value == before[key]
        for key, value in model.state_dict().items()
    )
    for loaded in (
        from_pretrained(tmp_path / "deep" / "shared"),
        type(model).from_pretrained(str(tmp_path / "deep" / "shared")),
        DecoderModel.from_pretrained(tmp_path / "deep" / "shared"),
    ):
        assert type(loaded) is type(model)
        assert same_state(loaded, model)
        assert loaded.to_config() == model.to_config()
        assert loaded.training


def test_the_folder_holds_json_and_safetensors_and_nothing_else(make_model, tmp_path):
    model = make_model("POYOPlus")
    model.unit_emb.extend_vocab(["ünit/日本"])
    save_pretrained(model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    description = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert description["format"] == "nd-models"
    assert description["format_version"] == 1
    assert description["package_version"] == __version__
    assert description["model"] == model.to_config()
    assert description["vocabularies"]["session_emb"] == ["NA", "perich/c_1", "perich/c_2"]
    assert description["vocabularies"]["unit_emb"][-1] == "ünit/日本"
    assert from_pretrained(tmp_path).unit_emb.vocab == model.unit_emb.vocab


def test_other_programs_can_read_the_weights(make_model, tmp_path):
    from safetensors import safe_open

    model = make_model("GRUDecoder")
    save_pretrained(model, tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="np") as file:
        assert file.metadata() == {"format": "pt"}
        names = set(file.keys())
        weight = file.get_tensor("unit_emb.weight")
    assert names == {name for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    assert weight.tolist() == model.unit_emb.weight.tolist()


def test_saving_again_gives_the_same_bytes_and_replaces_what_was_there(make_model, tmp_path):
    one, other = make_model("POYO"), make_model("GRUDecoder")
    save_pretrained(other, tmp_path)
    (tmp_path / "README.md").write_text("mine")
    save_pretrained(one, tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert same_state(from_pretrained(tmp_path), one)
    save_pretrained(one, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert first["README.md"] == b"mine"


def test_a_model_without_vocabularies_travels_too(any_model, make_model, tmp_path):
    fresh = model_from_config(make_model(any_model).to_config())
    save_pretrained(fresh, tmp_path)
    loaded = from_pretrained(tmp_path)
    assert loaded.unit_emb.is_lazy()
    assert loaded.session_emb.is_lazy()
    loaded.unit_emb.initialize_vocab(["a"])
    assert loaded.unit_emb.weight.shape[0] == 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_precision_travels(dtype, make_model, tmp_path):
    model = make_model("MLPDecoder").to(dtype)
    save_pretrained(model, tmp_path)
    loaded = from_pretrained(tmp_path)
    assert loaded.unit_emb.weight.dtype == dtype
    assert same_state(loaded, model)


def test_low_rank_changes_travel(make_model, make_window, make_batch, tmp_path):
    model = make_model("POYO").eval()
    add_lora(model, rank=2, also_train=["unit_emb"])
    with torch.no_grad():
        model.enc_atn.to_q.lora_up.normal_()
    save_pretrained(model, tmp_path)
    loaded = POYO.from_pretrained(tmp_path).eval()
    inputs = make_batch(model, [make_window()])["model_inputs"]
    assert torch.equal(loaded(**inputs), model(**inputs))


def test_losses_with_arguments_travel(make_model, tmp_path):
    loss = MultilabelCrossEntropyLoss([1.0, 2.0])
    spec = ModalitySpec(
        id=9, dim=2, type=DataType.MULTILABEL, timestamp_key="a.timestamps", value_key="a.labels", loss_fn=loss
    )
    model = make_model("POYOPlus", readout_specs={"labels": spec})
    save_pretrained(model, tmp_path)
    loaded = POYOPlus.from_pretrained(tmp_path).readout_specs["labels"]
    assert loaded.loss_fn.positive_weights == [1.0, 2.0]
    assert (loaded.id, loaded.dim, loaded.type) == (9, 2, DataType.MULTILABEL)


def test_another_architecture_is_named(make_model, tmp_path):
    save_pretrained(make_model("GRUDecoder"), tmp_path)
    with pytest.raises(ValueError, match="holds a GRUDecoder, not a POYO"):
        POYO.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"format_version": 3, "package_version": "9.1"},
            r"of format version 3, written by nd-models 9.1; this nd-models .* up to 2: upgrade nd-models",
        ),
        ({"format_version": "1"}, "format_version must be a number from 1 to 2, found '1'"),
        ({"format_version": ...}, "format_version must be a number"),
        ({"format": "transformers"}, "found format 'transformers'; for a Lightning checkpoint use load_pretrained"),
        ({"format": ...}, "found format None"),
        ({"model": ...}, "lacks 'model'"),
        ({"vocabularies": []}, "lacks 'vocabularies', or it is no mapping"),
        ({"vocabularies": {"unit_emb": "abc"}}, "the vocabulary 'unit_emb' must be a list of names or null"),
        ({"vocabularies": {"unit_emb": ["NA", "a", "a"]}}, "holds a name twice"),
        (
            {"vocabularies": {"unit_emb": ["NA", "a"], "session_emb": ["NA", "b"]}},
            "do not fit the configuration beside",
        ),
        (
            {"target_statistics": {"speed": {"mean": [0.0]}}},
            r"config\.json: target statistics of 'speed' must be a map",
        ),
        ({"weights": {"sha256": "0"}}, "is damaged, or does not belong to the config.json beside it"),
    ],
)
def test_a_wrong_newer_or_damaged_format_says_so(changes, message, make_model, tmp_path):
    save_pretrained(make_model("POYO"), tmp_path)
    rewrite(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        from_pretrained(tmp_path)


def test_weights_of_another_model_are_told_from_their_own(make_model, tmp_path):
    save_pretrained(make_model("POYO"), tmp_path / "a")
    save_pretrained(make_model("POYO"), tmp_path / "b")
    (tmp_path / "a" / "model.safetensors").write_bytes((tmp_path / "b" / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"does not belong to the config\.json beside it"):
        from_pretrained(tmp_path / "a")


def test_an_unfit_configuration_names_the_file_and_its_writer(make_model, tmp_path):
    model = make_model("POYO")
    save_pretrained(model, tmp_path)
    rewrite(tmp_path, model={**model.to_config(), "dims": 3})
    with pytest.raises(ValueError, match="no argument 'dims'") as error:
        from_pretrained(tmp_path)
    assert "config.json describes, written by nd-models" in error.value.__notes__[0]
    rewrite(tmp_path, model={"architecture": "os.system"})
    with pytest.raises(KeyError, match=r"architecture 'os\.system' does not exist"):
        from_pretrained(tmp_path)


def test_files_that_are_missing_or_not_readable_are_named(make_model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*nowhere' with a shared model"):
        from_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"config.json does not exist: this folder holds no shared model"):
        from_pretrained(tmp_path)
    save_pretrained(make_model("POYO"), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="has lost its weights"):
        from_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes(b"{")
    with pytest.raises(ValueError, match=r"config\.json: not readable as JSON"):
        from_pretrained(tmp_path)


def test_a_file_that_is_no_safetensors_is_named(make_model, tmp_path):
    import hashlib

    save_pretrained(make_model("POYO"), tmp_path)
    hostile = b"\x80\x04cos\nsystem\n."
    (tmp_path / "model.safetensors").write_bytes(hostile)
    rewrite(tmp_path, weights={"sha256": hashlib.sha256(hostile).hexdigest()})
    with pytest.raises(ValueError, match=r"model\.safetensors: not readable as safetensors"):
        from_pretrained(tmp_path)


def test_the_configuration_cannot_point_elsewhere(make_model, tmp_path):
    save_pretrained(make_model("POYO"), tmp_path / "a")
    description = json.loads((tmp_path / "a" / "config.json").read_text())
    rewrite(tmp_path / "a", weights={**description["weights"], "file": "../secret"})
    assert isinstance(from_pretrained(tmp_path / "a"), POYO)


def test_a_save_that_fails_leaves_the_old_model_and_no_rest(make_model, tmp_path, monkeypatch):
    old, new = make_model("POYO"), make_model("POYO")
    save_pretrained(old, tmp_path)

    def full(*_arguments) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_pretrained(new, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert same_state(from_pretrained(tmp_path), old)


def test_a_loss_without_a_name_is_refused_before_anything_is_written(make_model, tmp_path):
    spec = ModalitySpec(
        id=1, dim=2, type=DataType.CONTINUOUS, timestamp_key="a", value_key="b", loss_fn=torch.nn.HuberLoss()
    )
    with pytest.raises(ValueError, match="the loss HuberLoss has no name"):
        save_pretrained(make_model("POYO", readout_spec=spec), tmp_path / "shared")
    assert not (tmp_path / "shared").exists()


def test_without_safetensors_the_error_says_what_to_install(make_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ModuleNotFoundError, match=r"sharing a model needs safetensors.*pip install 'safetensors'"):
        save_pretrained(make_model("POYO"), tmp_path / "shared")
    assert not (tmp_path / "shared").exists()


def test_readouts_of_the_registry_are_written_out_in_full(make_model, tmp_path):
    save_pretrained(make_model("POYO"), tmp_path)
    readout = json.loads((tmp_path / "config.json").read_text())["model"]["readout_spec"]
    assert readout["value_key"] == MODALITY_REGISTRY["cursor_velocity_2d"].value_key
    assert readout["loss_fn"] == {"name": "MSELoss"}
