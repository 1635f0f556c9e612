"""What the baselines promise beyond the contract of all models."""

import numpy as np
import pytest
import torch

from nd_models import MODALITY_REGISTRY, GRUDecoder, MLPDecoder, NDTDecoder, WienerDecoder

BASELINES = {
    "WienerDecoder": WienerDecoder,
    "MLPDecoder": MLPDecoder,
    "GRUDecoder": GRUDecoder,
    "NDTDecoder": NDTDecoder,
}


@pytest.fixture(params=BASELINES)
def name(request) -> str:
    return request.param


def test_tokens_are_counts_units_and_queries(name, make_model, make_window):
    model = make_model(name)
    data = make_window(spikes=60, outputs=9)
    tokens = model.tokenize(data)
    inputs = {key: getattr(value, "obj", value) for key, value in tokens["model_inputs"].items()}
    assert sorted(inputs) == [
        "input_counts",
        "input_session_index",
        "input_unit_index",
        "output_decoder_index",
        "output_timestamps",
    ]
    expected = np.zeros((7, 20))
    for time, unit in zip(data.spikes.timestamps, data.spikes.unit_index, strict=True):
        expected[unit, int(time / 0.05)] += 1
    np.testing.assert_array_equal(inputs["input_counts"], expected)
    np.testing.assert_array_equal(inputs["input_unit_index"], np.arange(1, 8))
    assert inputs["input_session_index"] == 1


def test_the_read_in_is_an_affine_map_for_each_session(make_model, make_window, make_batch):
    model = make_model("GRUDecoder")
    inputs = make_batch(model, [make_window(), make_window(units=3, seed=1)])["model_inputs"]
    found = model.read_in(inputs["input_counts"], inputs["input_unit_index"], inputs["input_session_index"])
    units, sessions = model.unit_emb.weight.detach().numpy(), model.session_emb.weight.detach().numpy()
    for row, (count, session) in enumerate([(7, 1), (3, 2)]):
        counts = inputs["input_counts"][row, :count].numpy()
        expected = counts.T @ units[1 : count + 1] + sessions[session]
        np.testing.assert_allclose(found[row].detach().numpy(), expected, rtol=1e-5, atol=1e-5)


def test_a_windows_targets_beyond_its_length_are_refused(name, make_model, make_window):
    model = make_model(name)
    data = make_window()
    data.cursor.timestamps = data.cursor.timestamps * 3
    with pytest.raises(ValueError, match=r"recording 'perich/c_1': a window has targets up to .* the model sees 1 s"):
        model.tokenize(data)


def test_a_shorter_window_is_silent_at_its_end(name, make_model, make_window, make_batch):
    model = make_model(name).eval()
    short = make_window(spikes=40).slice(0.0, 0.5)
    short.config = make_window().config
    assert short.domain.end[-1] == 0.5
    counts = make_batch(model, [short])["model_inputs"]["input_counts"]
    assert counts[..., 10:].sum() == 0
    assert counts.sum() == len(short.spikes)


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_queries_between_bins_are_interpolated(name, interpolation, make_model, make_window, make_batch):
    model = make_model(name, interpolation=interpolation).eval()
    inputs = make_batch(model, [make_window()])["model_inputs"]

    def at(*times: float) -> np.ndarray:
        asked = {
            **inputs,
            "output_timestamps": torch.tensor([times], dtype=torch.float64),
            "output_decoder_index": torch.full((1, len(times)), MODALITY_REGISTRY["cursor_velocity_2d"].id),
        }
        with torch.no_grad():
            return model(**asked)["cursor_velocity_2d"].numpy()

    before, after = at(0.125), at(0.175)  # the middles of two bins
    assert not np.allclose(before, after, atol=1e-4)
    between = [before, before, after] if interpolation == "nearest" else [0.9 * before + 0.1 * after] * 3
    if interpolation == "linear":
        np.testing.assert_allclose(at(0.13), between[0], atol=1e-5)
        np.testing.assert_allclose(at(0.15), (before + after) / 2, atol=1e-5)
    else:
        np.testing.assert_allclose(at(0.10, 0.149, 0.15), np.concatenate(between), atol=1e-6)
    np.testing.assert_allclose(at(0.0, 0.01, 0.025)[0], at(0.025)[0], atol=1e-6)
    np.testing.assert_allclose(at(1.0)[0], at(0.975)[0], atol=1e-6)


