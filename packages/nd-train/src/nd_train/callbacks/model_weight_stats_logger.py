"""Mean and spread of every parameter, to see weights grow, die or freeze."""

import lightning as L
import torch
from torch.distributed.tensor import DTensor
from torch.nn.parameter import is_lazy


class ModelWeightStatsLogger(L.Callback):
    """Log ``weights/mean/<parameter>`` and ``weights/std/<parameter>`` every few training steps.

    Args:
        every_n_steps: Optimizer steps between two logs.
        module_name: Attribute of the Lightning module whose parameters count; None for the whole module.

    Raises:
        ValueError: `every_n_steps` is below 1.
    """

    def __init__(self, every_n_steps: int = 100, module_name: str | None = "model") -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps: expected at least 1, found {every_n_steps}")
        self.every_n_steps = every_n_steps
        self.module_name = module_name

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,  # noqa: ARG002
        batch: object,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Log, where the step is one to log."""
        if trainer.global_step % self.every_n_steps:
            return
        module = pl_module if self.module_name is None else getattr(pl_module, self.module_name)
        statistics = {}
        for name, parameter in module.named_parameters():
            if is_lazy(parameter):
                continue
            values = parameter.detach().float()
            if isinstance(values, DTensor):
                values = values.full_tensor()  # of weights that are split over ranks, every one of which is here
            statistics[f"weights/mean/{name}"] = values.mean()
            statistics[f"weights/std/{name}"] = values.std() if values.numel() > 1 else torch.zeros(())
        pl_module.log_dict(statistics)
