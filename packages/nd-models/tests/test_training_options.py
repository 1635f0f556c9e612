"""Activation checkpointing and `torch.compile` change neither outputs nor gradients; angles are computed once."""

import pytest
import torch
from torch import Tensor

from nd_data import collate
from nd_models.nn import RotaryTimeEmbedding

POYO_MODELS = ("POYO", "POYOPlus", "CalciumPOYOPlus")


def trained(model, inputs, forward=None) -> tuple[list[Tensor], dict[str, Tensor]]:
    torch.manual_seed(3)
    model.zero_grad(set_to_none=True)
    outputs = (model if forward is None else forward)(**inputs)
    parts = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
    sum(part.square().sum() for part in parts).backward()
    return [part.detach() for part in parts], {name: p.grad for name, p in model.named_parameters()}


def assert_same(found, expected, tolerance: float) -> None:
    for one, other in zip(found[0], expected[0], strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    for name, other in expected[1].items():
        scale = max(float(other.abs().max()), 1e-3)
        torch.testing.assert_close(found[1][name] / scale, other / scale, rtol=0, atol=5 * tolerance, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", POYO_MODELS)
def test_checkpointed_layers_drop_and_learn_the_same(name, dtype, make_model, make_window, make_batch):
    model = make_model(name, ffn_dropout=0.3, lin_dropout=0.4).to(dtype).train()
    inputs = make_batch(model, [make_window(), make_window(spikes=9, seed=1)])["model_inputs"]
    expected = trained(model, inputs)
    model.set_activation_checkpointing()
    assert_same(trained(model, inputs), expected, tolerance=1e-6)
    model.set_activation_checkpointing(False)
    assert_same(trained(model, inputs), expected, tolerance=1e-6)


def test_checkpointing_keeps_less(make_model, make_window, make_batch):
    model = make_model("POYOPlus", depth=6).double().train()
    inputs = make_batch(model, [make_window()])["model_inputs"]

    def kept_numbers() -> int:
        kept: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: (kept.update({tensor.data_ptr(): tensor.numel()}), tensor)[1], lambda tensor: tensor
        ):
            model(**inputs)
        return sum(kept.values())

    usual = kept_numbers()
    model.set_activation_checkpointing()
    assert kept_numbers() < usual / 3


@pytest.mark.parametrize("name", POYO_MODELS)
def test_every_time_is_turned_into_angles_once(name, make_model, make_window, make_batch, monkeypatch):
    model = make_model(name, depth=3)
    inputs = make_batch(model, [make_window()])["model_inputs"]
    shapes = []
    rotation = RotaryTimeEmbedding.rotation
    monkeypatch.setattr(
        RotaryTimeEmbedding, "rotation", lambda self, times: (shapes.append(times.shape), rotation(self, times))[1]
    )
    model(**inputs)
    names = ("input_timestamps", "latent_timestamps", "output_timestamps")
    assert sorted(shapes) == sorted(inputs[name].shape for name in names)


@pytest.mark.parametrize("packed", [False, True])
def test_the_compiled_backbone_is_one_graph_that_gives_the_same(packed, make_model, make_window):
    model = make_model("POYOPlus", depth=1).eval()
    tokenize = model.tokenize_packed if packed else model.tokenize
    inputs = collate([tokenize(make_window()), tokenize(make_window(spikes=9, seed=1))])["model_inputs"]
    counts = {name: len(values) for name, values in model(**inputs).items()}
    torch.compiler.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    expected = trained(model, inputs)
    assert_same(trained(model, {**inputs, "output_counts": counts}, compiled), expected, tolerance=1e-5)
