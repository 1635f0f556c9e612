"""Training with weights, gradients and moments split over the ranks (FSDP2: `torch.distributed.fsdp.fully_shard`)."""

import warnings
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy, Strategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.optim import Optimizer

from nd_models.decoder_model import named_vocabularies
from nd_models.nn import NormedFeedForward, RotaryCrossAttention, RotarySelfAttention
from nd_optim import SparseLamb

_BLOCKS = (RotaryCrossAttention, RotarySelfAttention, NormedFeedForward)


class FullyShardedStrategy(ModelParallelStrategy):
    """Lightning's strategy for FSDP2 with all processes as data-parallel ranks, and checkpoints of one file.

    Checkpoints hold the whole of every tensor, as those of other strategies do: a run can be resumed, tested or
    exported on any number of devices. Rank 0 needs the host memory for that.

    Args:
        process_group_backend: ``"nccl"`` or ``"gloo"``; None chooses by device.
        timeout: How long a rank waits for the others.
    """

    def __init__(self, process_group_backend: str | None = None, timeout: timedelta = timedelta(minutes=30)) -> None:
        super().__init__(
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend=process_group_backend,
            timeout=timeout,
        )

    def setup_environment(self) -> None:
        """Count the ranks, which are known only now."""
        self._data_parallel_size = self.num_processes * self.num_nodes
        super().setup_environment()

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = True) -> dict[str, Any]:
        """Give each rank its part of the weights and of the optimizers' states of a checkpoint of any strategy.

        Args:
            checkpoint_path: One file.
            weights_only: Whether only tensors and plain values are taken from it.

        Returns:
            What else it holds.

        Raises:
            ValueError: the vocabulary of an embedding is another than in the checkpoint.
        """
        assert self.model is not None
        _check_vocabularies(self.model, Path(checkpoint_path))
        # Lightning numbers an optimizer's parameters in the order of the model, which is not that of our groups; so it
        # loads all but the optimizers.
        optimizers, self.optimizers = self.optimizers, []
        try:
            checkpoint = super().load_checkpoint(checkpoint_path, weights_only=weights_only)
        finally:
            self.optimizers = optimizers
        for optimizer, state in zip(optimizers, checkpoint.get("optimizer_states", []), strict=False):
            _load_by_name(self.model, optimizer, state)
        return checkpoint


def _check_vocabularies(model: nn.Module, path: Path) -> None:
    # A model that is whole brings the rows of another vocabulary into its own order as it loads; parts of rows cannot.
    state = torch.load(path, mmap=True, map_location="cpu", weights_only=True)["state_dict"]
    for name, embedding in named_vocabularies(model):
        saved = state.get(f"{name}.vocab")
        if saved is not None and dict(saved) != dict(embedding.vocab or {}):
            raise ValueError(
                f"{path}: {name} has a vocabulary of {len(saved)} there and of {len(embedding.vocab or {})} here, or "
                "another order; a run with split weights goes on with the recordings it began with. Use "
                "strategy 'ddp', or finetune for other recordings"
            )


def _load_by_name(model: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

    names = {parameter: name for name, parameter in model.named_parameters()}
    name_of: dict[int, str] = {}
    groups = []
    for saved, group in zip(state["param_groups"], optimizer.param_groups, strict=True):
        in_group = [names[parameter] for parameter in group["params"]]
        name_of |= dict(zip(saved["params"], in_group, strict=True))
        groups.append({**saved, "params": in_group})
    by_name: dict[str, Any] = {
        "state": {name_of[number]: one for number, one in state["state"].items()},
        "param_groups": groups,
    }
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_optimizer_state_dict(model, optimizer, by_name, options=options)


def shard_model(model: nn.Module, mesh: DeviceMesh) -> None:
    """Split a model's parameters over the ranks of a mesh, in place; each attention and feed-forward block by itself.

    A block's parameters are whole only while it runs. All others (embeddings, readouts) are whole during the step.

    Args:
        model: A model of nd_models whose vocabularies are initialised. One that is split already stays as it is.
        mesh: The ranks, one dimension.
    """
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return
    # It warns of adding to a block's output in place, which these models do not do.
    warnings.filterwarnings("ignore", message=r"FSDP2-wrapped module \(\w+\) returned a view tensor")
    for module in model.modules():
        if isinstance(module, _BLOCKS):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


def data_parallel_mesh(strategy: Strategy) -> DeviceMesh | None:
    """The ranks over which a strategy wants the model split; None where it does not.

    Raises:
        ValueError: the strategy also splits single matrices (tensor parallelism), which these models do not support.
    """
    if not isinstance(strategy, ModelParallelStrategy):
        return None
    if strategy.device_mesh["tensor_parallel"].size() != 1:
        raise ValueError(
            f"expected a strategy without tensor parallelism, found tensor_parallel_size="
            f"{strategy.device_mesh['tensor_parallel'].size()}: use nd_train.sharding.FullyShardedStrategy, or "
            "ModelParallelStrategy(data_parallel_size=<all ranks>, tensor_parallel_size=1)"
        )
    mesh: DeviceMesh = strategy.device_mesh["data_parallel"]
    return mesh


def check_whole_tensors(strategy: Strategy) -> None:
    """Refuse optimizers that need whole tensors or rows, where the strategy hands them flat pieces of parameters.

    Lightning's ``fsdp`` (FSDP1) hides from an optimizer what its pieces belong to, so norms of them are not the norms
    of the parameters; with `FullyShardedStrategy` (FSDP2) it knows.

    Raises:
        ValueError: SparseLamb with FSDP1.
    """
    if isinstance(strategy, FSDPStrategy) and any(isinstance(one, SparseLamb) for one in strategy.optimizers):
        raise ValueError(
            "strategy 'fsdp' (FSDP1) gives SparseLamb flat pieces of parameters, whose trust ratios would be wrong: "
            "use the strategy nd_train.sharding.FullyShardedStrategy (FSDP2), 'ddp', or the optimizer 'adamw'"
        )
