"""Pretrained models out of Lightning checkpoints, without running code from them."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.serialization import get_unsafe_globals_in_checkpoint

from nd_models.constructor_arguments import build_model, named_architecture
from nd_models.readout_configuration import readouts_from_config

PREFIX = "model."
"""How a Lightning module that keeps its model as `self.model` begins the names of the model's weights."""

Model = TypeVar("Model", bound=nn.Module)


def load_pretrained_model(
    architecture: type[Model],
    checkpoint_path: str | PathLike[str],
    changes: Mapping[str, Any],
    *,
    fresh: tuple[str, ...] = (),
) -> Model:
    """Build the model of a checkpoint and load its weights and vocabularies.

    Args:
        architecture: The class to build.
        checkpoint_path: A Lightning checkpoint with `hyper_parameters["model"]`, as nd_train writes it.
        changes: Constructor arguments that replace those of the checkpoint.
        fresh: Beginnings of the weights' names that are not loaded.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no such checkpoint, is of another architecture, or its readout differs.
    """
    path = Path(checkpoint_path)
    config, state = read_checkpoint(path)
    named = named_architecture(config)
    if named is not None and named != architecture.__name__:
        raise ValueError(f"{path}: the checkpoint holds a {named}, not a {architecture.__name__}")
    try:
        model = build_model(architecture, {**config, **changes})
    except (KeyError, TypeError, ValueError) as error:
        error.add_note(f"while building the model that checkpoint {path} describes")
        raise
    if not fresh:
        _refuse_other_readouts(path, config, model, state)
    state = {name: value for name, value in state.items() if not name.startswith(fresh or ("\0",))}
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: the weights do not fit the configuration beside them: {reason}") from None
    missing = [name for name in missing if not name.startswith(fresh or ("\0",))]
    if missing or unexpected:
        raise ValueError(f"{path}: the weights do not fit the configuration: missing {missing}, not known {unexpected}")
    return model


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's configuration and state out of a Lightning checkpoint; the prefix `model.` is taken off the names.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no Lightning checkpoint that holds a model and its configuration.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {str(path)!r} does not exist or is not a file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:
        # A file of something else fails in any way: the unpickler pops from empty stacks and unpacks too few bytes.
        raise ValueError(_unreadable(path, error)) from None
    if not isinstance(checkpoint, Mapping) or not isinstance(checkpoint.get("state_dict"), Mapping):
        raise ValueError(f"{path}: not a Lightning checkpoint: it has no 'state_dict'")
    state = {
        name.removeprefix(PREFIX): value for name, value in checkpoint["state_dict"].items() if name.startswith(PREFIX)
    }
    if not state:
        names = ", ".join(map(repr, list(checkpoint["state_dict"])[:5]))
        raise ValueError(f"{path}: no weight's name begins with {PREFIX!r}; the first are {names or 'none'}")
    parameters = checkpoint.get("hyper_parameters")
    config = parameters.get("model") if isinstance(parameters, Mapping) else None
    if not isinstance(config, Mapping):
        raise ValueError(
            f"{path}: hyper_parameters['model'] does not describe the model, and times such as sequence_length and "
            "latent_step cannot be told from its weights. Build the model yourself and load the checkpoint's "
            f"'state_dict' into it, without the {PREFIX!r} before the names"
        )
    return dict(config), state


def _refuse_other_readouts(path: Path, config: Mapping[str, Any], model: nn.Module, state: Mapping[str, Any]) -> None:
    beginnings = ("readout.", "task_emb.")
    stored = {name: tuple(value.shape) for name, value in state.items() if name.startswith(beginnings)}
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items() if name.startswith(beginnings)}
    advice = "pass skip_readout=True to start the readout anew"
    for name in sorted(stored.keys() | wanted.keys()):
        if stored.get(name) != wanted.get(name):
            raise ValueError(
                f"{path}: the readout differs: {name} is {_shape(stored.get(name))} in the checkpoint and "
                f"{_shape(wanted.get(name))} in the model; {advice}"
            )
    if "readout_specs" in config:
        now: Mapping[str, Any] = getattr(model, "readout_specs", {})
        for name, spec in readouts_from_config(config["readout_specs"]).items():
            if name in now and now[name].id != spec.id:
                raise ValueError(
                    f"{path}: the readout differs: {name!r} has id {spec.id} in the checkpoint and "
                    f"{now[name].id} in the model; {advice}"
                )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(shape)


def _unreadable(path: Path, error: Exception) -> str:
    try:
        foreign = sorted(get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:
        # Damaged files fail here in many ways, and the error of reading them says more.
        foreign = []
    if foreign:
        return (
            f"{path}: holds Python objects besides tensors and plain values ({', '.join(foreign[:5])}), which are not "
            "loaded because that could run code. Save the weights again from the program that wrote them, with plain "
            "hyperparameters"
        )
    # What a KeyError of a damaged file holds is a stray number.
    reason = "" if isinstance(error, KeyError) else str(error).partition("\n")[0]
    reason = reason or type(error).__name__
    return f"{path}: not a readable PyTorch checkpoint ({reason})"
