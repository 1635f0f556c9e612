"""One rank of the tests of split parameters: steps DTensors over gloo and saves what every rank ends with."""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DeviceMesh, DTensor, Replicate, Shard, distribute_tensor, init_device_mesh

from nd_optim import SparseLamb, UnsupportedGradientError

STEPS = 5
# Rows that do not share out evenly, and one tensor that one of the ranks has no part of.
SHAPES = {"matrix": (7, 4), "vector": (5,), "single": (1,), "still": (4, 3)}
TABLE = (11, 3)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"weight_decay": 0.1},
    "debias": {"debias": True, "weight_decay": 0.1},
    "adam": {"adam": True, "debias": True, "weight_decay": 0.1},
}


def draw(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def gradient(name: str, step: int) -> Tensor:
    shape = SHAPES[name]
    # A tensor without a gradient from the second step on coasts.
    return torch.zeros(shape) if name == "still" and step else draw(shape, 100 * step + len(name))


def table_gradient(step: int) -> Tensor:
    touched = torch.zeros(TABLE[0], 1)
    touched[[step % 3, 5, 10 - step]] = 1.0
    return draw(TABLE, 1000 + step) * touched


def whole(tensor: Any) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def stepped(mesh: DeviceMesh | None, options: dict[str, Any], placement: Any, *, reload_at: int | None = None) -> Any:
    """Weights and state after some steps; split over a mesh, or whole."""

    def placed(tensor: Tensor) -> Tensor:
        return tensor if mesh is None else distribute_tensor(tensor, mesh, [placement], src_data_rank=None)

    weights = {name: nn.Parameter(placed(draw(shape, len(name)))) for name, shape in SHAPES.items()}
    table = nn.Parameter(placed(draw(TABLE, 99)))

    def build() -> SparseLamb:
        groups = [{"params": list(weights.values())}, {"params": [table], "sparse": True}]
        return SparseLamb(groups, lr=0.05, **options)

    optimizer = build()
    for step in range(STEPS):
        if step == reload_at:
            state = optimizer.state_dict()
            optimizer = build()
            # As from a checkpoint that holds whole tensors.
            state["state"] = {k: {n: whole(v) for n, v in one.items()} for k, one in state["state"].items()}
            optimizer.load_state_dict(state)
        for name, weight in weights.items():
            weight.grad = placed(gradient(name, step))
        table.grad = placed(table_gradient(step))
        # Every other step names the rows, with some that have no gradient.
        listed = {table: torch.tensor([step % 3, 5, 10 - step, 7, 5])} if step % 2 else None
        optimizer.step(touched_rows=listed)
    state = optimizer.state_dict()["state"]
    return {
        "weights": {name: whole(weight.detach()) for name, weight in [*weights.items(), ("table", table)]},
        "state": {key: {name: whole(value) for name, value in one.items()} for key, one in state.items()},
    }


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(13, 4), nn.Linear(4, 3))


def trained(model: nn.Module, rank: int, world_size: int) -> dict[str, Tensor]:
    groups = [{"params": model[0].parameters(), "sparse": True}, {"params": model[1].parameters()}]
    optimizer = SparseLamb(groups, lr=0.05, weight_decay=0.1, debias=True)
    for step in range(STEPS):
        batch = torch.randint(0, 13, (8,), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (model(batch.chunk(world_size)[rank]) - 1).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    return {name: whole(value) for name, value in model.state_dict().items()}


def refusals(mesh: DeviceMesh) -> dict[str, str]:
    """What is said about tensors that cannot be stepped, none of which has moved."""
    cases: dict[str, tuple[Any, dict[str, Any]]] = {
        "split within rows": (Shard(1), {"sparse": True}),
        "legacy": (Shard(0), {"legacy": True}),
    }
    said = {}
    for name, (placement, options) in cases.items():
        parameter = nn.Parameter(distribute_tensor(torch.ones(4, 2), mesh, [placement]))
        parameter.grad = distribute_tensor(torch.ones(4, 2), mesh, [placement])
        optimizer = SparseLamb([parameter], **options)
        try:
            optimizer.step()
        except UnsupportedGradientError as error:
            said[name] = str(error)
        assert torch.equal(whole(parameter.detach()), torch.ones(4, 2))
        assert not optimizer.state[parameter]
    return said


def main(rank: int, world_size: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world_size)
    mesh = init_device_mesh("cpu", (world_size,))
    results: dict[str, Any] = {
        f"{name} {kind}": stepped(mesh, options, placement, reload_at=reload_at)
        for name, options in OPTIONS.items()
        for kind, placement, reload_at in (
            ("split", Shard(0), None),
            ("reloaded", Shard(0), 2),
            ("copied", Replicate(), None),
        )
    }
    model = small_model()
    fully_shard(model[1], mesh=mesh)
    fully_shard(model, mesh=mesh)
    results["fully_shard"] = trained(model, rank, world_size)
    results["refusals"] = refusals(mesh)
    torch.save(results, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
