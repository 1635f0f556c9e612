"""One rank of the data-parallel test: trains a small model under DDP over gloo and saves what it ends with."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nd_optim import SparseLamb


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(40, 4), nn.Linear(4, 3))


def build(model: nn.Module) -> SparseLamb:
    groups = [{"params": model[0].parameters(), "sparse": True}, {"params": model[1].parameters()}]
    return SparseLamb(groups, lr=0.05, weight_decay=0.1, debias=True)


def batch(step: int) -> Tensor:
    # Far more rows than a batch holds, so that the ranks touch different ones.
    return torch.randint(0, 40, (8,), generator=torch.Generator().manual_seed(step))


def main(rank: int, world_size: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world_size)
    model = small_model()
    wrapped = DistributedDataParallel(model)
    optimizer = build(model)
    for step in range(6):
        optimizer.zero_grad()
        (wrapped(batch(step).chunk(world_size)[rank]) - 1).square().mean().backward()
        optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
