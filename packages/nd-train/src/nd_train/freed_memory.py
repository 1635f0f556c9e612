"""Keep the memory that a training step frees for the next step."""

import ctypes
import os
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGEST = (1 << 31) - 1  # mallopt takes an int
_LARGEST_BEFORE = 1 << 25  # what older versions take
_CHOSEN_BY = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Tell this process's allocator to keep what is freed, instead of giving it back to the system.

    A training step on CPU makes the same large arrays again and again. The C library of Linux gives memory back as soon
    as enough of it is free, and asks for it again in the next step, page by page, each of which the system first fills
    with zeros (see docs/explanation/performance.md). The process then stays as large as it has been at most, which a
    training does anyway; so the command line calls this, and a library does not.

    Returns:
        Whether the allocator took it: on Linux with glibc, unless the environment chooses (`MALLOC_TRIM_THRESHOLD_`,
        `MALLOC_MMAP_THRESHOLD_`, `GLIBC_TUNABLES`, or another allocator by `LD_PRELOAD`).
    """
    if platform.libc_ver()[0] != "glibc" or any(os.environ.get(name) for name in _CHOSEN_BY):
        return False
    set_option = ctypes.CDLL(None).mallopt
    # Either ends malloc's own growing of both limits, so that the second without the first would make things worse.
    if not any(set_option(_M_MMAP_THRESHOLD, size) for size in (_LARGEST, _LARGEST_BEFORE)):
        return False
    return bool(set_option(_M_TRIM_THRESHOLD, _LARGEST))
