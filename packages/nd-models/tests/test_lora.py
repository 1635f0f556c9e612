"""Low-rank changes of linear layers."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from nd_models import (
    LoRALinear,
    add_lora,
    load_lora_state_dict,
    lora_state_dict,
    merge_lora,
    model_from_config,
    remove_lora,
)

WITH_ATTENTION = ["POYO", "POYOPlus", "CalciumPOYOPlus", "NDTDecoder"]


@pytest.fixture(params=WITH_ATTENTION)
def model(request, make_model):
    return make_model(request.param).eval()


@pytest.fixture
def batch(model, make_window, make_batch):
    return make_batch(model, [make_window(), make_window(seed=1, outputs=6)])


def outputs(model, batch) -> list[torch.Tensor]:
    with torch.no_grad():
        found = model(**batch["model_inputs"])
    return [found] if isinstance(found, torch.Tensor) else list(found.values())


def assert_same(found, expected, **tolerance) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


def disturb(model) -> None:
    """Give the changes something to say."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LoRALinear):
                module.lora_up.normal_(0.0, 0.3)


def test_the_layer_is_the_weight_plus_the_scaled_product():
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(5, 4), rank=2, alpha=6.0).double()
    with torch.no_grad():
        layer.lora_up.normal_()
    x = torch.randn(3, 5, dtype=torch.float64)
    weight, bias, down, up = (
        parameter.detach().numpy() for parameter in (layer.weight, layer.bias, layer.lora_down, layer.lora_up)
    )
    expected = x.numpy() @ (weight + 3.0 * up @ down).T + bias
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-12)
    layer.merge()
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-12)


def test_nothing_changes_at_first_and_only_the_changes_learn(model, batch):
    expected = outputs(model, batch)
    names = add_lora(model, rank=3)
    assert names
    assert all(name.rsplit(".", 1)[-1] in ("to_q", "to_kv", "to_qkv", "to_out") for name in names)
    # Layers with changes are computed part by part, others may be computed as a whole.
    assert_same(outputs(model, batch), expected, rtol=1e-5, atol=1e-6)
    disturb(model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    found = model(**batch["model_inputs"])
    values = [found] if isinstance(found, torch.Tensor) else list(found.values())
    sum(value.square().sum() for value in values).backward()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    optimizer.step()
    for name, parameter in model.named_parameters():
        own = name.endswith(("lora_down", "lora_up"))
        assert parameter.requires_grad == own, name
        assert (parameter.grad is not None) == own, name
        assert torch.equal(parameter, before[name]) != own, name


def test_further_parts_can_learn_too(make_model):
    model = make_model("POYO")
    add_lora(model, also_train=["unit_emb", "session_emb"])
    others = {name for name, p in model.named_parameters() if p.requires_grad and "lora" not in name}
    assert others == {"unit_emb.weight", "session_emb.weight"}


def test_merging_gives_the_same_outputs_from_plain_layers(model, batch):
    keys = list(model.state_dict())
    add_lora(model, rank=3, alpha=5.0)
    disturb(model)
    expected = outputs(model, batch)
    merge_lora(model)
    assert list(model.state_dict()) == keys
    assert not any(isinstance(module, LoRALinear) for module in model.modules())
    assert "lora" not in model.to_config()
    assert_same(outputs(model, batch), expected, rtol=1e-4, atol=1e-4)
    assert type(model_from_config(model.to_config())) is type(model)


def test_merging_and_unmerging_a_layer_gives_back_its_weight_bit_for_bit():
    layer = LoRALinear(nn.Linear(6, 6), rank=4, alpha=0.37)
    with torch.no_grad():
        layer.lora_up.normal_()
        layer.weight.mul_(1e-3)
    before = layer.weight.detach().clone()
    for _ in range(3):
        layer.merge()
        layer.merge()
        assert not torch.equal(layer.weight, before)
        layer.unmerge()
    assert torch.equal(layer.weight, before)


def test_a_merged_layers_state_is_that_of_the_unmerged_one():
    layer = LoRALinear(nn.Linear(6, 6), rank=4)
    with torch.no_grad():
        layer.lora_up.normal_()
    before = copy.deepcopy(layer.state_dict())
    layer.merge()
    assert all(torch.equal(layer.state_dict()[key], value) for key, value in before.items())
    other = LoRALinear(nn.Linear(6, 6), rank=4)
    other.merge()
    other.load_state_dict(layer.state_dict())
    x = torch.randn(2, 6)
    torch.testing.assert_close(other(x), layer(x))


def test_removing_gives_back_the_model_bit_for_bit(model, batch):
    expected, state = outputs(model, batch), copy.deepcopy(model.state_dict())
    add_lora(model, rank=2)
    disturb(model)
    remove_lora(model)
    assert_same(outputs(model, batch), expected, rtol=0, atol=0)
    for key, value in state.items():
        found = model.state_dict()[key]
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value


def test_the_configuration_and_state_bring_the_changes_along(model, batch):
    add_lora(model, rank=3, alpha=2.0, dropout=0.1, also_train=["unit_emb"])
    disturb(model)
    config = json.loads(json.dumps(model.to_config()))
    again = model_from_config(config).eval()
    assert again.to_config() == config
    again.load_state_dict(model.state_dict(), strict=True)
    assert_same(outputs(again, batch), outputs(model, batch), rtol=0, atol=0)
    learning = [{name for name, p in one.named_parameters() if p.requires_grad} for one in (model, again)]
    assert learning[0] == learning[1]


def test_the_changes_alone_travel(model, batch):
    plain = copy.deepcopy(model)
    add_lora(model, rank=2)
    disturb(model)
    state = lora_state_dict(model)
    assert all(key.endswith(("lora_down", "lora_up")) for key in state)
    add_lora(plain, rank=2)
    load_lora_state_dict(plain, state)
    assert_same(outputs(plain, batch), outputs(model, batch), rtol=0, atol=0)
    name = next(iter(state))
    for wrong in ({**state, name: state[name][:1, :1]}, {key: state[key] for key in state if key != name}):
        with pytest.raises(ValueError, match="the low-rank changes do not fit"):
            load_lora_state_dict(plain, wrong)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])  # noqa: S301
