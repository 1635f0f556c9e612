import os
import platform
import subprocess
import sys

import pytest

from nd_train.freed_memory import keep_freed_memory

PAGES = """
import resource
import torch
from nd_train.freed_memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        arrays = [torch.ones(1 << 20) for _ in range(16)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

as_it_was = faults()
taken = keep_freed_memory()
faults()
print(taken, as_it_was, faults())
"""


def pages(**environment: str) -> list[str]:
    chosen = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "LD_PRE"))}
    run = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", PAGES], env=chosen | environment, check=True, capture_output=True, text=True
    )
    return run.stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc here")
def test_freed_memory_is_used_again():
    taken, before, after = pages()
    assert taken == "True"
    assert int(before) > 20_000  # 64 MB, twenty times, in pages of 4 kB
    assert int(after) < int(before) / 20


def test_the_environment_has_the_last_word():
    taken, *_ = pages(MALLOC_TRIM_THRESHOLD_="131072")
    assert taken == "False"


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False