def test_a_causal_gru_does_not_look_ahead(make_model, make_window, make_batch):
    model = make_model("GRUDecoder", bidirectional=False, interpolation="nearest").eval()
    inputs = make_batch(model, [make_window(outputs=40)])["model_inputs"]
    later = {**inputs, "input_counts": inputs["input_counts"].clone()}
    later["input_counts"][:, :, 10:] += 3.0
    early = inputs["output_timestamps"][inputs["output_decoder_index"] == 1] < 0.5
    with torch.no_grad():
        one, other = (model(**batch)["cursor_velocity_2d"] for batch in (inputs, later))
    assert early.any()
    assert not early.all()
    torch.testing.assert_close(one[early], other[early], rtol=0, atol=0)
    assert (one[~early] - other[~early]).abs().max() > 1e-3


@pytest.mark.parametrize(("name", "reach"), [("MLPDecoder", 0.15), ("WienerDecoder", 0.35)])
def test_lags_say_which_bins_are_seen(name, reach, make_model, make_window, make_batch):
    model = make_model(name, interpolation="nearest").eval()  # lags −3 to 3, and −3 to 7
    inputs = make_batch(model, [make_window()])["model_inputs"]
    queries = {
        "output_timestamps": torch.arange(20, dtype=torch.float64)[None] * 0.05 + 0.025,
        "output_decoder_index": torch.ones(1, 20, dtype=torch.int64),
    }
    changed = inputs["input_counts"].clone()
    changed[:, :, 10] += 5.0
    with torch.no_grad():
        one = model(**{**inputs, **queries})["cursor_velocity_2d"]
        other = model(**{**inputs, **queries, "input_counts": changed})["cursor_velocity_2d"]
    moved = ((one - other).abs().amax(dim=1) > 1e-6).nonzero().flatten().tolist()
    assert moved == list(range(10 - 3, 10 + round(reach / 0.05) + 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bin_size": 0.3}, "do not fill a window"),
        ({"sequence_length": 0.0}, "sequence_length must be a positive number"),
        ({"interpolation": "cubic"}, "interpolation must be 'linear' or 'nearest', got 'cubic'"),
        ({"readout_specs": {}}, "name at least one task"),
    ],
)
def test_arguments_that_cannot_be_are_refused(name, make_model, changes, message):
    with pytest.raises(ValueError, match=message):
        make_model(name, **changes)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("MLPDecoder", {"dim": 0}, "dim must be a whole number of at least 1, got 0"),
        ("MLPDecoder", {"lags": []}, "lags must be"),
        ("WienerDecoder", {"lags": [1, 1]}, "lags must be"),
        ("GRUDecoder", {"depth": 1.0}, "depth must be a whole number"),
        ("GRUDecoder", {"dropout": 1.5}, "dropout must be a probability from 0 to 1, got 1.5"),
        ("NDTDecoder", {"dim_head": 6}, "dim_head must be a multiple of 4"),
        ("NDTDecoder", {"atn_dropout": -0.1}, "atn_dropout must be a probability"),
    ],
)
def test_sizes_that_cannot_be_are_refused(name, make_model, changes, message):
    with pytest.raises(ValueError, match=message):
        make_model(name, **changes)


def test_readouts_may_be_registered_names():
    for architecture in BASELINES.values():
        model = architecture(sequence_length=1.0, bin_size=0.1, readout_specs=["running_speed"])
        assert model.readout_specs == {"running_speed": MODALITY_REGISTRY["running_speed"]}
        with pytest.raises(KeyError, match="did you mean 'running_speed'"):
            architecture(sequence_length=1.0, bin_size=0.1, readout_specs=["runing_speed"])
