"""``torch.compile(optimizer.step)`` gives the run that the plain step gives."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nd_optim import SparseLamb

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs g++ on the path")


def train(compile_step: Callable[[Any], Any], **options: Any) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3), (3,), (10, 3)]
    parameters = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    groups = [{"params": parameters[:2]}, {"params": parameters[2:], "sparse": not options.get("legacy")}]
    lr = torch.tensor(0.01)
    optimizer = SparseLamb(groups, lr=lr, weight_decay=0.1, **options)
    step = compile_step(optimizer.step)
    for count in range(5):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        parameters[2].grad[count + 2 :] = 0
        if count == 3:
            parameters[0].grad.zero_()
        lr.fill_(0.01 / (count + 1))  # a tensor changes without compiling anew
        step()
    states = [value.float() for parameter in parameters for value in optimizer.state[parameter].values()]
    return [parameter.detach() for parameter in parameters] + states


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Any:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("options", [{}, {"debias": True}, {"adam": True}, {"foreach": True}, {"legacy": True}])
def test_a_traced_step_gives_the_same_run(options: dict[str, Any]) -> None:
    def compile_step(step: Any) -> Any:
        return torch.compile(step, backend="aot_eager")

    for traced, plain in zip(train(compile_step, **options), train(lambda step: step, **options), strict=True):
        torch.testing.assert_close(traced, plain, rtol=1e-5, atol=1e-6)


@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # inductor imports what torch itself has deprecated
def test_a_compiled_step_gives_the_same_run() -> None:
    for compiled, plain in zip(train(torch.compile, debias=True), train(lambda step: step, debias=True), strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-6)
