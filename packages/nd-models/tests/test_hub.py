"""Models on the Hugging Face Hub. The Hub itself is played by a folder."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nd_models import POYO, from_pretrained, push_to_hub


def test_without_huggingface_hub_the_error_names_the_extra(make_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"uploading a model needs huggingface_hub.*'nd-models\[hub\]'"):
        make_model("POYO").push_to_hub("someone/decoder")
    with pytest.raises(ModuleNotFoundError, match=r"'someone/decoder', which is no folder here, needs huggingface_hub"):
        POYO.from_pretrained("someone/decoder")


@pytest.mark.parametrize("name", ["/nowhere/model", "./model", "~/model", "a/b/c", Path("a/b")])
def test_what_cannot_be_a_repository_is_a_missing_folder(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        from_pretrained(name)


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A Hub in a folder: what was asked of it, and where it keeps its repositories."""
    pytest.importorskip("safetensors")
    huggingface_hub = pytest.importorskip("huggingface_hub")
    from huggingface_hub import hub_mixin

    asked = SimpleNamespace(folder=tmp_path / "hub", calls=[])

    class Api:
        def __init__(self, token=None) -> None:
            asked.calls.append(("token", token))

        def create_repo(self, repo_id, private=None, exist_ok=False):
            asked.calls.append(("create_repo", repo_id, private))
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, repo_id, folder_path, commit_message, **others):
            asked.calls.append(("upload", commit_message))
            shutil.copytree(folder_path, asked.folder / repo_id)
            return f"https://hub.example/{repo_id}/commit/1"

    def snapshot_download(repo_id, *, revision=None, allow_patterns=None, **others):
        asked.calls.append(("download", repo_id, revision))
        source = asked.folder / repo_id
        if not source.is_dir():
            raise huggingface_hub.errors.LocalEntryNotFoundError("no network")
        target = tmp_path / "cache"
        target.mkdir()
        for pattern in allow_patterns:
            shutil.copy(source / pattern, target)
        return str(target)

    monkeypatch.setattr(hub_mixin, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_goes_up_with_a_card_and_comes_back(any_model, make_model, remote):
    model = make_model(any_model)
    address = push_to_hub(model, "lab/decoder", private=True, commit_message="First", token=None)
    assert address.endswith("lab/decoder/commit/1")
    assert remote.calls == [("token", None), ("create_repo", "lab/decoder", True), ("upload", "First")]
    repository = remote.folder / "lab" / "decoder"
    assert sorted(path.name for path in repository.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    card = (repository / "README.md").read_text()
    assert "library_name: nd-models" in card
    assert f"- {any_model}" in card

    loaded = type(model).from_pretrained("lab/decoder", revision="v1")
    assert remote.calls[-1] == ("download", "lab/decoder", "v1")
    assert loaded.to_config() == model.to_config()
    for key, value in model.state_dict().items():
        found = loaded.state_dict()[key]
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value


def test_a_repository_that_is_not_there_is_named(remote):
    with pytest.raises(FileNotFoundError, match=r"no folder 'lab/nothing' here, and the repository .*: no network"):
        from_pretrained("lab/nothing")


def test_a_folder_here_comes_before_a_repository_of_that_name(make_model, remote, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = make_model("POYO")
    model.save_pretrained("lab/decoder")
    assert torch.equal(POYO.from_pretrained("lab/decoder").unit_emb.weight, model.unit_emb.weight)
    assert remote.calls == []
