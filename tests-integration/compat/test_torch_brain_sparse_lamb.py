"""SparseLamb beside others: torch_brain 0.1.2's, number for number where it is asked for, and public dense LAMBs.

Each test skips where the package that it compares with is not installed. timm's optimizers need nothing but torch, so
``pip install --no-deps timm`` is enough for them.
"""

import copy
import importlib
import math
import sys
import types
from collections.abc import Iterator
from importlib.machinery import PathFinder
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from nd_optim import SparseLamb

pytestmark = pytest.mark.compat

SHAPES = [(12, 6), (40, 3), (1, 4)]


@pytest.fixture(scope="module")
def peer() -> Any:
    return pytest.importorskip("torch_brain.optim").SparseLamb


def random_parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def give_gradients(ours: list[nn.Parameter], theirs: list[nn.Parameter], step: int) -> None:
    """The share of touched rows runs from none (step 0) to all (step 5) and around again."""
    generator = torch.Generator().manual_seed(step)
    for mine, other in zip(ours, theirs, strict=True):
        gradient = torch.randn(mine.shape, generator=generator)
        rows = mine.shape[0]
        gradient[torch.randperm(rows, generator=generator)[: rows - rows * (step % 6) // 5]] = 0
        mine.grad, other.grad = gradient.to(mine.dtype), gradient.to(mine.dtype)


def assert_close(ours: list[nn.Parameter], theirs: list[nn.Parameter], **tolerance: float) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, **tolerance)


TOLERANCES = {
    torch.float64: {"rtol": 1e-13, "atol": 1e-15},
    torch.float32: {"rtol": 2e-6, "atol": 2e-7},
    torch.bfloat16: {"rtol": 1e-2, "atol": 1e-2},
}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("clamp_value", [0.0, 0.5, 10.0])
def test_legacy_gives_the_numbers_of_torch_brain(
    peer: Any, dtype: torch.dtype, sparse: bool, adam: bool, weight_decay: float, clamp_value: float
) -> None:
    options = {"lr": 0.02, "betas": (0.8, 0.95), "sparse": sparse, "adam": adam}
    options |= {"weight_decay": weight_decay, "clamp_value": clamp_value}
    ours, theirs = random_parameters(dtype), random_parameters(dtype)
    optimizers = [SparseLamb(ours, legacy=True, **options), peer(theirs, **options)]
    for step in range(18):
        give_gradients(ours, theirs, step)
        for optimizer in optimizers:
            optimizer.step()
        assert_close(ours, theirs, **TOLERANCES[dtype])
    for mine, other in zip(ours, theirs, strict=True):
        for key in ("exp_avg", "exp_avg_sq", "trust_ratio"):
            expected = torch.as_tensor(optimizers[1].state[other][key], dtype=dtype)
            torch.testing.assert_close(optimizers[0].state[mine][key], expected, **TOLERANCES[dtype])


@pytest.mark.parametrize("sparse", [False, True])
def test_a_run_of_torch_brain_continues_here(peer: Any, sparse: bool) -> None:
    ours, theirs = random_parameters(), random_parameters()
    options: dict[str, Any] = {"lr": 0.02, "weight_decay": 0.1, "sparse": sparse, "clamp_value": 3.0}
    reference = peer(theirs, **options)
    for step in range(7):
        give_gradients(ours, theirs, step)
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        mine.data.copy_(other.data)
    # Its state holds neither clamp_value nor adam: those stay as they are given here.
    continued = SparseLamb(ours, lr=0.5, clamp_value=3.0, legacy=True)
    continued.load_state_dict(copy.deepcopy(reference.state_dict()))
    for step in range(7, 14):
        give_gradients(ours, theirs, step)
        reference.step()
        continued.step()
        assert_close(ours, theirs, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("foreach", [None, True])
def test_dense_steps_equal_torch_brain_without_legacy_too(peer: Any, foreach: bool | None) -> None:
    ours, theirs = random_parameters(), random_parameters()
    options: dict[str, Any] = {"lr": 0.02, "weight_decay": 0.1}
    optimizers = [SparseLamb(ours, foreach=foreach, **options), peer(theirs, **options)]
    for step in range(20):
        for mine, other in zip(ours, theirs, strict=True):
            noise = torch.randn(mine.shape, generator=torch.Generator().manual_seed(step))
            mine.grad, other.grad = noise, noise.clone()
        for optimizer in optimizers:
            optimizer.step()
        assert_close(ours, theirs, rtol=2e-6, atol=2e-7)


def one_row_after(optimizer_class: Any, mates: list[int], vocabulary: int, **options: Any) -> Tensor:
    table = nn.Parameter(torch.full((vocabulary, 4), 0.5))
    optimizer = optimizer_class([table], lr=0.1, weight_decay=0.01, sparse=True, **options)
    for _ in range(3):
        table.grad = torch.zeros(vocabulary, 4)
        table.grad[mates] = 100.0
        table.grad[0] = torch.tensor([1.0, -1.0, 2.0, 0.5])
        optimizer.step()
    return table[0].detach()


def shrunk_after(optimizer_class: Any, **options: Any) -> float:
    parameter = nn.Parameter(torch.ones(3, 3))
    parameter.grad = torch.zeros(3, 3)
    optimizer = optimizer_class([parameter], lr=0.1, weight_decay=1e-3, **options)
    for _ in range(10):
        optimizer.step()
    return float(parameter.detach()[0, 0])


def test_the_failures_that_the_readme_lists_are_there_and_gone(peer: Any) -> None:
    # The size of a row's step against its batch mates and the vocabulary.
    alone, crowded = one_row_after(peer, [], 50), one_row_after(peer, list(range(1, 50)), 50)
    assert float((alone - crowded).abs().max()) > 0.05
    assert float((one_row_after(peer, [], 5000) - alone).abs().max()) > 0.05
    for mates, vocabulary in ((list(range(1, 50)), 50), ([], 5000)):
        ours = one_row_after(SparseLamb, mates, vocabulary)
        torch.testing.assert_close(ours, one_row_after(SparseLamb, [], 50), rtol=1e-6, atol=0)
    # A weight without gradient shrinks by the learning rate, whatever its decay.
    assert shrunk_after(peer) == pytest.approx((1 - 0.1) ** 10, rel=1e-5)
    assert shrunk_after(SparseLamb, legacy=True) == pytest.approx((1 - 0.1) ** 10, rel=1e-5)
    assert shrunk_after(SparseLamb) == pytest.approx((1 - 0.1 * 1e-3) ** 10, rel=1e-5)
    # An untouched row forgets its moments.
    moments = []
    for optimizer_class in (peer, SparseLamb):
        table = nn.Parameter(torch.ones(2, 2))
        optimizer = optimizer_class([table], sparse=True)
        for gradient in ([[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]):
            table.grad = torch.tensor(gradient)
            optimizer.step()
        moments.append(float(optimizer.state[table]["exp_avg"][1, 0]))
    assert moments == [0.0, pytest.approx(0.1)]
    # Options that are lost on saving, a correction that does not exist, a table of rank 3.
    assert not {"clamp_value", "adam", "debias"} & set(peer([nn.Parameter(torch.ones(2))]).param_groups[0])
    tensor = nn.Parameter(torch.ones(2, 2))
    tensor.grad = torch.ones(2, 2)
    with pytest.raises(NotImplementedError):
        peer([tensor], debias=True).step()
    table = nn.Parameter(torch.ones(3, 2, 2))
    table.grad = torch.ones(3, 2, 2)
    table.grad[1] = 0
    with pytest.raises((RuntimeError, IndexError)):
        peer([table], sparse=True).step()


@pytest.fixture
def timm_lamb() -> Iterator[Any]:
    specification = PathFinder.find_spec("timm")
    if specification is None:
        pytest.skip("timm is not installed (pip install --no-deps timm)")
    # timm and timm.optim import all of its models, and with them torchvision; its LAMB needs torch alone, so the two
    # stand empty here, for as long as this test runs.
    folder = next(iter(specification.submodule_search_locations))
    with mock.patch.dict(sys.modules):
        for name, path in (("timm", folder), ("timm.optim", f"{folder}/optim")):
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__path__ = [path]
        yield importlib.import_module("timm.optim.lamb").Lamb


@pytest.mark.parametrize("foreach", [None, True])
@pytest.mark.parametrize("debias", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_dense_steps_equal_timm(timm_lamb: Any, debias: bool, weight_decay: float, foreach: bool | None) -> None:
    options: dict[str, Any] = {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": weight_decay}
    ours, theirs = random_parameters(torch.float64), random_parameters(torch.float64)
    optimizers = [
        SparseLamb(ours, debias=debias, foreach=foreach, clamp_value=math.inf, **options),
        timm_lamb(theirs, bias_correction=debias, max_grad_norm=None, always_adapt=True, **options),
    ]
    for step in range(25):
        generator = torch.Generator().manual_seed(step)
        for mine, other in zip(ours, theirs, strict=True):
            gradient = torch.randn(mine.shape, generator=generator, dtype=torch.float64)
            mine.grad, other.grad = gradient, gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
        assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.filterwarnings("ignore")  # Lightning's own
@pytest.mark.parametrize("clip_by", ["norm", "value"])
def test_lightning_clips_schedules_and_passes_rows(clip_by: str, tmp_path: Any) -> None:
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embedding, self.layer = nn.Embedding(10, 4), nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_index: int) -> Tensor:
            return self.layer(self.embedding(batch[0])).square().mean()

        def optimizer_step(self, epoch: Any, batch_index: Any, optimizer: Any, optimizer_closure: Any = None) -> None:
            rows = {self.embedding.weight: torch.arange(10)}
            optimizer.step(closure=optimizer_closure, touched_rows=rows)

        def configure_optimizers(self) -> Any:
            groups = [{"params": self.embedding.parameters(), "sparse": True}, {"params": self.layer.parameters()}]
            optimizer = SparseLamb(groups, lr=0.01)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=8)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    data = torch.utils.data.TensorDataset(torch.randint(0, 10, (32,), generator=torch.Generator().manual_seed(0)))
    module = Module()
    trainer = lightning.Trainer(
        max_steps=8,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        gradient_clip_val=0.02,
        gradient_clip_algorithm=clip_by,
    )
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4))

    reference = Module()
    settings = reference.configure_optimizers()
    optimizer, schedule = settings["optimizer"], settings["lr_scheduler"]["scheduler"]
    for (indices,) in torch.utils.data.DataLoader(data, batch_size=4):
        optimizer.zero_grad()
        reference.training_step((indices,), 0).backward()
        clip = torch.nn.utils.clip_grad_value_ if clip_by == "value" else torch.nn.utils.clip_grad_norm_
        clip(reference.parameters(), 0.02)
        optimizer.step()
        if schedule.last_epoch < 7:
            schedule.step()
    for mine, other in zip(module.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7)
