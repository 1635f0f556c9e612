"""What comes from a GPU gives what the same numbers give on the CPU."""

import pytest
import torch

from nd_eval import (
    BalancedAccuracy,
    BitsPerSpike,
    CircularCorrelation,
    CircularError,
    DataForDecodingStitchEvaluator,
    DecodingStitchEvaluation,
    F1Score,
    PearsonCorrCoef,
    PoissonPseudoR2,
    R2Score,
    StitchingAccumulator,
    bootstrap_interval,
    masked_pearsonr,
    stitch,
)

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


def test_windows_in_order_from_the_device_are_flushed_as_on_the_cpu():
    generator = torch.Generator().manual_seed(2)
    accumulators = {device: StitchingAccumulator(in_order=True) for device in ("cpu", "cuda")}
    for number in range(300):
        times = torch.arange(100, dtype=torch.float64) * 0.01 + number * 0.25 + 7e4
        values = torch.randn(100, 2, generator=generator)
        for device, accumulator in accumulators.items():
            moved = times.to(device), values.to(device), values.to(device)
            accumulator.update("r", "t", *moved, window_starts=7e4 + number * 0.25)
    found, expected = (accumulator.compute()["r", "t"] for accumulator in accumulators.values())
    assert torch.equal(found.timestamps, expected.timestamps)
    assert torch.equal(found.preds, expected.preds)


def test_an_evaluation_and_its_intervals_take_batches_from_the_device():
    generator = torch.Generator().manual_seed(3)
    targets = torch.randn(4, 50, 2, generator=generator)
    preds = targets + 0.3 * torch.randn(4, 50, 2, generator=generator)
    results = []
    for device in ("cpu", "cuda"):
        evaluation = DecodingStitchEvaluation(["r"], metric={"r2": R2Score(), "mse": "mse"})
        evaluation.update(
            DataForDecodingStitchEvaluator(
                timestamps=(torch.arange(50) * 0.02).repeat(4, 1).to(device),
                preds=preds.to(device),
                targets=targets.to(device),
                eval_masks=torch.ones(4, 50, dtype=torch.bool, device=device),
                session_ids=["r"] * 4,
                absolute_starts=torch.arange(4, dtype=torch.float64, device=device) * 0.5,
            )
        )
        results.append(evaluation.compute())
    assert results[0].rows() == results[1].rows()
    intervals = [result.confidence_intervals(resamples=100) for result in results]
    assert intervals[0].rows() == intervals[1].rows()
    flat = preds.flatten(0, 1), targets.flatten(0, 1)
    assert bootstrap_interval(R2Score(), *flat) == bootstrap_interval(R2Score(), *(x.cuda() for x in flat))


def test_metrics_on_the_device_are_those_on_the_cpu():
    preds, target = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(1))
    for make, pair in (
        (R2Score, (preds, target)),
        (PearsonCorrCoef, (preds, target)),
        (BalancedAccuracy, (preds, target.argmax(1))),
        (F1Score, (preds, target.argmax(1))),
        (CircularError, (preds, target)),
        (CircularCorrelation, (preds, target)),
        (BitsPerSpike, (preds.exp(), target.exp().round())),
        (PoissonPseudoR2, (preds.exp(), target.exp().round())),
    ):
        on_cpu, on_device = make(), make().to("cuda")
        on_cpu.update(*pair)
        on_device.update(*(x.cuda() for x in pair))
        torch.testing.assert_close(on_device.compute().cpu(), on_cpu.compute(), rtol=1e-12, atol=1e-12)
    expected = masked_pearsonr(preds[None], target[None])
    torch.testing.assert_close(masked_pearsonr(preds[None].cuda(), target[None].cuda()).cpu(), expected)
