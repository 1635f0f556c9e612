"""On a CUDA device: the runs of the CPU, no wait for the device, CUDA graphs, AMP, and few kernels."""

from typing import Any

import pytest
import torch
from torch import nn

from nd_optim import SparseLamb

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

OPTIONS: list[dict[str, Any]] = [
    {},
    {"debias": True},
    {"foreach": False},
    {"capturable": True, "debias": True},
    {"adam": True, "debias": True},
    {"legacy": True},
]
SHAPES = [(16, 8), (8,), (3, 2, 4), (50, 8)]


class Run:
    """A dense group and a table, on random gradients that are the same on every device."""

    def __init__(self, device: str, dtype: torch.dtype = torch.float32, **options: Any) -> None:
        generator = torch.Generator().manual_seed(0)
        self.parameters = [nn.Parameter(torch.randn(s, generator=generator).to(device, dtype)) for s in SHAPES]
        groups = [{"params": self.parameters[:3]}, {"params": self.parameters[3:], "sparse": True}]
        self.optimizer = SparseLamb(groups, **{"lr": 0.02, "weight_decay": 0.1, **options})
        self.rows = torch.tensor([1, 3, 4, 47], device=device)

    def give_gradients(self, step: int) -> None:
        generator = torch.Generator().manual_seed(step)
        for parameter in self.parameters:
            gradient = torch.randn(parameter.shape, generator=generator)
            if parameter is self.parameters[3]:
                untouched = torch.ones(50, dtype=torch.bool)
                untouched[self.rows.cpu()] = False
                gradient[untouched] = 0
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
            parameter.grad.copy_(gradient)  # in place: a CUDA graph reads it where it was
        if step % 4 == 3:
            self.parameters[0].grad.zero_()

    def steps(self, count: int) -> None:
        for step in range(count):
            self.give_gradients(step)
            self.optimizer.step()

    def assert_close(self, other: "Run", rtol: float = 1e-5, atol: float = 1e-6) -> None:
        for mine, theirs in zip(self.parameters, other.parameters, strict=True):
            torch.testing.assert_close(mine.cpu(), theirs.cpu(), rtol=rtol, atol=atol)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cuda_gives_the_run_of_the_cpu(options: dict[str, Any], dtype: torch.dtype) -> None:
    cuda, cpu = Run("cuda", dtype, **options), Run("cpu", dtype, **options)
    cuda.steps(20)
    cpu.steps(20)
    cuda.assert_close(cpu)


def test_half_precision_on_cuda_gives_the_run_of_the_cpu() -> None:
    cuda, cpu = Run("cuda", torch.bfloat16), Run("cpu", torch.bfloat16)
    cuda.steps(5)
    cpu.steps(5)
    assert cuda.optimizer.state[cuda.parameters[0]]["exp_avg"].dtype == torch.float32
    cuda.assert_close(cpu, rtol=2e-2, atol=1e-2)


def test_a_state_moves_between_devices_bit_for_bit() -> None:
    cpu, cuda, back = Run("cpu", debias=True), Run("cuda"), Run("cpu")
    cpu.steps(3)
    cuda.optimizer.load_state_dict(cpu.optimizer.state_dict())
    for parameter in cuda.parameters:
        state = cuda.optimizer.state[parameter]
        assert all(value.is_cuda for key, value in state.items() if key != "step")
        assert "step" not in state or not state["step"].is_cuda
    back.optimizer.load_state_dict(cuda.optimizer.state_dict())
    for one, other in zip(cpu.parameters, back.parameters, strict=True):
        for key, value in cpu.optimizer.state[one].items():
            assert torch.equal(value, back.optimizer.state[other][key])


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("options", OPTIONS)
def test_with_its_rows_passed_a_step_never_waits_for_the_device(options: dict[str, Any]) -> None:
    run = Run("cuda", **options)
    run.steps(2)
    run.give_gradients(2)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        # A wait would raise here.
        assert run.optimizer.step(touched_rows={run.parameters[3]: run.rows}) is None
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("options", [{}, {"debias": True}, {"adam": True}, {"legacy": True}, {"foreach": False}])
@pytest.mark.parametrize("pass_rows", [False, True])
def test_a_captured_graph_replays_the_run(options: dict[str, Any], pass_rows: bool) -> None:
    lr = torch.tensor(0.02, device="cuda")
    graphed, plain = Run("cuda", capturable=True, **{**options, "lr": lr}), Run("cuda", **options)
    touched = {graphed.parameters[3]: graphed.rows} if pass_rows else None
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for step in range(3):
            graphed.give_gradients(step)
            graphed.optimizer.step(touched_rows=touched)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        graphed.optimizer.step(touched_rows=touched)
    for step in range(3, 10):
        graphed.give_gradients(step)
        graph.replay()
    plain.steps(10)
    graphed.assert_close(plain)


def test_capturing_without_capturable_is_refused() -> None:
    run = Run("cuda")
    run.steps(1)

    def capture() -> None:
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            torch.ones(1, device="cuda")  # an empty graph would warn
            run.optimizer.step()

    with pytest.raises(RuntimeError, match="capturable=True"):
        capture()


def test_a_step_skipped_under_amp_leaves_no_trace() -> None:
    run = Run("cuda")
    run.steps(2)
    scaler = torch.amp.GradScaler("cuda", init_scale=4.0)
    scaler.scale(torch.zeros((), device="cuda"))  # the scale is made at its first use
    run.give_gradients(2)
    run.parameters[1].grad[0] = torch.inf
    before = [parameter.detach().clone() for parameter in run.parameters]
    counts = [float(run.optimizer.state[parameter]["step"]) for parameter in run.parameters[:3]]
    scaler.step(run.optimizer)
    scaler.update()
    assert all(torch.equal(old, new) for old, new in zip(before, run.parameters, strict=True))
    assert [float(run.optimizer.state[parameter]["step"]) for parameter in run.parameters[:3]] == counts


def test_row_sparse_gradients_of_an_embedding() -> None:
    runs = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        embedding = nn.Embedding(30, 5, sparse=True).to(device)
        optimizer = SparseLamb(embedding.parameters(), lr=0.1, sparse=True)
        for step in range(5):
            indices = torch.randint(0, 30, (8,), generator=torch.Generator().manual_seed(step)).to(device)
            optimizer.zero_grad()
            (embedding(indices) - 1).square().sum().backward()
            optimizer.step()
        runs.append(embedding.weight.detach().cpu())
    torch.testing.assert_close(runs[0], runs[1], rtol=1e-5, atol=1e-6)


def count_kernels(optimizer: SparseLamb) -> int:
    for _ in range(2):
        optimizer.step()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        optimizer.step()
        torch.cuda.synchronize()
    return sum(event.count for event in profile.key_averages() if event.self_device_time_total > 0)


def test_together_takes_far_fewer_kernels_than_one_by_one() -> None:
    counts = []
    for foreach in (True, False):
        parameters = [nn.Parameter(torch.randn(64, 64, device="cuda")) for _ in range(60)]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        counts.append(count_kernels(SparseLamb(parameters, weight_decay=0.1, foreach=foreach)))
    assert counts[0] * 3 < counts[1]


@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_a_compiled_step_gives_the_same_run() -> None:
    compiled, plain = Run("cuda", lr=torch.tensor(0.02, device="cuda"), capturable=True), Run("cuda")
    step = torch.compile(compiled.optimizer.step)
    for count in range(5):
        compiled.give_gradients(count)
        step()
    plain.steps(5)
    compiled.assert_close(plain, rtol=1e-4, atol=1e-5)
