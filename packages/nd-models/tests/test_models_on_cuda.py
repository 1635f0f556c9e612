"""The same outputs and gradients on a GPU as on the CPU."""

import warnings

import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_and_gradients_equal_those_of_the_cpu(any_model, dtype, make_model, make_window, make_batch):
    model = make_model(any_model).eval()
    windows = [make_window(spikes=60), make_window(spikes=5, outputs=3, seed=1), make_window(spikes=0, units=0)]
    inputs = make_batch(model, windows)["model_inputs"]

    def run(device: str, autocast: bool):
        model.to(device).zero_grad(set_to_none=True)
        moved = {key: values.to(device) for key, values in inputs.items()}
        with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
            outputs = model(**moved, unpack_output=True)
        parts = [part for window in outputs for part in (window.values() if isinstance(window, dict) else [window])]
        sum(part.float().square().sum() for part in parts).backward()
        gradients = {key: parameter.grad.cpu() for key, parameter in model.named_parameters()}
        return [part.detach().float().cpu() for part in parts], gradients

    expected, expected_gradients = run("cpu", False)
    found, gradients = run("cuda", dtype == torch.bfloat16)
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    for key, other in expected_gradients.items():
        scale = max(float(other.abs().max()), 1e-3)
        torch.testing.assert_close(gradients[key] / scale, other / scale, rtol=0, atol=5 * tolerance, msg=key)


def test_the_readout_asks_the_host_once(make_model):
    model = make_model("POYOPlus").cuda()
    queries = torch.randn(4, 16, 24, device="cuda")
    index = torch.randint(0, 5, (4, 16), device="cuda")
    model.readout(queries, index)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            model.readout(queries, index)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert sum("called a synchronizing CUDA operation" in str(warning.message) for warning in caught) == 1
