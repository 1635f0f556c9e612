"""Tokens of a window, counted out one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nd_models.tokens import TokenType, create_linspace_latent_tokens, create_start_end_unit_tokens


@given(st.integers(0, 20), st.floats(-5.0, 5.0), st.floats(0.1, 5.0))
def test_every_unit_has_a_start_and_an_end(units, start, length):
    expected = [
        (kind, unit, time)
        for unit in range(units)
        for kind, time in ((TokenType.START_OF_SEQUENCE, start), (TokenType.END_OF_SEQUENCE, start + length))
    ]
    found = create_start_end_unit_tokens([f"u{i}" for i in range(units)], start, start + length)
    assert list(zip(*(array.tolist() for array in found), strict=True)) == expected
    assert [array.dtype for array in found] == [np.int64, np.int64, np.float64]


@pytest.mark.parametrize("step", [0.05, 0.125, 0.25, 1.0])
def test_the_latent_grid_sits_at_the_middle_of_every_step(step):
    index, times = create_linspace_latent_tokens(0.0, 1.0, step=step, num_latents_per_step=3)
    steps = round(1.0 / step)
    np.testing.assert_allclose(times.reshape(steps, 3), np.tile((np.arange(steps)[:, None] + 0.5) * step, 3))
    assert index.reshape(steps, 3).tolist() == [[0, 1, 2]] * steps


@pytest.mark.parametrize("name", ["POYO", "POYOPlus"])
def test_the_tokens_of_a_window(name, make_model, make_window):
    model, data = make_model(name), make_window(spikes=30, outputs=9, seed=1)
    tokens = model.tokenize(data)
    inputs = tokens["model_inputs"]
    rows = {unit: row for row, unit in enumerate(model.unit_emb.vocab)}
    units = data.units.id.tolist()

    expected = [(rows[unit], time, kind) for unit in units for time, kind in ((0.0, 1), (1.0, 2))]
    expected += [
        (rows[units[unit]], time, 0)
        for unit, time in zip(data.spikes.unit_index.tolist(), data.spikes.timestamps.tolist(), strict=True)
    ]
    found = [inputs[key].obj.tolist() for key in ("input_unit_index", "input_timestamps", "input_token_type")]
    assert list(zip(*found, strict=True)) == expected
    assert inputs["input_mask"].obj.all()
    assert len(inputs["input_mask"].obj) == len(expected)

    session = model.session_emb.vocab[data.session.id]
    queries = 9 if name == "POYO" else 9 + 9 + 5
    assert inputs["output_session_index"].obj.tolist() == [session] * queries
    times = data.cursor.timestamps.tolist()
    if name == "POYO":
        assert inputs["output_timestamps"].obj.tolist() == times
    else:
        assert inputs["output_timestamps"].obj.tolist() == times + times + times[::2]
        assert inputs["output_decoder_index"].obj.tolist() == [1] * 9 + [2] * 9 + [4] * 5
    assert tokens["session_id"] == "perich/c_2"
    assert tokens["absolute_start"] == data.absolute_start


@pytest.mark.parametrize("dtype", [np.uint8, np.uint64, np.int32, np.int16])
def test_unit_indices_of_any_integer_type_give_the_same_tokens(dtype, make_model, make_window):
    model, data = make_model("POYO"), make_window()
    expected = model.tokenize(data)["model_inputs"]
    data.spikes.unit_index = data.spikes.unit_index.astype(dtype)
    found = model.tokenize(data)["model_inputs"]
    for key in ("input_unit_index", "input_token_type"):
        assert found[key].obj.dtype == np.int64
        np.testing.assert_array_equal(found[key].obj, expected[key].obj)


def test_writing_into_one_windows_grid_leaves_the_next_alone(make_model, make_window):
    model = make_model("POYO")
    first = model.tokenize(make_window())["model_inputs"]
    kept = first["latent_timestamps"].copy()
    first["latent_timestamps"] += 100.0
    first["latent_index"][:] = -1
    second = model.tokenize(make_window())["model_inputs"]
    np.testing.assert_array_equal(second["latent_timestamps"], kept)
    assert second["latent_index"].min() == 0
