"""Batches without padding give what padded ones give: outputs, gradients and windows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nd_data import collate
from nd_models import MODALITY_REGISTRY
from nd_models.nn import MultitaskReadout, RotaryCrossAttention, RotarySelfAttention, RotaryTimeEmbedding
from nd_models.nn.fused import plain_layers
from nd_models.nn.packing import bounds_of, packing

POYO_MODELS = ("POYO", "POYOPlus", "CalciumPOYOPlus")
EMBEDDING = RotaryTimeEmbedding(head_dim=8, rotate_dim=4, t_min=0.05, t_max=2.0)


@pytest.fixture(params=POYO_MODELS)
def model(request, make_model):
    return make_model(request.param).eval()


@pytest.fixture
def windows(make_window):
    return [
        make_window(spikes=60, seed=0),
        make_window(spikes=7, outputs=3, seed=1),
        make_window(spikes=0, units=0, outputs=5),
        make_window(spikes=31, outputs=0, seed=3),
    ]


def both_forms(model, windows) -> tuple[dict, dict]:
    return (
        collate([model.tokenize(window) for window in windows]),
        collate([model.tokenize_packed(window) for window in windows]),
    )


def parts_of(outputs) -> list[Tensor]:
    """The tensors of unpacked outputs, in the order of windows and tasks."""
    return [part for window in outputs for part in (window.values() if isinstance(window, dict) else [window])]


def outputs_and_gradients(model, inputs, dtype=torch.float32) -> tuple[list[Tensor], dict[str, Tensor]]:
    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        parts = parts_of(model(**inputs, unpack_output=True))
    sum((part.double().square() * (1 + torch.arange(len(part))[:, None])).sum() for part in parts).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return [part.detach().double() for part in parts], gradients


def assert_equal(found, expected, *, tolerance: float) -> None:
    for one, other in zip(found[0], expected[0], strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    assert found[1].keys() == expected[1].keys()
    for name, other in expected[1].items():
        scale = max(float(other.abs().max()), 1e-3)
        torch.testing.assert_close(found[1][name] / scale, other / scale, rtol=0, atol=5 * tolerance, msg=name)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-5), (torch.bfloat16, 0.05)], ids=str
)
def test_packed_batches_give_the_outputs_and_gradients_of_padded_ones(model, windows, dtype, tolerance):
    padded, packed = (batch["model_inputs"] for batch in both_forms(model, windows))
    assert packed["input_unit_index"].shape == (int(padded["input_mask"].sum()),)
    if dtype == torch.float64:
        model.double()
    assert_equal(
        outputs_and_gradients(model, packed, dtype), outputs_and_gradients(model, padded, dtype), tolerance=tolerance
    )


def test_the_fused_layers_give_the_outputs_and_gradients_of_plain_ones_in_both_forms(model, windows):
    for batch in both_forms(model, windows):
        fused = outputs_and_gradients(model, batch["model_inputs"])
        with plain_layers():
            assert_equal(fused, outputs_and_gradients(model, batch["model_inputs"]), tolerance=2e-5)


def test_one_side_alone_may_be_packed(model, windows):
    padded, packed = (batch["model_inputs"] for batch in both_forms(model, windows))
    with torch.no_grad():
        expected = parts_of(model(**padded, unpack_output=True))
        for side in ("input", "output"):
            mixed = {name: values for name, values in packed.items() if name.startswith((side, "latent"))}
            mixed |= {name: values for name, values in padded.items() if not name.startswith((side, "latent"))}
            for one, other in zip(parts_of(model(**mixed, unpack_output=True)), expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_targets_are_those_of_the_padded_batch(model, windows):
    padded, packed = both_forms(model, windows)
    assert packed["session_id"] == padded["session_id"]
    for field in ("target_values", "target_weights", "eval_mask"):
        if isinstance(packed[field], dict):
            assert packed[field].keys() == padded[field].keys()
            assert all(torch.equal(packed[field][task], padded[field][task]) for task in packed[field])
        else:
            assert torch.equal(packed[field], padded[field][padded["model_inputs"]["output_mask"]])


def test_a_batch_is_one_row_that_unpacks_into_windows(model, windows):
    inputs = both_forms(model, windows)[1]["model_inputs"]
    with torch.no_grad():
        together, apart = model(**inputs), model(**inputs, unpack_output=True)
    if isinstance(together, Tensor):
        torch.testing.assert_close(torch.cat(apart), together)
    else:
        for task, values in together.items():
            torch.testing.assert_close(torch.cat([window[task] for window in apart if task in window]), values)


def test_padding_is_not_computed(make_model, make_window):
    """Rows behind a window's tokens may hold anything: nobody reads them, in either form."""
    model = make_model("POYOPlus").eval()
    padded = both_forms(model, [make_window(spikes=60), make_window(spikes=5, seed=1)])[0]["model_inputs"]
    inputs = model.embed_inputs(padded["input_unit_index"], padded["input_token_type"]).detach()
    arguments = {name: padded[name] for name in ("input_timestamps", "input_mask", "latent_index", "latent_timestamps")}
    arguments |= {"output_queries": torch.zeros(2, 3, 24), "output_timestamps": torch.rand(2, 3)}
    with torch.no_grad():
        expected = model.decode(inputs=inputs, **arguments)
        spoilt = inputs.masked_fill(~padded["input_mask"][..., None], torch.nan)
        torch.testing.assert_close(model.decode(inputs=spoilt, **arguments), expected, rtol=0, atol=0)


lengths = st.lists(st.integers(0, 6), min_size=1, max_size=5)


