"""The same outputs and gradients on a GPU as on the CPU."""

import warnings

import pytest
import torch

from nd_data import collate

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


@pytest.mark.parametrize("name", ["POYO", "POYOPlus", "CalciumPOYOPlus"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_batches_equal_padded_ones(name, dtype, make_model, make_window):
    model = make_model(name).eval().cuda()
    windows = [make_window(spikes=60), make_window(spikes=5, outputs=3, seed=1), make_window(spikes=0, units=0)]

    def run(tokenize):
        inputs = {key: values.cuda() for key, values in collate(list(map(tokenize, windows)))["model_inputs"].items()}
        model.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            outputs = model(**inputs, unpack_output=True)
        parts = [part for window in outputs for part in (window.values() if isinstance(window, dict) else [window])]
        sum(part.float().square().sum() for part in parts).backward()
        return [part.detach().float() for part in parts], [parameter.grad for parameter in model.parameters()]

    (expected, expected_gradients), (found, gradients) = run(model.tokenize), run(model.tokenize_packed)
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    for one, other in zip(gradients, expected_gradients, strict=True):
        scale = max(float(other.abs().max()), 1e-3)
        torch.testing.assert_close(one / scale, other / scale, rtol=0, atol=5 * tolerance)


@pytest.mark.parametrize("packed", [False, True])
def test_a_forward_pass_asks_the_host_for_nothing_where_the_sizes_are_known(packed, make_model, make_window):
    model = make_model("POYOPlus").cuda()
    tokenize = model.tokenize_packed if packed else model.tokenize
    batch = collate([tokenize(make_window()), tokenize(make_window(spikes=9, seed=1))])
    # Lengths stay on the host, which makes the packing out of them.
    inputs = {
        key: values if key.endswith("_seqlen") else values.cuda() for key, values in batch["model_inputs"].items()
    }
    counts = {task: len(values) for task, values in batch["target_values"].items()}
    model(**inputs, output_counts=counts)
    torch.cuda.set_sync_debug_mode("error")
    try:
        outputs = model(**inputs, output_counts=counts)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert {task: len(values) for task, values in outputs.items()} == counts
