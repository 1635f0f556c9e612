"""What comes from a GPU gives what the same numbers give on the CPU."""

import pytest
import torch

from nd_eval import BalancedAccuracy, PearsonCorrCoef, R2Score, StitchingAccumulator, masked_pearsonr, stitch

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("count", [100, 100_000])
def test_stitching_on_the_device_is_that_on_the_cpu(count):
    generator = torch.Generator().manual_seed(0)
    times = torch.randint(0, count // 3, (count,), generator=generator).double() * 0.01 + 5e4
    times += torch.rand(count, generator=generator).double() * 1e-7
    values, labels = torch.randn(count, 2, generator=generator), torch.randint(-2, 4, (count,), generator=generator)
    for given in (values, labels):
        on_cpu, on_device = stitch(times, given), stitch(times.cuda(), given.cuda())
        assert on_device[1].device.type == "cuda"
        assert torch.equal(on_device[0].cpu(), on_cpu[0])
        torch.testing.assert_close(on_device[1].cpu(), on_cpu[1], rtol=0, atol=1e-6)


def test_the_accumulator_takes_values_from_the_device():
    accumulator = StitchingAccumulator()
    times = torch.arange(5, dtype=torch.float64, device="cuda")
    accumulator.update("r", "t", times, torch.ones(5, 2, device="cuda"), torch.ones(5, 2, device="cuda"), times > 1)
    trace = accumulator.compute()["r", "t"]
    assert trace.timestamps.tolist() == [2.0, 3.0, 4.0]
    assert trace.preds.device.type == "cpu"


def test_metrics_on_the_device_are_those_on_the_cpu():
    preds, target = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(1))
    for make, pair in (
        (R2Score, (preds, target)),
        (PearsonCorrCoef, (preds, target)),
        (BalancedAccuracy, (preds, target.argmax(1))),
    ):
        on_cpu, on_device = make(), make().to("cuda")
        on_cpu.update(*pair)
        on_device.update(*(x.cuda() for x in pair))
        torch.testing.assert_close(on_device.compute().cpu(), on_cpu.compute(), rtol=1e-12, atol=1e-12)
    expected = masked_pearsonr(preds[None], target[None])
    torch.testing.assert_close(masked_pearsonr(preds[None].cuda(), target[None].cuda()).cpu(), expected)