@given(st.data(), lengths, st.booleans(), st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=15, deadline=None)
def test_cross_attention_of_packed_windows_is_that_of_each_window(data, queries, rotate_value, dtype):
    torch.manual_seed(0)
    context = data.draw(st.lists(st.integers(0, 9), min_size=len(queries), max_size=len(queries)))
    layer = RotaryCrossAttention(dim=12, context_dim=10, heads=2, dim_head=8, rotate_value=rotate_value).to(dtype)
    x, source = torch.randn(sum(queries), 12, dtype=dtype), torch.randn(sum(context), 10, dtype=dtype)
    times, source_times = torch.rand(sum(queries)), torch.rand(sum(context))
    found = layer.forward_varlen(
        x,
        source,
        EMBEDDING.rotation(times),
        EMBEDDING.rotation(source_times),
        torch.tensor(queries),
        torch.tensor(context),
        residual_dropout=0.0,
    )
    for (a, b), (c, d) in zip(bounds_of(queries), bounds_of(context), strict=True):
        turns = EMBEDDING.rotation(times[None, a:b]), EMBEDDING.rotation(source_times[None, c:d])
        with plain_layers():
            alone = x[None, a:b] + layer(x[None, a:b], source[None, c:d], *turns)
        torch.testing.assert_close(found[a:b], alone[0], rtol=1e-5, atol=1e-5)


@given(lengths)
@settings(max_examples=8, deadline=None)
def test_self_attention_of_packed_windows_is_that_of_each_window(tokens):
    torch.manual_seed(0)
    layer = RotarySelfAttention(dim=12, heads=2, dim_head=8, rotate_value=True)
    x, times = torch.randn(sum(tokens), 12), torch.rand(sum(tokens))
    found = layer.forward_varlen(x, EMBEDDING.rotation(times), torch.tensor(tokens))
    for first, end in bounds_of(tokens):
        with plain_layers():
            alone = layer(x[None, first:end], EMBEDDING.rotation(times[None, first:end]))
        torch.testing.assert_close(found[first:end], alone[0], rtol=1e-5, atol=1e-5)


@settings(max_examples=30)
@given(lengths)
def test_tokens_go_into_padded_windows_and_back(tokens):
    rows = torch.randn(sum(tokens), 3)
    windows = packing(torch.tensor(tokens), rows)
    assert torch.equal(windows.packed(windows.padded(rows)), rows)
    assert windows.mask().sum(1).tolist() == tokens
    assert torch.equal(windows.padded(rows)[windows.mask()], rows)


@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from([0, 1, 3, 7, 9]), max_size=6), min_size=1, max_size=4))
def test_the_packed_readout_is_the_padded_one(index):
    torch.manual_seed(0)
    specs = {name: spec for name, spec in MODALITY_REGISTRY.items() if spec.id in (1, 3, 7)}
    readout = MultitaskReadout(4, specs)
    width = max(map(len, index))
    padded = torch.tensor([[*row, *[0] * (width - len(row))] for row in index], dtype=torch.int64).reshape(
        len(index), width
    )
    queries = torch.randn(*padded.shape, 4)
    real = torch.arange(width) < torch.tensor([len(row) for row in index])[:, None]
    windows = torch.arange(len(index))[:, None].expand_as(padded)[real]
    rows = queries[real], padded[real], windows

    unpacked = readout.forward_varlen(*rows, unpack_output=True, batch_size=len(index))
    for found, wanted in zip(unpacked, readout(queries, padded, unpack_output=True), strict=True):
        assert found.keys() == wanted.keys()
        assert all(torch.allclose(found[name], wanted[name], atol=1e-6) for name in wanted)
    wanted = readout(queries, padded)
    counts = {name: len(values) for name, values in wanted.items()}
    for found in (
        readout.forward_varlen(*rows),
        readout.forward_varlen(*rows, output_counts=counts),
        readout(queries, padded, output_counts=counts),
    ):
        assert list(found) == list(wanted)
        assert all(torch.allclose(found[name], wanted[name], atol=1e-6) for name in wanted)


def test_what_does_not_fit_is_refused(make_model, windows):
    model = make_model("POYOPlus").eval()
    padded, packed = (batch["model_inputs"] for batch in both_forms(model, windows))
    with pytest.raises(ValueError, match=r"sequence lengths add up to \d+, but there are \d+ tokens"):
        model(**{**packed, "input_seqlen": packed["input_seqlen"] + 1})
    with pytest.raises(
        ValueError, match=r"input tokens of a packed batch \(with input_seqlen\) must have shape \(N,\)"
    ):
        model(**{**padded, "input_seqlen": packed["input_seqlen"]})
    with pytest.raises(ValueError, match=r"output tokens of a padded batch \(without output_seqlen\) must have shape"):
        model(**{name: values for name, values in packed.items() if name != "output_seqlen"})
    with pytest.raises(ValueError, match="give input_mask for a padded batch, or input_seqlen for a packed one"):
        model(**packed, input_mask=padded["input_mask"])
    with pytest.raises(ValueError, match="must be integers of shape"):
        model(**{**packed, "input_seqlen": packed["input_seqlen"].float()})
    with pytest.raises(ValueError, match="output_counts names 'nonsense'"):
        model(**packed, output_counts={"nonsense": 3})
    with pytest.raises(ValueError, match="query_seqlen is of 1 windows, context_seqlen of 2"):
        model.enc_atn.forward_varlen(
            torch.zeros(2, 24),
            torch.zeros(2, 24),
            EMBEDDING.rotation(torch.zeros(2)),
            EMBEDDING.rotation(torch.zeros(2)),
            torch.tensor([2]),
            torch.tensor([1, 1]),
        )
    assert np.array_equal(packed["output_seqlen"], [63, 8, 13, 0])
