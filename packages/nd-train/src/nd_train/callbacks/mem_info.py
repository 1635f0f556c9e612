"""Memory of the training process and of its accelerator."""

import resource
import sys

import lightning as L
import torch


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far, in MiB (POSIX ``getrusage``)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


class MemInfo(L.Callback):
    """Log ``memory/peak_mib`` and, on CUDA, ``memory/cuda_peak_mib`` at the end of every training epoch."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Log the peaks so far."""
        pl_module.log("memory/peak_mib", peak_memory_mib())
        if pl_module.device.type == "cuda":
            pl_module.log("memory/cuda_peak_mib", torch.cuda.max_memory_allocated(pl_module.device) / 2**20)
