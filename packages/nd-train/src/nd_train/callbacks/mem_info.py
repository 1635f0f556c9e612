"""Memory of the training process and of its accelerator."""

import sys

import lightning as L
import torch

_MIB = 2**20


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far, in MiB, as Linux, macOS or Windows counts it."""
    if sys.platform == "win32":
        return _peak_working_set() / _MIB
    import resource  # which Windows does not have

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / _MIB if sys.platform == "darwin" else peak / 2**10


class MemInfo(L.Callback):
    """Log ``memory/peak_mib`` at the end of every training epoch, and what the accelerator took.

    On CUDA that is ``memory/cuda_peak_mib``, the peak; on Apple's MPS, which counts no peak, ``memory/mps_mib``, what
    is held at that moment.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Log the peaks so far."""
        pl_module.log("memory/peak_mib", peak_memory_mib())
        if pl_module.device.type == "cuda":
            pl_module.log("memory/cuda_peak_mib", torch.cuda.max_memory_allocated(pl_module.device) / _MIB)
        elif pl_module.device.type == "mps":
            pl_module.log("memory/mps_mib", torch.mps.driver_allocated_memory() / _MIB)


def _peak_working_set() -> int:
    # PROCESS_MEMORY_COUNTERS of psapi, whose third field is the peak.
    import ctypes

    names = ("quota_peak_paged", "quota_paged", "quota_peak_nonpaged", "quota_nonpaged", "pagefile", "peak_pagefile")

    class Counters(ctypes.Structure):
        _fields_ = (
            ("size", ctypes.c_uint32),
            ("page_faults", ctypes.c_uint32),
            ("peak_working_set", ctypes.c_size_t),
            ("working_set", ctypes.c_size_t),
            *((name, ctypes.c_size_t) for name in names),
        )

    counters = Counters(size=ctypes.sizeof(Counters))
    windows = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]  # on Windows there is
    windows.GetCurrentProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(windows.GetCurrentProcess())
    if not windows.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.size):
        raise OSError("the operating system does not tell how much memory this process takes")
    return int(counters.peak_working_set)
