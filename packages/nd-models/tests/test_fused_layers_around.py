"""Where the fused layers must stand aside, or get along with what PyTorch does around them."""

import copy
import gc
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from nd_data import collate
from nd_models.nn import (
    FeedForward,
    NormedFeedForward,
    RotaryCrossAttention,
    RotarySelfAttention,
    RotaryTimeEmbedding,
    products,
)
from nd_models.nn.fused import is_fusible, plain_layers

EMBEDDING = RotaryTimeEmbedding(head_dim=8, rotate_dim=4, t_min=0.05, t_max=2.0)


class Block(nn.Module):
    """Both kinds of layer in a row."""

    def __init__(self, dim_head: int = 8) -> None:
        super().__init__()
        self.attend = RotarySelfAttention(dim=12, heads=2, dim_head=dim_head, rotate_value=True)
        self.feed = NormedFeedForward(nn.LayerNorm(12), FeedForward(12, dropout=0.0))
        with torch.no_grad():  # norms and biases start at one and zero, which would hide mistakes
            for parameter in self.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))

    def forward(self, x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        attended = self.attend(x, EMBEDDING.rotation(times), residual_dropout=0.0)
        return self.feed(attended, residual_dropout=0.0)

    def is_fused(self) -> bool:
        norm, network = self.feed
        return is_fusible(torch.zeros(1, 12), norm, network.net[0], network.net[3]) and self.attend._is_fusible(
            torch.zeros(1, 12)
        )


def learned(block: nn.Module, x: torch.Tensor, times: torch.Tensor) -> dict[str, torch.Tensor]:
    """What comes out, and the gradients, by name."""
    block.zero_grad(set_to_none=True)
    x = x.detach().requires_grad_()
    output = block(x, times)
    (output * torch.linspace(-1, 1, output.numel()).view(output.shape)).sum().backward()
    gradients = {name: p.grad for name, p in block.named_parameters() if p.grad is not None}
    return {"output": output.detach(), "x": x.grad, **gradients}


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 1e-5) -> None:
    assert found.keys() == expected.keys()
    for name, other in expected.items():
        scale = max(float(other.abs().max()), 1e-3) if other.numel() else 1.0
        torch.testing.assert_close(found[name] / scale, other / scale, rtol=0, atol=tolerance, msg=name)


def assert_as_plain(block: nn.Module, *, windows: int = 2, tokens: int = 5) -> None:
    x, times = torch.randn(windows, tokens, 12), torch.rand(windows, tokens)
    found = learned(block, x, times)
    with plain_layers():
        expected = learned(block, x, times)
    if tokens == 0:  # where nobody attends, the plain layers leave some gradients out
        expected |= {name: torch.zeros_like(values) for name, values in found.items() if name not in expected}
    assert_close(found, expected)
    assert_close(learned(block, x, times), found, tolerance=0.0)


PARTS = [name for name, _ in Block().named_parameters()]


@pytest.mark.parametrize("frozen", PARTS)
def test_a_frozen_part_takes_nothing_from_the_others(frozen):
    """Biases alone may learn, or all but one weight."""
    block = Block()
    for name, parameter in block.named_parameters():
        parameter.requires_grad_(name != frozen)
    assert_as_plain(block)
    for name, parameter in block.named_parameters():
        parameter.requires_grad_(name == frozen)
    assert_as_plain(block)
    assert [name for name, parameter in block.named_parameters() if parameter.grad is not None] == [frozen]


@pytest.mark.parametrize(("windows", "tokens"), [(0, 5), (2, 0), (1, 1)])
def test_empty_batches_and_windows_have_gradients(windows, tokens):
    assert_as_plain(Block(), windows=windows, tokens=tokens)


def test_head_widths_that_complex_numbers_cannot_have_are_plain():
    block = Block(dim_head=7)
    assert not block.is_fused()
    assert_as_plain(block)
    x, times = torch.randn(2, 5, 12), torch.rand(2, 5)
    expected = copy.deepcopy(block).double()(x.double(), times)
    with torch.no_grad():
        torch.testing.assert_close(block(x, times).double(), expected, rtol=1e-4, atol=1e-4)
    assert Block(dim_head=6).is_fused()
    assert_as_plain(Block(dim_head=6))


