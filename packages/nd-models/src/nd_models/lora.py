"""Low-rank adaptation of linear layers (LoRA; Hu et al. 2021, arXiv 2106.09685).

Shapes: M inputs, N outputs, r rank.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nd_data.nearest_names import name_hint
from nd_models.nn import Dropout
from nd_models.trainable_parts import set_trainable

ATTENTION_PROJECTIONS = ("to_q", "to_kv", "to_qkv", "to_out")
"""The linear layers of an attention."""

_OWN = ("lora_down", "lora_up")


class LoRALinear(nn.Linear):
    """A linear layer with a low-rank change of its weight: `x·Wᵀ + b + scale · (x·downᵀ)·upᵀ`, scale = alpha / r.

    The names of weight and bias stay those of the layer it replaces. `up` starts at zero, so that nothing changes at
    first.

    Args:
        linear: The layer to replace; its weight and bias are taken over, not copied.
        rank: r.
        alpha: Scale of the change is `alpha / rank`.
        dropout: Dropout of what goes into the change, while training.
        generator: Where the first random numbers come from; torch's default where None.

    Raises:
        ValueError: the rank is not 1 to the smaller of M and N, or a setting is out of range.

    >>> layer = LoRALinear(nn.Linear(4, 3), rank=2)
    >>> sorted(layer.state_dict())
    ['bias', 'lora_down', 'lora_up', 'weight']
    """

    def __init__(
        self,
        linear: nn.Linear,
        *,
        rank: int = 8,
        alpha: float | None = None,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        nn.Module.__init__(self)
        highest = min(linear.in_features, linear.out_features)
        if type(rank) is not int or not 1 <= rank <= highest:
            raise ValueError(
                f"rank must be a whole number from 1 to {highest} for a layer with {linear.in_features} inputs and "
                f"{linear.out_features} outputs, got {rank!r}"
            )
        if alpha is not None and not (0 < alpha < math.inf):
            raise ValueError(f"alpha must be a positive number, got {alpha!r}")
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.rank = rank
        self.scale = (rank if alpha is None else alpha) / rank
        self.dropout = Dropout(dropout)
        weight = linear.weight
        bound = 1.0 / math.sqrt(self.in_features)
        down = torch.empty(rank, self.in_features, device=weight.device, dtype=weight.dtype)
        self.lora_down = nn.Parameter(down.uniform_(-bound, bound, generator=generator))
        self.lora_up = nn.Parameter(torch.zeros(self.out_features, rank, device=weight.device, dtype=weight.dtype))
        self._unmerged: Tensor | None = None
        self.train(linear.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the parent's name
        """Apply the layer and its change. Shape: (..., M) to (..., N)."""
        output = functional.linear(input, self.weight, self.bias)
        if self._unmerged is not None:
            return output
        change = functional.linear(functional.linear(self.dropout(input), self.lora_down), self.lora_up)
        return output + self.scale * change

    def merge(self) -> None:
        """Add the change to the weight, which costs nothing then; no further learning until `unmerge`."""
        if self._unmerged is None:
            self._unmerged = self.weight.detach().clone()
            with torch.no_grad():
                self.weight.add_(self.scale * (self.lora_up @ self.lora_down))

    def unmerge(self) -> None:
        """Take the change out of the weight again, which becomes what it was, bit for bit."""
        if self._unmerged is not None:
            with torch.no_grad():
                self.weight.copy_(self._unmerged)
            self._unmerged = None

    def merged(self) -> nn.Linear:
        """A plain linear layer that does the same."""
        plain = nn.Linear(
            self.in_features, self.out_features, self.bias is not None, self.weight.device, self.weight.dtype
        )
        was_merged = self._unmerged is not None
        self.merge()
        with torch.no_grad():
            plain.weight.copy_(self.weight)
            if self.bias is not None:
                plain.bias.copy_(self.bias)
        if not was_merged:
            self.unmerge()
        return plain.train(self.training)

    def extra_repr(self) -> str:
        """Sizes, rank and scale, for `repr`."""
        return f"{super().extra_repr()}, rank={self.rank}, scale={self.scale:g}"

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._unmerged is not None:
            # A merged weight beside its change would count the change twice when loaded.
            destination[prefix + "weight"] = self._unmerged

    def _load_from_state_dict(self, *arguments: Any, **keywords: Any) -> None:
        was_merged = self._unmerged is not None
        self.unmerge()
        super()._load_from_state_dict(*arguments, **keywords)
        if was_merged:
            self.merge()


def add_lora(
    model: nn.Module,
    *,
    rank: int = 8,
    alpha: float | None = None,
    dropout: float = 0.0,
    targets: Iterable[str] = ATTENTION_PROJECTIONS,
    also_train: Iterable[str] = (),
    generator: torch.Generator | None = None,
) -> list[str]:
    """Replace linear layers of a model by ones with a low-rank change, and let nothing else learn.

    The model's `to_config()` then tells of it, so that checkpoints and shared folders bring the change along.

    Args:
        model: The model; changed in place.
        rank: Rank of each change.
        alpha: Each change is scaled by `alpha / rank`; `rank` where None.
        dropout: Dropout of what goes into the changes.
        targets: Last part of the names of the layers to replace.
        also_train: Names of further parts that go on learning; for new recordings `unit_emb` and `session_emb`, for a
            new task `readout`.
        generator: Where the first random numbers come from; torch's default where None.

    Returns:
        Names of the layers.

    Raises:
        ValueError: the model has such layers already, no linear layer of these names, or a setting is out of range.
        KeyError: a part of `also_train` does not exist.

    >>> from nd_models import MODALITY_REGISTRY, POYO
    >>> model = POYO(sequence_length=1.0, latent_step=0.5, readout_spec=MODALITY_REGISTRY["running_speed"], dim=16,
    ...              dim_head=8, depth=1)
    >>> add_lora(model, rank=2)[:3]
    ['enc_atn.to_q', 'enc_atn.to_kv', 'enc_atn.to_out']
    >>> sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    896
    """
    wanted, others = tuple(targets), tuple(also_train)
    if any(isinstance(module, LoRALinear) for module in model.modules()):
        raise ValueError("the model has low-rank changes already; merge_lora(model) makes them part of its weights")
    layers = {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Linear and name.rsplit(".", 1)[-1] in wanted
    }
    if not layers:
        linear = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if type(module) is nn.Linear}
        raise ValueError(
            f"{type(model).__name__} has no linear layer named {' or '.join(map(repr, wanted))}; "
            f"{name_hint(wanted[0] if wanted else '', linear, noun='its linear layers end in')}"
        )
    changed = {
        name: LoRALinear(layer, rank=rank, alpha=alpha, dropout=dropout, generator=generator)
        for name, layer in layers.items()
    }
    set_trainable(model, others)  # before anything is replaced: an unknown name leaves the model as it was
    for name, layer in changed.items():
        _replace(model, name, layer)
    model.lora_config = {  # type: ignore[assignment]  # nn.Module takes any attribute; its annotation does not
        "rank": rank,
        "alpha": None if alpha is None else float(alpha),
        "dropout": float(dropout),
        "targets": list(wanted),
        "also_train": list(others),
    }
    return list(changed)


def merge_lora(model: nn.Module) -> None:
    """Make the changes part of the weights for good: plain linear layers again, under the names they had.

    What learns does not change; `model.unfreeze()` lets everything learn.

    Raises:
        ValueError: the model has no such layer.
    """
    for name, layer in _lora_layers(model).items():
        plain = layer.merged()
        plain.weight.requires_grad_(layer.weight.requires_grad)
        if plain.bias is not None:
            plain.bias.requires_grad_(layer.bias.requires_grad)
        _replace(model, name, plain)
    if hasattr(model, "lora_config"):
        del model.lora_config


def remove_lora(model: nn.Module) -> None:
    """Drop the changes: the model is what it was before `add_lora`, bit for bit.

    Raises:
        ValueError: the model has no such layer.
    """
    for layer in _lora_layers(model).values():
        layer.unmerge()
        with torch.no_grad():
            layer.lora_up.zero_()
    merge_lora(model)


def lora_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The changes alone, a small part of the model's state; `load_lora_state_dict` takes them.

    Raises:
        ValueError: the model has no such layer.
    """
    state = model.state_dict()
    return {f"{name}.{own}": state[f"{name}.{own}"] for name in _lora_layers(model) for own in _OWN}


def load_lora_state_dict(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put changes into a model that has layers of the same names and rank.

    Raises:
        ValueError: names or shapes differ. Nothing is loaded then.
    """
    own = lora_state_dict(model)
    for name in sorted(own.keys() | state.keys()):
        found, expected = state.get(name), own.get(name)
        if found is None or expected is None or found.shape != expected.shape:
            shapes = ["absent" if tensor is None else str(tuple(tensor.shape)) for tensor in (found, expected)]
            raise ValueError(
                f"the low-rank changes do not fit: {name} is {shapes[0]} in the state and {shapes[1]} in the model; "
                "call add_lora with the rank and targets that they were made with"
            )
    for name, layer in _lora_layers(model).items():
        complete = layer.state_dict()
        layer.load_state_dict({**complete, **{own: state[f"{name}.{own}"] for own in _OWN}})


def _lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    if not layers:
        raise ValueError(f"this {type(model).__name__} has no low-rank changes; add_lora(model) makes some")
    return layers


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    holder, _, own = name.rpartition(".")
    setattr(model.get_submodule(holder), own, layer)
