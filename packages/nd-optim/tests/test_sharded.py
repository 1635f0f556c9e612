"""Parameters split over two gloo processes: the numbers are those of whole ones, and of float64 NumPy."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed

WORKER = Path(__file__).with_name("sharded_worker.py")

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch is built without torch.distributed"
)


@pytest.fixture(scope="module")
def worker() -> Any:
    specification = importlib.util.spec_from_file_location("sharded_worker", WORKER)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[Any]:
    """What each of two ranks ended with."""
    folder = tmp_path_factory.mktemp("ranks")
    search_path = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": search_path}
    processes = [
        subprocess.Popen(  # noqa: S603 -- this interpreter on the file beside this one
            [sys.executable, str(WORKER), str(rank), "2", str(folder)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def assert_same(found: Any, expected: Any) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_same(found[name], value)
        else:
            torch.testing.assert_close(found[name], value, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["split", "reloaded", "copied"])
@pytest.mark.parametrize("options", ["plain", "debias", "adam"])
def test_split_parameters_step_as_whole_ones_do(ranks, worker, options, kind):
    alone = worker.stepped(None, worker.OPTIONS[options], None)
    for rank in ranks:
        assert_same(rank[f"{options} {kind}"], alone)


@pytest.mark.parametrize("options", ["plain", "debias", "adam"])
def test_split_parameters_step_as_the_equations_say(ranks, worker, numpy_lamb, numpy_row_lamb, options):
    found = ranks[0][f"{options} split"]["weights"]
    keywords = {"lr": 0.05, **worker.OPTIONS[options]}
    oracles = {
        name: numpy_lamb(worker.draw(shape, len(name)).numpy(), **keywords) for name, shape in worker.SHAPES.items()
    }
    table = numpy_row_lamb(worker.draw(worker.TABLE, 99).numpy(), **keywords)
    for step in range(worker.STEPS):
        for name, oracle in oracles.items():
            oracle.step(worker.gradient(name, step).double().numpy())
        rows = table.step(worker.table_gradient(step).double().numpy())
    for name, oracle in oracles.items():
        torch.testing.assert_close(found[name].double(), torch.as_tensor(oracle.weight), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["table"].double(), torch.as_tensor(rows), rtol=1e-5, atol=1e-6)


def test_a_model_split_by_fully_shard_trains_as_a_whole_one(ranks, worker):
    alone = worker.trained(worker.small_model(), 0, 1)
    for rank in ranks:
        for name, weight in alone.items():
            torch.testing.assert_close(rank["fully_shard"][name], weight, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_split_is_refused_before_anything_moves(ranks):
    for rank in ranks:
        assert "split it by rows, Shard(0)" in rank["refusals"]["split within rows"]
        assert "use legacy=False" in rank["refusals"]["legacy"]