def test_copies_give_the_same_outputs(model, batch, copied):
    add_lora(model, rank=2)
    disturb(model)
    other = copied(model)
    assert_same(outputs(other, batch), outputs(model, batch), rtol=0, atol=0)
    assert other.to_config() == model.to_config()


@pytest.mark.parametrize("name", ["POYO", "NDTDecoder"])
def test_compiled_models_give_the_same_outputs_and_gradients(name, make_model, make_window, make_batch):
    model = make_model(name, depth=1).eval()
    batch = make_batch(model, [make_window()])
    add_lora(model, rank=2)
    disturb(model)
    if hasattr(model, "decode"):
        run, inputs = model.decode, batch["model_inputs"]
        names = ("input_timestamps", "input_mask", "latent_index", "latent_timestamps", "output_timestamps")
        arguments = {name: inputs[name] for name in names}
        arguments["inputs"] = model.embed_inputs(inputs["input_unit_index"], inputs["input_token_type"]).detach()
        arguments["output_queries"] = torch.zeros(*inputs["output_timestamps"].shape, model.dim)
    else:
        run, arguments = model.bin_features, {"bins": torch.randn(2, model.num_bins, 24)}
    results = []
    for call in (run, torch.compile(run, backend="aot_eager")):
        model.zero_grad()
        output = call(**arguments)
        output.square().sum().backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        results.append([output.detach(), *gradients])
    assert len(results[0]) > 1
    assert_same(results[1], results[0], rtol=1e-4, atol=1e-4)


def test_the_first_numbers_come_from_the_generator(make_model):
    first, second = (make_model("POYO") for _ in range(2))
    for model in (first, second):
        add_lora(model, generator=torch.Generator().manual_seed(3))
    for key, value in lora_state_dict(first).items():
        assert torch.equal(lora_state_dict(second)[key], value)
    assert max(value.abs().max() for key, value in lora_state_dict(first).items() if key.endswith("down")) > 0


def test_dropout_acts_in_training_only():
    layer = LoRALinear(nn.Linear(8, 8), rank=2, dropout=0.5)
    with torch.no_grad():
        layer.lora_up.normal_()
    x = torch.randn(4, 8)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_what_cannot_be_is_refused_and_changes_nothing(make_model):
    gru = make_model("GRUDecoder")
    with pytest.raises(ValueError, match=r"GRUDecoder has no linear layer named 'to_q' or .*its linear layers end in"):
        add_lora(gru)
    model = make_model("POYO")
    before = repr(model)
    with pytest.raises(KeyError, match="has no part 'units'"):
        add_lora(model, also_train=["units"])
    with pytest.raises(ValueError, match="rank must be a whole number from 1 to"):
        add_lora(model, rank=10_000)
    with pytest.raises(ValueError, match="alpha must be a positive number"):
        add_lora(model, alpha=0.0)
    with pytest.raises(ValueError, match=r"this POYO has no low-rank changes; add_lora\(model\) makes some"):
        merge_lora(model)
    assert repr(model) == before
    assert all(parameter.requires_grad for parameter in model.parameters())
    add_lora(model)
    with pytest.raises(ValueError, match="has low-rank changes already"):
        add_lora(model)
    config = model.to_config()
    with pytest.raises(ValueError, match="'lora' has no setting 'ranks'; did you mean 'rank'"):
        model_from_config({**config, "lora": {"ranks": 3}})
    with pytest.raises(ValueError, match="'lora' must be a mapping"):
        model_from_config({**config, "lora": 8})
