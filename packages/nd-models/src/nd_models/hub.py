"""Shared models on the Hugging Face Hub, through huggingface_hub's mixin; needs the extra `nd-models[hub]`."""

import types
from pathlib import Path
from typing import Any

from nd_models.decoder_model import DecoderModel
from nd_models.optional_packages import required
from nd_models.pretrained_folder import CONFIG_FILE, WEIGHTS_FILE, save_pretrained


def push_to_hub(model: DecoderModel, repo_id: str, **how: Any) -> str:
    """Upload a model to a repository, which is made where it does not exist, with a model card where it has none.

    Args:
        model: The model.
        repo_id: `owner/name`.
        **how: `commit_message`, `private`, `token`, `branch`, `create_pr` and the other arguments of
            `huggingface_hub.ModelHubMixin.push_to_hub`.

    Returns:
        The address of the commit.

    Raises:
        ModuleNotFoundError: huggingface_hub or safetensors is not installed.
    """
    hub = _hub("uploading a model")

    # Made here, because importing nd_models must not import huggingface_hub; the mixin takes its settings as a class
    # is made.
    shared = types.new_class(
        "SharedModel",
        (hub.ModelHubMixin,),
        {"library_name": "nd-models", "tags": ["neural-decoding", type(model).__name__]},
        lambda body: body.update(_save_pretrained=lambda _, save_directory: save_pretrained(model, save_directory)),
    )
    return str(shared().push_to_hub(repo_id, **how))


def download(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Path:
    """Fetch a shared model's two files, or find them where an earlier call put them.

    Args:
        repo_id: `owner/name`.
        revision: Branch, tag or commit; the main branch where None.
        token: As in huggingface_hub.
        cache_dir: Where files are kept; huggingface_hub's own folder where None.
        force_download: Fetch again.
        local_files_only: Use what is there and ask nobody.

    Returns:
        The folder that holds them.

    Raises:
        ModuleNotFoundError: huggingface_hub is not installed.
        FileNotFoundError: there is no such repository or revision, or it cannot be reached.
    """
    hub = _hub(f"loading {repo_id!r}, which is no folder here,")
    try:
        folder = hub.snapshot_download(
            repo_id,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            allow_patterns=[CONFIG_FILE, WEIGHTS_FILE],
        )
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"there is no folder {repo_id!r} here, and the repository of that name could not be fetched: {error}"
        ) from error
    return Path(folder)


def _hub(purpose: str) -> Any:
    return required("huggingface_hub", "nd-models[hub]", purpose)
