"""A LightningModule whose checkpoints hold tensors and plain values only, and are loaded as such."""

from pathlib import Path
from typing import Any, Self

import lightning as L
from torch import nn


class PlainCheckpointModule(L.LightningModule):
    """A module around one `model`, which its checkpoint describes.

    Attributes:
        model: What is trained.
    """

    model: nn.Module

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]  # Lightning wraps it in a descriptor of its own
        cls, checkpoint_path: str | Path, map_location: Any = None, **keywords: Any
    ) -> Self:
        """Build the module back from a checkpoint that a run of it wrote; nothing in the file is executed.

        Args:
            checkpoint_path: A Lightning checkpoint.
            map_location: Where tensors go, as in :func:`torch.load`.
            **keywords: Arguments of the constructor that replace the saved ones. A model that cannot describe itself
                (without `to_config`) must be given.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the checkpoint does not describe its model, and none was given.
        """
        if not Path(checkpoint_path).is_file():
            raise FileNotFoundError(f"no checkpoint at {checkpoint_path}")
        keywords.setdefault("weights_only", True)
        load = super().load_from_checkpoint
        return load(checkpoint_path, map_location=map_location, **keywords)

    def forward(self, **inputs: Any) -> Any:
        """Run the model; arguments and result are its own."""
        return self.model(**inputs)
