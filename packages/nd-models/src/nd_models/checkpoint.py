"""Pretrained models out of Lightning checkpoints, without running code from them."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from nd_models.constructor_arguments import build_model, named_architecture
from nd_models.foreign_objects import plain, resolved
from nd_models.readout_configuration import readouts_from_config
from nd_models.safe_load import first_foreign, safe_load

PREFIX = "model."
"""How a Lightning module that keeps its model as `self.model` begins the names of the model's weights."""
COMPILED_PREFIX = "_orig_mod."
"""What `torch.compile` puts before them, where that model was a compiled one."""

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


def read_checkpoint(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's configuration and state out of a Lightning checkpoint; the prefix `model.` is taken off the names.

    The configuration is `hyper_parameters["model"]`, or what a `cfg` or `config` among the hyperparameters has under
    `model`; containers of OmegaConf are read as plain mappings and lists, and references `${a.b}` are followed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no Lightning checkpoint that holds a model and its configuration.
    """
    path = Path(path)
    checkpoint = _read(path)
    state = _weights(path, checkpoint)
    try:
        parameters = plain(checkpoint.get("hyper_parameters"))
    except ValueError as error:
        raise ValueError(f"{path}: hyper_parameters: {error}") from None
    advice = (
        "Build the model yourself and load its weights: model.load_state_dict(nd_models.read_weights(checkpoint_path))"
    )
    for keys in (("model",), ("cfg", "model"), ("config", "model")):
        root, config = parameters, parameters
        for key in keys:
            root, config = config, config.get(key) if isinstance(config, Mapping) else None
        if isinstance(config, Mapping):
            described = {str(key): resolved(value, root) for key, value in config.items()}
            name = "".join(f"[{key!r}]" for key in keys)
            foreign = first_foreign(described, f"hyper_parameters{name}")
            if foreign is not None:
                raise ValueError(f"{path}: {foreign}, which is not loaded because that could run code. {advice}")
            return described, state
    raise ValueError(
        f"{path}: hyper_parameters['model'] does not describe the model, and times such as sequence_length and "
        f"latent_step cannot be told from its weights. {advice}"
    )


def read_weights(checkpoint_path: str | PathLike[str]) -> dict[str, Any]:
    """The model's state out of a Lightning checkpoint, whatever else that holds; runs no code from it.

    Args:
        checkpoint_path: A checkpoint of a Lightning module that keeps its model as `self.model`.

    Returns:
        What the model's `load_state_dict` takes: weights and vocabularies by name, without the prefix `model.`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no Lightning checkpoint that holds a model.
    """
    path = Path(checkpoint_path)
    return _weights(path, _read(path))


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {str(path)!r} does not exist or is not a file")
    checkpoint = safe_load(path)
    if not isinstance(checkpoint, Mapping) or not isinstance(checkpoint.get("state_dict"), Mapping):
        raise ValueError(f"{path}: not a Lightning checkpoint: it has no 'state_dict'")
    return checkpoint


def _weights(path: Path, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    stored = {str(name): value for name, value in checkpoint["state_dict"].items()}
    state = {name.removeprefix(PREFIX): value for name, value in stored.items() if name.startswith(PREFIX)}
    if not state:
        names = ", ".join(map(repr, list(stored)[:5]))
        raise ValueError(f"{path}: no weight's name begins with {PREFIX!r}; the first are {names or 'none'}")
    if all(name.startswith(COMPILED_PREFIX) for name in state):
        state = {name.removeprefix(COMPILED_PREFIX): value for name, value in state.items()}
    foreign = first_foreign(state, "state_dict")
    if foreign is not None:
        raise ValueError(f"{path}: {foreign}, which is no weight and is not loaded because that could run code")
    return state


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
