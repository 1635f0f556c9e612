"""Checkpoints that Lightning wrote for modules around torch_brain's models, as its users' training scripts do."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import nd_models
from nd_models import read_weights
from peer_models import MODELS, SIZES, TASKS, assert_same_outputs, make_batch, pair_of_models

pytestmark = pytest.mark.compat

lightning = pytest.importorskip("lightning", reason="the compat session installs lightning beside torch_brain")
OmegaConf = pytest.importorskip("omegaconf", reason="the compat session installs omegaconf").OmegaConf


@pytest.fixture(autouse=True)
def one_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def settings_of(name: str, size: dict[str, Any]) -> Any:
    """A configuration as the scripts compose it: with what builds the model, and references."""
    arguments = {"sequence_length": 1.0, "latent_step": "${step}", "t_max": 4.0, **size, "dim": "${model_size.dim}"}
    return OmegaConf.create(
        {
            "name": "run",
            "step": 0.25,
            "model_size": {"dim": size["dim"]},
            "model": {"_target_": f"torch_brain.models.{name}", **arguments},
            "optim": {"base_lr": 1e-3, "betas": [0.9, 0.99], "weight_decay": None},
            "train_transforms": [{"_target_": "torch_brain.transforms.UnitDropout", "min_units": 3}],
        }
    )


class PlainSettings(lightning.LightningModule):
    """The hyperparameters as a plain mapping: `OmegaConf.to_container`."""

    def __init__(self, cfg: Any, model: Any) -> None:
        super().__init__()
        self.model = model
        self.save_hyperparameters(OmegaConf.to_container(cfg))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters())


class ContainerOfSettings(PlainSettings):
    """The configuration itself, an OmegaConf container."""

    def __init__(self, cfg: Any, model: Any) -> None:
        lightning.LightningModule.__init__(self)
        self.model = model
        self.save_hyperparameters(cfg)


class SettingsByName(lightning.LightningModule):
    """All arguments of the constructor, among them the container and the whole model."""

    def __init__(self, cfg: Any, model: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = model

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters())


WRITERS = (PlainSettings, ContainerOfSettings, SettingsByName)


def written(path: Path, module: Any) -> Path:
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    return path


def loader(name: str) -> Callable[..., Any]:
    """`load_pretrained` with the readouts of the tests."""
    if name == "POYO":
        spec = nd_models.MODALITY_REGISTRY["cursor_velocity_2d"]
        return lambda path, **how: nd_models.POYO.load_pretrained(path, spec, **how)
    specs = {task: nd_models.MODALITY_REGISTRY[task] for task in TASKS}
    return lambda path, **how: getattr(nd_models, name).load_pretrained(path, specs, **how)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
@pytest.mark.parametrize("size", ["single session", "two cross heads"])
@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_of_the_peer_gives_its_model(name, size, writer, tmp_path):
    theirs, _ = pair_of_models(name, SIZES[size])
    path = written(tmp_path / "last.ckpt", writer(settings_of(name, SIZES[size]), theirs))
    before = path.read_bytes()
    ours = loader(name)(path)
    assert path.read_bytes() == before
    assert ours.unit_emb.vocab == theirs.unit_emb.vocab
    batch = make_batch(name, SIZES[size]["num_latents_per_step"])
    with torch.no_grad():
        assert_same_outputs(ours.eval()(**batch), theirs.eval()(**batch))


@pytest.mark.parametrize("name", MODELS)
def test_a_new_readout_is_drawn_and_all_else_is_the_peers(name, tmp_path):
    theirs, _ = pair_of_models(name, SIZES["single session"])
    path = written(tmp_path / "last.ckpt", ContainerOfSettings(settings_of(name, SIZES["single session"]), theirs))
    ours = loader(name)(path, skip_readout=True)
    state = theirs.state_dict()
    for key, value in ours.state_dict().items():
        if not isinstance(value, torch.Tensor):
            assert value == state[key]
        elif not key.startswith(("readout.", "task_emb.")):
            assert torch.equal(value, state[key]), key
        elif key.endswith("weight"):
            assert not torch.equal(value, state[key]), key


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_without_settings_still_gives_its_weights(name, tmp_path):
    theirs, ours = pair_of_models(name, SIZES["single session"])
    path = tmp_path / "bare.ckpt"
    torch.save({"state_dict": {f"model.{key}": value for key, value in theirs.state_dict().items()}}, path)
    with pytest.raises(ValueError, match=r"nd_models\.read_weights"):
        loader(name)(path)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
    ours.load_state_dict(read_weights(path), strict=True)
    batch = make_batch(name)
    with torch.no_grad():
        assert_same_outputs(ours(**batch), theirs(**batch))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's, of the checkpoint that is written here
def test_reading_imports_neither_omegaconf_nor_torch_brain(tmp_path):
    import subprocess

    theirs, _ = pair_of_models("POYO", SIZES["single session"])
    path = written(tmp_path / "last.ckpt", SettingsByName(settings_of("POYO", SIZES["single session"]), theirs))
    script = (
        "import sys; from nd_models import POYO, MODALITY_REGISTRY\n"
        f"POYO.load_pretrained({str(path)!r}, MODALITY_REGISTRY['cursor_velocity_2d'])\n"
        "print(sorted(name for name in sys.modules if name in ('omegaconf', 'torch_brain', 'lightning')))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
