"""Two gloo processes under DDP: the ranks stay equal to the bit, and equal one process on the whole batch."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed

WORKER = Path(__file__).with_name("data_parallel_worker.py")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
def test_ranks_stay_equal_and_equal_one_process(tmp_path: Path) -> None:
    search_path = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": search_path}
    command = [sys.executable, str(WORKER)]
    ranks = [
        subprocess.Popen(  # noqa: S603 -- this interpreter on the file beside this one
            [*command, str(rank), "2", str(tmp_path)], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))

    specification = importlib.util.spec_from_file_location("data_parallel_worker", WORKER)
    worker: Any = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(worker)
    model = worker.small_model()
    optimizer = worker.build(model)
    for step in range(6):
        optimizer.zero_grad()
        (model(worker.batch(step)) - 1).square().mean().backward()
        optimizer.step()

    assert first["optimizer"]["param_groups"] == second["optimizer"]["param_groups"]
    for name, weight in model.state_dict().items():
        assert torch.equal(first["model"][name], second["model"][name])
        torch.testing.assert_close(first["model"][name], weight, rtol=1e-5, atol=1e-6)
    for key, state in first["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, second["optimizer"]["state"][key][name])
            torch.testing.assert_close(value, optimizer.state_dict()["state"][key][name], rtol=1e-4, atol=1e-7)
