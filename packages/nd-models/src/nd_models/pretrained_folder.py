"""Models in a folder to share: `model.safetensors` for the weights, `config.json` for all the rest. No code is run.

The configuration holds the format and its version, the package that wrote it, the architecture's arguments with the
readouts in full, the vocabularies in the order of their rows, the statistics that targets were scaled by where they are
known, and a digest of the weights, which tells when the two files do not belong together.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from nd_models.__about__ import __version__
from nd_models.decoder_model import DecoderModel, named_vocabularies
from nd_models.optional_packages import required
from nd_models.target_scale import checked_target_statistics

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
FORMAT = "nd-models"
FORMAT_VERSION = 2
"""Rises when a folder is written that older packages would misread; a folder says the lowest that tells all of it.

1: model, vocabularies, weights. 2: also target statistics, and readouts with a unit or names of classes.
"""

_STATISTICS = "target_statistics"

Model = TypeVar("Model", bound=DecoderModel)


def save_pretrained(model: DecoderModel, folder: str | PathLike[str]) -> None:
    """Write a model into a folder, to share it.

    Each file takes its place only when it was written whole. A model that was there before is replaced; other files of
    the folder stay.

    Args:
        model: The model; its vocabularies may be initialised or not. Low-rank changes travel along, and so do its
            `target_statistics`.
        folder: Made where it does not exist.

    Raises:
        ValueError: a loss of the model has no name in `nd_models.loss.LOSSES`, or its `target_statistics` make no
            sense.
        ModuleNotFoundError: safetensors is not installed.

    >>> import tempfile
    >>> from nd_models.baselines import GRUDecoder
    >>> model = GRUDecoder(sequence_length=1.0, bin_size=0.1, readout_specs=["running_speed"], dim=8)
    >>> model.unit_emb.initialize_vocab(["a/1/unit_0"])
    >>> model.session_emb.initialize_vocab(["a/1"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_pretrained(model, folder)
    ...     from_pretrained(folder).unit_emb.vocab["a/1/unit_0"]
    1
    """
    safetensors = required("safetensors.torch", "safetensors", "sharing a model")
    target = Path(folder)
    vocabularies: dict[str, list[str] | None] = {}
    state = model.state_dict()
    for name, embedding in named_vocabularies(model):
        vocabulary = state.pop(f"{name}.vocab")
        vocabularies[name] = None if vocabulary is None else sorted(vocabulary, key=vocabulary.__getitem__)
        if embedding.is_lazy():
            del state[f"{name}.weight"]
    # Copies: safetensors wants memory of its own for each tensor, without gaps.
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    content: bytes = safetensors.save(weights, metadata={"format": "pt"})
    description: dict[str, Any] = {
        "format": FORMAT,
        "format_version": 1,
        "package_version": __version__,
        "model": model.to_config(),
        "vocabularies": vocabularies,
        "weights": {"file": WEIGHTS_FILE, "sha256": hashlib.sha256(content).hexdigest()},
    }
    if model.target_statistics is not None:
        description[_STATISTICS] = checked_target_statistics(model.target_statistics)
    if description.get(_STATISTICS) or _names_or_units(description["model"]):
        description["format_version"] = 2
    text = json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    target.mkdir(parents=True, exist_ok=True)
    _replace_files(target, {WEIGHTS_FILE: content, CONFIG_FILE: text.encode()})


def from_pretrained(
    folder_or_repository: str | PathLike[str],
    *,
    architecture: type[Model] = DecoderModel,  # type: ignore[assignment]  # the bound, where nobody asks for less
    **where: Any,
) -> Model:
    """Build a model out of a folder that `save_pretrained` wrote, or out of a repository on the Hugging Face Hub.

    Nothing in the files is executed: the architecture and the losses come from fixed tables.

    Args:
        folder_or_repository: A folder; or, where there is none of that name, a repository `owner/name`, which needs
            `nd-models[hub]`.
        architecture: What the model must be; `POYOPlus.from_pretrained(folder)` sets it.
        **where: For a repository: `revision`, `token`, `cache_dir`, `force_download`, `local_files_only`.

    Returns:
        The model on CPU, in training mode, in the precision that it was saved in.

    Raises:
        FileNotFoundError: no such folder, or a file of it is missing.
        ValueError: a file is damaged, of a newer or another format, or the files do not belong together.
        KeyError: an architecture, readout or loss that this package does not have.
        ModuleNotFoundError: safetensors, or for a repository huggingface_hub, is not installed.
    """
    folder = Path(folder_or_repository)
    if not folder.is_dir():
        if not _may_be_repository(folder_or_repository):
            raise FileNotFoundError(f"there is no folder {str(folder)!r} with a shared model")
        from nd_models.hub import download

        folder = download(str(folder_or_repository), **where)
    description = read_description(folder)
    model = _build(folder, description)
    if not isinstance(model, architecture):
        raise ValueError(f"{folder}: holds a {type(model).__name__}, not a {architecture.__name__}")
    weights = _read_weights(folder, description)
    for name, embedding in named_vocabularies(model):
        names = description["vocabularies"].get(name)
        if names is not None:
            weights[f"{name}.vocab"] = dict(zip(names, range(len(names)), strict=True))
        elif f"{name}.weight" not in weights:
            weights |= {f"{name}.weight": embedding.weight, f"{name}.vocab": None}
    precisions = {value.dtype for value in weights.values() if isinstance(value, Tensor) and value.is_floating_point()}
    if len(precisions) == 1:
        model.to(precisions.pop())
    try:
        model.load_state_dict(weights, strict=True)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder}: the weights do not fit the configuration beside them: {reason}") from None
    model.target_statistics = description.get(_STATISTICS)
    return model


def read_description(folder: str | PathLike[str]) -> dict[str, Any]:
    """What `config.json` of a shared model says, once it is clear that this package can read it.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or of a newer or another format.
    """
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: this folder holds no shared model")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        found = description.get("format") if isinstance(description, dict) else None
        raise ValueError(
            f"{path}: expected a model that nd-models shared, with format {FORMAT!r}, found format {found!r}; for a "
            "Lightning checkpoint use load_pretrained"
        )
    version = description.get("format_version")
    if type(version) is not int or version < 1:
        raise ValueError(f"{path}: format_version must be a number from 1 to {FORMAT_VERSION}, found {version!r}")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path}: is of format version {version}, written by nd-models {description.get('package_version')}; this "
            f"nd-models {__version__} reads versions up to {FORMAT_VERSION}: upgrade nd-models"
        )
    for key in ("model", "vocabularies", "weights"):
        if not isinstance(description.get(key), Mapping):
            raise ValueError(f"{path}: lacks {key!r}, or it is no mapping")
    for name, names in description["vocabularies"].items():
        if names is not None and not (isinstance(names, list) and all(isinstance(one, str) for one in names)):
            raise ValueError(f"{path}: the vocabulary {name!r} must be a list of names or null")
        if names is not None and len(set(names)) != len(names):
            raise ValueError(f"{path}: the vocabulary {name!r} holds a name twice")
    if description.get(_STATISTICS) is not None:
        try:
            description[_STATISTICS] = checked_target_statistics(description[_STATISTICS])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return description


def _names_or_units(config: Mapping[str, Any]) -> bool:
    readouts = [config["readout_spec"]] if "readout_spec" in config else config["readout_specs"].values()
    return any("unit" in readout or "class_names" in readout for readout in readouts)


def _build(folder: Path, description: Mapping[str, Any]) -> DecoderModel:
    from nd_models.configuration import model_from_config  # which knows all architectures, and they know this module

    try:
        return model_from_config(description["model"])
    except (KeyError, TypeError, ValueError) as error:
        error.add_note(
            f"while building the model that {folder / CONFIG_FILE} describes, written by nd-models "
            f"{description.get('package_version')}"
        )
        raise


def _read_weights(folder: Path, description: Mapping[str, Any]) -> dict[str, Any]:
    safetensors = required("safetensors.torch", "safetensors", "loading a shared model")
    path = folder / WEIGHTS_FILE  # never a path out of the configuration
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: the configuration beside it has lost its weights")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != description["weights"].get("sha256"):
        raise ValueError(
            f"{path}: is damaged, or does not belong to the {CONFIG_FILE} beside it (its SHA-256 is another); copy or "
            "download both again"
        )
    try:
        weights: dict[str, Any] = safetensors.load(content)
    except Exception as error:
        # The library's own error class is not one of the usual ones.
        raise ValueError(f"{path}: not readable as safetensors: {error}") from None
    return weights


def _replace_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    temporary = {name: folder / f".{name}.{os.getpid()}.partial" for name in contents}
    try:
        for name, content in contents.items():
            with temporary[name].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for name, path in temporary.items():
            path.replace(folder / name)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def _may_be_repository(name: str | PathLike[str]) -> bool:
    parts = name.split("/") if isinstance(name, str) else []
    return 1 <= len(parts) <= 2 and all(parts) and not parts[0].startswith((".", "~"))