CHANGES = {
    "a bias where there is none": lambda block: setattr(block.attend, "to_qkv", nn.Linear(12, 48)),
    "no bias where there is one": lambda block: setattr(block.attend, "to_out", nn.Linear(16, 12, bias=False)),
    "a norm without weights": lambda block: setattr(block.attend, "norm", nn.LayerNorm(12, elementwise_affine=False)),
    "a norm without bias": lambda block: block.feed.__setitem__(0, nn.LayerNorm(12, bias=False)),
    "a network without bias": lambda block: block.feed[1].net.__setitem__(0, nn.Linear(12, 96, bias=False)),
    "another norm": lambda block: block.feed.__setitem__(0, nn.RMSNorm(12)),
    "weight norm": lambda block: parametrizations.weight_norm(block.feed[1].net[3]),
    "pruning": lambda block: prune.random_unstructured(block.feed[1].net[0], "weight", amount=0.5),
    "an own class of layer": lambda block: setattr(
        block.attend, "to_qkv", type("Own", (nn.Linear,), {})(12, 48, False)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_layers_that_were_changed_are_computed_as_they_are(change):
    block = Block()
    assert block.is_fused()
    CHANGES[change](block)
    assert not block.is_fused()
    assert_as_plain(block)


def test_weights_of_a_tensor_class_of_their_own_are_plain():
    class Own(torch.Tensor):
        pass

    layer = nn.Linear(4, 4)
    assert is_fusible(torch.zeros(2, 4), layer)
    layer._parameters["weight"] = layer.weight.detach().as_subclass(Own)
    assert not is_fusible(torch.zeros(2, 4), layer)
    assert not is_fusible(torch.zeros(2, 4).as_subclass(Own), nn.Linear(4, 4))


def test_hooks_on_any_part_are_called():
    """What a hook would see inside a fused layer does not exist, so that the layer falls back to its parts."""
    layer, seen = Block().feed, []
    with torch.no_grad():
        expected = layer(torch.ones(2, 12), residual_dropout=0.0)
        for part in layer.modules():
            handle = part.register_forward_hook(lambda module, *_: seen.append(type(module).__name__))
            found = layer(torch.ones(2, 12), residual_dropout=0.0)
            handle.remove()
            torch.testing.assert_close(found, expected)
    assert seen == [type(part).__name__ for part in layer.modules()]


def test_other_precisions_devices_and_transforms_take_the_plain_way():
    x, layer = torch.zeros(2, 4), nn.Linear(4, 4)
    assert is_fusible(x, layer)
    assert not is_fusible(x.double(), layer)
    assert not is_fusible(x, nn.Linear(4, 4).bfloat16())
    assert not is_fusible(x, nn.Linear(4, 4, device="meta"))
    assert not is_fusible(x.to("meta"), layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not is_fusible(x, layer)
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert not is_fusible(x, layer)
    handle.remove()
    asked = []
    torch.func.vmap(lambda row: (asked.append(is_fusible(row, layer)), row)[1])(x)
    assert asked == [False]
    with torch.autograd.forward_ad.dual_level():
        assert not is_fusible(x, layer)


def test_function_transforms_give_gradients_and_ensembles(make_model, make_window, make_batch):
    models = [make_model("POYO").eval() for _ in range(2)]
    inputs = make_batch(models[0], [make_window(spikes=9)])["model_inputs"]
    weights = dict(models[0].named_parameters())

    def loss(weights):
        return torch.func.functional_call(models[0], weights, kwargs=inputs).square().sum()

    found = torch.func.grad(loss)(weights)
    loss(weights).backward()
    assert_close(found, {name: parameter.grad for name, parameter in weights.items()}, tolerance=1e-4)
    states = torch.func.stack_module_state(models)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # PyTorch's kernel has no batched form
        together = torch.func.vmap(lambda *state: torch.func.functional_call(models[0], state, kwargs=inputs))(*states)
    for one, model in zip(together, models, strict=True):
        torch.testing.assert_close(one, model(**inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # PyTorch's own rules of forward mode use it
def test_forward_mode_derivatives_equal_finite_differences():
    block = Block().double()
    x, direction, times = torch.randn(2, 5, 12).double(), torch.randn(2, 5, 12).double(), torch.rand(2, 5)
    with torch.autograd.forward_ad.dual_level(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        output = block(torch.autograd.forward_ad.make_dual(x, direction), times)
        found = torch.autograd.forward_ad.unpack_dual(output).tangent
    step = 1e-6
    expected = (block(x + step * direction, times) - block(x - step * direction, times)) / (2 * step)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_gradients_of_gradients_need_the_plain_layers():
    layer, x = Block().feed, torch.randn(3, 12, requires_grad=True)
    output = layer(x, residual_dropout=0.0)
    with pytest.raises(RuntimeError, match="no gradients of gradients"):
        torch.autograd.grad(output.sum(), x, create_graph=True)
    with plain_layers():
        output = layer(x, residual_dropout=0.0)
    (gradient,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("plain", [False, True])
def test_layers_checkpointed_in_one_form_are_repeated_in_it(plain, make_model, make_window, make_batch):
    """Going back happens outside of the context in which the model went forward."""
    model = make_model("POYOPlus").train()
    inputs = make_batch(model, [make_window(spikes=9)])["model_inputs"]
    model.set_activation_checkpointing()
    with plain_layers() if plain else nullcontext():
        outputs = model(**inputs)
    with nullcontext() if plain else plain_layers():
        sum(values.square().sum() for values in outputs.values()).backward()
    assert model.enc_atn.to_q.weight.grad.abs().max() > 0


def test_a_graph_may_be_gone_through_twice_and_gradients_add_up():
    block, x, times = Block(), torch.randn(2, 5, 12), torch.rand(2, 5)
    once = {name: gradient.clone() for name, gradient in learned(block, x, times).items()}
    block.zero_grad()
    loss = (block(x, times) * torch.linspace(-1, 1, x.numel()).view(x.shape)).sum()
    loss.backward(retain_graph=True)
    for name, parameter in block.named_parameters():
        assert torch.equal(parameter.grad, once[name]), name
    loss.backward()
    for name, parameter in block.named_parameters():
        torch.testing.assert_close(parameter.grad, 2 * once[name], rtol=0, atol=0)


def test_going_back_within_autocast_stays_in_single_precision():
    block, x, times = Block(), torch.randn(2, 5, 12, requires_grad=True), torch.rand(2, 5)
    loss = block(x, times).square().sum()
    (expected,) = torch.autograd.grad(loss, x, retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = torch.autograd.grad(loss, x)
    assert torch.equal(found, expected)


def test_an_input_changed_in_place_before_the_way_back_is_noticed():
    block, x = Block(), torch.randn(2, 5, 12)
    output = block(x, torch.rand(2, 5))
    x.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_strides_change_nothing():
    block, times = Block(), torch.rand(4, 5)
    x = torch.randn(12, 5, 8).permute(2, 1, 0)[::2]
    assert not x.is_contiguous()
    torch.testing.assert_close(block(x, times), block(x.contiguous(), times), rtol=0, atol=0)


def test_another_default_device_or_dtype_is_of_no_matter(make_model, make_window, make_batch):
    model = make_model("POYOPlus").train()
    inputs = make_batch(model, [make_window(spikes=9)])["model_inputs"]
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            outputs = model(**inputs)
            sum(values.sum() for values in outputs.values()).backward()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(p.grad.device.type == "cpu" and p.grad.dtype == torch.float32 for p in model.parameters())


def test_the_user_may_switch_onednn_off(monkeypatch):
    called = []
    product_of_onednn = products._ONEDNN
    monkeypatch.setattr(products, "_ONEDNN", lambda *a: (called.append(1), product_of_onednn(*a))[1])
    x, weight = torch.randn(200, 64), torch.randn(64, 64)
    expected = products.product(x, weight)
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        found = products.product(x, weight)
    finally:
        torch._C._set_mkldnn_enabled(before)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert called == [1]


@pytest.mark.parametrize("name", ["POYO", "POYOPlus", "CalciumPOYOPlus"])
def test_the_same_step_gives_the_same_bits_wherever_its_memory_lies(name, make_model, make_window):
    """A resumed run must go on to the bit."""
    model = make_model(name, ffn_dropout=0.3, lin_dropout=0.4).train()
    windows = [make_window(spikes=600), make_window(spikes=40, seed=1)]
    for tokenize in (model.tokenize, model.tokenize_packed):
        inputs = collate([tokenize(window) for window in windows])["model_inputs"]
        steps, rubbish = [], []
        for number in range(3):
            rubbish.append(torch.empty(1 + 4097 * number))  # later arrays lie elsewhere
            other = copy.deepcopy(model)
            torch.manual_seed(3)
            outputs = other(**{key: values.clone() for key, values in inputs.items()})
            parts = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
            sum(part.square().sum() for part in parts).backward()
            steps.append([*parts, *(p.grad for p in other.parameters() if p.grad is not None)])
            gc.collect()
        for step in steps[1:]:
            assert all(torch.equal(one, other) for one, other in zip(step, steps[0], strict=True))


def test_two_threads_give_what_one_gives():
    torch.manual_seed(1)
    layer = RotaryCrossAttention(dim=32, heads=2, dim_head=8, rotate_value=True)
    x, source = torch.randn(1, 300, 32), torch.randn(1, 400, 32)
    turns = EMBEDDING.rotation(torch.rand(1, 300)), EMBEDDING.rotation(torch.rand(1, 400))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            layer.zero_grad()
            output = layer(x, source, *turns, residual_dropout=0.0)
            output.square().sum().backward()
            found.append({"output": output.detach(), **{n: p.grad.clone() for n, p in layer.named_parameters()}})
    finally:
        torch.set_num_threads(before)
    assert_close(found[1], found[0], tolerance=1e-5)
    assert all(torch.equal(found[1][name], found[2][name]) for name in found[1])


def test_deterministic_algorithms_can_be_asked_for(make_model, make_window, make_batch):
    model = make_model("POYOPlus").train()
    inputs = make_batch(model, [make_window(spikes=30), make_window(spikes=3)])["model_inputs"]
    torch.use_deterministic_algorithms(True)
    try:
        sum(values.sum() for values in model(**inputs).values()).backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_inference_mode_and_no_gradients_give_the_outputs_of_training(make_model, make_window, make_batch):
    model = make_model("POYO").eval()
    inputs = make_batch(model, [make_window()])["model_inputs"]
    expected = model(**inputs)
    for context in (torch.inference_mode(), torch.no_grad(), nullcontext()):
        with context:
            assert torch.equal(model(**inputs), expected)
    model.requires_grad_(False)
    assert torch.equal(model(**inputs), expected)
    assert not model(**inputs).requires_grad
